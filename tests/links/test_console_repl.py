"""The prompt as tools expect it: friendly, raw and raw paste mode, whatever comes and however it is cut."""

from support import blobs, choices, given, ints, lists
from vitrine.links.console_repl import PROGRAM_MAX, Repl, is_unfinished

BANNER = b"raw REPL; CTRL-B to exit\r\n>"
CONNECT = b"\r\x03\r\x01"  # what mpremote begins with


class Bench:
    """A prompt whose programs are noted. `outcome`: what the next ones raise."""

    def __init__(self):
        self.out = b""
        self.programs = []
        self.requests = []
        self.forgotten = 0
        self.outcome = None
        self.repl = Repl(self.write, self, self.request, "case-12")

    def write(self, data):
        self.out += data

    def run(self, source, is_interactive):
        self.programs.append((source, is_interactive))
        self.out += b"ran"
        return self.outcome

    def explain(self, error):
        self.out += type(error).__name__.encode()

    def forget(self):
        self.forgotten += 1

    def request(self, line):
        if not line.startswith(b">vitrine "):
            return False
        self.requests.append(line)
        self.out += b"<vitrine AA\r\n"
        return True

    def say(self, data):
        """Send bytes; return what came back."""
        before = len(self.out)
        while data:
            rest = self.repl.feed(data)
            assert len(rest) < len(data) and data.endswith(rest)
            data = rest
        return self.out[before:]


def raw():
    bench = Bench()
    assert bench.say(CONNECT).endswith(BANNER)
    return bench


def test_a_connect_with_soft_reset_as_mpremote_waits_for_it():
    bench = raw()
    answer = bench.say(b"\x04")
    assert answer == b"OK\r\nMPY: soft reboot\r\n" + BANNER and bench.forgotten == 1
    assert bench.programs == [] and not bench.repl.is_ended


def test_a_program_in_raw_mode():
    bench = raw()
    assert bench.say(b"print(1)\n\x04") == b"OKran\x04\x04>"
    bench.outcome = ValueError()
    assert bench.say(b"x\x04") == b"OKran\x04ValueError\x04>"
    assert bench.programs == [(b"print(1)\n", False), (b"x", False)]


def test_ctrl_c_in_raw_mode_throws_away_what_came():
    bench = raw()
    assert bench.say(b"danger()\x03") == b""
    bench.say(b"ok\x04")
    assert bench.programs == [(b"ok", False)]


def test_a_program_that_exits_is_a_soft_reset():
    bench = raw()
    bench.outcome = SystemExit()
    assert bench.say(b"exit()\x04") == b"OKran\x04\x04MPY: soft reboot\r\n" + BANNER
    assert bench.forgotten == 1
    bench.outcome = None
    assert bench.say(b"1\x04") == b"OKran\x04\x04>"


def test_a_paste_of_another_kind_is_refused_as_micropython_does():
    bench = raw()
    assert bench.say(b"\x05B\x01") == b"R\x00"
    assert bench.say(b"1\x04") == b"OKran\x04\x04>"


def paste(bench, program, pieces):
    """Send a program as mpremote does, in pieces of these sizes at most; return what comes behind its end.

    Never more is on its way than the chip's buffer holds.
    """
    answer = bench.say(b"\x05A\x01")
    assert answer[:2] == b"R\x01" and len(answer) == 5
    window = answer[2] | answer[3] << 8
    free = window + answer[4:].count(b"\x01") * window
    assert free <= 256
    sent = turn = 0
    while sent < len(program):
        assert free > 0, "nobody goes on"
        piece = program[sent : sent + min(free, pieces[turn % len(pieces)])]
        turn += 1
        answer = bench.say(piece)
        sent += len(piece)
        free -= len(piece)
        if answer.startswith(b"\x04"):
            return answer + bench.say(b"\x04")
        assert answer.replace(b"\x01", b"") == b""
        free += len(answer) * window
        assert free <= 256
    return bench.say(b"\x04")


@given(ints(0, 1500), lists(ints(1, 300), 1, 8))
def test_raw_paste_keeps_every_byte(size, pieces):
    bench = raw()
    program = bytes([5 + i * 7 % 251 for i in range(size)])
    assert paste(bench, program, pieces) == b"\x04ran\x04\x04>"
    assert bench.programs == [(program, False)]


def test_a_pasted_program_that_fails_and_the_next():
    bench = raw()
    bench.outcome = KeyError()
    assert paste(bench, b"x", [10]) == b"\x04ran\x04KeyError\x04>"
    bench.outcome = None
    assert paste(bench, b"y", [10]) == b"\x04ran\x04\x04>"


def test_a_program_that_does_not_fit_is_an_error_and_the_next_runs():
    bench = raw()
    assert paste(bench, bytes(PROGRAM_MAX + 1).replace(b"\x00", b"#"), [300]) == b"\x04\x04MemoryError\x04>"
    assert bench.programs == []
    assert paste(bench, b"1", [10]) == b"\x04ran\x04\x04>"
    assert bench.say(b"#" * (PROGRAM_MAX + 1) + b"\x04") == b"OK\x04MemoryError\x04>"
    assert len(bench.programs) == 1


def test_a_paste_that_was_cut_off_runs_nothing():
    bench = raw()
    bench.say(b"\x05A\x01open('x', 'w').wri")
    assert bench.say(CONNECT).endswith(BANNER)
    assert bench.programs == []


def test_lines_at_the_friendly_prompt():
    bench = Bench()
    assert bench.say(b"\x02") == b"\r\nMicroPython; Vitrine case-12\r\n>>> "
    assert bench.say(b"1+1\r") == b"1+1\r\nran>>> "
    assert bench.say(b"\r\n") == b"\r\n>>> "
    bench.outcome = NameError()
    assert bench.say(b"ab\x7fc\x08\x08x\n") == b"ab\b \bc\b \b\b \bx\r\nranNameError>>> "
    assert bench.programs == [(b"1+1", True), (b"x", True)]
    assert bench.say(b"half\x03") == b"half\r\n>>> "
    assert bench.say(b"\x7f") == b""


def test_characters_of_several_bytes_go_as_one():
    bench = Bench()
    bench.say("'ä€'".encode() + b"\x7f\x7f\x7f'\r")
    assert bench.programs == [(b"''", True)]


def test_keys_that_do_nothing_leave_nothing():
    bench = Bench()
    bench.say(b"1\x1b[A\x1b[1;5D\x1bOP\x1b[3~2\r")
    assert bench.programs == [(b"12", True)]


def test_blocks():
    bench = Bench()
    assert bench.say(b"def f():\r") == b"def f():\r\n... "
    assert bench.say(b"\treturn (1,\r2)\r") == b"    return (1,\r\n... 2)\r\n... "
    assert bench.say(b"\r") == b"\r\nran>>> "
    assert bench.programs == [(b"def f():\n    return (1,\n2)\n", True)]
    bench.say(b"if x:\r\x03y\r")
    assert bench.programs[1:] == [(b"y", True)]


def test_ctrl_d_at_the_friendly_prompt_ends_it():
    bench = Bench()
    bench.say(b"1")
    bench.say(b"\x04")
    assert not bench.repl.is_ended, "not within a line"
    answer = bench.say(b"\x03\x04")
    assert b"MPY: soft reboot\r\n" in answer and b"\nMicroPython" in answer and answer.endswith(b">>> ")
    assert bench.repl.is_ended and bench.forgotten == 1


def test_requests_are_answered_at_both_prompts():
    bench = Bench()
    assert bench.say(b">vitrine AAAA\r").endswith(b"\r\n<vitrine AA\r\n>>> ")
    bench.say(b"if x:\r>vitrine BBBB\r\x03")
    bench.say(b"\x01")
    assert bench.say(b">vitrine CCCC\n") == b"<vitrine AA\r\n"
    assert bench.say(b"x\n>vitrine DDDD\n\x04") == b"OKran\x04\x04>"
    assert bench.requests == [b">vitrine AAAA", b">vitrine CCCC"]
    assert bench.programs == [(b"x\n>vitrine DDDD\n", False)]


CASES = (
    (b"x = 1", False),
    (b"f(1,", True),
    (b"f(1,\n2)", False),
    (b"[')'", True),
    (b"'('", False),
    (b"'\\'('", False),
    (b"'it", False),
    (b"x = '''a", True),
    (b"x = '''a\n'''", False),
    (b'"""\\"""', True),
    (b"# (", False),
    (b"x \\", True),
    (b"x # \\", True),
    (b"if x:", True),
    (b"if x: y", True),
    (b"if x:\n  y\n", False),
    (b"iffy = 1", False),
    (b"for(x)in y:", True),
    (b"@d", True),
    (b"@d\ndef f(): pass\n", False),
    (b"async_x", False),
    (b")", False),
    (b"class", True),
    (b"", False),
)


def test_what_needs_more_lines():
    for source, is_more in CASES:
        assert is_unfinished(source) is is_more, source


PIECES = choices(
    (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05A\x01", b"\r", b"\n", b"x = 1", b"\x1b[", b"if x:", b">vitrine ")
)


@given(lists(PIECES, 0, 25), lists(ints(0, 60), 0, 6), blobs(0, 20), examples=200)
def test_however_it_is_cut_it_means_the_same(pieces, cuts, noise):
    """And whatever it was, a tool that connects afterwards gets its prompt."""
    data = b"".join(pieces) + noise
    whole, cut = Bench(), Bench()
    whole.say(data)
    at = 0
    for size in cuts:
        cut.say(data[at : at + size])
        at += size
    cut.say(data[at:])
    assert cut.out == whole.out and cut.programs == whole.programs and cut.requests == whole.requests
    for bench in (whole, cut):
        assert bench.say(CONNECT).endswith(BANNER)
        bench.programs = []
        assert paste(bench, b"1", [1]) == b"\x04ran\x04\x04>"
        assert bench.programs == [(b"1", False)]
