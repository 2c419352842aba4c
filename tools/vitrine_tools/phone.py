"""The phone's side of a session, over any transport (SPEC.md section 3).

hello; then the token is presented while the person still confirms; then `act` with the holder's proof. `act` is sent
also when the token was refused: only a holder who has proved the key is told the reason. Every wait has a limit.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import commanding, protocol
from .commanding import Answer
from .errors import LinkError
from .keys import PrivateKey
from .protocol import Acted, Action, Hello, LockStatus, Op, ProtocolError, Status

KEEP_ALIVE_S = 3.0  # the lock ends a connection that sends nothing for 5 s


class Transport(Protocol):
    """One connection to one lock."""

    @property
    def att_mtu(self) -> int:
        """The connection's ATT_MTU."""
        ...

    async def write_chunk(self, chunk: bytes) -> None:
        """Write one chunk with response; LinkError if that fails."""
        ...

    async def read_chunk(self) -> bytes:
        """Wait for the next chunk that the lock notifies; LinkError when the connection has ended."""
        ...


class NoTransport(Transport):
    """Of a phone whose `ask` does all, without chunks."""

    @property
    def att_mtu(self) -> int:
        raise NotImplementedError

    async def write_chunk(self, chunk: bytes) -> None:
        raise NotImplementedError

    async def read_chunk(self) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a phone waits, in seconds. Together they stay under the lock's 15 s for a connection."""

    answer_s: float = 5.0
    confirm_s: float = 11.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a session. `reason` is None when the lock did not tell: then the holder's key was not proved."""

    action: Action
    status: Status
    reason: int | None
    is_token_accepted: bool
    lock_state: int | None = None
    door_state: int | None = None
    hello: Hello | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def is_granted(self) -> bool:
        """Whether the lock did what it was asked to."""
        return self.status == Status.OK

    @property
    def reason_name(self) -> str | None:
        """The reason's name in SPEC.md section 3.1, or None."""
        return None if self.reason is None else protocol.reason_name(self.reason)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome for scripts."""
        hello = self.hello
        return {
            "action": self.action.name.lower(),
            "granted": self.is_granted,
            "status": self.status.name.lower(),
            "reason": self.reason_name,
            "token_accepted": self.is_token_accepted,
            "lock_state": self.lock_state if self.lock_state is None else _state(protocol.LOCK_STATES, self.lock_state),
            "door_state": self.door_state if self.door_state is None else _state(protocol.DOOR_STATES, self.door_state),
            "time_state": _state(protocol.TIME_STATES, hello.time_state) if hello else None,
            "audit": {"count": hello.audit_count, "head": hello.audit_head.hex()} if hello else None,
            "timings_ms": {name: round(value, 2) for name, value in self.timings_ms.items()},
        }


class Phone:
    """One connection's session with the lock `lock_id`. The caller owns the transport and closes it."""

    def __init__(self, transport: Transport, lock_id: str, limits: Limits | None = None) -> None:
        self._transport = transport
        self._lock_id = lock_id
        self._limits = limits or Limits()
        self._assembler = protocol.Assembler(protocol.MAX_ANSWER)
        self._one_at_a_time = asyncio.Lock()
        self._request_id = 0

    @property
    def lock_id(self) -> str:
        """The lock that this is a session with."""
        return self._lock_id

    async def ask(self, op: int, body: Any = None) -> tuple[Status, Any]:
        """Send one request and return (status, body) of its answer; LinkError or ProtocolError."""
        async with self._one_at_a_time:
            self._request_id = self._request_id % 0xFFFF + 1
            request = protocol.request(op, self._request_id, body)
            try:
                async with asyncio.timeout(self._limits.answer_s):
                    for chunk in protocol.split(request, self._transport.att_mtu):
                        await self._transport.write_chunk(chunk)
                    return await self._answer()
            except TimeoutError:
                raise LinkError(f"the lock did not answer within {self._limits.answer_s:g} s") from None

    async def hello(self) -> Hello:
        """Ask who the lock is and for a nonce; ProtocolError if it is not the one that is wanted."""
        status, body = await self.ask(Op.HELLO)
        if status != Status.OK:
            raise Unready(protocol.read_acted(status, body))
        hello = protocol.read_hello(body)
        if hello.version != protocol.VERSION:
            raise ProtocolError(f"the lock speaks version {hello.version}, this program version {protocol.VERSION}")
        if hello.lock_id != self._lock_id:
            raise ProtocolError(f"the lock says that it is {hello.lock_id!r}, not {self._lock_id!r}")
        return hello

    async def present(self, token: bytes) -> bool:
        """Show the token; tell whether the lock accepts it so far."""
        status, body = await self.ask(Op.PRESENT, token)
        if status == Status.OK and body != {1: protocol.token_hash(token)}:
            raise ProtocolError("the lock accepted another token than the one presented")
        return status == Status.OK

    async def act(
        self, action: Action, *, token: bytes, holder: PrivateKey, nonce: bytes, is_user_verified: bool = False
    ) -> Acted:
        """Ask for `action`, with the holder's proof over `nonce`."""
        proof = protocol.make_proof(holder, self._lock_id, nonce, action, is_user_verified, protocol.token_hash(token))
        return protocol.read_acted(*await self.ask(Op.ACT, protocol.act_body(action, is_user_verified, proof)))

    async def status(self) -> LockStatus:
        """Ask for the lock's and the door's state; ProtocolError if the lock refuses to tell."""
        status, body = await self.ask(Op.STATUS)
        if status != Status.OK:
            raise ProtocolError("the lock does not tell its state to someone who has proved nothing")
        return protocol.read_status(body)

    async def identify(self) -> Status:
        """Ask the lock to show where it is; BUSY if it did so a moment ago."""
        return (await self.ask(Op.IDENTIFY))[0]

    async def fresh(self) -> tuple[bytes, int]:
        """Ask for a nonce that something made elsewhere can be bound to; return (cnonce, the lock's time state)."""
        status, body = await self.ask(Op.FRESH)
        if status != Status.OK:
            raise Unready(protocol.read_acted(status, body))
        cnonce, time_state = (body.get(1), body.get(2)) if isinstance(body, dict) else (None, None)
        if not isinstance(cnonce, bytes) or len(cnonce) != commanding.CNONCE_SIZE or type(time_state) is not int:
            raise ProtocolError("an answer without a nonce")
        return cnonce, time_state

    async def command(self, envelope: bytes) -> Answer:
        """Bring the lock a signed command, from whoever signed it, and return its answer."""
        return commanding.read_answer(*await self.ask(Op.COMMAND, envelope))

    async def open(
        self,
        token: bytes,
        holder: PrivateKey,
        *,
        action: Action = Action.UNLOCK,
        is_user_verified: bool = False,
        confirm: Callable[[], Awaitable[bool]] | None = None,
    ) -> Outcome:
        """Run the whole session once and return its outcome; LinkError or ProtocolError if it cannot be run.

        `confirm` waits for the person and returns whether the phone verified its user; without it nobody is asked and
        `is_user_verified` is said to the lock.
        """
        begin_s = time.perf_counter()
        timings: dict[str, float] = {}
        try:
            hello = await self._timed(timings, "hello", self.hello())
        except Unready as unready:
            acted = unready.acted
            return Outcome(
                action=action,
                status=acted.status,
                reason=acted.reason,
                is_token_accepted=False,
                timings_ms=timings,
            )
        person = asyncio.ensure_future(confirm() if confirm else _already(is_user_verified))
        try:
            is_accepted = await self._timed(timings, "present", self.present(token))
            nonce, is_verified = await self._timed(timings, "confirm", self._confirmed(person, hello.nonce))
        finally:
            person.cancel()
        acted = await self._timed(
            timings,
            "act",
            self.act(action, token=token, holder=holder, nonce=nonce, is_user_verified=is_verified),
        )
        timings["total"] = (time.perf_counter() - begin_s) * 1000
        return Outcome(
            action=action,
            status=acted.status,
            reason=acted.reason,
            is_token_accepted=is_accepted,
            lock_state=acted.lock_state,
            door_state=acted.door_state,
            hello=hello,
            timings_ms=timings,
        )

    async def _answer(self) -> tuple[Status, Any]:
        while True:
            message = self._assembler.feed(await self._transport.read_chunk())
            if message is None:
                continue
            request_id, status, body = protocol.read_answer(message)
            if request_id == self._request_id or (request_id == 0 and status == Status.MALFORMED):
                return status, body
            # an answer to a request that was given up: the one that is waited for comes after it

    async def _confirmed(self, person: "asyncio.Future[bool]", nonce: bytes) -> tuple[bytes, bool]:
        """Wait for the person; keep the connection alive and the nonce fresh. Returns (nonce, is user verified)."""
        try:
            async with asyncio.timeout(self._limits.confirm_s):
                while not (await asyncio.wait({person}, timeout=KEEP_ALIVE_S))[0]:
                    nonce = (await self.hello()).nonce
        except TimeoutError:
            raise LinkError(f"nobody confirmed within {self._limits.confirm_s:g} s") from None
        return nonce, person.result()

    @staticmethod
    async def _timed(timings: dict[str, float], name: str, work: Awaitable[Any]) -> Any:
        begin_s = time.perf_counter()
        try:
            return await work
        finally:
            timings[name] = (time.perf_counter() - begin_s) * 1000


class Unready(ProtocolError):
    """The lock refused even to say hello: it has no identity yet, or is busy."""

    def __init__(self, acted: Acted) -> None:
        super().__init__("the lock refused to begin a session")
        self.acted = acted


async def _already(is_user_verified: bool) -> bool:
    return is_user_verified


def _state(names_of_states: tuple[str, ...], number: int) -> str:
    return protocol.state_name(names_of_states, number)
