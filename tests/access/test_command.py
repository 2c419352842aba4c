"""Commands taken apart: one form, and nothing but that form."""

from support import blobs, given, raises
from support.command_lab import (
    ADMIN,
    AUD,
    BODY,
    CNONCE,
    EXP,
    FRESH,
    ID,
    ID_SENT,
    LOCK,
    MISSING,
    NOW_S,
    NUMBER,
    REVOKE,
    SCENARIO,
    SEQUENCE,
    TIME,
    envelope,
    kid_of,
    make,
    payload_map,
    read,
    sign,
)
from vitrine.access.command import MAX_SIZE, Command, CommandError
from vitrine.codec import cbor


def refused(data):
    with raises(CommandError):
        Command(data)


def test_a_command_is_read_whole():
    data = make(REVOKE, {1: 6, 2: []}, {FRESH: CNONCE})
    command = Command(data)
    assert (command.kid, command.number, command.audiences, command.id) == (kid_of(ADMIN), 2, [LOCK], ID_SENT)
    assert (command.sequence, command.exp, command.cnonce, command.body) == (7, NOW_S + 60, CNONCE, {1: 6, 2: []})
    assert command.signature == sign(ADMIN, command.message())
    tagged = Command(b"\xd2" + data)
    assert tagged.message() == command.message()


def test_what_may_be_left_out_is_none():
    command = read(TIME, NOW_S)
    assert (command.sequence, command.exp, command.cnonce) == (None, None, CNONCE)
    command = read(SCENARIO, {2: True}, {AUD: ["a", "group:b"]})
    assert (command.cnonce, command.audiences) == (None, ["a", "group:b"])


def test_a_number_that_is_not_known_is_no_mistake_of_form():
    for number in (0, 5, 2**32 - 1):
        assert read(number, None).number == number


def test_each_field_has_its_bounds():
    bad = {
        NUMBER: (MISSING, -1, 2**32, True, None, "2", b"\x02"),
        AUD: (MISSING, None, 7, [], [LOCK] * 9, [LOCK, 7], "a" * 33, [b"case-12"]),
        ID: (MISSING, b"1234567", bytes(17), "12345678", None),
        SEQUENCE: (MISSING, 0, -1, 2**32, True, None, b"\x07"),
        EXP: (MISSING, -1, None, True, "soon"),
        FRESH: (b"", bytes(15), bytes(17), None, "cnonce of a lock"),
        BODY: (MISSING,),
        8: (None, 0),
        -1: (0,),
        0: (0,),
        "command": (2,),
    }
    for key in bad:
        for value in bad[key]:
            refused(make(REVOKE, {}, {key: value}))
    good = {
        AUD: ("a" * 32, [LOCK] * 8),
        ID: (bytes(8), bytes(16)),
        SEQUENCE: (1, 2**32 - 1),
        EXP: (0, 2**64 - 1),
        BODY: (None, 0, {}, [1, [2]]),
    }
    for key in good:
        for value in good[key]:
            read(REVOKE, {}, {key: value})


def test_a_statement_of_the_time_is_over_a_nonce_and_in_no_sequence():
    refused(make(TIME, NOW_S, {FRESH: MISSING, EXP: NOW_S}))
    refused(make(TIME, NOW_S, {SEQUENCE: 1}))
    read(TIME, NOW_S, {EXP: NOW_S})


def test_the_header_is_exactly_the_one_of_a_command():
    payload = cbor.encode(payload_map(REVOKE, {}))
    kid = kid_of(ADMIN)
    for header in (
        {1: -19, 4: kid},  # a token's
        {1: -19, 3: "vitrine/command"},
        {1: -19, 3: "vitrine/token", 4: kid},
        {1: -19, 3: b"vitrine/command", 4: kid},
        {1: -19, 3: 0, 4: kid},
        {1: -19, 3: "vitrine/command", 4: kid[:7]},
        {1: -19, 3: "vitrine/command", 4: kid + b"0"},
        {1: -19, 3: "vitrine/command", 4: "12345678"},
        {1: -19, 2: [3], 3: "vitrine/command", 4: kid},
        {1: -7, 3: "vitrine/command", 4: kid},
        {},
    ):
        refused(envelope(payload, header=header))
    Command(envelope(payload, header={1: -8, 3: "vitrine/command", 4: kid}))


def test_the_envelope_is_bounded_and_whole():
    pad = MAX_SIZE - len(make(REVOKE, bytes(300))) + 300
    assert len(make(REVOKE, bytes(pad))) == MAX_SIZE
    read(REVOKE, bytes(pad))
    refused(make(REVOKE, bytes(pad + 1)))
    data = make(REVOKE, {})
    for cut in range(len(data)):
        refused(data[:cut])
    refused(data + b"\0")
    protected, _, payload, signature = cbor.decode(data, MAX_SIZE)
    for parts in (
        [protected, {}, None, signature],
        [protected, {}, payload, signature[:63]],
        [protected, {4: kid_of(ADMIN)}, payload, signature],
        [protected, {}, payload],
        [protected, {}, payload, signature, 0],
    ):
        refused(cbor.encode(parts))
    for payload in (b"", b"\xa0", cbor.encode([1]), cbor.encode(7), b"\xff"):
        refused(envelope(payload))


@given(blobs(0, 100))
def test_any_bytes_are_a_command_or_a_command_error(data):
    for whole in (data, envelope(data), make(REVOKE, {}, {BODY: data})[: len(data)]):
        try:
            Command(whole)
        except CommandError:
            continue
