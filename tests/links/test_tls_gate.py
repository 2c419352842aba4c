"""The gate before TLS: so many handshakes for each address, fewer for one whose come to nothing."""

from vitrine.links.tls_gate import TlsGate


class Clock:
    now_ms = 0

    def ticks_ms(self) -> int:
        return self.now_ms & 0x3FFFFFFF

    def ticks_diff(self, end_ms: int, start_ms: int) -> int:
        return ((end_ms - start_ms + 0x20000000) & 0x3FFFFFFF) - 0x20000000


class Guest:
    standing = 0

    def __init__(self, peer: bytes) -> None:
        self.peer = peer


def gate() -> tuple:
    clock = Clock()
    clock.now_ms = 0x3FFFFFFF - 2_000  # the ticks wrap around in each test
    return TlsGate(None, clock), clock


def test_eight_at_once_then_one_a_second() -> None:
    one, clock = gate()
    assert [one.admits(Guest(b"a")) for _ in range(9)] == [True] * 8 + [False]
    clock.now_ms += 999
    assert not one.admits(Guest(b"a"))
    clock.now_ms += 1
    assert one.admits(Guest(b"a")) and not one.admits(Guest(b"a"))
    assert one.admits(Guest(b"b")), "another address owes nothing"


def test_who_fails_has_two_then_one_in_four_seconds() -> None:
    one, clock = gate()
    begun = 0
    for _ in range(600):
        if one.admits(Guest(b"a")):
            begun += 1
            one.failed(Guest(b"a"))
        clock.now_ms += 100
    assert 2 + 60 // 4 - 1 <= begun <= 2 + 60 // 4 + 1, begun


def test_to_fail_for_long_costs_no_more_than_a_while() -> None:
    one, clock = gate()
    for _ in range(50):
        one.failed(Guest(b"a"))
    clock.now_ms += 12_000
    assert [one.admits(Guest(b"a")) for _ in range(8)] == [True] * 8


def test_who_owes_has_the_weaker_claim() -> None:
    one, clock = gate()
    first, second, other = Guest(b"a"), Guest(b"a"), Guest(b"b")
    one.admits(first)
    one.failed(first)
    one.admits(second)
    one.admits(other)
    assert first.standing == other.standing == 0 and second.standing == -1


def test_eight_addresses_are_kept_and_who_owes_most_is_not_forgotten() -> None:
    one, clock = gate()
    for _ in range(8):
        one.admits(Guest(b"guilty"))
    for number in range(100):
        clock.now_ms += 1
        one.admits(Guest(b"%d" % number))
    assert not one.admits(Guest(b"guilty"))
    assert len(one._debts) == 8
    clock.now_ms += 12_000
    one.tend()
    assert one._debts == {} and one.admits(Guest(b"guilty"))


def test_a_debt_is_not_kept_for_ever() -> None:
    """Looked at often, as `tend` wants it, the ticks' wrap makes nobody owe anything."""
    one, clock = gate()
    for _ in range(8):
        one.admits(Guest(b"a"))
    for _ in range(30):
        clock.now_ms += 0x2000000
        one.tend()
    assert one.admits(Guest(b"a"))
