"""The folder of an emulated lock: made once, found again, never mixed up."""

import stat
import time
from dataclasses import replace

import pytest

from vitrine_tools import keys, provisioning, tokens, verify, workspace
from vitrine_tools.errors import ToolError
from vitrine_tools.field.site import Site
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Reason
from vitrine_tools.provisioning import Issuer, Provision


def verdict(space):
    situation = verify.Situation(now_s=int(time.time()), provision=space.record)
    return verify.verify(space.token.read_bytes(), situation).reason


def test_the_first_start_makes_everything(tmp_path):
    space = workspace.prepare(tmp_path / "a" / "b", None, None, "CET-1CEST,M3.5.0,M10.5.0/3")
    assert stat.S_IMODE(space.folder.stat().st_mode) == 0o700
    assert (space.record.lock_id, space.record.zone) == ("case-12", "CET-1CEST,M3.5.0,M10.5.0/3")
    assert space.is_new_record and verdict(space) == Reason.Granted
    holder = keys.load_private(space.holder).public
    assert tokens.parse(space.token.read_bytes()).claims.holder == holder
    assert keys.load_public(space.folder / "holder.pub.pem") == holder


def test_the_next_start_finds_it_again_with_a_fresh_token(tmp_path):
    first = workspace.prepare(tmp_path, "case-7", None, "UTC0")
    before = first.token.read_bytes()
    assert workspace.prepare(tmp_path, "case-7", None, "UTC0").is_new_record  # there is no flash yet
    first.flash.touch()
    again = workspace.prepare(tmp_path, None, None, "UTC0")
    assert again.record == first.record and not again.is_new_record
    assert again.token.read_bytes() != before and verdict(again) == Reason.Granted


def test_a_folder_is_one_lock(tmp_path):
    workspace.prepare(tmp_path, "case-7", None, "UTC0")
    with pytest.raises(ToolError, match="holds the lock case-7: give another folder for case-8"):
        workspace.prepare(tmp_path, "case-8", None, "UTC0")


def test_a_record_of_ones_own(tmp_path):
    issuer = Issuer(
        public_key=PrivateKey.generate().public, name="s", scopes=("unlock",), audiences=("case-3",), max_lifetime_s=9
    )
    record = Provision(lock_id="case-3", issuers=(issuer,), provisioned_at_s=0)
    (tmp_path / "record").write_bytes(record.to_bytes())
    workspace.prepare(tmp_path / "lock", None, None, "UTC0")
    (tmp_path / "lock" / "flash.bin").touch()
    space = workspace.prepare(tmp_path / "lock", None, tmp_path / "record", "UTC0")
    assert space.record == record and space.is_new_record
    assert not space.token.exists()  # this folder's issuer is not one of the lock's
    assert not workspace.prepare(tmp_path / "lock", None, None, "UTC0").is_new_record


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    tmp_path.chmod(0o755)
    with pytest.raises(ToolError, match="other files"):
        workspace.prepare(tmp_path, None, None, "UTC0")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["issuer.pem", "provision.cbor"])
def test_damaged_files_are_named(tmp_path, name):
    workspace.prepare(tmp_path, None, None, "UTC0")
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(ToolError, match=name if name.endswith("pem") else "not a provisioning record"):
        workspace.prepare(tmp_path, None, None, "UTC0")


def test_the_default_lock_has_a_valid_record(tmp_path):
    space = workspace.prepare(tmp_path, None, None, "UTC0")
    assert provisioning.parse(space.record.to_bytes()) == space.record


def test_the_token_asks_for_no_more_than_the_lock_lets_its_issuer_give(tmp_path):
    everything = workspace.prepare(tmp_path, None, None, "UTC0")
    assert tokens.parse(everything.token.read_bytes()).claims.scopes == ("unlock", "hold", "courier")
    assert "admin" in everything.record.issuers[0].scopes  # it signs commands
    for trusted, issued in ((("unlock",), ("unlock",)), (("service",), None)):
        issuer = replace(everything.record.issuers[0], scopes=trusted)
        (tmp_path / "own").write_bytes(replace(everything.record, issuers=(issuer,)).to_bytes())
        space = workspace.prepare(tmp_path, None, tmp_path / "own", "UTC0")
        assert space.token.exists() == (issued is not None)
        if issued:
            assert tokens.parse(space.token.read_bytes()).claims.scopes == issued and verdict(space) == Reason.Granted


def test_a_common_issuer_is_trusted_beside_the_folders_own(tmp_path):
    common = PrivateKey.generate()
    space = workspace.prepare(tmp_path / "one", "case-1", None, "UTC0", common.public)
    own = keys.load_private(tmp_path / "one" / "issuer.pem").public
    assert [issuer.public_key for issuer in space.record.issuers] == [own, common.public]
    assert all("admin" in issuer.scopes and workspace.GROUP in issuer.audiences for issuer in space.record.issuers)
    space.flash.touch()
    assert not workspace.prepare(tmp_path / "one", "case-1", None, "UTC0", common.public).is_new_record
    with pytest.raises(ToolError, match="does not trust the key"):
        workspace.prepare(tmp_path / "one", "case-1", None, "UTC0", PrivateKey.generate().public)
    assert len(workspace.prepare(tmp_path / "two", None, None, "UTC0", None).record.issuers) == 1


def test_a_bare_board_gets_a_site_file_in_place_of_a_record(tmp_path):
    space = workspace.prepare(tmp_path / "bare", None, None, "UTC0", is_bare=True)
    assert not space.is_new_record and not (space.folder / "provision.cbor").exists()
    plan = Site(space.site).plan("case-12")
    assert plan.provision.issuers[0].public_key == space.record.issuers[0].public_key
    assert set(plan.provision.issuers[0].scopes) == {"unlock", "hold", "courier", "service", "update", "admin"}
    assert verdict(space) == Reason.Granted


def test_a_lock_is_not_taken_for_a_bare_board(tmp_path):
    space = workspace.prepare(tmp_path / "lock", None, None, "UTC0")
    space.flash.write_bytes(b"")
    with pytest.raises(ToolError, match="without --bare"):
        workspace.prepare(tmp_path / "lock", None, None, "UTC0", is_bare=True)
