"""Act one: a phone finds the lock, opens it, and the case is locked again when its door has closed."""

import asyncio

from .. import describe, names
from ..emulator import BumblePhone, EmulatedLock, VirtualRadio
from ..phone import Phone
from ..protocol import Action
from . import cast
from .stage import Stage

_DOOR_OPEN, _DOOR_CLOSED = 0, 1
# A person, not a machine, moves the door.
HAND_S = 0.4


async def play(stage: Stage, players: cast.Cast, radio: VirtualRadio, lock: EmulatedLock) -> None:
    """Unlock, open, close, relock. Raises stage.Failed if the story cannot go on."""
    stage.heading("A phone opens the case")
    token = players.token()
    stage.say("phone", "has a token for eight hours", f"{cast.GROUP}, {len(token)} bytes, bound to the holder's key")
    async with BumblePhone(radio) as radio_phone:
        address = await radio_phone.scan(names.hint(cast.LOCK_ID))
        stage.say("phone", f"found {cast.LOCK_ID}", "by the hint in its advertisement, without connecting")
        await radio_phone.connect(address)
        stage.say("phone", "connected", f"ATT_MTU {radio_phone.att_mtu}")
        phone = Phone(radio_phone, cast.LOCK_ID)
        outcome = await phone.open(token, players.holder, action=Action.UNLOCK)
        timings = outcome.timings_ms
        stage.check(
            "phone",
            "unlocked" if outcome.is_granted else f"refused: {outcome.reason_name}",
            f"hello {timings['hello']:.0f} ms, token {timings['present']:.0f} ms, proof {timings['act']:.0f} ms",
            outcome.is_granted,
        )
        await stage.expect("the grant on record", lambda r: r.get(1) == describe.LOCK_OPERATION and r.get(5) == 1)
    stage.check("strike", "energised", "the bolt is free", lock.strike_energised)
    await asyncio.sleep(HAND_S)
    lock.pull_door()
    await stage.expect("the opened door on record", lambda r: r.get(1) == 1 and r.get(10) == _DOOR_OPEN)
    stage.check("strike", "without current", "an open door needs none", not lock.strike_energised)
    await asyncio.sleep(HAND_S)
    lock.set_door(True)
    await stage.expect("the closed door on record", lambda r: r.get(1) == 1 and r.get(10) == _DOOR_CLOSED)
    record = await stage.expect("locked again", lambda r: r.get(1) == describe.LOCK_OPERATION and r.get(5) == 0)
    stage.check("lock", "relocked by itself", "only after the door had closed", record.get(17) == 1)
