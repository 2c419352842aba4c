"""vitrine.codec.chunks: SPEC.md section 4, honest and hostile peers."""

from support import blobs, given, ints, lists, raises
from vitrine.codec.chunks import Assembler, ChunkError, split

BOUND = 768
BROKEN = -1


def feed_all(assembler, chunks):
    """Return what the chunks yielded, None for nothing and BROKEN for a ChunkError."""
    results = []
    for chunk in chunks:
        try:
            results.append(assembler.feed(chunk))
        except ChunkError:
            results.append(BROKEN)
    return results


def test_layout_at_att_mtu_23():
    message = bytes(range(40))
    chunks = list(split(message, 23))
    assert chunks == [b"\x00" + message[:19], b"\x01" + message[19:38], b"\x82" + message[38:]]


def test_one_chunk():
    assert list(split(b"x", 23)) == [b"\x80x"]
    assert list(split(b"x" * 243, 247)) == [b"\x80" + b"x" * 243]
    assert len(list(split(b"x" * 244, 247))) == 2


def test_split_limits():
    assert len(list(split(bytes(19 * 128), 23))) == 128
    for message, mtu in ((b"", 23), (bytes(19 * 128 + 1), 23), (b"x", 22), (b"x", 0), (b"x", -1)):
        with raises(ChunkError):
            split(message, mtu)


@given(blobs(1, BOUND), ints(23, 517), examples=200)
def test_round_trip(message, mtu):
    chunks = list(split(message, mtu))
    assert max(map(len, chunks)) <= mtu - 3
    assembler = Assembler(BOUND)
    for _ in range(2):
        assert feed_all(assembler, chunks) == [None] * (len(chunks) - 1) + [message]


def test_bound():
    assembler = Assembler(20)
    assert feed_all(assembler, split(bytes(20), 23)) == [None, bytes(20)]
    assert feed_all(assembler, split(bytes(21), 23)) == [None, BROKEN]
    # the space is the same after any number of broken messages
    assert feed_all(assembler, split(bytes(20), 23)) == [None, bytes(20)]
    assert feed_all(Assembler(20), [b"\x80" + bytes(21)]) == [BROKEN]


def test_wrong_counters():
    for chunks in ([b"\x01a"], [b"\x81a"], [b"\xffa"], [b"\x00a", b"\x02b"], [b"\x00a", b"\x01b", b"\x01b"]):
        assert feed_all(Assembler(BOUND), chunks)[-1] == BROKEN


def test_empty_chunks():
    for chunk in (b"", b"\x00", b"\x80"):
        assert feed_all(Assembler(BOUND), [chunk]) == [BROKEN]
    assert feed_all(Assembler(BOUND), [b"\x00a", b"", b"\x81b"]) == [None, BROKEN, None]
    assert feed_all(Assembler(BOUND), [b"\x00a", b"\x81"]) == [None, BROKEN]


def test_a_broken_message_is_reported_once():
    chunks = list(split(bytes(range(150)), 23))
    del chunks[2]
    assembler = Assembler(BOUND)
    assert feed_all(assembler, chunks) == [None, None, BROKEN] + [None] * (len(chunks) - 3)
    assert feed_all(assembler, [b"", b"\x81x"]) == [None, None]
    assert feed_all(assembler, [b"\x80y"]) == [b"y"]


def test_counter_0_starts_again():
    assert feed_all(Assembler(BOUND), [b"\x00a", b"\x01b", b"\x00c", b"\x81d"]) == [None, None, None, b"cd"]


def test_a_finished_message_does_not_go_on():
    assert feed_all(Assembler(BOUND), [b"\x80a", b"\x81b"]) == [b"a", BROKEN]


def test_counter_does_not_wrap():
    assembler = Assembler(BOUND)
    results = feed_all(assembler, [bytes((n, 0x61)) for n in range(128)])
    assert results == [None] * 128
    # 128 would be written as 0: that is a new message
    assert feed_all(assembler, [b"\x80z"]) == [b"z"]


def test_a_message_does_not_change_with_the_next_one():
    assembler = Assembler(BOUND)
    first = assembler.feed(b"\x80abc")
    assembler.feed(b"\x80xyz")
    assert first == b"abc" and type(first) is bytes


@given(lists(blobs(0, 6), 0, 20), examples=500)
def test_any_chunks(chunks):
    for result in feed_all(Assembler(10), chunks):
        assert result is None or result == BROKEN or 0 < len(result) <= 10


@given(blobs(60, 200), ints(0, 9), ints(0, 255), examples=200)
def test_a_changed_header_never_yields_another_message(message, index, header):
    chunks = list(split(message, 23))
    index %= len(chunks)
    is_same = chunks[index][0] == header
    chunks[index] = bytes((header,)) + chunks[index][1:]
    results = [result for result in feed_all(Assembler(BOUND), chunks) if type(result) is bytes]
    # an early "last" cuts the message, a late counter 0 starts one: neither is the message that was sent
    assert (message in results) == is_same
