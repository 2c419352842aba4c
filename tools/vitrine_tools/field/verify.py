"""A lock before and after the work: opening its console, and seeing as what it has started."""

import asyncio
import time
from typing import Final

from ..audit.sealed import Keys
from ..errors import LinkError, ToolError
from ..phone import Limits, Unready
from ..protocol import ProtocolError
from . import diagnosis, findings
from .authority import Authority
from .board_link import BoardError, BoardLink, ClosedError, DamagedError
from .console_link import reach
from .service import begin, close, is_open

START_S: Final = 60.0
WIPE_S: Final = 300.0  # an erase takes 45 ms, and a file system of 12 MB has 3,000 sectors
_NOT_PROVISIONED: Final = 20
_PAUSE_S: Final = 0.3
_ANSWER: Final = Limits(answer_s=3.0)  # what is sent while a chip starts is lost


def wait_for(port: str, lock_id: str, limit_s: float = START_S) -> None:
    """Wait until the lock at `port` says that it is `lock_id`, "" for nobody's; BoardError if it does not in time."""
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
    raise BoardError(f"the lock says {said}, not that it is {wanted}: run the same command again")


async def _ask(port: str) -> str:
    async with reach(port, limits=_ANSWER) as phone:
        try:
            lock_id = (await phone.hello()).lock_id
            if await asyncio.to_thread(is_open, phone.wire):
                raise LinkError("not yet: a lock in service has its console closed")
            return lock_id
        except Unready as error:
            if error.acted.reason == _NOT_PROVISIONED:
                return ""
            raise ProtocolError("neither a lock in service nor an unprovisioned one") from None


def open_board(port: str, lock_id: str, authority: Authority | None = None) -> BoardLink:
    """Return the open console of a board; one that is closed is opened with `authority`, if the lock is `lock_id`."""
    try:
        return BoardLink(port)
    except ClosedError as error:
        if authority is None or isinstance(error, DamagedError):
            raise
        try:
            asyncio.run(_begin(port, lock_id, authority))
        except (LinkError, ProtocolError) as error:
            raise BoardError(f"the console of the lock at {port} does not open: {error}") from None
        return BoardLink(port, is_ours=True)


async def _begin(port: str, lock_id: str, authority: Authority) -> None:
    async with reach(port, lock_id) as phone:
        await begin(phone, authority)


def examine(port: str, lock_id: str, authority: Authority, keys: Keys) -> tuple[str, ...]:
    """Have the lock report on itself, under the key that it was given; return what is wrong with it.

    BoardError if somebody else made the report, or there is none.
    """
    try:
        report = asyncio.run(_report(port, lock_id, authority.renewed()))
    except (LinkError, ProtocolError) as error:
        raise BoardError(f"{lock_id} is provisioned, but does not report on itself: {error}") from None
    if not report.is_authentic(keys):
        raise BoardError(f"what calls itself {lock_id} at {port} does not have the key that it was given")
    return tuple(f"{each.what}: {each.advice}" for each in findings.judge(report.told) if each.is_wrong)


async def _report(port: str, lock_id: str, authority: Authority) -> diagnosis.Diagnosis:
    async with reach(port, lock_id) as phone:
        await begin(phone, authority)
        try:
            return await diagnosis.fetch(phone, lock_id)
        finally:
            await asyncio.to_thread(close, phone.wire)
