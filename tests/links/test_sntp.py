"""SNTP: a real server on the loopback, and what a false one can send."""

import asyncio
import errno
import socket
import struct

from support import given, ints
from support.chip_time import Settings
from support.virtual_time import VirtualTime
from vitrine.door.ticks import ticks_diff
from vitrine.links.sntp import KISS, Sntp, told

NOW_S = 1_790_000_000
LOCALHOST = 0x7F000001
NTP_S = 2_208_988_800
NONCE = bytes(range(8))
HOUR_MS = 3_600_000


def packet(originate=NONCE, unix_s=NOW_S, fraction=0, first=0x24, stratum=2):
    head = bytes((first, stratum)) + bytes(22) + originate + bytes(8)
    return head + struct.pack(">II", (unix_s + NTP_S) % 2**32, fraction)


def test_what_an_answer_says():
    assert told(packet(), NONCE) == NOW_S * 1000
    assert told(packet(fraction=2**31), NONCE) == NOW_S * 1000 + 500
    assert told(packet(fraction=2**32 - 1, first=0x1C, stratum=15), NONCE) == NOW_S * 1000 + 999
    assert told(packet() + b"authenticator", NONCE) == NOW_S * 1000


def test_after_2036_the_count_begins_anew():
    """2036-02-07 06:28:16 UTC is second 0 of era 1 (RFC 5905 section 6)."""
    last_s = 2**32 - 1 - NTP_S
    assert told(packet(unix_s=last_s), NONCE) == last_s * 1000
    assert told(packet(unix_s=last_s + 2), NONCE) == (last_s + 2) * 1000
    assert told(packet(unix_s=last_s + 1), NONCE) is None, "0 means that the server does not know"


def test_what_is_no_answer():
    for wrong in (
        b"",
        packet()[:-1],
        packet(originate=bytes(8)),
        packet(originate=NONCE[:-1] + b"\xff"),
        packet(first=0x23),  # a client
        packet(first=0x25),  # broadcast
        packet(first=0xE4),  # not synchronised
        packet(stratum=16),
        packet(stratum=255),
        packet(unix_s=-NTP_S, fraction=5),
    ):
        assert told(wrong, NONCE) is None
    assert told(packet(stratum=0, first=0xE4), NONCE) == KISS
    assert told(packet(stratum=0, originate=bytes(8)), NONCE) is None, "nobody else sends us away"


@given(ints(0, 48 * 8 - 1))
def test_no_flipped_bit_does_harm(bit):
    bent = bytearray(packet())
    bent[bit // 8] ^= 1 << (bit % 8)
    unix_ms = told(bytes(bent), NONCE)
    assert unix_ms is None or unix_ms == KISS or isinstance(unix_ms, int)
    if 192 <= bit < 256:
        assert unix_ms is None


def nonce_of(number):
    return bytes((number,)) * 8


class Server:
    """A time server on a port of its own choice: `answer(request)` returns what it sends, `delay_ms` later."""

    def __init__(self, answer, delay_ms=0):
        self.answer = answer
        self.delay_ms = delay_ms
        self.requests = []
        self.asked = asyncio.Event()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        # the port is found by trying: the unix port cannot ask a socket for its own
        for port in range(20_000, 60_000, 37):
            try:
                self.socket.bind(socket.getaddrinfo("127.0.0.1", port)[0][-1])
                self.port = port
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE)

    async def run(self):
        while True:
            await self.asked.wait()
            self.asked.clear()
            for _ in range(1200):
                await asyncio.sleep_ms(5)
                try:
                    request, peer = self.socket.recvfrom(100)
                except OSError as error:
                    if error.errno == errno.EAGAIN:
                        continue
                    raise
                self.requests.append(request)
                await asyncio.sleep_ms(self.delay_ms)
                for answer in self.answer(request):
                    self.socket.sendto(answer, peer)
                break


class FakeClock:
    ticks_diff = staticmethod(ticks_diff)

    def __init__(self, virtual, state, address):
        self.ticks_ms = lambda: virtual.now_ms & (2**30 - 1)
        self.state = state
        self.settings = Settings(sntp_address=address)

    def reading(self):
        return NOW_S, self.state


class Lab:
    """`nonces` are what the requests will carry."""

    def __init__(self, answer=None, delay_ms=0, state=1, address=LOCALHOST):
        self.virtual = VirtualTime()
        self.clock = FakeClock(self.virtual, state, address)
        self.server = Server(answer or self.right, delay_ms)
        self.hints = []
        self.votes = 0
        self.asked = 0
        self.sntp = Sntp(self.clock, self.nonce, self.hear, self.server.port)

    def nonce(self, count):
        assert count == 8
        self.asked += 1
        self.server.asked.set()
        return nonce_of(self.asked)

    def hear(self, unix_ms):
        self.hints.append((self.elapsed_ms(), unix_ms))

    def elapsed_ms(self):
        return self.virtual.now_ms - self.start_ms

    def right(self, request):
        return [packet(request[40:48])]

    def run(self, ms, *others):
        async def main():
            self.start_ms = self.virtual.now_ms
            tasks = [self.server.run(), self.sntp.run(self.vote)] + list(others)
            tasks = [asyncio.create_task(task) for task in tasks]
            await asyncio.sleep_ms(ms)
            for task in tasks:
                task.cancel()

        try:
            self.virtual.run(main())
        finally:
            self.server.socket.close()

    async def idle(self):
        return

    def vote(self):
        self.votes += 1


def test_it_asks_after_10_s_and_then_every_hour():
    lab = Lab()
    lab.run(2 * HOUR_MS + 30_000)
    assert lab.server.requests == [b"\x23" + bytes(39) + nonce_of(number) for number in (1, 2, 3)]
    assert [10_000 <= ms - i * HOUR_MS < 10_200 for i, (ms, _) in enumerate(lab.hints)] == [True] * 3
    assert lab.votes == 3


def test_half_the_way_is_added():
    lab = Lab(delay_ms=800)
    lab.run(20_000)
    ((at_ms, unix_ms),) = lab.hints
    assert 400 <= unix_ms - NOW_S * 1000 <= 415 and at_ms >= 10_800


def test_garbage_before_the_answer_is_passed_over():
    def answer(request):
        garbage = [b"", b"\x00" * 48, packet(), packet(bytes(8)), b"\xff" * 2000, packet(request[40:48], first=0xE4)]
        return garbage + [packet(request[40:48])]

    lab = Lab(answer)
    lab.run(20_000)
    assert [unix_ms // 1000 for _, unix_ms in lab.hints] == [NOW_S]


def test_no_answer_in_5_s_is_none():
    for answer, delay_ms in ((lambda _: [], 0), (lambda request: [packet(request[40:48])], 5_100)):
        lab = Lab(answer, delay_ms)
        lab.run(60_000)
        assert lab.hints == [] and len(lab.server.requests) == 1


def test_a_late_answer_is_none_to_the_next_request():
    lab = Lab(lambda _: [packet(nonce_of(1), unix_s=NOW_S + 9)])
    lab.run(2 * HOUR_MS)
    assert len(lab.server.requests) == 2
    assert [unix_ms // 1000 for _, unix_ms in lab.hints] == [NOW_S + 9], "it answers the first alone"


def test_who_is_not_the_server_is_not_heard():
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lab = Lab(lambda _: [])

    def answer(request):
        # the right nonce, from another port
        other.sendto(packet(request[40:48]), lab.peer)
        return []

    lab.server.answer = answer
    kept = lab.server.socket.recvfrom

    class Tap:
        def recvfrom(self, count):
            request, lab.peer = kept(count)
            return request, lab.peer

        def close(self):
            return None

    real, lab.server.socket = lab.server.socket, Tap()
    try:
        lab.run(20_000)
    finally:
        real.close()
        other.close()
    assert len(lab.server.requests) == 1 and lab.hints == []


def test_a_kiss_of_death_means_a_day_of_silence():
    lab = Lab(lambda request: [packet(request[40:48], stratum=0)])
    lab.run(24 * HOUR_MS + 20_000)
    assert len(lab.server.requests) == 2 and lab.hints == []


def test_nobody_is_asked_for_an_untrusted_clock_nor_without_an_address():
    for options in ({"state": 0}, {"address": 0}):
        lab = Lab(**options)
        lab.run(2 * HOUR_MS)
        assert lab.asked == 0 and lab.hints == [] and lab.votes > 100


def test_a_clock_that_becomes_trusted_is_trimmed_soon():
    lab = Lab(state=0)

    async def trust():
        await asyncio.sleep_ms(60_000)
        lab.clock.state = 2

    lab.run(75_000, trust())
    assert len(lab.hints) == 1


def test_no_server_and_no_network_end_nothing():
    lab = Lab()
    lab.server.socket.close()  # the kernel says so: ECONNREFUSED
    lab.server.run = lab.idle
    lab.run(2 * HOUR_MS + 20_000)
    assert lab.asked == 3 and lab.hints == []

    lab = Lab(address=0xF0000001)  # 240.0.0.1: no way there
    lab.run(2 * HOUR_MS + 20_000)
    assert lab.asked == 3 and lab.hints == []
