"""What `vitrine provision` tells a board, and what it does not tell one that is somebody else's, or lies."""

import json

import pytest

from support.fake_console import FakeConsole
from support.field_site import LOCK_ID, WIFI_PASSPHRASE, Store
from vitrine_tools.collector.escrow import SUFFIX, save
from vitrine_tools.errors import ToolError
from vitrine_tools.field import board_link, verify

BARE = {
    "lock": "",
    "trouble": "",
    "provisioned_at": 0,
    "issuers": [],
    "blobs": {},
    "epoch": 0,
    "records": 0,
    "is_journal_sound": False,
    "is_ledger_sound": False,
    "floor": 0,
    "time": [946684800, 0],
    "board": {"name": "unix", "version": "0.7.0", "sequence": 7, "flash": 4194304},
}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(board_link, "ANSWER_S", 1.0)
    monkeypatch.setattr(verify, "START_S", 0.5)
    return Store(tmp_path)


def told(store, state):
    """Provision a board that says `state` of itself; return (the error's line, what it was told)."""
    with FakeConsole(store.folder / "port") as board:
        answer = (json.dumps(state).encode() + b"\r\n", b"")
        board.run = lambda program: answer if "state()" in program else (b"null\r\n", b"")
        with pytest.raises(ToolError) as caught:
            store.provision(board.path)
        text = str(caught.value)
        assert text.isprintable() and len(text) < 300
        assert WIFI_PASSPHRASE.encode() not in board.heard
        return text, board.programs


def calls(programs):
    return [program.partition("lock.")[2].partition("(")[0] for program in programs]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"lock": LOCK_ID, "issuers": ["00" * 8]}, "belongs to another site"),
        ({"lock": LOCK_ID, "issuers": []}, "belongs to another site"),
        ({"lock": "case-13"}, "this is case-13"),
        ({"trouble": "identity:ProvisionError"}, "record is damaged"),
        ({"lock": "../../x"}, "no lock of ours"),
        ({"lock": "x" * 33}, "no lock of ours"),
        ({"lock": 5}, "no lock of ours"),
        ({"epoch": -1}, "no lock of ours"),
        ({"epoch": 1e300}, "no lock of ours"),
        ({"issuers": ["\x1b[2J"]}, "no lock of ours"),
        ({"blobs": {"mqtt": "x" * 5000}}, "no lock of ours"),
        ({"board": {"name": "\x1b[2J"}}, "no lock of ours"),
        ({"board": None}, "no lock of ours"),
        ({"time": []}, "no lock of ours"),
        ({"epoch": 0xFFFFFFFF}, "far ahead"),
    ],
)
def test_nothing_goes_to_a_board_that_is_not_ours(store, said, line):
    text, programs = told(store, BARE | said)
    assert line in text
    assert calls(programs) == ["state"], "it was told more than it was asked"
    assert not list(store.folder.glob(f"escrow/*{SUFFIX}"))


def test_no_state_at_all(store):
    for state in (None, [], "x", {}, 5):
        assert "no lock of ours" in told(store, state)[0]
        (store.folder / "port").unlink()


def test_the_key_is_in_the_escrow_before_anything_goes_to_the_lock(store):
    seen = []
    with FakeConsole(store.folder / "port") as board:

        def run(program):
            if "lock.journal" in program:
                seen.extend(store.escrow.glob(f"*{SUFFIX}"))
            return (json.dumps(BARE).encode() if "state()" in program else b"null", b"")

        board.run = run
        with pytest.raises(ToolError, match="does not have the journal that it was given"):
            store.provision(board.path)
    assert len(seen) == 1 and calls(board.programs) == ["state", "journal", "state"]
    root = json.loads(seen[0].read_text())
    assert "root" not in root and root["lock"] == LOCK_ID
    first, acknowledge = store.keys(root["epoch"]).secrets
    assert first.hex() in board.programs[1] and acknowledge.hex() in board.programs[1]


def test_a_lock_of_ours_whose_key_is_not_in_this_escrow(store):
    kid = store.issuer.public.kid.hex()
    state = BARE | {"lock": LOCK_ID, "issuers": [kid], "epoch": 1_800_000_000, "is_journal_sound": True}
    text, programs = told(store, state)
    assert "epoch 1800000000) is not in" in text and calls(programs) == ["state"]


def test_a_wrong_passphrase_comes_before_any_change(store):
    save(store.escrow, "case-1", 5, bytes(32), b"another passphrase than that")
    text, programs = told(store, BARE)
    assert "does not open with this passphrase" in text and calls(programs) == ["state"]
