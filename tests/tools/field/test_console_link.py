"""Sessions over a wire: a real pseudo-terminal, a real dispatch behind it, and what a bad wire does to both."""

import asyncio
import base64
import os
import pty
import threading
import tty

import pytest

from support.session_lab import Lab, case
from vitrine_tools import cbor
from vitrine_tools.errors import LinkError, ToolError
from vitrine_tools.field.console_link import ANSWER, REQUEST, ConsolePhone, Wire, reach
from vitrine_tools.phone import Limits
from vitrine_tools.protocol import Op, ProtocolError, Status

QUICK = Limits(answer_s=0.4)


class Board:
    """The other end: answers requests by `answer(request) -> bytes of the line, or None`."""

    def __init__(self, answer):
        self._chip, self._terminal = pty.openpty()
        tty.setraw(self._terminal)
        self.path = os.ttyname(self._terminal)
        self._answer = answer
        self.heard = []
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        pending = b""
        while not self._is_ending:
            try:
                pending += os.read(self._chip, 4096)
            except OSError:
                return
            *lines, pending = pending.split(b"\r")
            for line in lines:
                self.heard.append(line)
                if line.startswith(REQUEST):
                    text = line[len(REQUEST) :]
                    reply = self._answer(base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)))
                    if reply is not None:
                        os.write(self._chip, reply)
                else:
                    os.write(self._chip, b"Vitrine case-12: service is closed\r\n")

    def close(self):
        """End the thread: closing alone would not wake it."""
        self._is_ending = True
        os.write(self._terminal, b"\n")
        os.close(self._terminal)
        self._thread.join(2)
        os.close(self._chip)


def line_of(answer):
    return ANSWER + base64.urlsafe_b64encode(answer).rstrip(b"=") + b"\r\n"


@pytest.fixture
def board():
    boards = []

    def make(answer):
        boards.append(Board(answer))
        return boards[-1]

    yield make
    for each in boards:
        each.close()


def of_lab(lab, link=4):
    channel = lab.channel(b"console", link)
    return lambda request: line_of(channel.handle(request))


async def ask(port, op, body=None, lock_id="case-12", limits=QUICK):
    async with reach(port, lock_id, limits) as phone:
        return await phone.ask(op, body)


def test_a_session_over_the_wire(board):
    lab = Lab()
    wire = board(of_lab(lab))
    token, proof = case("service")

    async def run():
        async with reach(wire.path, limits=QUICK) as phone:
            hello = await phone.hello()
            assert phone.lock_id == hello.lock_id == "case-12"
            phone._request_id = 0
            assert await phone.present(token)
            return hello

    hello = asyncio.run(run())
    assert len(hello.nonce) == 16 and wire.heard[0] == b"\x03\x02"
    assert sum(line.startswith(REQUEST) for line in wire.heard) == 3


def test_a_lock_that_is_named_must_be_the_one(board):
    wire = board(of_lab(Lab()))

    async def run():
        async with reach(wire.path, "case-13", QUICK) as phone:
            await phone.hello()

    with pytest.raises(ProtocolError, match="case-12"):
        asyncio.run(run())


def test_what_else_is_on_the_wire_is_passed_over(board):
    lab = Lab()
    channel = lab.channel()

    def answer(request):
        late = line_of(cbor.encode([9, 0, None]))
        noise = b"ets Jul 29 2019\r\nrst:0x1 \xff\xfe\r\n>>> " + late + b"x" * 5000 + b"\r\n>>> "
        return noise + line_of(channel.handle(request))

    status, body = asyncio.run(ask(board(answer).path, Op.HELLO))
    assert status == Status.OK and body[1] == "case-12"


def test_a_wire_without_an_answer(board):
    for answer in (lambda request: None, lambda request: b"Vitrine case-12: service is closed\r\n"):
        with pytest.raises(LinkError, match="does not answer"):
            asyncio.run(ask(board(answer).path, Op.HELLO))
    # one that never stops talking is not listened to for ever
    with pytest.raises(LinkError, match="does not answer"):
        asyncio.run(ask(board(lambda request: b"a" * 2000 + b"\n").path, Op.HELLO))


def test_answers_that_are_none(board):
    for reply in (ANSWER + b"***\r\n", ANSWER + b"AAAA\r\n", ANSWER + b"A" * 2000 + b"\r\n", ANSWER + b"\r\n"):
        with pytest.raises(ProtocolError):
            asyncio.run(ask(board(lambda request, reply=reply: reply).path, Op.HELLO))


def test_a_port_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path / "nothing", "there is no such port"),
        (tmp_path / "file", "it is no serial port"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ToolError, match=f"cannot open {path}: .*{why}"):
            Wire(path)


def test_a_cable_that_is_pulled(board):
    wire = board(lambda request: None)

    async def run():
        async with reach(wire.path, "case-12", QUICK) as phone:
            phone.wire.close()
            await phone.ask(Op.HELLO)

    with pytest.raises(LinkError):
        asyncio.run(run())


def test_two_tools_do_not_share_a_port(board):
    wire = board(lambda request: None)
    first = Wire(wire.path)
    try:
        with pytest.raises(ToolError, match="another program has it"):
            Wire(wire.path)
    finally:
        first.close()


def test_it_has_no_chunks():
    phone = ConsolePhone.__new__(ConsolePhone)
    ConsolePhone.__init__(phone, None)
    with pytest.raises(NotImplementedError):
        _ = phone._transport.att_mtu
