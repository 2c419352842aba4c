"""Bringing an update to a lock over whatever link there is, from where it stopped (SPEC.md section 20.2).

The lock says at each step which byte it wants; so nothing is remembered here, and a link may break at any moment. What
it says is input from a stranger: whoever answers can waste our time, but not for ever, and change nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Protocol

from .. import protocol
from ..errors import LinkError
from ..protocol import ProtocolError, Reason, Status
from .component import BLOCK, Component
from .manifest import MAX_SEQUENCE, Signed

SMALL_PIECE: Final = 512  # over BLE and the console: a request has at most 768 bytes
LARGE_PIECE: Final = 1024  # over HTTP and MQTT
# what a person may not take from the reason's name
_MEANINGS: Final[dict[int, str]] = {
    Reason.SequenceStale: "it runs this one or a newer one, or did once",
    Reason.PreconditionFailed: "its battery, or what it runs, is not what the manifest asks for",
}
_MANIFEST, _OFFSET, _BYTES, _SHADOW = 1, 2, 3, 4
_STATE, _WANTED, _RUNNING, _COMING, _REASON = 1, 2, 3, 4, 5
_DAMAGED_MAX = 5  # so often in a row a block may arrive other than it was sent
_MALFORMED_MAX = 3
_PAUSE_MAX_S = 10.0


class State(IntEnum):
    """Where an update is."""

    IDLE = 0
    RECEIVING = 1
    STAGED = 2
    TRIAL = 3
    RETURNED = 4


class Refused(Exception):
    """The lock does not take this update. `reason` is None when it says none: it does not know who signed it."""

    def __init__(self, text: str, reason: int | None = None) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Report:
    """What a lock says of its updates. Nothing proves it: its sealed records do."""

    state: State
    wanted: int | None = None
    running: int | None = None
    coming: int | None = None
    reason: int | None = None

    @property
    def reason_name(self) -> str | None:
        """The reason's name in SPEC.md section 3.1, or None."""
        return None if self.reason is None else protocol.reason_name(self.reason)


class Link(Protocol):
    """One connection to one lock. `piece`: how many bytes of the stream one request may carry."""

    piece: int

    async def ask(self, body: dict[int, Any]) -> tuple[Status, Any]:
        """Ask op 9; LinkError when the connection is of no use any more, ProtocolError for what is no answer."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[Link]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a sender goes on, in seconds: without progress; and for the lock to come back after it is staged.

    quiet_s: how long it leaves a lock alone that has it staged: longer than the 5 s for which who asks is a visitor.
    """

    silent_s: float = 120.0
    wait_s: float = 300.0
    pause_s: float = 0.5
    poll_s: float = 2.0
    quiet_s: float = 6.0


def read_report(status: Status, body: Any) -> Report:
    """Return what the lock says; Refused, or ProtocolError if it is no answer to op 9. BUSY is the caller's."""
    if status == Status.REFUSED:
        reason = body.get(_REASON) if isinstance(body, dict) else None
        if reason is not None and (type(reason) is not int or not 0 < reason <= 255):
            raise ProtocolError("a refusal with something else where a reason belongs")
        if reason is None:
            raise Refused("it gives no reason (is it for this board, by one of its issuers with the scope update?)")
        meaning = _MEANINGS.get(reason)
        raise Refused(protocol.reason_name(reason) + (f": {meaning}" if meaning else ""), reason)
    if status != Status.OK or not isinstance(body, dict) or not body.keys() <= set(range(_STATE, _REASON + 1)):
        raise ProtocolError("an answer that tells no state of an update")
    bounds = {_STATE: max(State), _WANTED: 2**32 - 1, _RUNNING: MAX_SEQUENCE, _COMING: MAX_SEQUENCE, _REASON: 255}
    for key, value in body.items():
        if type(value) is not int or not 0 <= value <= bounds[key]:
            raise ProtocolError("an answer with something else where a number belongs")
    if _STATE not in body:
        raise ProtocolError("an answer without a state")
    return Report(State(body[_STATE]), *(body.get(key) for key in (_WANTED, _RUNNING, _COMING, _REASON)))


async def ask_state(connect: Connect) -> Report:
    """Ask a lock where it is; LinkError, ProtocolError or Refused."""
    async with connect() as link:
        status, body = await link.ask({})
        if status == Status.BUSY:
            raise LinkError("it is busy: somebody is in session")
        return read_report(status, body)


class Sender:
    """Brings one update to one lock. `told(report, sent, total)` hears of every answer.

    connect: makes a new connection, each time it is called. ManifestError from the start if the manifest is for
    another component.
    """

    def __init__(
        self,
        connect: Connect,
        signed: Signed,
        component: Component,
        *,
        is_shadow: bool = False,
        patience: Patience | None = None,
        told: Callable[[Report, int, int], None] = lambda _report, _sent, _total: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        signed.check(component)
        self._connect = connect
        self._signed = signed
        self._stream = component.stream
        self._is_shadow = is_shadow
        self._patience = patience or Patience()
        self._told = told
        self._sleep = sleep
        self._clock = clock
        self._best = -1
        self._progress_s = 0.0
        self._pause_s = 0.0
        self._sent = 0  # bytes, those sent again too
        self.connections = 0

    async def push(self) -> Report:
        """Send what the lock wants until it has all of it, or runs it; return where it is then.

        Refused if it does not take it; LinkError if nothing moved for `silent_s`.
        """
        self._moved()
        malformed = 0
        while True:
            try:
                self.connections += 1
                async with self._connect() as link:
                    return await self._over(link)
            except LinkError as error:
                last = str(error)
            except ProtocolError as error:
                last = str(error)
                malformed += 1
                if malformed >= _MALFORMED_MAX:
                    raise
            await self._pause(last)

    async def wait(self) -> Report:
        """Wait until the lock has confirmed the update, or gone back; LinkError if it says neither in `wait_s`."""
        end_s = self._clock() + self._patience.wait_s
        last = "it did not answer"
        pause_s = self._patience.quiet_s
        while True:
            await self._sleep(pause_s)
            pause_s = self._patience.poll_s
            try:
                report = await ask_state(self._connect)
                self._told(report, len(self._stream), len(self._stream))
                if self.is_confirmed(report) or self._has_returned(report):
                    return report
                last = f"it is {report.state.name.lower()}"
                if report.state is State.STAGED:
                    last += ": is somebody in session, or the door not closed and locked?"
                    pause_s = self._patience.quiet_s
                self._check_ours(report)
            except (LinkError, ProtocolError) as error:
                last = str(error)
            if self._clock() >= end_s:
                raise LinkError(f"not confirmed within {self._patience.wait_s:g} s: {last}")

    async def look(self) -> Report:
        """Return where the lock is; LinkError if it does not say so for `silent_s`."""
        self._moved()
        while True:
            try:
                return await ask_state(self._connect)
            except LinkError as error:
                last = str(error)
            await self._pause(last)

    def is_confirmed(self, report: Report) -> bool:
        """Whether this update runs, and for good."""
        return self._is_running(report) and report.state is not State.TRIAL

    async def _over(self, link: Link) -> Report:
        """Send over one connection until all is there."""
        begin: dict[int, Any] = {_MANIFEST: self._signed.data} | ({_SHADOW: True} if self._is_shadow else {})
        report = await self._asked(link, {})
        if self._is_running(report):
            return report
        try:
            report = await self._asked(link, begin)
        except Refused as refusal:
            if refusal.reason == Reason.SequenceStale and self._has_returned(report):
                return report  # it takes none again that did not pass
            raise
        damaged = 0
        while True:
            self._check_ours(report)
            if report.state is State.TRIAL and not self._sent and not self._is_running(report):
                await self._pause("another update is on trial there")
                report = await self._asked(link, begin)
                continue
            if report.state is not State.RECEIVING:
                return report
            at = report.wanted
            if at is None or at > len(self._stream):
                raise ProtocolError("the lock wants what is not there")
            if at > self._best:
                self._best = at
                self._moved()
            damaged = damaged + 1 if report.reason == Reason.DigestMismatch else 0
            if damaged > _DAMAGED_MAX:
                raise Refused(protocol.reason_name(Reason.DigestMismatch), int(Reason.DigestMismatch))
            if self._sent > 4 * len(self._stream) + 64 * BLOCK:
                raise Refused("it asks for the same over and over")
            piece = self._stream[at : at + link.piece]
            if not piece:  # all is there; it reads it back
                await self._pause("it does not finish")
                report = await self._asked(link, {})
                continue
            self._sent += len(piece)
            report = await self._asked(link, {_OFFSET: at, _BYTES: piece})

    async def _asked(self, link: Link, body: dict[int, Any]) -> Report:
        """Ask, and again while the lock is busy."""
        while True:
            status, answer = await link.ask(body)
            if status == Status.BUSY:
                await self._pause("it is busy: somebody is in session")
                continue
            report = read_report(status, answer)
            self._told(report, min(report.wanted or 0, len(self._stream)), len(self._stream))
            return report

    def _is_running(self, report: Report) -> bool:
        return report.running == self._signed.manifest.sequence

    def _has_returned(self, report: Report) -> bool:
        return report.state is State.RETURNED and report.coming == self._signed.manifest.sequence

    def _check_ours(self, report: Report) -> None:
        """Refused if the lock has let go of this update."""
        if report.coming not in (None, self._signed.manifest.sequence):
            raise Refused(f"another update, with the sequence {report.coming}, is on its way to it")
        if report.state is State.IDLE and not self._is_running(report):
            if report.reason is None:
                raise Refused("it has let go of the update: another one took its place, or it was wiped")
            raise Refused(protocol.reason_name(report.reason), report.reason)

    def _moved(self) -> None:
        self._progress_s = self._clock()
        self._pause_s = 0.0

    async def _pause(self, why: str) -> None:
        """Wait before the next try, longer each time; LinkError when nothing has moved for long."""
        if self._clock() - self._progress_s >= self._patience.silent_s:
            raise LinkError(f"nothing moved for {self._patience.silent_s:g} s: {why}")
        self._pause_s = min(2 * self._pause_s or self._patience.pause_s, _PAUSE_MAX_S)
        await self._sleep(self._pause_s)
