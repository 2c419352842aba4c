"""The ways to a lock that an update can go: a phone's session (BLE, HTTP, console), and a broker (SPEC.md 20.2)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import aiomqtt

from .. import cbor, names, protocol
from ..collector.broker import Broker
from ..commanding_broker import connected
from ..errors import LinkError, ToolError
from ..phone import Limits, Phone
from ..protocol import ProtocolError, Status
from .push import LARGE_PIECE, SMALL_PIECE, Connect, Link, State

OP: Final = 9
ANSWER_S: Final = 10.0  # a block is erased, written and read back meanwhile
ANSWERS: Final = "vitrine/+/update/answer"
_STALE_S = 0.3
_AGAIN_S = 2.5
_WAITING_MAX = 16
_PAUSE_MAX_S = 30.0


class SessionLink(Link):
    """Updates over what speaks the requests of SPEC.md section 3."""

    def __init__(self, phone: Phone, piece: int = SMALL_PIECE) -> None:
        self._phone = phone
        self.piece = piece

    async def ask(self, body: dict[int, Any]) -> tuple[Status, Any]:
        """Ask op 9."""
        return await self._phone.ask(OP, body)


def over_sessions(
    reach: Callable[[], AbstractAsyncContextManager[Phone]], *, piece: int = SMALL_PIECE, is_known: bool = False
) -> Connect:
    """Return a way that makes a session anew each time.

    Unless `is_known`, the first one asks who the lock is: an update without an audience would suit another one as well.
    """
    known = is_known

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Link]:
        nonlocal known
        async with reach() as phone:
            if not known:
                await phone.hello()
                known = True
            yield SessionLink(phone, piece)

    return connect


def over_radio(lock_id: str, timeout_s: float) -> Connect:
    """Return the way over Bluetooth. Each connection lasts 15 s at most: the sender goes on in the next."""

    @contextlib.asynccontextmanager
    async def reach() -> AsyncIterator[Phone]:
        from ..ble import bleak_link

        try:
            device = await bleak_link.find_lock(lock_id, timeout_s)
        except bleak_link.OutOfReachError as error:
            raise LinkError(str(error)) from error  # it may be starting again just now
        async with await bleak_link.BleakLink.connect(device, timeout_s) as link:
            yield Phone(link, lock_id, Limits(answer_s=ANSWER_S))

    return over_sessions(reach)


def over_http(lock_id: str, url: str | None, name: str | None, timeout_s: float, ca: str | None = None) -> Connect:
    """Return the way over the local network, to `url` or to what `name` (mDNS) is called."""

    @contextlib.asynccontextmanager
    async def reach() -> AsyncIterator[Phone]:
        from .. import http_phone

        address = url or await http_phone.find(name or "", timeout_s, is_tls=ca is not None)
        yield http_phone.HttpPhone(address, lock_id, Limits(answer_s=timeout_s), ca)

    return over_sessions(reach, piece=LARGE_PIECE)


def over_cable(lock_id: str, port: str) -> Connect:
    """Return the way over the board's wire, which each connection opens anew: somebody may pull the cable."""

    @contextlib.asynccontextmanager
    async def reach() -> AsyncIterator[Phone]:
        from ..field import console_link

        try:
            wire = await asyncio.to_thread(console_link.Wire, port)
        except ToolError as error:
            raise LinkError(str(error)) from error  # a board that starts again is gone for a moment
        try:
            yield console_link.ConsolePhone(wire, lock_id)
        finally:
            wire.close()

    return over_sessions(reach)


class Exchange:
    """Updates of many locks over one client of a broker: hands each lock's answers to who waits for them.

    `async with Exchange(broker) as exchange:`, which raises LinkError if the broker cannot be reached; then
    `exchange.way(lock_id)` for each lock. A connection that is lost is made again.
    """

    def __init__(self, broker: Broker, topic: str = ANSWERS) -> None:
        self._broker = broker
        self._topic = topic
        self._client: aiomqtt.Client | None = None
        self.is_connected = asyncio.Event()
        self.connections = 0
        self._answers: dict[str, asyncio.Queue[bytes]] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Exchange":
        first = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(first))
        await first
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def way(self, lock_id: str, timeout_s: float = ANSWER_S) -> Connect:
        """Return the way to one lock."""
        names.check_lock_id(lock_id)

        @contextlib.asynccontextmanager
        async def connect() -> AsyncIterator[Link]:
            answers = self._answers[lock_id] = asyncio.Queue(_WAITING_MAX)
            try:
                yield _BrokerLink(self, lock_id, answers, timeout_s)
            finally:
                del self._answers[lock_id]

        return connect

    async def publish(self, lock_id: str, payload: bytes) -> None:
        """Send one request; LinkError while there is no broker."""
        if self._client is None:
            raise LinkError(f"the broker {self._broker} is gone")
        try:
            # What is lost is asked for again. With QoS 1 it takes twice the time: each PUBACK waits for a delayed ACK.
            await self._client.publish(f"vitrine/{lock_id}/update", payload, qos=0, retain=False)
        except aiomqtt.MqttError as error:
            raise LinkError(f"the broker {self._broker}: {error}") from error

    async def _run(self, first: "asyncio.Future[None]") -> None:
        """Hear answers until cancelled, over every loss of the broker but the first."""
        pause_s = 1.0
        while True:
            try:
                async with connected(self._broker) as client:
                    await client.subscribe(self._topic, qos=1)
                    self._client, pause_s = client, 1.0
                    self.is_connected.set()
                    self.connections += 1
                    if not first.done():
                        first.set_result(None)
                    async for message in client.messages:
                        self._hear(message)
            except LinkError as error:
                if not first.done():
                    first.set_exception(error)
                    return
            finally:
                self._client = None
                self.is_connected.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _hear(self, message: aiomqtt.Message) -> None:
        parts = str(message.topic).split("/")
        waiting = self._answers.get(parts[1]) if len(parts) == 4 and parts[2:] == ["update", "answer"] else None
        # a retained answer is not one to a request of ours
        if waiting is not None and not message.retain and isinstance(message.payload, bytes) and not waiting.full():
            waiting.put_nowait(message.payload)


class _BrokerLink(Link):
    """One lock at a broker. Answers bear no number, and everybody who asks it hears all of them."""

    piece = LARGE_PIECE

    def __init__(self, exchange: Exchange, lock_id: str, answers: "asyncio.Queue[bytes]", timeout_s: float) -> None:
        self._exchange = exchange
        self._lock_id = lock_id
        self._answers = answers
        self._timeout_s = timeout_s

    async def ask(self, body: dict[int, Any]) -> tuple[Status, Any]:
        """Ask, and return the answer: the first that can be one to this request."""
        status, answer = await self._asked(body)
        if status == Status.REFUSED and not answer:
            # perhaps somebody else's; the lock verifies no two manifests at once that it refuses
            await asyncio.sleep(_AGAIN_S)
            status, answer = await self._asked(body)
        return status, answer

    async def _asked(self, body: dict[int, Any]) -> tuple[Status, Any]:
        while not self._answers.empty():
            self._answers.get_nowait()
        await self._exchange.publish(self._lock_id, cbor.encode(body))
        status, answer = await self._answer(body, self._timeout_s)
        if status == Status.REFUSED or (status == Status.OK and 2 in body and answer.get(2) == body[2]):
            # it says nothing new, or no: the one that follows at once may be the one to this request
            with contextlib.suppress(LinkError):
                return await self._answer(body, _STALE_S)
        return status, answer

    async def _answer(self, body: dict[int, Any], limit_s: float) -> tuple[Status, Any]:
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    status, answer = read_answer(await self._answers.get())
                    if _can_answer(body, status, answer):
                        return status, answer
        except TimeoutError:
            raise LinkError(f"no answer within {limit_s:g} s: is {self._lock_id} connected to the broker?") from None


def _can_answer(body: dict[int, Any], status: Status, answer: Any) -> bool:
    """Tell whether it can be the answer to `body`: only a manifest is refused, and one that is taken is under way."""
    if 1 not in body:
        return status != Status.REFUSED
    return status != Status.OK or 4 in answer or 5 in answer or answer[1] == State.TRIAL


def read_answer(data: bytes) -> tuple[Status, Any]:
    """Return (status, body) of what a broker says is a lock's answer; ProtocolError if it is none."""
    try:
        body = cbor.decode(data, protocol.MAX_ANSWER)
    except cbor.CborError as error:
        raise ProtocolError(f"an answer that is not CBOR as it must be: {error}") from None
    if body is None:
        return Status.BUSY, None
    if not isinstance(body, dict):
        raise ProtocolError("an answer that is no map")
    return (Status.OK if 1 in body else Status.REFUSED), body
