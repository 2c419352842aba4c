"""Seeing that a lock has started, and as what: over the wire, through the requests that every lock answers."""

import asyncio
import time
from typing import Final

from ..errors import LinkError, ToolError
from ..phone import Unready
from ..protocol import ProtocolError
from .console_link import reach

START_S: Final = 60.0
WIPE_S: Final = 300.0  # an erase takes 45 ms, and a file system of 12 MB has 3,000 sectors
_NOT_PROVISIONED: Final = 20
_PAUSE_S: Final = 0.3


def wait_for(port: str, lock_id: str, limit_s: float = START_S) -> None:
    """Wait until the lock at `port` says that it is `lock_id`, "" for nobody's; LinkError if it does not in time."""
    end_s = time.monotonic() + limit_s
    said = "nothing"
    while time.monotonic() < end_s:
        try:
            found = asyncio.run(_ask(port))
        except (LinkError, ProtocolError, ToolError):
            time.sleep(_PAUSE_S)  # it is starting, or its port is just coming back
            continue
        if found == lock_id:
            return
        said = f"that it is {found}" if found else "that it is unprovisioned"
        time.sleep(_PAUSE_S)
    wanted = lock_id or "an unprovisioned lock"
    raise LinkError(f"the lock says {said}, not that it is {wanted}: run the same command again")


async def _ask(port: str) -> str:
    async with reach(port) as phone:
        try:
            return (await phone.hello()).lock_id
        except Unready as error:
            if error.acted.reason == _NOT_PROVISIONED:
                return ""
            raise ProtocolError("neither a lock in service nor an unprovisioned one") from None
