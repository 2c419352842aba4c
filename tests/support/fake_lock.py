"""A lock for tests of the phone's side: the server of SPEC.md sections 3 and 4, with nothing behind it that moves.

Over Bumble it is a GATT server; over memory it answers a transport directly. What it decides comes from vitrine_tools'
own verifier, so it proves that the phone keeps to the protocol, not that the firmware does.
"""

import asyncio
import secrets

from bumble import core
from bumble.device import AdvertisingType, Connection, Device, LegacyAdvertiser
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import Address, OwnAddressType

from vitrine_tools import cbor, cose, protocol, tokens
from vitrine_tools.emulator.radio import RadioController, VirtualRadio, make_device
from vitrine_tools.protocol import Action, Op, Reason, Status
from vitrine_tools.provisioning import Provision
from vitrine_tools.verify import Situation, verify

DOOR_CLOSED = 1
UNLOCKED = 2
AUDIT = [7, bytes(range(32))]


class FakeSession:
    """One connection's requests and answers. `now_s` is the lock's clock."""

    def __init__(self, provision: Provision, now_s: int) -> None:
        self.provision = provision
        self.now_s = now_s
        self.operations: list[Action] = []
        self.requests: list[list] = []
        self._nonce = b""
        self._token: tokens.Token | None = None

    def handle(self, request: bytes) -> bytes:
        """Return the answer's bytes."""
        op, request_id, body = cbor.decode(request, protocol.MAX_REQUEST)
        self.requests.append([op, request_id, body])
        status, answer = self._perform(op, body)
        return cbor.encode([request_id, int(status), answer])

    def _perform(self, op: int, body: object) -> tuple[Status, object]:
        lock_id = self.provision.lock_id
        match op:
            case Op.HELLO:
                return Status.OK, {1: lock_id, 2: 1, 3: self._new_nonce(), 4: 1, 5: AUDIT}
            case Op.PRESENT if isinstance(body, bytes):
                verdict = verify(body, self._situation())
                self._token = verdict.token
                if verdict.reason == Reason.Granted:
                    return Status.OK, {1: protocol.token_hash(body)}
                return Status.REFUSED, None
            case Op.ACT if isinstance(body, dict):
                return self._act(Action(body[1]), body[2], body[3])
            case Op.STATUS:
                return Status.OK, {1: lock_id, 3: UNLOCKED, 4: DOOR_CLOSED, 5: 1}
            case Op.IDENTIFY:
                return Status.OK, None
        return Status.MALFORMED, None

    def _act(self, action: Action, uv: bool, proof: bytes) -> tuple[Status, object]:
        used, nonce = self._nonce, self._new_nonce()
        if self._token is None:
            return Status.REFUSED, {2: nonce}
        payload = protocol.proof_payload(
            self.provision.lock_id, used, action, uv, protocol.token_hash(self._token.data)
        )
        sign1 = cose.parse_sign1(proof, 96)
        issuer = self.provision.issuer_of(self._token.kid)
        is_authentic = sign1.payload is None and sign1.is_signed_by(self._token.claims.holder, payload)
        if not is_authentic or issuer is None or not self._token.is_signed_by(issuer.public_key):
            return Status.REFUSED, {2: nonce}
        reason = verify(self._token.data, self._situation(action, uv)).reason
        if reason != Reason.Granted:
            return Status.REFUSED, {1: int(reason), 2: nonce}
        self.operations.append(action)
        return Status.OK, {2: nonce, 3: UNLOCKED, 4: DOOR_CLOSED}

    def _situation(self, action: Action = Action.UNLOCK, uv: bool = True) -> Situation:
        return Situation(now_s=self.now_s, provision=self.provision, action=action, is_user_verified=uv)

    def _new_nonce(self) -> bytes:
        self._nonce = secrets.token_bytes(16)
        return self._nonce


class MemoryTransport:
    """A transport straight into a session, in chunks as on the air."""

    def __init__(self, session: FakeSession, mtu: int = 23) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.att_mtu = mtu
        self.session = session
        self.written: list[bytes] = []
        self._assembler = protocol.Assembler(protocol.MAX_REQUEST)

    async def write_chunk(self, chunk: bytes) -> None:
        if len(chunk) > self.att_mtu - 3:
            raise AssertionError("a chunk over the ATT_MTU")
        self.written.append(chunk)
        request = self._assembler.feed(chunk)
        if request is not None:
            for piece in protocol.split(self.session.handle(request), self.att_mtu):
                self.chunks.put_nowait(piece)

    async def read_chunk(self) -> bytes:
        return await self.chunks.get()


class Peripheral:
    """A Bumble device on the virtual radio that advertises what it is told."""

    def __init__(self, radio: VirtualRadio, name: str) -> None:
        address = Address(bytes(radio.next_address()), Address.PUBLIC_DEVICE_ADDRESS)
        self._controller = RadioController(name, radio, address)
        self._name = name
        self.address = address.to_string(False)

    async def start(self) -> Device:
        self.device = await make_device(self._name, self._controller, self._controller.link.next_address())
        return self.device

    def advertise(self, data: bytes, scan_response: bytes = b"", interval_ms: int = 20) -> None:
        kind = AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE
        self.device.legacy_advertiser = LegacyAdvertiser(self.device, kind, OwnAddressType.PUBLIC, Address.ANY, False)
        self._controller.le_legacy_advertiser.begin(interval_ms * 1000, data, scan_response, True)

    def stop_advertising(self) -> None:
        self._controller.le_legacy_advertiser.stop()

    def vanish(self) -> None:
        """Leave the air, as when the power fails."""
        self._controller.vanish()


def structure(kind: int, content: bytes) -> bytes:
    """One AD structure."""
    return bytes([len(content) + 1, kind]) + content


SERVICE_LE = bytes(reversed(bytes.fromhex(protocol.SERVICE_UUID.replace("-", ""))))


class BumbleLock(Peripheral):
    """The lock as a BLE peripheral: advertises, serves one session to each connection."""

    def __init__(
        self, radio: VirtualRadio, provision: Provision, now_s: int, max_mtu: int = 247, interval_ms: int = 20
    ) -> None:
        super().__init__(radio, provision.lock_id)
        self.provision = provision
        self.now_s = now_s
        self.connections: list[Connection] = []
        self.sessions: list[FakeSession] = []
        self.longest_write = 0
        self._max_mtu = max_mtu
        self._interval_ms = interval_ms
        self._of_connection: dict[int, tuple[FakeSession, protocol.Assembler]] = {}
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> Device:
        device = await super().start()
        device.gatt_server.max_mtu = self._max_mtu
        self._answer = Characteristic(
            core.UUID(protocol.ANSWER_UUID), Characteristic.Properties.NOTIFY, Characteristic.Permissions(0), b""
        )
        request = Characteristic(
            core.UUID(protocol.REQUEST_UUID),
            Characteristic.Properties.WRITE,
            Characteristic.Permissions.WRITEABLE,
            CharacteristicValue(write=self._written),
        )
        device.add_service(Service(core.UUID(protocol.SERVICE_UUID), [request, self._answer]))
        device.on("connection", self._connected)
        self._advertise()
        return device

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.vanish()

    def _advertise(self) -> None:
        data = SERVICE_LE + bytes([1, 3]) + self.provision.hint
        name = structure(0x09, self.provision.lock_id.encode()[:29])
        self.advertise(b"\x02\x01\x06" + structure(0x21, data), name, self._interval_ms)

    def _connected(self, connection: Connection) -> None:
        self.connections.append(connection)
        session = FakeSession(self.provision, self.now_s)
        self.sessions.append(session)
        self._of_connection[connection.handle] = (session, protocol.Assembler(protocol.MAX_REQUEST))
        connection.on("disconnection", lambda _: self._of_connection.pop(connection.handle, None))
        self._advertise()

    def _written(self, connection: Connection, value: bytes) -> None:
        self.longest_write = max(self.longest_write, len(value))
        session, assembler = self._of_connection[connection.handle]
        request = assembler.feed(bytes(value))
        if request is not None:
            self._run(self._notify(connection, session.handle(request)))

    async def _notify(self, connection: Connection, answer: bytes) -> None:
        for chunk in protocol.split(answer, connection.att_mtu):
            await self.device.notify_subscriber(connection, self._answer, chunk)

    def _run(self, work) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
