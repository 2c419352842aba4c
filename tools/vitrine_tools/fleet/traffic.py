"""People at a fleet: a small pool of phones that open locks, again and again, and somebody who pulls the door."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from bumble.att import ATT_Error

from ..emulator import BumblePhone, PhoneError, VirtualRadio
from ..errors import LinkError
from ..phone import Phone
from ..protocol import ProtocolError
from .member import Member

_FAILURES = (PhoneError, LinkError, ProtocolError, ATT_Error, TimeoutError)
_KEPT: Final = 2048  # of the latest unlocks, for the percentiles
_DOOR_S: Final = 0.3
_GOODBYE_S: Final = 5.0
_TRIES: Final = 4  # to find a lock at which nobody stands


class Traffic:
    """Traffic(radio, members, phones, door_s). `async with` switches the phones on.

    `run(per_minute)` unlocks until cancelled.
    door_s: until somebody pulls the door, and as long it stays open.
    latencies_ms: from a connection to "unlocked" (hello, present, act), of the latest unlocks that were granted.
    """

    def __init__(
        self, radio: VirtualRadio, members: Callable[[], Sequence[Member]], phones: int, door_s: float = _DOOR_S
    ) -> None:
        self._members = members
        self._door_s = door_s
        self._phones = [BumblePhone(radio, f"phone-{n}") for n in range(1, phones + 1)]
        self._waiting: asyncio.Queue[Member] = asyncio.Queue(2 * phones)
        self.latencies_ms: deque[float] = deque(maxlen=_KEPT)
        self.connect_ms: deque[float] = deque(maxlen=_KEPT)
        self.missed = 0  # unlocks that should have been, but no phone was free
        self.last_failure = ""

    async def __aenter__(self) -> "Traffic":
        for phone in self._phones:
            await phone.power_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        for phone in self._phones:
            await phone.close()

    async def run(self, per_minute: float) -> None:
        """Unlock at random times and places, so often on average over the whole fleet."""
        async with asyncio.TaskGroup() as tasks:
            for phone in self._phones:
                tasks.create_task(self._carry(phone))
            due_s = time.monotonic()
            while True:
                due_s += random.expovariate(per_minute / 60)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                member = self._choose()
                if member is None or self._waiting.full():
                    self.missed += 1
                else:
                    member.is_visited = True
                    self._waiting.put_nowait(member)

    def _choose(self) -> Member | None:
        members = self._members()
        for _ in range(_TRIES if members else 0):
            member = random.choice(members)
            if not member.is_visited:
                return member
        return None

    async def _carry(self, phone: BumblePhone) -> None:
        while True:
            member = await self._waiting.get()
            try:
                await self.visit(phone, member)
            finally:
                member.is_visited = False

    async def visit(self, phone: BumblePhone, member: Member) -> bool:
        """Open one lock, as a person does: phone, door, gone. Returns whether it was granted."""
        is_granted = False
        try:
            begin_s = time.perf_counter()
            await phone.connect(member.lock.address)
            connected_s = time.perf_counter()
            outcome = await Phone(phone, member.lock_id).open(member.token(), member.holder)
            is_granted = outcome.is_granted
            if is_granted:
                self.connect_ms.append((connected_s - begin_s) * 1000)
                self.latencies_ms.append(outcome.timings_ms["total"])
                member.granted += 1
            else:
                member.refused += 1
                self.last_failure = f"{member.lock_id}: {outcome.reason_name or outcome.status.name}"
            await phone.disconnect()
            async with asyncio.timeout(_GOODBYE_S):
                await phone.disconnected.wait()
        except _FAILURES as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from error  # the phone took the end of its task for that of its connection
            member.failed += 1
            self.last_failure = f"{member.lock_id}: {error}"
            await phone.close()  # whatever state it is in: as if it had been switched off and on
            await phone.power_on()
        if is_granted:
            await self._use_door(member)
        return is_granted

    async def _use_door(self, member: Member) -> None:
        await asyncio.sleep(self._door_s)
        if member.lock.pull_door():
            await asyncio.sleep(self._door_s)
            member.lock.set_door(True)
