"""`vitrine command`: what it signs and brings to a lock, what it prints, and its exit status."""

import json
import sys
import time
from pathlib import Path

import pytest

from support.command_lab import LOCK
from support.command_lock import FirmwareLock
from support.fake_lock import MemoryTransport
from vitrine.access.provision import Issuer
from vitrine.access.revocation import Revocations, empty
from vitrine.access.scopes import parse_scopes
from vitrine_tools import cli, commanding, keys, tokens
from vitrine_tools.ble import bleak_link
from vitrine_tools.errors import LinkError

HANGS_UP = 4  # after so many refusals of a peer that has proved nothing (SPEC.md section 3)
WAY = ["--key", "issuer.pem", "--lock", LOCK]


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run `vitrine command ...` in a folder with the keys `issuer` and `holder`; (status, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("issuer", "holder"):
        key = keys.PrivateKey.generate()
        key.save(tmp_path / f"{name}.pem")
        keys.write_new(tmp_path / f"{name}.pub.pem", key.public.to_pem(), mode=0o644)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vitrine", "command", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def lock(run, monkeypatch, tmp_path):
    """A lock within reach that trusts the issuer."""
    lock = FirmwareLock()
    issuer = keys.load_public(tmp_path / "issuer.pem")
    lock.provision.issuers[0] = Issuer(issuer.raw, "admin", parse_scopes("unlock admin"), [LOCK, "group:x"], 60)
    lock.provision.groups.append("group:x")
    lock.blob.blob = empty([each.kid for each in lock.provision.issuers])
    lock.revocations = Revocations(lock.blob, lock.ledger)
    lock.commands = lock.new_commands()
    lock.visits = 0

    class Link(MemoryTransport):
        async def __aenter__(self):
            lock.visits += 1
            return self

        async def __aexit__(self, *_):
            pass

    async def find_lock(lock_id, timeout_s):
        if lock_id != LOCK:
            raise LinkError("nothing heard")
        return lock

    async def connect(device, timeout_s):
        return Link(device, 247)

    monkeypatch.setattr(bleak_link, "find_lock", find_lock)
    monkeypatch.setattr(bleak_link.BleakLink, "connect", connect)
    return lock


def test_scenarios(run, lock):
    assert run("lockdown", *WAY, "--sequence", 10) == (0, f"{LOCK}: lockdown done (sequence 10)\n", "")
    assert run("release", *WAY, "--sequence", 11)[0] == 0
    assert run("shadow", "on", *WAY, "--sequence", 12)[0] == 0
    assert run("shadow", "off", *WAY, "--sequence", 13)[0] == 0
    assert run("passage", "--window", "Mon-Fri 09:00-17:30", *WAY, "--sequence", 14)[0] == 0
    times = ["--from", "2027-01-15T09:00Z", "--until", "2027-01-15T10:00Z"]
    assert run("passage", *times, *WAY, "--sequence", 15)[0] == 0
    assert run("passage", "--off", *WAY, "--sequence", 16)[0] == 0
    assert [body for body, _ in lock.scenario.applied] == [
        {2: True},
        {2: False},
        {3: True},
        {3: False},
        {4: [[62, 540, 1050]]},
        {5: [[1_800_003_600, 1_800_007_200]]},
        {4: [], 5: []},
    ]


def test_a_sequence_by_itself_and_twice_in_a_second(run, lock):
    begin_s = int(time.time())
    for _ in range(3):
        assert run("lockdown", *WAY)[0] == 0
    sequences = [sequence for _, sequence in lock.scenario.applied]
    assert sequences == sorted(set(sequences)) and begin_s <= sequences[0] <= time.time() + 3


def test_a_refusal_is_told_with_its_reason_and_status_1(run, lock):
    assert run("lockdown", *WAY, "--sequence", 5) == (
        1,
        "",
        f"vitrine: {LOCK} refused: SequenceStale (it is at sequence 5): to get past it, give --sequence 6\n",
    )
    status, out, err = run("lockdown", *WAY, "--sequence", 5, "--json")
    assert (status, err) == (1, "")
    assert json.loads(out) == {
        "command": "lockdown",
        "results": [{"lock": LOCK, "done": False, "reason": "SequenceStale", "sequence": 5}],
    }
    status, _, err = run("lockdown", "--key", "holder.pem", "--lock", LOCK)
    assert status == 1 and "gives no reason" in err
    assert lock.scenario.applied == []


def test_time(run, lock):
    assert run("time", *WAY) == (0, f"{LOCK}: time done\n", "")
    ((told_s, _),) = lock.taken
    assert abs(told_s - time.time()) < 5


def test_time_from_a_wrong_clock_is_not_told(run, lock, monkeypatch):
    monkeypatch.setattr(commanding, "RELEASED_S", 2**32)
    status, _, err = run("time", *WAY)
    assert status == 2 and "clock is wrong" in err and lock.taken == []
    status, _, err = run("serve-time", "--key", "issuer.pem", "--broker", "mqtts://localhost:1")
    assert status == 2 and "clock is wrong" in err


def test_configure_takes_the_file_that_the_schema_checks(run, lock, tmp_path):
    (tmp_path / "store.toml").write_text('holidays = [2026-12-25]\nzone = "UTC0"\n[settings]\najar_ms = 45000\n')
    assert run("configure", "store.toml", *WAY, "--sequence", 9)[0] == 0
    ((body, sequence),) = lock.configuration.applied
    assert (body[2], body[3], body[4], body[5], sequence) == ({4: 45000}, [[20812, 1]], "UTC0", [], 9)
    (tmp_path / "bad.toml").write_text("[settings]\najar_ms = 1\n")
    status, _, err = run("configure", "bad.toml", *WAY)
    assert status == 2 and "ajar_ms" in err
    assert run("configure", "nowhere.toml", *WAY)[0] == 2


def test_a_courier_carries_what_headquarters_has_signed(run, lock, tmp_path):
    status, out, _ = run("fresh", "--lock", LOCK)
    cnonce = out.strip()
    assert status == 0 and cnonce == lock.nonce.hex()
    assert json.loads(run("fresh", "--lock", LOCK, "--json")[1])["cnonce"] == cnonce
    assert run("time", *WAY, "--cnonce", cnonce, "--out", "time.cmd")[0] == 0
    status, out, _ = run("lockdown", *WAY, "--group", "x", "--out", "down.cmd", "--for", "2h", "--sequence", 8)
    assert status == 0 and f"lockdown for {LOCK}, group:x in down.cmd, until " in out
    assert lock.visits == 2 and lock.taken == [], "nobody went to the lock for that"
    assert run("send", "time.cmd", "--lock", LOCK) == (0, f"{LOCK}: time done\n", "")
    assert run("send", "down.cmd", "--lock", LOCK)[0] == 0
    assert lock.taken and lock.scenario.applied == [({2: True}, 8)]
    status, _, err = run("send", "down.cmd", "--lock", LOCK)
    assert status == 1 and "SequenceStale" in err
    envelope = commanding.parse((tmp_path / "down.cmd").read_bytes())
    assert envelope.command.audiences == (LOCK, "group:x") and envelope.command.cnonce is None
    assert 7190 <= envelope.command.exp_s - time.time() <= 7200
    status, _, err = run("lockdown", *WAY, "--out", "down.cmd")
    assert status == 2 and "--force" in err
    assert run("lockdown", *WAY, "--out", "down.cmd", "--force", "--json")[0] == 0


def test_revoke_sends_what_the_lock_has_missed(run, lock, tmp_path):
    holder = keys.load_public(tmp_path / "holder.pem")
    issuer = keys.load_private(tmp_path / "issuer.pem")
    claims = tokens.Claims.for_holder(holder, [LOCK], now_s=int(time.time()), valid_s=3600)
    (tmp_path / "token.cbor").write_bytes(tokens.issue(claims, issuer))
    assert run("revoke", *WAY, "--token", "token.cbor", "--sub", "anna", "--sequence", 100)[0] == 0
    assert lock.revocations.sequence(issuer.public.kid) == 100 and len(lock.ledger.entries) == 2
    # three lists while the lock was away
    lists = tmp_path / "issuer.revocations.json"
    for number in range(3):
        assert (
            run("revoke", *WAY, "--cti", f"{number:032x}", "--sequence", 101 + number, "--out", f"{number}.cmd")[0] == 0
        )
    lock.seen.clear()
    assert run("revoke", *WAY, "--holder", "holder.pub.pem", "--sequence", 110) == (
        0,
        f"{LOCK}: revoke done (sequence 110)\n",
        "",
    )
    assert len(lock.seen) == 2, "the latest finds a gap, then all in one"
    assert len(lock.ledger.entries) == 6
    # nothing new, and it has them all
    assert run("revoke", *WAY)[0] == 0
    assert run("revoke", *WAY, "--before", "now", "--sequence", 111)[0] == 0
    assert abs(lock.revocations._issuer(issuer.public.kid)[2] - time.time()) < 5
    assert len(json.loads(lists.read_bytes())["lists"]) == 6
    # a new lock, and one file for it from the beginning
    lock.blob.blob = empty([each.kid for each in lock.provision.issuers])
    lock.revocations = Revocations(lock.blob, lock.ledger)
    lock.commands = lock.new_commands()
    assert run("revoke", *WAY, "--out", "all.cmd")[0] == 0
    assert run("send", "all.cmd", "--lock", LOCK)[0] == 0
    assert lock.revocations.sequence(issuer.public.kid) == 111


def test_a_lock_that_has_most_of_a_file_of_lists_gets_the_rest(run, lock):
    for number in range(120):
        assert run("revoke", *WAY, "--cti", f"{number:032x}", "--lists", "all.json", "--out", "o", "--force")[0] == 0
    assert run("revoke", *WAY, "--lists", "all.json", "--out", "all.cmd")[0] == 0
    envelopes = commanding.split(Path("all.cmd").read_bytes())
    assert len(envelopes) > HANGS_UP + 1
    for data in envelopes[:-1]:
        assert lock.commands.execute(data, 1).is_done
    lock.seen.clear()
    assert run("send", "all.cmd", "--lock", LOCK)[0] == 0
    assert len(lock.seen) == 2 < HANGS_UP
    assert len(lock.ledger.entries) == 120
    lock.seen.clear()
    status, _, err = run("send", "all.cmd", "--lock", LOCK)
    assert status == 1 and "SequenceStale" in err and len(lock.seen) == 1


def test_a_clock_that_was_years_ahead_is_no_dead_end(run, lock):
    assert run("lockdown", *WAY, "--sequence", 2_145_916_800)[0] == 0
    status, _, err = run("release", *WAY)
    assert status == 1 and "--sequence 2145916801" in err
    assert run("release", *WAY, "--sequence", 2_145_916_801)[0] == 0


@pytest.mark.parametrize("now_s", [commanding.LATEST_S, 2**32 - 1, 2**33])
def test_a_clock_that_cannot_be_right_spends_no_sequence(run, lock, monkeypatch, tmp_path, now_s):
    monkeypatch.setattr(commanding.time, "time", lambda: float(now_s))
    for words in (["lockdown"], ["time"], ["revoke", "--sub", "anna"]):
        status, out, err = run(*words, *WAY)
        assert (status, out) == (2, "") and "clock is wrong" in err and err.count("\n") == 1
    assert not lock.scenario.applied and not lock.taken and not lock.ledger.entries
    assert not (tmp_path / "issuer.revocations.json").exists()


def test_a_list_that_was_not_sent_is_in_the_file_all_the_same(run, lock, tmp_path):
    assert run("revoke", "--key", "issuer.pem", "--lock", "case-13", "--sub", "anna")[0] == 2
    assert len(json.loads((tmp_path / "issuer.revocations.json").read_bytes())["lists"]) == 1
    assert run("revoke", *WAY)[0] == 0 and len(lock.ledger.entries) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lockdown", "--key", "issuer.pem"], "say which lock"),
        (["lockdown", *WAY, "--lock", "case-13"], "say which lock"),
        (["lockdown", "--key", "issuer.pem", "--lock", "Case 12"], "not a lock id"),
        (["lockdown", "--key", "issuer.pub.pem", "--lock", LOCK], "public key"),
        (["lockdown", *WAY, "--group", "x"], "--group needs --broker"),
        (["lockdown", *WAY, "--cnonce", "00" * 16], "needs --out"),
        (["lockdown", *WAY, "--out", "o", "--cnonce", "zz"], "not hexadecimal"),
        (["lockdown", *WAY, "--out", "o", "--cnonce", "00" * 8], "cnonce must be 16"),
        (["lockdown", "--key", "issuer.pem", "--out", "o"], "say which locks"),
        (["lockdown", *WAY, "--sequence", "0"], "sequence"),
        (["lockdown", *WAY, "--out", "o", "--sequence", str(2**32)], "the sequence must be"),
        (["time", *WAY, "--out", "o"], "vitrine command fresh"),
        (["time", *WAY, "--broker", "mqtts://localhost:1"], "serve-time"),
        (["passage", *WAY], "opening times"),
        (["passage", *WAY, "--off", "--window", "daily 09:00-10:00"], "opening times"),
        (["passage", *WAY, "--from", "2027-01-01T00:00Z"], "opening times"),
        (["passage", *WAY, "--from", "2027-01-02T00:00Z", "--until", "2027-01-01T00:00Z"], "before it begins"),
        (["revoke", *WAY], "nothing was revoked"),
        (["lockdown", *WAY, "--sequence", str(2**32 - 1)], "the sequence must be"),
        (["lockdown", *WAY, "--sequence", str(10**23)], "the sequence must be"),
        (["lockdown", *WAY, "--out", ".", "--force"], "cannot write"),
        (["revoke", *WAY, "--cti", "00" * 8, "--sequence", str(2**32 - 1)], "the sequence must be"),
        (["revoke", *WAY, "--before", "2100-01-01"], "nothing takes that back"),
        (["revoke", *WAY, "--cti", "00"], "cti 00"),
        (["revoke", *WAY, "--out", "o"], "nothing to sign"),
        (["send", "issuer.pem", "--lock", LOCK], "not a file of commands"),
        (["fresh", "--lock", LOCK, "--broker", "mqtts://localhost:1"], "--broker"),
        (["lockdown", *WAY, "--broker", "mqtts://localhost:1"], "the broker localhost:1"),
        (["lockdown", "--key", "issuer.pem", "--broker", "mqtts://localhost:1"], "say which lock"),
    ],
)
def test_mistakes_are_told_in_one_line_with_status_2(run, lock, words, says):
    status, out, err = run(*words)
    assert (status, out) == (2, "") and says in err and err.count("\n") == 1, err
    assert lock.state().count("case") == 0 and not lock.records
