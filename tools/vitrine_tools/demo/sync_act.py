"""An act of its own: no broker while five people open the case; then it is back, and then somebody alters the evidence.

Plays on a lock with a sealed journal, a broker with TLS and client certificates, and a collector with SQLite.
"""

import asyncio
import secrets
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

from .. import cbor, names
from ..audit import image, query, verdict
from ..collector import escrow
from ..collector.intake import Intake
from ..collector.service import Collector
from ..collector.store import Store
from ..emulator import BumblePhone, EmulatedLock, FlashImage, VirtualRadio
from ..phone import Phone
from . import cast
from .brokers import HOST, LocalBroker, local_broker
from .stage import PATIENCE_S, Stage

PEOPLE = 5
_AROUND = 26  # bytes of a record in flash around its body (SPEC.md 8.2)
_LOCK_OPERATION, _FAULT, _UNLOCK = 2, 129, 1
_SYNC_PATIENCE_S = 4 * PATIENCE_S  # the lock's pause before it tries again has doubled some times


async def play_sync(stage: Stage) -> None:
    """Broker down, five unlocks, broker up; then one altered byte. Raises stage.Failed if the story cannot go on."""
    stage.heading("Five people open the case while no broker is there")
    players = cast.Cast()
    with tempfile.TemporaryDirectory(prefix="vitrine-sync-") as name:
        folder = Path(name)
        broker = local_broker(folder)
        flash = _provision(folder, players, broker)
        root_keys = escrow.Escrow(folder / "keys")
        stage.say("lock", "gets a sealed journal", "its root key goes into escrow, not into the lock")
        stage.say("broker", f"will be {broker.name}", "TLS, client certificates; it is off")
        store = Store(str(folder / "vitrine.db"))
        radio = VirtualRadio()
        lock = EmulatedLock(radio, flash=flash.path, rtc_s=players.now_s, is_time_trusted=True)
        lock.listeners.append(stage.on_event)
        try:
            async with lock:
                await _open_by_five(stage, players, radio, lock)
                stage.heading("The broker is back")
                await _collect(stage, broker, store, root_keys)
                await lock.power_cut()
        finally:
            await broker.stop()
        stage.heading("Somebody alters one byte of its flash, and puts the checksum right")
        _alter(stage, flash, root_keys, players.now_s)
        store.close()


def _provision(folder: Path, players: cast.Cast, broker: LocalBroker) -> FlashImage:
    """Make the flash of a lock that knows its issuer, its broker and the first key of its journal."""
    flash = FlashImage(folder / "sync-flash.bin").create()
    flash.provision(players.provision().to_bytes())
    root = secrets.token_bytes(32)
    escrow.save(folder / "keys", cast.LOCK_ID, players.now_s, root)
    flash.provision_journal(cast.LOCK_ID, root, players.now_s)
    identity = broker.authority.issue(cast.LOCK_ID)
    settings = {1: 1, 2: HOST, 3: broker.port, 4: broker.authority.certificate_der}
    flash.nvs_put("vitrine", "mqtt", cbor.encode(settings | {5: identity.certificate_der, 6: identity.key_der}))
    return flash


async def _open_by_five(stage: Stage, players: cast.Cast, radio: VirtualRadio, lock: EmulatedLock) -> None:
    await lock.wait_advertising()
    await stage.expect("no broker on record", lambda r: r.get(1) == _FAULT and str(r.get(15)).startswith("mqtt:"))
    stage.say("lock", "noticed that nobody listens", "one record, and it works on")
    granted = 0
    for _ in range(PEOPLE):
        async with BumblePhone(radio) as radio_phone:
            await radio_phone.connect(await radio_phone.scan(names.hint(cast.LOCK_ID)))
            outcome = await Phone(radio_phone, cast.LOCK_ID).open(players.token(), players.holder)
            granted += outcome.is_granted
    stage.check("phone", f"{granted} of {PEOPLE} unlocks granted", "no cloud, no broker, no network", granted == PEOPLE)


async def _collect(stage: Stage, broker: LocalBroker, store: Store, root_keys: escrow.Escrow) -> None:
    await broker.start()
    lines: list[str] = []
    collector = Collector(Intake(root_keys, store), broker.client(), lines.append)
    task = asyncio.create_task(collector.run())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_SYNC_PATIENCE_S):
                while len(_unlocks(store)) < PEOPLE:
                    await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.wait({task})
    numbers = _unlocks(store)
    is_ordered = len(numbers) == PEOPLE and numbers == sorted(numbers)
    shown = ", ".join(f"#{number}" for number in numbers)
    stage.check("collect", f"has all {PEOPLE} unlocks, in order", shown, is_ordered)
    judged = verdict.judge(store, root_keys)
    is_whole = bool(judged) and all(each.is_whole for each in judged)
    stage.check("collect", "verified every seal", judged[0].summary if judged else "nothing came", is_whole)


def _unlocks(store: Store) -> list[int]:
    """The numbers of the unlocks in the store, in the order in which they happened."""
    wanted = query.Filter(kinds=(_LOCK_OPERATION,))
    return [entry.sequence for entry in query.select(store, wanted) if entry.fields.get(5) == _UNLOCK]


def _alter(stage: Stage, flash: FlashImage, root_keys: escrow.Escrow, epoch: int) -> None:
    """Change who opened the case in one record, and put the checksum right, as somebody who knows the format would."""
    keys = root_keys.of(cast.LOCK_ID, epoch)
    data = bytearray(flash.read("journal"))
    if keys is None:
        return stage.check("audit", "could not begin", "no root key", False)
    before = image.verify(bytes(data), keys)
    stage.check("audit", "the flash image is whole", f"{len(before.records)} sealed records", before.is_whole)
    victim = next(
        place
        for place in image.read(bytes(data), keys).places
        if place.is_intact and place.record.sequence in before.records and b"staff-17" in place.record.body
    )
    size = -(-(len(victim.record.body) + _AROUND) // 16) * 16
    start = victim.sector * image.SECTOR
    at = start + victim.offset
    data[data.index(b"staff-17", at) + 7] ^= 0x0E  # staff-19
    seed = int.from_bytes(data[start + 28 : start + 32], "big")
    data[at + size - 4 : at + size] = zlib.crc32(data[at : at + size - 4], seed).to_bytes(4, "big")
    after = image.verify(bytes(data), keys)
    named = [finding for finding in after.findings if not finding.is_harmless]
    is_named = [finding.first for finding in named] == [victim.record.sequence]
    stage.check("audit", f"names record #{victim.record.sequence}", named[0].text if named else "", is_named)
    return None
