"""The wire: what a closed console gives to anybody, requests in lines, and who gets a prompt for how long."""

import binascii

from support import blobs, choices, given, ints, lists, raises
from vitrine.links.console import LINE_MAX, Console

BANNER = b"Vitrine case-12: service is closed\r\n"


class Channel:
    def __init__(self, bench):
        self._bench = bench
        self.is_exhausted = False
        self.is_closed = False

    def handle(self, request):
        assert not self.is_closed
        self._bench.requests.append(request)
        if self._bench.fails:
            raise OSError(5)
        return self._bench.answer

    def malformed(self):
        self._bench.malformed += 1
        return b"bad"

    def close(self):
        assert not self.is_closed
        self.is_closed = True


class Service:
    """app.service as far as the wire knows it."""

    def __init__(self):
        self.number = 0
        self.opened = False
        self.touched = 0
        self.ends = []
        self.has_run = False

    def is_to_restart(self, is_quiet):
        return is_quiet and not self.opened

    def begin(self):
        self.number += 1
        self.opened = True

    def is_open(self):
        return self.opened

    def touch(self):
        self.touched += 1

    def end(self, why):
        self.opened = False
        self.ends.append(why)


class Programs:
    """The names of one session."""

    def __init__(self, bench):
        self._bench = bench

    def run(self, source, is_interactive):
        self._bench.programs.append((self._bench.sessions.index(self), source))
        self._bench.during()

    def explain(self, error):
        pass

    def forget(self):
        self._bench.forgotten.append(self._bench.sessions.index(self))


class Bench:
    def __init__(self, lock_id="case-12", wipe=None):
        self.now_ms = 2**30 - 10_000  # the ticks wrap soon
        self.clock = self
        self.service = None
        self.out = b""
        self.answer = b"\xfb\xff\x00"
        self.requests = []
        self.programs = []
        self.malformed = 0
        self.fails = False
        self.channels = []
        self.sessions = []
        self.forgotten = []  # sessions, as often as their names were thrown away
        self.during = lambda: None
        self.restarts = 0
        self.is_loud = False
        self.console = Console(self, lock_id, self.make_programs, self.restart, wipe, self.write)

    def restart(self):
        self.restarts += 1

    def is_quiet(self):
        return not self.is_loud

    def make_programs(self):
        self.sessions.append(Programs(self))
        return self.sessions[-1]

    def write(self, data):
        self.out += data

    def ticks_ms(self):
        return self.now_ms & (2**30 - 1)

    def ticks_diff(self, end, start):
        return ((end - start + 2**29) & (2**30 - 1)) - 2**29

    def channel(self, link, peer):
        assert (link, peer) == (4, b"console")
        self.channels.append(Channel(self))
        return self.channels[-1]

    def say(self, data):
        before = len(self.out)
        self.console.feed(data)
        return self.out[before:]

    def wait(self, ms):
        """Let time pass as the task does that tends; return whether there is anything left to mind."""
        is_minding = True
        for _ in range(0, ms, 250):
            self.now_ms += 250
            is_minding = self.console.tend()
        return is_minding

    def serve(self):
        if self.service is None:
            self.service = Service()
        self.service.begin()


def line(request):
    text = binascii.b2a_base64(request).rstrip(b"=\n").replace(b"+", b"-").replace(b"/", b"_")
    return b">vitrine " + text


def test_a_closed_console_says_so_once_a_second_and_nothing_else():
    bench = Bench()
    assert bench.say(b"\x03\x01\x04\x02\x05A\x01print(1)") == b""
    assert bench.say(b"\r\n") == BANNER
    assert bench.say(b"\r\x03\r\x01\x04hello\n" * 50) == b""
    bench.now_ms += 999
    assert bench.say(b"x\n") == b""
    bench.now_ms += 1
    assert bench.say(b"x") == b"" and bench.say(b"\n") == BANNER
    bench.say(b"\n")
    assert bench.console.tend(), "it will be said again, for a tool that throws away what came before its question"
    before = len(bench.out)
    assert not bench.wait(1_000) and bench.out[before:] == BANNER
    bench.say(b"\n")
    bench.serve()
    before = len(bench.out)
    bench.wait(1_000)
    bench.service = None
    assert bench.out[before:] == b"" and not bench.wait(1_000), "open meanwhile"
    bench.now_ms += 2**29 + 5_000  # six days
    assert bench.say(b"\n") == BANNER
    assert bench.sessions == [] and bench.channels == []


@given(
    lists(choices((b">vitrine ", b"AAAA", b"-_", b"=", b"\r", b"\n", b"\x03\x01\x04", b"import os")), 0, 60),
    blobs(0, 40),
)
def test_whatever_comes_a_closed_console_gives_nothing_away(pieces, noise):
    bench = Bench()
    for piece in pieces + [noise, b"\n"]:
        bench.say(piece)
        bench.now_ms += 100
    for each in bench.out.split(b"\r\n")[:-1]:
        assert each + b"\r\n" == BANNER or each in (b"<vitrine -_8A", b"<vitrine YmFk"), each
    assert bench.out.endswith(b"\r\n") or not bench.out
    assert bench.sessions == []


@given(blobs(0, 770), choices((b"\r", b"\n", b"\r\n")), ints(1, 200))
def test_a_request_of_any_bytes_arrives_however_it_is_cut(request, end, size):
    bench = Bench()
    data = line(request) + end
    for at in range(0, len(data), size):
        bench.say(data[at : at + size])
    assert bench.requests == [request] and bench.out == b"<vitrine -_8A\r\n"


def test_a_request_behind_what_a_tool_sends_for_a_prompt():
    bench = Bench()
    bench.say(b"\r\x03\r\x01\x02")
    assert bench.say(line(b"1") + b"\r").endswith(b"<vitrine -_8A\r\n") and bench.requests == [b"1"]


def test_what_is_no_base64_counts_as_malformed():
    bench = Bench()
    assert bench.say(b">vitrine A\r") == b"<vitrine YmFk\r\n"
    assert bench.malformed == 1 and bench.requests == []


def test_a_line_that_is_too_long_is_dropped_to_its_end():
    bench = Bench()
    assert bench.say(b">vitrine " + b"A" * LINE_MAX + b"\r") == b""
    assert bench.say(b"\n") == b"" and bench.say(line(b"1") + b"\n") == b"<vitrine -_8A\r\n"
    assert bench.requests == [b"1"]
    longest = b">vitrine " + b"A" * (LINE_MAX - 9 - 3)
    assert bench.say(longest + b"\n") == b"<vitrine -_8A\r\n"


def test_the_connection_has_the_limits_of_the_other_links():
    bench = Bench()
    bench.say(line(b"1") + b"\n")
    assert bench.wait(4_750) and not bench.channels[0].is_closed
    assert not bench.wait(250) and bench.channels[0].is_closed
    for _ in range(7):  # 15 s in all, however busy
        bench.say(line(b"2") + b"\n")
        bench.wait(2_000)
    assert not bench.channels[1].is_closed
    bench.wait(1_000)
    assert bench.channels[1].is_closed
    bench.say(line(b"3") + b"\n")
    bench.channels[2].is_exhausted = True
    bench.say(line(b"4") + b"\n")
    assert bench.channels[2].is_closed
    bench.say(line(b"5") + b"\n")
    assert len(bench.channels) == 4 and bench.requests == [b"1"] + [b"2"] * 7 + [b"3", b"4", b"5"]


def test_a_fault_in_a_request_goes_on_to_the_supervisor():
    bench = Bench()
    bench.fails = True
    with raises(OSError):
        bench.say(line(b"1") + b"\n")


def test_an_unprovisioned_lock_has_a_prompt():
    bench = Bench("")
    assert bench.say(b"\x02").endswith(b">>> ")
    bench.say(b"1\r")
    assert bench.programs == [(0, b"1")]
    assert not bench.wait(1_000_000), "nothing ends it"
    bench.say(b"2\r")
    assert bench.programs == [(0, b"1"), (0, b"2")]
    bench.say(b"\x04")
    bench.say(b"3\r")
    assert bench.programs[-1] == (1, b"3"), "with names of its own"


def test_a_lock_that_cannot_read_who_it_is_can_only_be_wiped():
    """What it was told in confidence may still be there, and it knows nobody who might ask."""
    wipes = []
    bench = Bench("", lambda: wipes.append(1))
    assert bench.say(b"\x02\x03\x01print(1)\x04\n") == b"Vitrine (damaged): service is closed\r\n"
    assert bench.say(line(b"1") + b"\n") == b"<vitrine -_8A\r\n"
    bench.say(b">wipe" * 2 + b"\n" + b" >wipe\n>wipes\n>wipe")
    assert wipes == [] and bench.sessions == []
    bench.say(b"\r\n")
    assert wipes == [1]
    bench = Bench("case-12")
    bench.say(b">wipe\n")
    bench = Bench("")
    bench.say(b">wipe\r")
    assert bench.programs == [(0, b">wipe")], "no such line"


def test_service_is_a_prompt_from_the_next_byte_on():
    bench = Bench()
    bench.service = Service()
    assert bench.say(b"\r\n") == BANNER
    bench.answer = b""
    bench.console.request(b">vitrine AAAA")
    bench.serve()
    assert bench.say(b"\r\x03\r\x01").endswith(b"raw REPL; CTRL-B to exit\r\n>")
    assert bench.say(b"1\x04") == b"OK\x04\x04>"
    assert bench.programs == [(0, b"1")] and bench.service.touched


def test_a_request_that_opens_it_and_what_comes_behind_in_one_piece():
    bench = Bench()
    serve = bench.serve

    class Opens(Channel):
        def handle(self, request):
            serve()
            return b""

    bench.channel = lambda link, peer: Opens(bench)
    assert (
        bench.say(b"x" + line(b"1") + b"\n" + line(b"1") + b"\n\x01")
        == BANNER + b"<vitrine \r\n\r\nraw REPL; CTRL-B to exit\r\n>"
    )


def test_the_end_of_service_is_the_end_of_the_prompt():
    bench = Bench()
    bench.serve()
    bench.say(b"\x01")
    bench.service.opened = False  # by time, or by an act of the lock's
    bench.wait(250)
    assert bench.forgotten == [0]
    assert bench.say(b"2\x04") == b"", "not run"
    assert bench.say(b"\n") == BANNER and bench.programs == []


def test_a_new_service_has_names_of_its_own():
    bench = Bench()
    bench.serve()
    bench.say(b"1\r")
    bench.service.begin()  # at once the next: nobody saw the end of the one before
    bench.say(b"2\r")
    assert bench.forgotten == [0]
    assert bench.programs == [(0, b"1"), (1, b"2")]


def test_ctrl_d_at_the_prompt_ends_service():
    bench = Bench()
    bench.serve()
    assert bench.say(b"1\r\x04").endswith(b"MPY: soft reboot\r\n\r\nMicroPython; Vitrine case-12\r\n>>> " + BANNER)
    assert bench.service.ends == ["closed"]
    bench.now_ms += 1_000
    assert bench.say(b"3\r") == BANNER and bench.programs == [(0, b"1")]


def test_a_program_that_ends_service_is_the_last():
    bench = Bench()
    bench.serve()
    bench.during = lambda: bench.service.end("closed")
    bench.say(b"\x01one\x04two\x04")
    assert bench.programs == [(0, b"one")]


def test_the_chip_is_started_again_after_programs_and_only_when_it_is_quiet():
    bench = Bench()
    bench.serve()
    bench.say(b"x = 1\r")
    bench.service.has_run = True
    bench.is_loud = True
    assert bench.wait(1_000) and bench.restarts == 0
    bench.service.opened = False
    assert bench.wait(1_000) and bench.restarts == 0
    bench.is_loud = False
    bench.wait(250)
    assert bench.restarts == 1


def test_it_is_not_started_again_for_nothing():
    bench = Bench()
    bench.serve()
    bench.service.opened = False
    assert not bench.wait(2_000) and bench.restarts == 0
