"""`vitrine policy`: what it says to people and scripts, and how it reads lock files and images of flash."""

import json
import sys
from datetime import date

import pytest

from support.explain_edges import HOLDERS, HQ
from support.ledger_flash import DAY, REVOKED, SPENT, add_many, digest, fresh, pages
from support.ledger_flash import NOW_S as LEDGER_S
from vitrine_tools import cbor, cli, tokens, when
from vitrine_tools.configuration import read as read_configuration
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.errors import ToolError
from vitrine_tools.policy import ledger_image, lock_file, snapshot
from vitrine_tools.policy.case import Act
from vitrine_tools.policy.explain import conclusion
from vitrine_tools.policy.judge import Outcome, judge
from vitrine_tools.protocol import Reason
from vitrine_tools.provisioning import Issuer, Provision

LATER_S = LEDGER_S + 100 * DAY
AT = "2027-01-15T09:00+01:00"
NOW_S = when.parse_time(AT)
RECORD = Provision(
    lock_id="case-12",
    groups=("group:jewellery",),
    issuers=(
        Issuer(
            public_key=HQ.public,
            name="hq",
            scopes=("unlock", "hold"),
            audiences=("case-12", "group:jewellery"),
            max_lifetime_s=86_400,
        ),
    ),
    zone="CET-1CEST,M3.5.0,M10.5.0/3",
    provisioned_at_s=NOW_S - 1000,
)
LOCK = {
    "lock": "case-12",
    "issuers": [{"key": HQ.public.raw.hex(), "name": "hq", "audiences": ["case-12"], "max_lifetime_s": 86_400}],
    "zone": "Europe/Vienna",
}


def make_token(**others):
    others = {"valid_s": 3600, **others}
    claims = tokens.Claims.for_holder(HOLDERS[0], ("case-12",), now_s=NOW_S, cti=bytes(8), **others)
    return tokens.issue(claims, HQ)


@pytest.fixture
def explain(monkeypatch, capfd, tmp_path):
    """Run `vitrine policy explain` on a token and a lock file; return (exit status, standard output and error)."""

    def explain(token, lock, *words, at=AT):
        (tmp_path / "token.cbor").write_bytes(token)
        (tmp_path / "lock").write_bytes(lock if isinstance(lock, bytes) else json.dumps(lock).encode())
        files = [str(tmp_path / name) for name in ("token.cbor", "lock")]
        words = ["vitrine", "policy", "explain", files[0], "--lock", files[1], "--at", at, *words]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return explain


@pytest.mark.parametrize("lock", [LOCK, RECORD.to_bytes()], ids=["lock file", "provisioning record"])
def test_a_token_that_opens(explain, lock):
    status, out, err = explain(make_token(), lock)
    assert (status, err) == (0, "") and "case-12 would grant it (reason 0, Granted)" in out
    assert "not reached" not in out and "Expired" not in out


def test_a_refusal_names_its_rule_and_reaches_no_further(explain):
    morning = make_token(valid_s=7200, windows=((32, 540, 600),))
    status, out, _ = explain(morning, LOCK, "--json", at="2027-01-15T10:00+01:00")
    answer = json.loads(out)
    assert status == 1 and (answer["granted"], answer["reason"], answer["number"]) == (False, "OutsideWindow", 11)
    outcomes = {rule["rule"]: rule["outcome"] for rule in answer["rules"]}
    assert list(outcomes.values()) == ["passed"] * 20 + ["failed"] + ["not reached"] * 4
    windows = next(rule for rule in answer["rules"] if rule["rule"] == "windows")
    assert windows["token"] == "Fri 09:00-10:00" and windows["lock"] == "Fri 2027-01-15 10:00 here"
    status, out, _ = explain(morning, LOCK, at="2027-01-15T10:00+01:00")
    assert status == 1 and "case-12 would refuse it (reason 11, OutsideWindow)" in out and "not reached" in out


def test_what_is_asked_can_be_said(explain):
    assert explain(make_token(needs_uv=True), LOCK)[0] == 1
    assert explain(make_token(needs_uv=True), LOCK, "--uv")[0] == 0
    assert explain(make_token(), LOCK, "--action", "hold")[0] == 1
    dual = make_token(persons=2, sub=b"anna")
    assert "PersonsRequired" in explain(dual, LOCK)[1]
    assert explain(dual, LOCK, "--persons", "bert")[0] == 0
    assert explain(dual, LOCK, "--persons", "anna")[0] == 1
    lasting = tokens.Claims.for_seconds(HOLDERS[0], ("case-12",), exi_s=60, cnonce=bytes(16), now_s=NOW_S)
    lasting = tokens.issue(lasting, HQ)
    assert explain(lasting, LOCK)[0] == 0
    assert "FreshnessMissing" in explain(lasting, LOCK, "--nonce-age", "301s")[1]
    assert explain(lasting, LOCK, "--received", "59s")[0] == 0
    assert "Expired" in explain(lasting, LOCK, "--received", "60s")[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"time": {"state": "untrusted"}}, "TimeUntrusted"),
        ({"time": {"error_s": 3540}}, "Expired"),
        ({"time": {"error_s": 3539}}, "Granted"),
        ({"scenario": {"lockdown": True}}, "LockedDown"),
        ({"alarms": ["DoorForcedOpen"]}, "Granted"),
        ({"alarms": ["DoorForcedOpen"], "settings": {"alarm_blocks": 4}}, "AlarmActive"),
        ({"settings": {"uv_required": 1}}, "UserVerificationRequired"),
        ({"settings": {"risk_uv": 50}, "risk": {"score": 50, "rule": "burst"}}, "UserVerificationRequired"),
        ({"settings": {"persons_required": 2}}, "PersonsRequired"),
        ({"revoked": [{"kid": HQ.public.kid.hex(), "cti": bytes(8).hex()}]}, "Revoked"),
        ({"revoked": [{"kid": HQ.public.kid.hex(), "before": NOW_S - 60}]}, "Granted"),
        ({"revoked": [{"kid": HQ.public.kid.hex(), "before": NOW_S - 59}]}, "Revoked"),
        ({"locked_out": [{"key": HOLDERS[0].raw.hex(), "until": NOW_S + 1}]}, "LockedOut"),
        ({"locked_out": [{"key": HOLDERS[0].raw.hex(), "until": NOW_S}]}, "Granted"),
        ({"broken": ["scenario"]}, "Fault"),
    ],
)
def test_what_the_lock_holds_decides(explain, change, reason):
    status, out, _ = explain(make_token(), LOCK | change, "--json")
    assert json.loads(out)["reason"] == reason and status == (0 if reason == "Granted" else 1)


def test_uses_are_counted(explain):
    lock = LOCK | {"spent": [{"kid": HQ.public.kid.hex(), "cti": bytes(8).hex(), "uses": 1}]}
    assert explain(make_token(uses=2), lock)[0] == 0
    assert "UsesExhausted" in explain(make_token(uses=1), lock)[1]


def test_what_else_opens_a_door_is_said():
    def said(**lock):
        held = lock_file.Lock.model_validate_json(json.dumps(LOCK | lock))
        act = Act(at_s=NOW_S)
        return " ".join(conclusion(judge(make_token(is_duress=True), held, act), held, act))

    assert "ForcedUser" in said() and "strike" not in said() and "everybody" not in said()
    assert "strike does not move" in said(scenario={"shadow": True})
    weekly = {"weekly": ["Fri 09:00-10:00"]}
    assert "everybody" in said(scenario=weekly) and "everybody" not in said(scenario=weekly | {"lockdown": True})
    assert "everybody" not in said(scenario=weekly, time={"state": "untrusted"})
    assert "everybody" in said(scenario={"passage": [[NOW_S, NOW_S + 1]]})
    assert "everybody" not in said(scenario={"passage": [[NOW_S - 1, NOW_S]]})


@pytest.mark.parametrize(
    ("lock", "told"),
    [
        (b"", "neither a lock file nor a provisioning record"),
        (b"\x00" * 100, "neither a lock file nor a provisioning record"),
        (b"{", "not a lock file: Invalid JSON"),
        (b'{"lock": "\xff"}', "not a lock file"),
        (b"{" * 100_000, "not a lock file"),
        ({}, "lock: Field required"),
        (LOCK | {"lock": "CASE 12"}, "not a lock id"),
        (LOCK | {"zone": "Europe/Atlantis"}, "zone"),
        (LOCK | {"colour": 1}, "colour"),
        (LOCK | {"issuers": []}, "issuers"),
        (LOCK | {"issuers": [{**LOCK["issuers"][0], "key": "00" * 32}]}, "not one of Ed25519"),
        (LOCK | {"issuers": LOCK["issuers"] * 2}, "twice"),
        (LOCK | {"settings": {"alarm_blocks": 256}}, "settings.alarm_blocks"),
        (LOCK | {"settings": {"alarm_blocks": True}}, "settings.alarm_blocks"),
        (LOCK | {"alarms": ["Fire"]}, "no such alarm"),
        (LOCK | {"revoked": [{"kid": "00" * 8}]}, "exactly one of cti, sub, key and before"),
        (LOCK | {"revoked": [{"kid": "zz"}]}, "revoked.0.kid: not hexadecimal"),
        (LOCK | {"scenario": {"weekly": ["Xyz 09:00-10:00"]}}, "is not a window"),
        (LOCK | {"noted": [{"token": "00"}]}, "not a token"),
        (LOCK | {"holidays": ["2026-02-30"]}, "not in the calendar"),
    ],
)
def test_a_bad_lock_file_is_told_in_one_line(explain, lock, told):
    status, out, err = explain(make_token(), lock)
    assert (status, out) == (2, "") and told in err and err.count("\n") == 1, err


def test_bad_words_are_told_in_one_line(explain):
    for words in (
        ["--nonce-age", "x"],
        ["--received", "0s"],
        ["--persons", ""],
        ["--persons", "hex:0"],
        ["--action", "x"],
    ):
        status, out, err = explain(make_token(), LOCK, *words)
        assert (status, out) == (2, "") and err.count("\n") == 1, err
    assert explain(make_token(), LOCK, at="tomorrow")[0] == 2
    # bytes that are no token are a refusal: a lock would say so too
    assert explain(b"junk", LOCK)[0] == 1 and "TokenMalformed" in explain(b"junk", LOCK)[1]


def test_nothing_from_a_token_reaches_the_terminal_raw(explain):
    claims = {
        **tokens.Claims.for_holder(HOLDERS[0], ("case-12",), now_s=NOW_S, valid_s=3600).to_map(),
        tokens.AUD: ["case-12", "\x1b[31m[red]\r\n"],
    }
    _, out, _ = explain(tokens.sign(claims, HQ), LOCK)
    assert "\x1b" not in out and "\r" not in out and "[red]" in out


# Snapshots


@pytest.fixture
def image(tmp_path):
    """A provisioned flash."""
    flash = FlashImage(tmp_path / "flash.bin").create()
    flash.provision(RECORD.to_bytes())
    return flash


def put_ledger(flash, partition):
    address = next(place[3] for place in _partitions() if place[0] == "access")
    with flash.path.open("r+b") as file:
        file.seek(address)
        file.write(partition)


def _partitions():
    from vitrine_tools.emulator.flash import PARTITIONS

    return PARTITIONS


def test_a_snapshot_of_a_new_lock_is_its_provisioning_record(image):
    before = image.path.read_bytes()
    held = snapshot.read(image.path, NOW_S)
    assert held.model_dump() == lock_file.of_provision(RECORD).model_dump()
    assert image.path.read_bytes() == before


def test_a_snapshot_has_all_that_a_flash_holds(image, explain):
    configuration = read_configuration(
        {"settings": {"uv_required": 1}, "holidays": [date(2026, 12, 25)], "hours": ["Mon-Fri 09:00-17:30"]}
    )
    image.nvs_put("vitrine", "configuration", configuration.to_blob(3))
    scenario = {1: 2, 2: True, 3: True, 4: [[2, 540, 600]], 5: [[1, 2]]}
    image.nvs_put("vitrine", "scenario", cbor.encode(scenario))
    kid = HQ.public.kid
    image.nvs_put("vitrine", "revocations", cbor.encode([[kid, 5, NOW_S]]))
    image.nvs_put("vitrine", "receipts", cbor.encode([[kid, 7]]))
    held = snapshot.read(image.path, NOW_S)
    assert held.settings.uv_required == 1 and held.zone == RECORD.zone and not held.broken
    assert held.scenario.model_dump() == {
        "lockdown": True,
        "shadow": True,
        "weekly": ["Mon 09:00-10:00"],
        "passage": [(1, 2)],
    }
    assert held.lists == {kid: 5} and held.receipts == {kid: 7}
    # and it goes through JSON
    text = held.model_dump_json(exclude_defaults=True).encode()
    assert lock_file.Lock.model_validate_json(text).model_dump() == held.model_dump()
    assert "Revoked" in explain(make_token(), text)[1]


@pytest.mark.parametrize("name", ["configuration", "scenario", "revocations", "receipts"])
@pytest.mark.parametrize("blob", [b"", b"\xff", b"\x80", b"\x81\x01"], ids=repr)
def test_a_damaged_store_is_broken(image, name, blob):
    if name == "receipts" and blob == b"\x80":
        return  # that is an empty one
    image.nvs_put("vitrine", name, blob)
    held = snapshot.read(image.path, NOW_S)
    assert held.broken == [name]
    assert judge(make_token(), held, Act(at_s=NOW_S)).reason == Reason.Fault


def test_what_is_no_flash_of_a_lock(image, tmp_path):
    empty = FlashImage(tmp_path / "empty.bin").create()
    with pytest.raises(ToolError, match="never provisioned"):
        snapshot.read(empty.path, NOW_S)
    (tmp_path / "short.bin").write_bytes(bytes(100))
    with pytest.raises(ToolError, match="no image"):
        snapshot.read(tmp_path / "short.bin", NOW_S)
    image.erase("access")
    assert snapshot.read(image.path, NOW_S).broken == ["access"]


def test_uses_and_revocations_of_the_ledger_are_found(image):
    """What the firmware writes, the snapshot reads; digests are made from SPEC.md on both sides."""
    from vitrine.access.revocation import Revocations
    from vitrine.access.uses import Uses

    flash, ledger = fresh()
    token = tokens.parse(make_token(uses=2, sub=b"anna"))
    uses = Uses(ledger)
    assert uses.spend(token.kid, token.claims.cti, LATER_S, 2, NOW_S) is True

    def reason():
        put_ledger(image, bytes(flash.image))
        held = snapshot.read(image.path, NOW_S)
        return judge(token.data, held, Act(at_s=NOW_S)).reason

    assert reason() == Reason.Granted
    assert uses.spend(token.kid, token.claims.cti, LATER_S, 2, NOW_S) is True
    assert reason() == Reason.UsesExhausted

    class Store:
        blob = cbor.encode([[token.kid, 0, 0]])

        def load(self):
            return self.blob

        def save(self, data):
            self.blob = data

    assert Revocations(Store(), ledger).apply(token.kid, 0, 1, [[2, b"anna", 0]]) == Reason.Granted
    assert reason() == Reason.Revoked


def test_a_ledger_is_read_in_the_middle_of_each_merge():
    flash, ledger = fresh()
    generations = set()
    for start in range(0, 1500, 150):
        add_many(ledger, REVOKED, range(start, start + 150), LATER_S)
        add_many(ledger, SPENT, range(start, start + 150), LATER_S)
        known = {short(number) for number in range(start + 150)}
        while True:
            assert ledger_image.read(bytes(flash.image)) == ledger_image.Entries(known, known)
            generations.add(len({generation for _, generation, _ in pages(flash)}))
            if not ledger.tend(LATER_S):
                break
    assert max(generations) >= 2


def short(number):
    return (int.from_bytes(digest(number)[:5], "big") >> 1).to_bytes(5, "big")


def test_flipped_bits_are_put_right_and_damage_is_told():
    flash, ledger = fresh()
    add_many(ledger, REVOKED, range(600), LATER_S)
    while ledger.tend(LATER_S):
        pass
    add_many(ledger, REVOKED, range(600, 620), LATER_S)
    good = bytes(flash.image)
    right = ledger_image.read(good)
    told = 0
    for at in range(0, len(good), 256):
        if good[at : at + 256].strip(b"\xff"):
            for offset in (0, 100, 255):
                assert ledger_image.read(flipped(good, at + offset, 1)) == right
            try:
                # all that is still read is right: what was damaged is of no generation that counts
                assert ledger_image.read(flipped(good, at, 250)) == right
            except ToolError:
                told += 1
    assert told > 15


def flipped(image, at, count):
    bad = bytearray(image)
    for n in range(count):
        bad[at + n] ^= 1 << n % 8
    return bytes(bad)


def test_the_judge_reads_what_a_person_would_write():
    """The example of the lock file's documentation works, and every field of it is documented."""
    documented = lock_file.__doc__ or ""
    assert all(name in documented for name in lock_file.Lock.model_fields)
    judgement = judge(make_token(), lock_file.Lock.model_validate_json(json.dumps(LOCK)), Act(at_s=NOW_S))
    assert judgement.reason == Reason.Granted
    assert {finding.outcome for finding in judgement.findings} == {Outcome.PASSED}
