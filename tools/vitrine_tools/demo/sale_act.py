"""An act at the till: a sale opens a case over the broker, somebody at the broker replays and forges, Wi-Fi drops."""

import asyncio
import json
import secrets
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import aiomqtt

from .. import cbor, commanding, cose, describe, names, protocol
from ..commanding_broker import connected
from ..emulator import BumblePhone, EmulatedLock, FlashImage, VirtualRadio
from ..phone import Phone
from ..pos.bridge import OPENED_TOPIC, SALE_TOPIC, Bridge, Shop
from ..pos.sale import ref_of
from ..pos.till_book import TillBook
from ..protocol import Reason
from . import cast
from .brokers import HOST, LocalBroker, local_broker
from .opening import HAND_S
from .stage import PATIENCE_S, Stage

_COMMAND_ERROR = 134  # SPEC.md section 7
_COMMAND_TOPIC = f"vitrine/{cast.LOCK_ID}/command"
_PATIENCE_S = 6 * PATIENCE_S  # the lock's pauses between two tries double


async def play(stage: Stage) -> None:
    """Play the act; stage.Failed if the story cannot go on."""
    stage.heading("A sale opens the case")
    players = cast.Cast()
    with tempfile.TemporaryDirectory(prefix="vitrine-sale-") as name:
        folder = Path(name)
        broker = local_broker(folder)
        await broker.start()
        flash = _flash(folder, players, broker)
        lock = EmulatedLock(VirtualRadio(), flash=flash, rtc_s=players.now_s, is_time_trusted=True)
        lock.listeners.append(stage.on_event)
        book = TillBook(folder / "sales.db")
        shop = Shop(issuer=players.till, fixtures=frozenset({cast.LOCK_ID}))
        bridge = Bridge(shop, broker.client("pos"), broker.client("pos"), book, lambda line: None)
        task = asyncio.create_task(bridge.run())
        try:
            async with connected(broker.client("intruder")) as intruder:
                await intruder.subscribe(f"vitrine/{cast.LOCK_ID}/#", qos=1)
                async with lock:
                    await _online(intruder)
                    stage.say("lock", "is online", f"Wi-Fi, {broker.name}")
                    heard = await _sell(stage, broker, intruder, lock)
                    await _attack(stage, players, intruder, heard, lock)
                    await _lose_wifi(stage, players, lock)
        finally:
            task.cancel()
            await asyncio.wait({task})
            book.close()
            await broker.stop()


def _flash(folder: Path, players: cast.Cast, broker: LocalBroker) -> Path:
    """Make the flash of a lock that knows its network, its broker and its till."""
    flash = FlashImage(folder / "sale-flash.bin").create()
    flash.provision(players.provision().to_bytes())
    flash.provision_journal(cast.LOCK_ID, secrets.token_bytes(32), players.now_s)
    own = broker.authority.issue(cast.LOCK_ID)
    settings = {1: 1, 2: HOST, 3: broker.port, 4: broker.authority.certificate_der}
    flash.nvs_put("vitrine", "mqtt", cbor.encode(settings | {5: own.certificate_der, 6: own.key_der}))
    flash.nvs_put("vitrine", "network", cbor.encode({1: 1, 2: b"Store", 3: "a passphrase"}))
    return flash.path


async def _online(watcher: aiomqtt.Client) -> None:
    """Wait until the lock says so itself."""
    async with asyncio.timeout(_PATIENCE_S):
        async for message in watcher.messages:
            if str(message.topic).endswith("/state") and not message.retain:
                return


async def _sell(stage: Stage, broker: LocalBroker, intruder: aiomqtt.Client, lock: EmulatedLock) -> bytes:
    """Sell one piece; return the command that the till's bridge sent for it, as the intruder heard it."""
    sale = "s" + secrets.token_hex(7)
    async with connected(broker.client("till")) as till:
        await till.subscribe(OPENED_TOPIC, qos=1)
        stage.say("till", "says that a piece is paid", f"reference {sale}, nothing personal")
        await till.publish(SALE_TOPIC, json.dumps({"sale": sale, "fixture": cast.LOCK_ID, "paid": True}), qos=1)
        record = await stage.expect("the opening on record", lambda r: r.get(1) == describe.LOCK_OPERATION and 9 in r)
        stage.check("strike", "energised", "for the case that was paid", lock.strike_energised)
        stage.check("lock", "has the sale on record", f"ref {record[9].hex()}: the sale's", record[9] == ref_of(sale))
        async with asyncio.timeout(_PATIENCE_S):
            told = json.loads((await anext(till.messages)).payload)
        stage.check("till", "is told", str(told["reason"]), told["opened"] is True)
    lock.pull_door()
    await asyncio.sleep(HAND_S)
    lock.set_door(True)
    await stage.expect("locked again", lambda r: r.get(1) == describe.LOCK_OPERATION and r.get(5) == 0)
    async with asyncio.timeout(_PATIENCE_S):
        async for message in intruder.messages:
            if str(message.topic) == _COMMAND_TOPIC:
                return bytes(message.payload)
    raise AssertionError("unreachable")


async def _attack(stage: Stage, players: cast.Cast, intruder: aiomqtt.Client, heard: bytes, lock: EmulatedLock) -> None:
    """Whoever owns the broker owns no lock."""
    before = len(lock.pin_trace)
    for what, payload, reason in (
        ("plays the till's command again", heard, Reason.SequenceStale),
        ("signs one himself, under the till's name", _forge(heard, players), Reason.CommandForged),
        ("sends the word UNLOCK", b"UNLOCK", Reason.CommandMalformed),
    ):
        stage.say("thief", what)
        await intruder.publish(_COMMAND_TOPIC, payload, qos=1)
        record = await stage.expect("it on record", lambda r: r.get(1) == _COMMAND_ERROR)
        moved = any(name == "STRIKE" and level for _, name, level in lock.pin_trace[before:])
        why = f"{protocol.reason_name(record.get(4, -1))}; the strike did not move"
        stage.check("thief", "is left standing", why, not moved and record.get(4) == reason)


def _forge(heard: bytes, players: cast.Cast) -> bytes:
    """The next command, as the till would have sent it, by somebody without its key."""
    envelope = commanding.parse(heard)
    command = replace(envelope.command, sequence=(envelope.command.sequence or 0) + 1)
    return cose.sign1(envelope.sign1.header, cbor.encode(command.to_map()), players.thief)


async def _lose_wifi(stage: Stage, players: cast.Cast, lock: EmulatedLock) -> None:
    """Wi-Fi drops in the middle of the day."""
    stage.say("wi-fi", "drops")
    lock.wifi.has_network = False
    await stage.expect("the loss on record", lambda r: r.get(15) == "wifi:lost", _PATIENCE_S)
    async with BumblePhone(lock.radio) as radio_phone:
        await radio_phone.connect(await radio_phone.scan(names.hint(cast.LOCK_ID)))
        outcome = await Phone(radio_phone, cast.LOCK_ID).open(players.token(), players.holder)
    stage.check("phone", "opens all the same", "over BLE", outcome.is_granted)
    stage.say("wi-fi", "is back")
    lock.wifi.has_network = True
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            while not lock.wifi.is_connected:
                await asyncio.sleep(0.05)
    stage.check("lock", "is in its network again", "by itself; it never opened one of its own", lock.wifi.is_connected)
