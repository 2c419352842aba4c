"""Service over the wire: begin it, test the strike, end it (SPEC.md section 18)."""

import asyncio
import time
from typing import Final

from ..errors import LinkError, ToolError
from ..protocol import Acted, Action
from .authority import Authority
from .console_link import ConsolePhone, Wire

CLOSED: Final = b"service is closed"
_PROMPTS: Final = (b">>> ", b"... ", b"raw REPL")
_LEAVE: Final = b"\x03\x02"  # what runs, then raw mode
_LOOK: Final = b"\r"
_END: Final = b"\x04"
_LOOK_S: Final = 3.0
_AGAIN_S: Final = 0.4  # a closed console says so once a second


def is_open(wire: Wire) -> bool:
    """Tell whether the console has a prompt; LinkError if what is there says neither."""
    end_s = time.monotonic() + _LOOK_S
    said = b""
    while time.monotonic() < end_s:
        wire.write(_LEAVE + _LOOK)
        said += wire.hear(_AGAIN_S)
        if CLOSED in said:
            return False
        if any(prompt in said for prompt in _PROMPTS):
            return True
    raise LinkError(f"nothing that a Vitrine lock would say came from {wire.port}")


def close(wire: Wire) -> None:
    """End service, as whoever holds the wire may; LinkError if it does not end."""
    for _ in range(2):  # the first may have ended a program
        if not is_open(wire):
            return
        wire.write(_END)
        if CLOSED in wire.hear(_LOOK_S, until=CLOSED):
            return
    raise LinkError("the console stays open: is the lock provisioned?")


async def begin(phone: ConsolePhone, authority: Authority) -> Acted:
    """Open the console; ServiceError if the lock refuses."""
    return await authority.ask(phone, Action.SERVICE)


async def test_strike(phone: ConsolePhone, authority: Authority) -> Acted:
    """Have the strike moved for half a second, in service; the console is left as it was found."""
    was_open = await asyncio.to_thread(is_open, phone.wire)
    acted = await begin(phone, authority)
    try:
        return await authority.again(phone, Action.TEST, acted.nonce)
    finally:
        if not was_open:
            await asyncio.to_thread(close, phone.wire)


def mpremote(port: str, arguments: list[str]) -> list[str]:
    """Return the command line of mpremote at `port`; its prompt without arguments."""
    import importlib.util
    import sys

    if importlib.util.find_spec("mpremote") is None:
        raise ToolError("mpremote is not installed: pip install mpremote")
    return [sys.executable, "-m", "mpremote", "connect", port, *(arguments or ["repl"])]
