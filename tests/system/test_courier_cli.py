"""A courier at the command line: `vitrine unlock --courier`, `vitrine collect --from`, `vitrine audit`. Real time."""

import json
import time

import pytest

from vitrine_tools import courier, keys, tokens
from vitrine_tools.ble.private_bus import PrivateBus

from .test_bleak_unlock import Emulator, unlock_words, vitrine

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)"),
]


@pytest.fixture
async def emulator(tmp_path):
    emulator = Emulator(tmp_path / "lock")
    await emulator.start()
    yield emulator
    await emulator.stop()


@pytest.fixture
def collect_words(emulator, tmp_path):
    return ["collect", "--keys", emulator.folder / "escrow", "--db", tmp_path / "audit.db", "--from", tmp_path / "bag"]


async def unlock(emulator, bag, **options):
    status, out, err = await vitrine(*unlock_words(emulator.folder, "--courier", bag, "--json", **options))
    assert (status, err) == (0, "")
    return json.loads(out)


async def collect(words):
    status, out, err = await vitrine(*words, "--json")
    assert (status, err) == (0, ""), err
    return json.loads(out)


async def test_records_go_with_a_phone_and_the_acknowledgement_comes_back(emulator, collect_words, tmp_path):
    bag, db = tmp_path / "bag", ["--db", tmp_path / "audit.db"]
    first = await unlock(emulator, bag)
    assert first["granted"] and first["courier"]["batches"] >= 1 and first["courier"]["is_complete"]
    assert bag.stat().st_mode & 0o777 == 0o600
    emptied = await collect(collect_words)
    assert emptied["stored"] >= 4 and emptied["acknowledged"] == ["case-12"] and not emptied["findings"]
    second = await unlock(emulator, bag)
    assert second["courier"]["delivered"] == 1
    # the lock begins behind what is acknowledged: nothing is carried twice
    emptied = await collect(collect_words)
    assert emptied["stored"] >= 2 and emptied["repeated"] == 0
    status, out, err = await vitrine("audit", "list", *db, "--type", "LockOperation", "--json")
    assert (status, err) == (0, "")
    operations = [event["data"]["operation"] for event in json.loads(out)]
    assert [word for word in operations if word != "Lock"] == ["Unlock", "Courier"] * 2
    status, out, _ = await vitrine("audit", "verify", *db, "--keys", emulator.folder / "escrow")
    assert status == 0, out
    # the same trail, read out of the flash chip
    image = ["--image", emulator.folder / "flash.bin", "--lock", "case-12"]
    assert (await vitrine("audit", "verify", "--keys", emulator.folder / "escrow", *image))[0] == 0


async def test_a_byte_altered_in_the_bag_is_refused_and_stays_there(emulator, collect_words, tmp_path):
    bag = tmp_path / "bag"
    await unlock(emulator, bag)
    whole = bag.read_bytes()
    items = courier.load(bag)
    courier.save(bag, [courier.Item(i.lock_id, i.message[:-30] + b"!" + i.message[-29:]) for i in items])
    status, out, err = await vitrine(*collect_words)
    assert status == 1 and err.count("refused, and left in the file") == len(items) and "0 new records" in out
    assert len(courier.load(bag)) == len(items)
    bag.write_bytes(whole)
    assert (await collect(collect_words))["stored"] >= 4


async def test_a_token_without_the_scope_opens_but_carries_nothing(emulator, tmp_path):
    holder = keys.load_private(emulator.folder / "holder.pem")
    claims = tokens.Claims.for_holder(
        holder.public, ["case-12"], now_s=int(time.time()), valid_s=3600, scopes=("unlock",)
    )
    token = tokens.issue(claims, keys.load_private(emulator.folder / "issuer.pem"))
    (emulator.folder / "plain").write_bytes(token)
    bag = tmp_path / "bag"
    assert (await unlock(emulator, bag, token="plain"))["courier"]["refused"] == "ScopeMissing"
    assert courier.load(bag) == []
    status, out, _ = await vitrine(*unlock_words(emulator.folder, "--courier", bag, token="plain"))
    assert status == 0 and "the lock handed out none (ScopeMissing)" in out


async def test_a_damaged_bag_is_told_before_the_lock_opens(emulator, tmp_path):
    (tmp_path / "bag").write_bytes(b"\xff" * 9)
    status, out, err = await vitrine(*unlock_words(emulator.folder, "--courier", tmp_path / "bag"))
    assert (status, out, err.count("\n")) == (2, "", 1) and "not a courier's file" in err
    assert not (await emulator.send("status"))["strike"]
    assert (tmp_path / "bag").read_bytes() == b"\xff" * 9
