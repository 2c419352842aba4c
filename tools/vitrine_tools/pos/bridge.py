"""From a sale to an open case: hears of sales at the tills' broker, signs, and tells the till what came of it.

Whoever may write to the sales' topic can open fixtures: that broker is trusted as the tills are, and lets nobody else
write there. The locks' broker need not be trusted, and may be the same one.

A sale opens once. What is signed for it is on disk before it goes out, and when it has to go out again (the result was
lost, this program was started anew) the same bytes do: the lock takes their sequence once, and a token with one use
opens once. When that leaves open what happened, the till is told `Unknown`; the lock's sealed records say it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import aiomqtt

from .. import commanding, keys, tokens
from ..collector.broker import Broker
from ..commanding import Answer, Envelope
from ..commanding_broker import connected, read_message
from ..errors import LinkError, ToolError
from ..protocol import Action, Reason
from . import sale as sales
from .till_book import Entry, TillBook

SALE_TOPIC: Final = "vitrine-pos/sale"
OPENED_TOPIC: Final = "vitrine-pos/opened"
VALID_S: Final = 120
TOKEN: Final = "Token"
UNKNOWN: Final = "Unknown"
_AT_ONCE_MAX: Final = 32
_PAUSE_MAX_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What a bridge knows: its key, the fixtures that it may open, how, and for how long it waits."""

    issuer: keys.PrivateKey
    fixtures: frozenset[str]
    holder: keys.PublicKey | None = None  # issue tokens for this phone in place of commands
    timeout_s: float = 10.0
    sale_topic: str = SALE_TOPIC
    opened_topic: str = OPENED_TOPIC


class Bridge:
    """Serves the tills at one broker and the locks at one. `say` takes one line for a person, without any reference."""

    def __init__(self, shop: Shop, tills: Broker, locks: Broker, book: TillBook, say: Callable[[str], None]) -> None:
        self._shop = shop
        self._tills = tills
        self._locks = locks
        self._book = book
        self._say = say
        self._waiting: dict[bytes, asyncio.Future[Answer]] = {}
        self._busy: set[bytes] = set()
        self._told: dict[str, int] = {}  # by fixture: the sequence that its lock said it has
        self.is_listening = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled, over every loss of a broker."""
        pause_s = 1.0
        while True:
            try:
                async with connected(self._locks) as locks, connected(self._tills) as tills:
                    await locks.subscribe("vitrine/+/result", qos=1)
                    await tills.subscribe(self._shop.sale_topic, qos=1)
                    self._say(f"listening for sales at {self._tills}, for {len(self._shop.fixtures)} fixtures")
                    self.is_listening.set()
                    pause_s = 1.0
                    await self._serve(tills, locks)
            except* LinkError as errors:
                self._say(f"{errors.exceptions[0]}; next try in {pause_s:.0f} s")
            finally:
                self.is_listening.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _serve(self, tills: aiomqtt.Client, locks: aiomqtt.Client) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hear(locks))
                async for message in tills.messages:
                    if len(self._busy) < _AT_ONCE_MAX:
                        group.create_task(self._sold(message, tills, locks))
                    else:
                        self._say("too many sales at once: one was not looked at")
        except* aiomqtt.MqttError as errors:
            raise LinkError(str(errors.exceptions[0])) from None

    async def _hear(self, locks: aiomqtt.Client) -> None:
        """Hand each result to who waits for it."""
        async for message in locks.messages:
            heard = read_message(message)
            waiting = self._waiting.get(heard[1]) if heard else None
            if heard and waiting is not None and not waiting.done():
                waiting.set_result(heard[2])

    async def _sold(self, message: aiomqtt.Message, tills: aiomqtt.Client, locks: aiomqtt.Client) -> None:
        """Do what a till's message asks for, if it is a sale, and new, and paid."""
        if message.retain or not isinstance(message.payload, bytes):
            self._say("a sale that the broker kept, or nothing: not looked at")
            return
        try:
            sale = sales.read(message.payload)
        except ToolError as error:
            self._say(f"not a sale: {error}")
            return
        if not sale.paid or sale.fixture not in self._shop.fixtures:
            self._say(f"nothing to open: {'not paid' if not sale.paid else 'not a fixture of this shop'}")
            return
        if sale.ref in self._busy:
            return  # the same once more, while the first waits for its result: that answers both
        self._busy.add(sale.ref)
        try:
            await self._open(sale, tills, locks)
        except ToolError as error:
            self._say(f"{sale.fixture}: {error}")
        finally:
            self._busy.discard(sale.ref)

    async def _open(self, sale: sales.Sale, tills: aiomqtt.Client, locks: aiomqtt.Client) -> None:
        entry = self._book.find(sale.ref)
        is_new = entry is None
        if entry is None:
            entry = self._signed(sale)
            if not self._book.add(sale.ref, entry):
                return  # another program serves it
        elif entry.fixture != sale.fixture:
            self._say(f"{sale.fixture}: a sale that was for another fixture opens nothing")
            return
        reason = entry.reason
        if reason is None and self._shop.holder is not None:
            reason = TOKEN
        elif reason is None and int(time.time()) >= entry.exp_s:
            reason = UNKNOWN
        elif reason is None:
            reason = await self._sent(sale.fixture, commanding.parse(entry.envelope), locks, is_new=is_new)
        if reason not in (None, UNKNOWN):
            self._book.close_sale(sale.ref, reason)
        is_opened = reason == Reason.Granted.name
        token = entry.envelope if reason == TOKEN and int(time.time()) < entry.exp_s else None
        self._say(f"{sale.fixture}: {reason or UNKNOWN}{'' if is_new else ' (asked again)'}")
        told = sales.outcome(sale.sale, reason or UNKNOWN, is_opened=is_opened, token=token)
        await tills.publish(self._shop.opened_topic, told, qos=1, retain=False)

    async def _sent(self, fixture: str, envelope: Envelope, locks: aiomqtt.Client, *, is_new: bool) -> str | None:
        """Send a command and return the reason of its result, or UNKNOWN."""
        command_id = envelope.command.id
        waiting = self._waiting[command_id] = asyncio.get_running_loop().create_future()
        try:
            await locks.publish(f"vitrine/{fixture}/command", envelope.data, qos=1, retain=False)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._shop.timeout_s):
                    answer = await waiting
                    self._told[fixture] = answer.sequence or 0
                    if answer.reason == Reason.SequenceStale and not is_new:
                        return UNKNOWN  # it came before, and nobody heard what came of it
                    return answer.reason_name
        finally:
            del self._waiting[command_id]
        return UNKNOWN

    def _signed(self, sale: sales.Sale) -> Entry:
        """Sign what opens the fixture of `sale` once, within 120 s."""
        now_s = int(time.time())
        shop = self._shop
        sequence = self._book.next_sequence(sale.fixture, self._told.get(sale.fixture, 0))
        if shop.holder is not None:
            claims = tokens.Claims.for_holder(
                shop.holder,
                (sale.fixture,),
                now_s=now_s,
                valid_s=VALID_S + tokens.CLOCK_SLACK_S,
                uses=1,
                ref=sale.ref,
            )
            return Entry(sale.fixture, sequence, now_s + VALID_S, tokens.issue(claims, shop.issuer), None)
        command = commanding.operation(Action.UNLOCK, (sale.fixture,), sequence, sale.ref)
        command = replace(command, exp_s=now_s + VALID_S)
        return Entry(sale.fixture, sequence, now_s + VALID_S, commanding.sign(command, shop.issuer).data, None)
