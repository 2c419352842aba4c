"""BLE: the GATT service and the advertisement of SPEC.md section 4, over aioble.

Owns connections, chunks and time limits. Knows nothing of tokens: whole messages go to an app.dispatch.Channel.
All security is above the link: no pairing, no bonding, any bytes may come from anyone.
"""

import asyncio
import binascii
import errno
import hashlib
import struct

import aioble
import bluetooth
from micropython import const

from vitrine.app.dispatch import REQUEST_BOUND
from vitrine.codec import chunks

from .ble_connections import guard

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from vitrine.app.dispatch import Channel, Dispatch

_SERVICE_UUID = const("b5a30001-7b1f-4e5d-9c41-76697472696e")
_REQUEST_UUID = const("b5a30002-7b1f-4e5d-9c41-76697472696e")
_ANSWER_UUID = const("b5a30003-7b1f-4e5d-9c41-76697472696e")

_NAME_UNPROVISIONED = const("vitrine")
_LINK_BLE = const(1)  # SPEC.md section 7, field 18

_ATT_MTU_MIN = const(23)  # until the phone asks for more (Bluetooth Core, vol 3, part F, 3.2.8)
_ATT_MTU_MAX = const(247)  # one data packet of 251 bytes
_IDLE_MS = const(5_000)
_TOTAL_MS = const(15_000)
_EVICT_AFTER_MS = const(1_000)
# who shows a good token and then confirms takes a while; whoever copied one does not keep the rest out for ever
_EVICT_ACCEPTED_AFTER_MS = const(8_000)
# NimBLE has 4 connections; the last is kept free so that a new phone can always knock.
_PEERS_MAX = const(3)
# The advertisement is made anew at least this often: its state bits follow the clock, and a lost one comes back.
_READVERTISE_MS = const(10_000)
_NOTIFY_TRIES = const(40)
_NOTIFY_PAUSE_MS = const(5)
_FLUSH_MS = const(30)

# the service's UUID as it goes over the air: least significant byte first
_SERVICE_DATA_UUID = bytes(reversed(binascii.unhexlify(_SERVICE_UUID.replace("-", ""))))
_SERVICE_DATA_VERSION = const(1)
_STATE_PROVISIONED = const(1)
_STATE_TIME_KNOWN = const(2)
_NAME_MAX = const(29)

_FAULT = const(129)  # SPEC.md section 7


def hint(lock_id: str) -> bytes:
    """Return the 6 bytes by which phones find the lock without connecting (SPEC.md section 1)."""
    return hashlib.sha256(b"vitrine/hint" + lock_id.encode()).digest()[:6]


class Peer:
    """One connected phone."""

    def __init__(self, connection, channel: "Channel", now_ms: int) -> None:
        self.connection = connection
        self.channel = channel
        self.since_ms = now_ms
        self.assembler = chunks.Assembler(REQUEST_BOUND)
        self.arrived = asyncio.Event()
        self.message: "bytes | None" = None
        self.broken = False

    def feed(self, chunk: bytes) -> None:
        """Take one chunk; sets `arrived` when there is something to answer."""
        if self.arrived.is_set():
            return  # a phone that does not wait for its answer is not heard
        try:
            self.message = self.assembler.feed(chunk)
        except (chunks.ChunkError, MemoryError):
            self.broken = True  # and no more: who calls this does so for all phones
        if self.broken or self.message is not None:
            self.arrived.set()

    def take(self) -> "bytes | None":
        """Return the message that arrived, or None if the framing was broken."""
        message, self.message, self.broken = self.message, None, False
        self.arrived.clear()
        return message


class BleLink:
    """The lock's BLE server. lock_id is empty while the lock is unprovisioned."""

    def __init__(self, dispatch: "Dispatch", events, lock_id: str, advertise_ms: int) -> None:
        self._dispatch = dispatch
        self._clock = dispatch.clock
        self._events = events
        self._lock_id = lock_id
        self._advertise_ms = advertise_ms
        self._peers: "list[Peer]" = []
        self.is_on_air = False

    async def run(self, vote) -> None:
        """Serve for ever; raises OSError or what else ends it when the radio fails, and can then be run again."""
        vote()  # a radio that is dead must not take the lock down: over Wi-Fi it still opens
        request, answer = self._start()
        receiver = asyncio.create_task(self._receive(request))
        try:
            while True:
                vote()
                if receiver.done():
                    await receiver  # raises what ended it: a radio that hears nobody is to begin anew
                connection = await self._advertise()
                self.is_on_air = True  # for a whole period, or somebody has come
                if connection is not None:
                    self._admit(connection, answer)
        finally:
            self.is_on_air = False
            receiver.cancel()
            self._peers.clear()
            aioble.stop()

    def _start(self):
        guard()
        aioble.config(mtu=_ATT_MTU_MAX, gap_name=self._name())
        service = aioble.Service(bluetooth.UUID(_SERVICE_UUID))
        # write with response only: the phone's stack then paces it to what the queue of aioble holds
        request = aioble.BufferedCharacteristic(
            service, bluetooth.UUID(_REQUEST_UUID), write=True, capture=True, max_len=_ATT_MTU_MAX - 3
        )
        answer = aioble.Characteristic(service, bluetooth.UUID(_ANSWER_UUID), notify=True)
        aioble.register_services(service)
        return request, answer

    async def _advertise(self):
        """Return the next connection, or None when the advertisement is to be made anew."""
        advertisement, scan_response = self._advertisement()
        try:
            connection = await aioble.advertise(
                self._advertise_ms * 1000,
                adv_data=advertisement,
                resp_data=scan_response,
                timeout_ms=_READVERTISE_MS,
            )
        except asyncio.TimeoutError:
            return None
        except OSError as error:
            if error.errno != errno.ENOMEM or not self._peers:
                raise
            # All connections are taken for a moment: the one being ended frees its place.
            await asyncio.sleep_ms(_FLUSH_MS)
            return None
        if connection is None:
            # aioble.advertise swallows a cancellation and returns None
            raise asyncio.CancelledError
        return connection

    def _advertisement(self) -> "tuple[bytes, bytes]":
        state = _STATE_PROVISIONED if self._lock_id else 0
        if self._clock.reading()[1]:  # trusted or coasting
            state |= _STATE_TIME_KNOWN
        service_data = _SERVICE_DATA_UUID + struct.pack("BB", _SERVICE_DATA_VERSION, state) + hint(self._lock_id)
        return b"\x02\x01\x06" + _structure(0x21, service_data), _structure(0x09, self._name().encode())

    def _name(self) -> str:
        """What people read. Cut to what a scan response holds; NimBLE takes 31 at most, and a lock id may have 32."""
        return (self._lock_id or _NAME_UNPROVISIONED)[:_NAME_MAX]

    def _admit(self, connection, answer) -> None:
        now_ms = self._clock.ticks_ms()
        if len(self._peers) >= _PEERS_MAX:
            victim = self._evictable(now_ms)
            asyncio.create_task(self._disconnect(connection if victim is None else victim.connection))
            if victim is None:
                return
            self._peers.remove(victim)
        device = connection.device
        channel = self._dispatch.channel(_LINK_BLE, bytes((device.addr_type,)) + device.addr)
        try:
            peer = Peer(connection, channel, now_ms)
            asyncio.create_task(self._serve(peer, answer))
            self._peers.append(peer)
        except MemoryError:
            channel.close()  # or the lock would be in session for ever
            raise

    def _evictable(self, now_ms: int) -> "Peer | None":
        """The phone that gives way: the oldest with nothing to show; else the oldest whose person takes long."""
        for standing, after_ms in ((0, _EVICT_AFTER_MS), (1, _EVICT_ACCEPTED_AFTER_MS)):
            for peer in self._peers:  # oldest first
                age_ms = self._clock.ticks_diff(now_ms, peer.since_ms)
                if peer.channel.standing == standing and age_ms >= after_ms:
                    return peer
        return None

    async def _receive(self, request) -> None:
        """Hand each written chunk to its phone. Cheap: the work is done in the phone's own task."""
        while True:
            connection, chunk = await request.written()
            for peer in self._peers:
                if peer.connection is connection:
                    peer.feed(chunk)

    async def _serve(self, peer: Peer, answer) -> None:
        connection = peer.connection
        try:
            while not peer.channel.is_exhausted:
                left_ms = _TOTAL_MS - self._clock.ticks_diff(self._clock.ticks_ms(), peer.since_ms)
                if left_ms <= 0 or not connection.is_connected():
                    break
                with connection.timeout(min(_IDLE_MS, left_ms)):
                    await peer.arrived.wait()
                message = peer.take()
                reply = peer.channel.malformed() if message is None else peer.channel.handle(message)
                await self._send(connection, answer, reply)
        except (asyncio.TimeoutError, aioble.DeviceDisconnectedError):
            pass
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                self._events.record(_FAULT, {15: "ble %d" % (error.errno or 0), 18: _LINK_BLE})
        except Exception as error:  # noqa: BLE001
            # One phone's trouble must not take the radio away from the others.
            self._events.record(_FAULT, {15: "ble " + type(error).__name__[:24], 18: _LINK_BLE})
        finally:
            if peer in self._peers:
                self._peers.remove(peer)
            peer.channel.close()
        await self._disconnect(connection)

    async def _send(self, connection, answer, reply: bytes) -> None:
        """Notify `reply` chunk by chunk; waits for the stack's buffers, not for ever."""
        mtu = min(connection.mtu or _ATT_MTU_MIN, _ATT_MTU_MAX)
        for chunk in chunks.split(reply, mtu):
            for tries_left in range(_NOTIFY_TRIES, -1, -1):
                try:
                    answer.notify(connection, chunk)
                    break
                except OSError as error:
                    if error.errno != errno.ENOMEM or not tries_left or not connection.is_connected():
                        raise
                await asyncio.sleep_ms(_NOTIFY_PAUSE_MS)

    async def _disconnect(self, connection) -> None:
        if connection.is_connected():
            await asyncio.sleep_ms(_FLUSH_MS)  # let the last answer leave
        try:
            await connection.disconnect()
        except (OSError, asyncio.TimeoutError, aioble.DeviceDisconnectedError):
            pass


def _structure(kind: int, data: bytes) -> bytes:
    """One AD structure (Bluetooth Core, vol 3, part C, 11)."""
    return bytes((len(data) + 1, kind)) + data
