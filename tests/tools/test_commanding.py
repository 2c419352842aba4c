"""Commands as the tools make them, taken by the firmware's own code; and what the tools make of answers and files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.command_lab import LOCK
from support.command_lock import ISSUER, NOW_S, FirmwareLock
from support.fake_lock import MemoryTransport
from vitrine_tools import cbor, commanding, cose
from vitrine_tools.commanding import Answer, Command, CommandError, Number, carry_out, parse, sign
from vitrine_tools.errors import LinkError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Limits, Phone
from vitrine_tools.protocol import ProtocolError, Reason, Status
from vitrine_tools.revocations import LIST_MAX, Book, Entry, RevocationError

OTHER = PrivateKey.from_seed(b"o" * 32)


class Air:
    """The way to such a lock that commands take."""

    lock_id = LOCK

    def __init__(self, lock):
        self.phone = Phone(MemoryTransport(lock), LOCK, Limits(answer_s=1))

    async def bound(self, command):
        from dataclasses import replace

        return replace(command, cnonce=(await self.phone.fresh())[0])

    async def send(self, envelope):
        return await self.phone.command(envelope.data)


def lockdown(**change):
    return Command(**{"number": 4, "audiences": (LOCK,), "body": {2: True}, "sequence": NOW_S, **change})


async def test_the_firmware_does_what_the_tool_signs():
    lock = FirmwareLock()
    air = Air(lock)
    cnonce, state = await air.phone.fresh()
    assert (cnonce, state) == (lock.nonce, 1)
    statement = commanding.time_statement(LOCK, cnonce, NOW_S + 0.7)
    assert await air.send(sign(statement, ISSUER)) == Answer(Reason.Granted, None)
    assert lock.taken == [(NOW_S, 1000)]
    assert await carry_out(air, ISSUER, lockdown()) == Answer(Reason.Granted, NOW_S)
    assert lock.scenario.applied == [({2: True}, NOW_S)]
    configuration = {2: {4: 45000}, 3: [[20000, 3]], 4: None, 5: []}
    assert (await carry_out(air, ISSUER, lockdown(number=Number.CONFIGURE, body=configuration))).is_done
    revocation = lockdown(number=Number.REVOKE, body={1: 0, 2: [[1, bytes(16), 0]]})
    assert (await carry_out(air, ISSUER, revocation)).is_done
    assert len(lock.ledger.entries) == 1
    by_group = sign(lockdown(audiences=("group:jewellery", "case-99"), sequence=NOW_S + 1, exp_s=NOW_S + 60), ISSUER)
    assert (await air.send(by_group)).is_done


async def test_a_key_that_the_lock_does_not_know_is_told_nothing():
    assert await carry_out(Air(FirmwareLock()), OTHER, lockdown()) == Answer(None, None)


async def test_a_sequence_nobody_asked_for_is_raised_once():
    lock = FirmwareLock()
    air = Air(lock)
    for _ in range(3):  # in the same second
        assert (await carry_out(air, ISSUER, lockdown(), is_sequence_free=True)).is_done
    assert [sequence for _, sequence in lock.scenario.applied] == [NOW_S, NOW_S + 1, NOW_S + 2]
    answer = await carry_out(air, ISSUER, lockdown())
    assert (answer.reason_name, answer.sequence) == ("SequenceStale", NOW_S + 2)
    # one who says that it is far ahead gets no signature for that
    lock.scenario.sequence = NOW_S + 10
    before = len(lock.seen)
    assert (await carry_out(air, ISSUER, lockdown(), is_sequence_free=True)).reason == Reason.SequenceStale
    assert len(lock.seen) == before + 1
    assert commanding.next_sequence() >= NOW_S and commanding.next_sequence(2**31) == 2**31 + 1


async def test_no_broker_gets_a_command_that_it_could_bring_after_the_next_ones():
    kept = []

    class Liar(Air):
        """Has every command signed again with a sequence as high as can be had, and brings it when it likes."""

        async def send(self, envelope):
            kept.append(envelope)
            return Answer(Reason.SequenceStale, envelope.command.sequence + self.ahead)

    lock = FirmwareLock()
    for ahead in (0, 1, 9, 10, 60, 3600, 86_399):
        liar = Liar(lock)
        liar.ahead = ahead
        await carry_out(liar, ISSUER, lockdown(body={2: False}), is_sequence_free=True)
    # somebody locks down a quarter of a minute later
    assert (await carry_out(Air(lock), ISSUER, lockdown(sequence=NOW_S + 15), is_sequence_free=True)).is_done
    for envelope in kept:
        assert lock.commands.execute(envelope.data, 3).reason == Reason.SequenceStale
    assert len(kept) == 10 and lock.scenario.applied == [({2: True}, NOW_S + 15)]


def test_a_clock_that_cannot_be_right_tells_no_time():
    for now_s in (0, commanding.RELEASED_S - 1):
        with pytest.raises(CommandError, match="clock is wrong"):
            commanding.time_statement(LOCK, bytes(16), now_s)


def test_what_is_signed_is_read_again():
    command = lockdown(cnonce=bytes(16), exp_s=7, audiences=("a", "group:b"))
    envelope = sign(command, ISSUER)
    assert envelope.command == command and envelope.kid == ISSUER.public.kid
    assert envelope.sign1.is_signed_by(ISSUER.public) and not envelope.sign1.is_signed_by(OTHER.public)
    assert command.name == "scenario" and lockdown(number=9).name == "command 9"


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": None},
        {"sequence": 0},
        {"sequence": 2**32},
        {"exp_s": None},
        {"number": 1},
        {"number": 1, "sequence": None},
        {"cnonce": bytes(15)},
        {"id": bytes(7)},
        {"audiences": ()},
        {"audiences": ("a",) * 9},
        {"audiences": ("Case 12",)},
        {"body": bytes(700)},
    ],
)
def test_what_no_lock_would_take_is_not_signed(change):
    with pytest.raises(commanding.ToolError):
        sign(lockdown(**{"exp_s": NOW_S, **change}), ISSUER)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_command_or_an_error(data):
    for read in (parse, commanding.split):
        try:
            read(data)
        except CommandError:
            continue
        assert data == b""


def test_tools_and_firmware_agree_on_the_form():
    """Each byte of a good envelope changed: both read it, or neither does."""
    from vitrine.access.command import Command as Taken
    from vitrine.access.command import CommandError as NotTaken

    good = sign(lockdown(exp_s=NOW_S, audiences=(LOCK, "group:x")), ISSUER).data
    for place in range(len(good)):
        for value in (0, 1, 0x20, 0x80, good[place] ^ 1, good[place] ^ 0x20):
            data = good[:place] + bytes([value]) + good[place + 1 :]
            try:
                command = parse(data).command
            except CommandError:
                command = None
            try:
                taken = Taken(data)
            except NotTaken:
                taken = None
            assert (command is None) == (taken is None), (place, value)
            if command and taken:
                assert (command.number, command.id, command.body) == (taken.number, taken.id, taken.body)


def test_a_file_of_commands_is_split():
    envelopes = [sign(lockdown(exp_s=NOW_S, sequence=number), ISSUER).data for number in (1, 2**31, 3)]
    assert commanding.split(b"".join(envelopes)) == envelopes
    assert commanding.split(b"") == []
    for broken in (envelopes[0] + b"\0", envelopes[0] + envelopes[1][:-1], b"junk" + envelopes[0]):
        with pytest.raises(CommandError, match="damaged"):
            commanding.split(broken)
    token = cose.sign1({1: -19, 4: ISSUER.public.kid}, cbor.encode({1: 4}), ISSUER)
    with pytest.raises(CommandError):
        commanding.split(token)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (Status.OK, None),
        (Status.OK, {1: 0, 4: 0}),
        (Status.OK, {3: -1}),
        (Status.OK, {3: True}),
        (Status.OK, []),
        (Status.REFUSED, {}),
        (Status.REFUSED, {1: 0}),
        (Status.REFUSED, {1: True}),
        (Status.REFUSED, {1: 256}),
        (Status.REFUSED, {2: bytes(16)}),
        (Status.MALFORMED, None),
    ],
)
async def test_answers_that_are_none(status, body):
    lock = FirmwareLock()
    lock.answer = (status, body)
    with pytest.raises(ProtocolError):
        await Air(lock).send(sign(lockdown(exp_s=NOW_S), ISSUER))


async def test_a_lock_that_is_busy_or_gives_no_nonce():
    lock = FirmwareLock()
    for answer, error in (
        ((Status.BUSY, None), LinkError),
        ((Status.OK, None), ProtocolError),
        ((Status.OK, {1: bytes(15), 2: 0}), ProtocolError),
        ((Status.OK, {1: bytes(16)}), ProtocolError),
        ((Status.MALFORMED, None), ProtocolError),
    ):
        lock.answer = answer
        with pytest.raises(error):
            await (
                Air(lock).phone.fresh() if error is ProtocolError else Air(lock).send(sign(lockdown(exp_s=1), ISSUER))
            )


def test_results_from_a_broker_are_read_with_care():
    text = b'{"id": "636f6d6d616e6431", "reason": "SequenceGap", "sequence": 7}'
    assert commanding.read_result(text) == (b"command1", Answer(Reason.SequenceGap, 7))
    assert commanding.read_result(b'{"id": "636f6d6d616e6431", "reason": "Granted"}')[1].is_done
    assert not commanding.read_result(b'{"id": "636f6d6d616e6431", "reason": "Newer"}')[1].is_done
    for payload in (
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"1" * 300,
        b'{"id": "63", "reason": "Granted"}',
        b'{"id": 7, "reason": "Granted"}',
        b'{"id": "636f6d6d616e6431", "reason": 0}',
        b'{"id": "636f6d6d616e6431", "reason": "Granted", "sequence": "7"}',
        b'{"id": "636f6d6d616e6431"}',
    ):
        with pytest.raises(ProtocolError):
            commanding.read_result(payload)


# --- the lists of revocations ---

CTI = [Entry("cti", f"{number:032x}") for number in range(100)]


def book(tmp_path):
    return Book(tmp_path / "issuer.revocations.json", ISSUER.public.kid)


def test_a_book_keeps_its_lists_in_order_and_is_found_again(tmp_path):
    one = book(tmp_path)
    assert (one.sequence, one.lists, list(one.after(0, 0))) == (0, [], [])
    one.add(CTI[:3], 5)
    one.add(CTI[3 : 3 + LIST_MAX + 1], 9)
    assert [number for number, _ in one.lists][:2] == [5, 9] and len(one.lists) == 3
    again = book(tmp_path)
    assert again.lists == one.lists and again.sequence == one.sequence >= NOW_S
    with pytest.raises(RevocationError, match="higher"):
        again.add(CTI[:1], 9)
    with pytest.raises(RevocationError, match="another issuer"):
        Book(tmp_path / "issuer.revocations.json", OTHER.public.kid)


def test_no_list_gets_lost_to_another_program(tmp_path):
    path = tmp_path / "lists.json"
    books = [Book(path, b"k" * 8) for _ in range(3)]
    for number, book in enumerate(books):
        book.add([Entry("cti", f"{number:016x}")])
    assert [entries[0].value for _, entries in Book(path, b"k" * 8).lists] == [f"{number:016x}" for number in range(3)]


def test_a_book_never_gets_a_sequence_that_it_could_not_be_read_with(tmp_path):
    path = tmp_path / "lists.json"
    path.write_text(json.dumps({"kid": "6b" * 8, "lists": [{"sequence": 2**32 - 1, "entries": [["sub", "61", 0]]}]}))
    with pytest.raises(CommandError, match="the sequence must be"):
        Book(path, b"k" * 8).add([Entry("sub", "62")])
    assert Book(path, b"k" * 8).sequence == 2**32 - 1


def test_what_a_lock_has_missed_comes_in_few_commands_and_in_order(tmp_path):
    lists = book(tmp_path)
    for number in range(1, 41):
        lists.add(CTI[number : number + 2], number)
    for at in (0, 1, 7, 39, 40, 99):
        parts = list(lists.after(at, 0))
        missed = [entry for number, entries in lists.lists if number > at for entry in entries]
        assert [entry for part in parts for entry in part.entries] == missed
        assert [part.previous for part in parts] == ([min(at, 40)] + [part.sequence for part in parts])[: len(parts)]
        assert all(part.previous < part.sequence for part in parts)
        for part in parts:
            longest = ("a" * 32,) * 1
            command = Command(
                number=2,
                audiences=longest,
                sequence=part.sequence,
                body=part.to_body(),
                exp_s=2**32,
                cnonce=bytes(16),
                id=bytes(16),
            )
            assert len(sign(command, ISSUER).data) <= 704
    assert len(list(lists.after(0, 0))) <= 5
    assert list(lists.after(40, 0)) == []


def test_what_has_expired_is_left_out_but_not_the_sequence(tmp_path):
    lists = book(tmp_path)
    lists.add([Entry("sub", "70", 100)], 1)
    lists.add([Entry("sub", "71", 0), Entry("before", 50)], 2)
    (part,) = lists.after(0, 100)
    assert (part.previous, part.sequence, part.entries) == (0, 2, (Entry("sub", "71"), Entry("before", 50)))
    (part,) = lists.after(0, 99)
    assert len(part.entries) == 3
    assert part.to_body() == {1: 0, 2: [[2, b"p", 100], [2, b"q", 0], [4, 50, 0]]}


@pytest.mark.parametrize(
    "entry",
    [
        ("cti", "00"),
        ("cti", "zz" * 8),
        ("sub", ""),
        ("sub", "00" * 17),
        ("key", "00" * 7),
        ("before", 0),
        ("before", "1"),
        ("before", 5, 7),
        ("sub", "70", -1),
        ("sub", "70", 2**32),
        ("name", "70"),
        ("sub", 7),
    ],
)
def test_entries_that_are_none(entry):
    with pytest.raises(RevocationError):
        Entry(*entry)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("kid"),
        lambda fields: fields["lists"].reverse(),
        lambda fields: fields["lists"].append(fields["lists"][-1]),
        lambda fields: fields["lists"][0].update(sequence="1"),
        lambda fields: fields["lists"][0].update(sequence=0),
        lambda fields: fields["lists"][1].update(sequence=2**32),
        lambda fields: fields["lists"][0]["entries"].append(["cti", "00", 0]),
        lambda fields: fields["lists"][0]["entries"].append(["cti"]),
        lambda fields: fields["lists"][0].update(entries=[["sub", "70", 0]] * 17),
        lambda fields: fields.update(lists=7),
    ],
)
def test_a_damaged_book_is_refused(tmp_path, change):
    lists = book(tmp_path)
    lists.add(CTI[:1], 1)
    lists.add(CTI[1:2], 2)
    path = tmp_path / "issuer.revocations.json"
    fields = json.loads(path.read_bytes())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(RevocationError, match="damaged"):
        book(tmp_path)
    path.write_bytes(b"{")
    with pytest.raises(RevocationError, match="damaged"):
        book(tmp_path)
