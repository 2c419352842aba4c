"""The tool's end of an open console: honest boards, and everything that a board may do to its technician."""

import re
import time

import pytest

from support.fake_console import FakeConsole
from vitrine_tools.field import board_link
from vitrine_tools.field.board_link import BoardError, BoardLink, ClosedError

SECRET = "00112233445566778899aabbccddeeff"


@pytest.fixture
def port(tmp_path, monkeypatch):
    monkeypatch.setattr(board_link, "ANSWER_S", 1.0)
    monkeypatch.setattr(board_link, "_PROMPT_S", 0.2)
    monkeypatch.setattr(board_link, "_BANNER_S", 0.2)
    return tmp_path / "port"


def trouble(port, work=lambda link: link.call("journal", 1, SECRET)):
    """The one line that a person is told, in bounded time, without a secret or a control character in it."""
    begun_s = time.monotonic()
    with pytest.raises(BoardError) as caught, BoardLink(str(port)) as link:
        work(link)
    text = str(caught.value)
    assert time.monotonic() - begun_s < 5
    assert text.isprintable() and len(text) < 250 and SECRET not in text
    return text


def test_a_call_and_its_answer(port):
    with FakeConsole(port) as board:
        board.run = lambda _program: (b'{"lock": "case-12", "time": [1, 0]}\r\n', b"")
        with BoardLink(str(port)) as link:
            assert link.call("state") == {"lock": "case-12", "time": [1, 0]}
            assert link.call("put", "0011", 5, "it's") == {"lock": "case-12", "time": [1, 0]}
    first, second = (program.split("\n") for program in board.programs)
    assert first[1:] == ["import json", "print(json.dumps(lock.state()))"]
    assert second[2] == """print(json.dumps(lock.put('0011', 5, "it's")))"""
    assert re.fullmatch("# [0-9a-f]{32}", first[0]) and first[0] != second[0], "records cannot be searched by digest"
    assert board.heard.endswith(b"\r\x02"), "the friendly prompt is left behind"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"ValueError: this lock belongs to another site", "another site"),
        (b"ValueError: damaged on the way", "loses bytes"),
        (b"LedgerError: WornOut", "worn out"),
        (b"OSError: 5", "cannot write its flash"),
        (b"MemoryError: memory allocation failed, allocating 4096 bytes", "no memory left"),
        (b"NameError: name 'lock' isn't defined", "no console of ours"),
        (b"ValueError: " + SECRET.encode(), "do not know"),
        (b"SomethingError: \x1b[2J" + SECRET.encode(), "do not know"),
        (b"", None),
        (b"\xff\xfe" * 500, "does not answer"),
    ],
)
def test_what_a_board_refuses_with_is_told_in_our_words(port, said, told):
    with FakeConsole(port) as board:
        board.run = lambda _program: (b"null", b"Traceback:\r\n  line 1\r\n" + said + b"\r\n" if said else b"")
        if told is None:
            with BoardLink(str(port)) as link:
                assert link.call("restart") is None
        else:
            assert told in trouble(port)


def test_a_closed_console_says_whose_it_is(port):
    def closed(data):
        return b"Vitrine case-12: service is closed\r\n" if b"\r" in data else b""

    with FakeConsole(port, closed), pytest.raises(ClosedError, match="the console of case-12 is closed"):
        BoardLink(str(port))


@pytest.mark.parametrize("name", [b"\x1b[2J\x07", b"x" * 5000, b"../../etc", b"\xff\xff", b""])
def test_a_name_that_no_lock_has_is_not_shown(port, name):
    with FakeConsole(port, lambda data: b"Vitrine " + name + b": service is closed\r\n" if b"\r" in data else b""):
        assert "the console of this lock is closed" in trouble(port)


@pytest.mark.parametrize(
    "flood",
    [b"", b"A" * 512, b"\x04" * 512, b"\x01" * 512, b">" * 512, b"raw REPL; CTRL-B to exit\r\n>", b"R\x01\x80\x00\x01"],
)
def test_a_board_that_never_stops_or_never_begins(port, flood):
    with FakeConsole(port, lambda _data: b"", flood):
        trouble(port)


def test_an_echo_keeps_its_secrets(port, capfd):
    with FakeConsole(port, lambda data: data):
        trouble(port)
    with FakeConsole(port.with_name("another")) as board:
        board.run = lambda program: (program.encode(), b"")
        trouble(board.path)
    out, errors = capfd.readouterr()
    assert SECRET not in out + errors


@pytest.mark.parametrize("said", [b"[" * 10_000, b"nonsense", b"", b"\xff\xff", b'{"a": ' * 5000])
def test_nonsense_is_no_answer(port, said):
    with FakeConsole(port) as board:
        board.run = lambda _program: (said, b"")
        assert "nonsense" in trouble(port)


def test_an_answer_without_an_end(port):
    with FakeConsole(port) as board:
        board.run = lambda _program: (b"x" * 100_000, b"")
        trouble(port)


def test_a_port_that_is_none(tmp_path):
    assert "cannot be opened" in trouble(tmp_path / "nothing")
    (tmp_path / "file").write_text("no terminal")
    trouble(tmp_path / "file")


def test_the_last_program_is_not_waited_for(port):
    with FakeConsole(port) as board:
        board.run = lambda _program: (b"done\r\n", b"")
        with BoardLink(str(port)) as link:
            assert link.run_last("print('done')\nlock.restart()") is True
    with FakeConsole(port.with_name("silent")) as board:
        board.answers = False
        with BoardLink(str(board.path)) as link:
            assert link.run_last("lock.wipe('x')", 0.3) is False
    with FakeConsole(port.with_name("another")) as board:
        board.run = lambda _program: (b"", b"Traceback:\r\nValueError: another lock\r\n")
        assert "is another one" in trouble(board.path, lambda link: link.run_last("lock.wipe('x')", 0.5))
