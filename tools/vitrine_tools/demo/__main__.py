"""Play the demo: `python -m vitrine_tools.demo [--json]`. Exit status 0 only if every step came out as it must."""

import asyncio
import sys
import tempfile
from pathlib import Path

from .. import phone, protocol
from ..emulator import EmulatedLock, EmulatorError, PhoneError, VirtualRadio, aioble_in_use
from . import attacks, cast, field_act, judgement_act, opening, sale_act, sync_act
from .stage import Failed, Stage


async def play(stage: Stage) -> int:
    """Play all acts; return the exit status."""
    stage.heading("Before the store opens")
    players = cast.Cast()
    stage.say("issuer", "makes its key", f"kid {players.issuer.public.kid.hex()}")
    stage.say("phone", "makes the holder's key", "it never leaves the phone")
    with tempfile.TemporaryDirectory(prefix="vitrine-demo-") as folder:
        radio = VirtualRadio()
        lock = EmulatedLock(
            radio,
            flash=Path(folder) / "flash.bin",
            provision=players.provision().to_bytes(),
            rtc_s=players.now_s,
            is_time_trusted=True,
        )
        lock.listeners.append(stage.on_event)
        stage.say("lock", "is provisioned and switched on", f"{cast.LOCK_ID}, trusts one issuer; {aioble_in_use()}")
        try:
            async with lock:
                await lock.wait_advertising()
                stage.say("lock", "is on the air")
                await opening.play(stage, players, radio, lock)
                await attacks.play(stage, players, radio, lock)
                await judgement_act.play(stage, players, radio, lock)
            await sync_act.play_sync(stage)
            await sale_act.play(stage)
            await field_act.play(stage)
        except Failed:
            pass
        except (EmulatorError, PhoneError, phone.LinkError, protocol.ProtocolError) as error:
            stage.check("demo", "could not go on", str(error), False)
    return stage.end()


def main() -> int:
    """Return the exit status."""
    unknown = [word for word in sys.argv[1:] if word != "--json"]
    if unknown:
        print("usage: python -m vitrine_tools.demo [--json]", file=sys.stderr)
        return 2
    try:
        return asyncio.run(play(Stage(is_json="--json" in sys.argv)))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
