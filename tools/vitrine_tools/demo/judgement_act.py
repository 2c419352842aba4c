"""Act three: who may open, and when. Two persons, a revoked token, a lockdown, and a lock that has lost the time."""

import asyncio
import time

from .. import commanding, describe, names
from ..commanding import Number
from ..emulator import BumblePhone, EmulatedLock, VirtualRadio
from ..keys import PrivateKey
from ..phone import Outcome, Phone
from ..protocol import Reason
from . import cast
from .opening import HAND_S
from .stage import Stage

_LOCKDOWN = 2  # SPEC.md 6.2
_REVOKE_TOKEN = 1  # 11.2


class Case:
    """The case, and phones at it."""

    def __init__(self, stage: Stage, players: cast.Cast, radio: VirtualRadio, lock: EmulatedLock) -> None:
        self._stage = stage
        self._players = players
        self._radio = radio
        self._lock = lock

    async def open(self, who: str, token: bytes, holder: PrivateKey) -> Outcome:
        """Have somebody's phone ask; leave the door as it is."""
        async with BumblePhone(self._radio, who) as radio_phone:
            await radio_phone.connect(await radio_phone.scan(names.hint(cast.LOCK_ID)))
            return await Phone(radio_phone, cast.LOCK_ID).open(token, holder)

    async def expect(self, who: str, what: str, token: bytes, holder: PrivateKey, reason: Reason) -> None:
        """Have somebody ask, and check what they are told and what the strike does."""
        before = len(self._lock.pin_trace)
        outcome = await self.open(who, token, holder)
        moved = any(name == "STRIKE" and level for _, name, level in self._lock.pin_trace[before:])
        is_ok = outcome.reason == reason and moved == (reason == Reason.Granted)
        self._stage.check(who, what, f"was told {outcome.reason_name}", is_ok)

    async def command(self, what: str, number: Number, body: object, sequence: int | None) -> None:
        """Have a phone of nobody in particular bring a command, bound to a nonce of the lock."""
        async with BumblePhone(self._radio, "phone") as radio_phone:
            await radio_phone.connect(await radio_phone.scan(names.hint(cast.LOCK_ID)))
            phone = Phone(radio_phone, cast.LOCK_ID)
            cnonce, _ = await phone.fresh()
            command = commanding.Command(
                number=number, audiences=(cast.LOCK_ID,), body=body, sequence=sequence, cnonce=cnonce
            )
            answer = await phone.command(commanding.sign(command, self._players.headquarters).data)
        self._stage.check("lock", what, f"signed at headquarters: {answer.reason_name}", answer.is_done)


async def play(stage: Stage, players: cast.Cast, radio: VirtualRadio, lock: EmulatedLock) -> None:
    """Play the act."""
    stage.heading("Who may open, and when")
    case = Case(stage, players, radio, lock)
    holder, colleague = players.holder, players.colleague
    first = players.token(persons=2)
    second = players.token(persons=2, sub=b"staff-18", holder=colleague)
    await case.expect("phone", "asks for a case that needs two", first, holder, Reason.PersonsRequired)
    await case.expect("second", "asks as well, within 30 s", second, colleague, Reason.Granted)
    lock.pull_door()
    await asyncio.sleep(HAND_S)
    lock.set_door(True)
    await stage.expect("locked again", lambda r: r.get(1) == describe.LOCK_OPERATION and r.get(5) == 0)

    lost = players.token(cti=b"lost-phone")
    revoked = {1: 0, 2: [[_REVOKE_TOKEN, b"lost-phone", 0]], 3: players.issuer.public.kid}
    await case.command("takes a token back", Number.REVOKE, revoked, 1)
    await case.expect("phone", "shows the token all the same", lost, holder, Reason.Revoked)

    await case.command("is locked down", Number.SCENARIO, {_LOCKDOWN: True}, 1)
    await case.expect("phone", "tries a good token", players.token(), holder, Reason.LockedDown)
    await case.command("is released", Number.SCENARIO, {_LOCKDOWN: False}, 2)

    stage.say("power", "is cut; this lock has no battery")
    await lock.power_cut()
    await lock.start()
    await lock.wait_advertising()
    await case.expect("phone", "tries a good token", players.token(), holder, Reason.TimeUntrusted)
    await case.command("is told the time by any phone", Number.TIME, int(time.time()), None)
    await case.expect("phone", "tries again", players.token(), holder, Reason.Granted)
