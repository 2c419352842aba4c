"""Frames and chunks; and the numbers here are SPEC.md's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.paths import FIRMWARE
from vitrine.codec import chunks as device_chunks
from vitrine_tools import cbor, configuration, protocol
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Action, Assembler, Op, ProtocolError, Reason, Status

SPEC = (FIRMWARE / "SPEC.md").read_text()
HOLDER = PrivateKey.from_seed(b"h" * 32)


def section(title):
    return re.split(r"^#+ ", SPEC.split(title, 1)[1], maxsplit=1, flags=re.M)[0]


def rows(text, columns):
    """Return the rows of the tables in `text` that begin with a number, as tuples of `columns` cells."""
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [tuple(row[:columns]) for row in cells if re.fullmatch(r"-?\d+", row[0])]


def test_reasons_are_the_specs():
    table = {int(number): name for number, name in rows(section("3.1 Reasons"), 2)}
    assert table == {int(reason): reason.name for reason in Reason} and len(table) == 37


def test_ops_and_statuses_are_the_specs():
    ops, statuses = re.split(r"^\| status", section("## 3. Session"), flags=re.M)
    assert {int(n): name for n, name in rows(ops, 2)} == {int(op): op.name.lower() for op in Op}
    assert {int(n): name for n, name in rows(statuses, 2)} == {int(s): s.name.lower() for s in Status}


def test_actions_bounds_and_uuids_are_the_specs():
    text = section("## 3. Session")
    assert (
        "Action: 0 lock, 1 unlock (Matter LockOperationTypeEnum), 128 hold (unlock for the hold time), 129 courier"
        in text
    )
    assert [int(action) for action in Action] == [0, 1, 128, 129, 130, 131]
    assert f"A request has at most {protocol.MAX_REQUEST} bytes, an answer at most {protocol.MAX_ANSWER}." in text
    assert "Time state: " + ", ".join(f"{n} {name}" for n, name in enumerate(protocol.TIME_STATES)) in text
    assert protocol.SERVICE_UUID in section("## 4. BLE")
    for uuid in (protocol.REQUEST_UUID, protocol.ANSWER_UUID):
        assert uuid[:8] in section("## 4. BLE") and uuid[8:] == protocol.SERVICE_UUID[8:]


def test_settings_are_the_specs():
    table = {name: row for _, name, *row in rows(section("## 6. "), 6)}
    for key, (name, setting) in enumerate(configuration.SETTINGS.items(), 1):
        default, bounds, since, *note = table.pop(name)
        least, most = map(int, bounds.split(" to "))
        expected = configuration.Setting(key, int(default), least, most, int(since), setting.unit, "".join(note))
        assert setting == expected
    assert not table


def test_the_specs_token_claims_are_ours():
    from vitrine_tools import tokens

    assert {int(row[0]) for row in rows(section("## 2. Token"), 1)} == tokens._CLAIMS


@given(st.binary(min_size=1, max_size=768), st.integers(23, 517))
def test_chunks_make_the_message_again_here_and_on_the_lock(message, mtu):
    pieces = protocol.split(message, mtu)
    assert all(2 <= len(piece) <= mtu - 3 for piece in pieces)
    assert pieces == [bytes(piece) for piece in device_chunks.split(message, mtu)]
    for assembler in (Assembler(768), device_chunks.Assembler(768)):
        *before, last = [assembler.feed(piece) for piece in pieces]
        assert last == message and not any(before)


@pytest.mark.parametrize("mtu", [22, 0, -1])
def test_an_impossible_mtu_is_refused(mtu):
    with pytest.raises(ValueError, match="ATT_MTU"):
        protocol.split(b"x", mtu)


def test_a_message_of_more_than_128_chunks_is_refused():
    assert len(protocol.split(bytes(128 * 19), 23)) == 128
    with pytest.raises(ValueError, match="129 chunks"):
        protocol.split(bytes(128 * 19 + 1), 23)
    with pytest.raises(ValueError, match="0 chunks"):
        protocol.split(b"", 23)


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"\x80"],
        [b"\x00"],
        [b"\x01a"],
        [b"\x00a", b"\x02b"],
        [b"\x00a", b"\x01b", b"\x01b"],
        [b"\x00" + bytes(300), b"\x81" + bytes(213)],
        [bytes([n & 127]) + b"a" for n in range(127)] + [b"\x7fa", b"\x01a"],
    ],
)
def test_chunks_out_of_turn_end_the_message(pieces):
    assembler = Assembler(512)
    with pytest.raises(ProtocolError):
        for piece in pieces:
            assert assembler.feed(piece) is None
    assert assembler.feed(b"\x80new") == b"new"


@given(st.lists(st.binary(max_size=6), max_size=12))
def test_any_chunks_do_here_what_they_do_on_the_lock(pieces):
    ours, theirs = Assembler(16), device_chunks.Assembler(16)
    for piece in pieces:
        try:
            expected = theirs.feed(piece)
        except device_chunks.ChunkError:
            with pytest.raises(ProtocolError):
                ours.feed(piece)
        else:
            assert ours.feed(piece) == expected


def test_counter_0_starts_a_new_message():
    assembler = Assembler(512)
    assert assembler.feed(b"\x00old") is None
    assert assembler.feed(b"\x00n") is None
    assert assembler.feed(b"\x81ew") == b"new"


def test_request_bytes():
    assert protocol.request(Op.HELLO, 7).hex() == "830007f6"
    with pytest.raises(ValueError, match="768"):
        protocol.request(Op.PRESENT, 1, bytes(768))


def test_proof_bytes():
    proof = protocol.make_proof(HOLDER, "case-12", bytes(16), Action.UNLOCK, True, bytes(32))
    assert len(proof) <= 96
    protected, unprotected, payload, signature = cbor.decode(proof, 96)
    assert (protected.hex(), unprotected, payload) == ("a10132", {}, None)
    said = cbor.encode(["vitrine/1", "case-12", bytes(16), 1, True, bytes(32)])
    assert HOLDER.public.verify(cbor.encode(["Signature1", protected, b"", said]), signature)


HELLO = {1: "case-12", 2: 1, 3: bytes(16), 4: 1, 5: [3, bytes(32)]}


def test_reads_answers():
    assert protocol.read_answer(cbor.encode([9, 2, None])) == (9, Status.BUSY, None)
    assert protocol.read_hello(HELLO).lock_id == "case-12"
    assert protocol.read_hello({**HELLO, 1: ""}).lock_id == ""
    assert protocol.read_status({1: "case-12", 3: 1, 4: 1, 5: 1}).lock_state == 1
    acted = protocol.read_acted(Status.OK, {2: bytes(16), 3: 2, 4: 1})
    assert (acted.reason, acted.lock_state) == (Reason.Granted, 2)
    assert protocol.read_acted(Status.REFUSED, {1: 5, 2: bytes(16)}).reason == Reason.Expired
    assert protocol.read_acted(Status.REFUSED, {2: bytes(16)}).reason is None
    assert protocol.read_acted(Status.REFUSED, None).nonce is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        cbor.encode(1),
        cbor.encode([1, 0]),
        cbor.encode([1, 4, None]),
        cbor.encode([1, True, None]),
        cbor.encode([-1, 0, None]),
        cbor.encode([65536, 0, None]),
        cbor.encode([1, 0, bytes(600)]),
    ],
)
def test_answers_that_are_none(data):
    with pytest.raises(ProtocolError):
        protocol.read_answer(data)


@pytest.mark.parametrize(
    "change",
    [{1: "Case"}, {1: 5}, {1: "a\x1b[2J"}, {2: True}, {3: bytes(15)}, {3: "x"}, {4: 256}, {5: []}, {5: [1, b""]}],
)
def test_hellos_that_are_none(change):
    with pytest.raises(ProtocolError):
        protocol.read_hello({**HELLO, **change})


@pytest.mark.parametrize("body", [None, 5, [], {}, {1: 0, 2: bytes(16)}, {1: 5, 2: b""}, {1: 5, 3: 1}, {1: "Expired"}])
def test_refusals_that_are_none(body):
    if body is not None and body != {}:
        with pytest.raises(ProtocolError):
            protocol.read_acted(Status.REFUSED, body)
    for missing in (None, {}, {2: bytes(16), 3: 1}):
        with pytest.raises(ProtocolError):
            protocol.read_acted(Status.OK, missing)


def test_unknown_numbers_have_a_text():
    assert protocol.reason_name(200) == "reason 200"
    assert protocol.state_name(protocol.DOOR_STATES, 99) == "state 99"
    assert protocol.state_name(protocol.DOOR_STATES, None) == "unknown"
