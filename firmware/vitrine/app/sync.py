"""What goes to the collector when: state, heartbeats, batches of sealed records, and what comes back (SPEC.md 10.1).

Owns the order, the retries and the pauses between them. No sockets: `link` carries messages (links.mqtt.MqttLink), no
flash: `outbox` makes batches and takes acknowledgements (audit.outbox.Outbox). A record is released by the collector's
authentic acknowledgement alone; that the broker took a message only frees its buffer. Commands are judged and carried
out by app.commands; here they are only taken off the broker, and answered.
"""

import asyncio
from binascii import hexlify

from micropython import const

from vitrine.access.command import AUDIT
from vitrine.audit import record
from vitrine.audit.outbox import AHEAD, FORGED, RELEASED, SET_BACK
from vitrine.codec import cbor
from vitrine.door.ticks import ticks_add, ticks_diff
from vitrine.version import VERSION

from .dispatch import Malformed

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vitrine.audit.outbox import Outbox

    from .commands import Commands, Result
    from .event_log import EventLog, Record

# What a link tells: (kind, value)
UP = const(0)  # connected and subscribed
SENT = const(1)  # the broker has the oldest message
RECEIVED = const(2)  # value: the bytes of what may be an acknowledgement
DOWN = const(3)  # value: why, in a word; nothing comes after it
COMMAND = const(4)  # value: the bytes of what may be a command
RETAINED = const(5)  # a command that the broker kept: not looked at
UPDATE = const(6)  # value: the bytes of what may be a piece of an update

AHEAD_MAX = const(3)  # batches sent and not acknowledged: more only costs RAM
_BATCH_MAX = const(2048)  # bytes: each is built without a pause, and is in RAM until the broker has it
_SETTLE_MS = const(250)
_RESEND_MIN_MS = const(10_000)
_CONNECT_MIN_MS = const(1_000)
_PAUSE_MAX_MS = const(300_000)
_STEADY_MS = const(60_000)
_HOLD_MAX_MS = const(30_000)
_FOLD_MS = const(600_000)
_FRESH_UNTRUSTED_MS = const(240_000)  # a nonce is good for 300 s
_FRESH_MS = const(21_600_000)
_RESULTS_MAX = const(4)  # that wait for room: who misses one asks again, and learns the sequence
# Nobody's commands cost a verification each: so many times as long as one has taken, the next one waits.
_JUNK_REST = const(2)
_LINK_MQTT = const(3)  # SPEC.md section 7, field 18
_REFUSED = const(1)  # SPEC.md section 3
UPDATE_MAX = const(1088)  # a piece of 1024 bytes

_LOCK_STATES = const(("NotFullyLocked", "Locked", "Unlocked", "Unlatched"))
_DOOR_STATES = const(("DoorOpen", "DoorClosed", "DoorJammed", "DoorForcedOpen", "DoorUnspecifiedError", "DoorAjar"))
_TIME_STATES = const(("untrusted", "trusted", "coasting"))
# One text instead of many objects: what a state or a result can name, by number.
_ALARMS = const(b"\x00\x05\x06\x07\x80\x81\x82\x83\x84\x85\x86")
_ALARM_NAMES = const(
    "LockJammed FrontEsceutcheonRemoved DoorForcedOpen DoorAjar DoorUnattended SwitchCut SwitchShorted StrikeStuck "
    "ExitHeld BatteryLow BrownoutLoop"
)
# 0 2 5 6 8 10 12 13 21 23 25 26 27 28 29 30 32 33: what who signed a command can be told (access.reasons)
_REASONS = b"\x00\x02\x05\x06\x08\x0a\x0c\x0d\x15\x17\x19\x1a\x1b\x1c\x1d\x1e\x20\x21"
_REASON_NAMES = (
    "Granted IssuerUnknown Expired LifetimeExceeded ScopeNotAllowed TimeUntrusted UserVerificationRequired "
    "PersonsRequired Fault Revoked LockedDown AlarmActive FreshnessMissing SequenceStale SequenceGap CommandMalformed "
    "CommandUnknown StoreFull"
)


class Pause:
    """Time until the next try: doubles from `least_ms` to 5 minutes, shortened at random by up to a half."""

    def __init__(self, least_ms: int, random_bytes: "Callable[[int], bytes]") -> None:
        self._least_ms = least_ms
        self._random_bytes = random_bytes
        self._full_ms = least_ms

    def reset(self) -> None:
        """There was progress: begin with the shortest pause again."""
        self._full_ms = self._least_ms

    def next_ms(self) -> int:
        """Return the pause to make now, at least half of the full one: jitter must not make it none."""
        full_ms = self._full_ms
        self._full_ms = min(2 * full_ms, _PAUSE_MAX_MS)
        return full_ms - full_ms * self._random_bytes(1)[0] // 512


class Sync:
    """Sync(outbox, link, events, door, clock, random_bytes, commands, freshness, scenario): `run` is its task.

    `wake` is an event sink. link: heartbeat_s, open(), close(), wake(), has_room(), send(topic suffix, payload,
    is_retained) -> bool, and await next(timeout_ms) -> event or None. door: lock_state, door_state, alarms (codes).
    clock: reading(), ticks_ms(). commands: execute(envelope, link) -> Result, or
    None. freshness: issue(now_ms). scenario: name. updates: an app.updates.Updates, put in by who makes it.
    """

    def __init__(
        self,
        outbox: "Outbox",
        link,
        events: "EventLog",
        door,
        clock,
        random_bytes: "Callable[[int], bytes]",
        commands: "Commands | None",
        freshness,
        scenario,
    ) -> None:
        self._outbox = outbox
        self._link = link
        self._events = events
        self._door = door
        self._clock = clock
        self._commands = commands
        self._freshness = freshness
        self._scenario = scenario
        self.updates: "Any" = None
        self._ticks_ms = clock.ticks_ms
        self._heartbeat_ms = link.heartbeat_s * 1000
        self._reconnect = Pause(_CONNECT_MIN_MS, random_bytes)
        self._resend = Pause(_RESEND_MIN_MS, random_bytes)
        self._forged = _Folded(events, clock.ticks_ms)
        self.cause = ""  # why the last connection ended; empty after one that held
        self._is_busy = _never
        self._held_ms = None
        self._begin()

    def wake(self, record: "Record") -> None:
        """Something happened: the link's next() returns, so that it is looked at. An event sink; cheap."""
        self._link.wake()

    async def run(self, vote, is_busy: "Callable[[], bool]") -> None:
        """Keep the collector up to date for ever, and stay out of the way while somebody is in session: `is_busy()`.

        A batch, and still more a TLS handshake, keep an ESP32 from everything else for *some tenths of a second*.
        """
        self._is_busy = is_busy
        try:
            while True:
                vote()
                cause = await self._connection(vote)
                if cause != self.cause:
                    self.cause = cause
                    self._events.record(record.FAULT, {record.DETAIL: ("mqtt:" + cause)[: record.DETAIL_MAX]})
                await asyncio.sleep_ms(self._reconnect.next_ms())
        finally:
            self._link.close()

    async def _connection(self, vote) -> str:
        """Live through one connection; return why it ended."""
        self._begin()
        while self._is_held():
            await asyncio.sleep_ms(_SETTLE_MS)
        self._link.open()
        wait_ms = _PAUSE_MAX_MS
        while True:
            event = await self._link.next(wait_ms)
            vote()
            if event is not None:
                kind, value = event
                if kind == DOWN:
                    self._settle_up()
                    return value
                if kind == UP:
                    self._greet()
                elif kind == RECEIVED:
                    self._take(value)
                elif kind == COMMAND:
                    await self._execute(value)
                elif kind == UPDATE:
                    await self._hand_over(value)
                elif kind == RETAINED:
                    fields = {record.DETAIL: "command:retained", record.LINK: _LINK_MQTT}
                    self._events.record(record.COMMAND_ERROR, fields)
                await asyncio.sleep_ms(0)  # a broker that never stops talking leaves the others their turn
            wait_ms = self._pump() if self.is_up else _PAUSE_MAX_MS
            self._forged.tend()

    def _settle_up(self) -> None:
        """After a connection that held, the next trouble is a new one; one that ends at once, always, is not."""
        # negative after a week
        if self.is_up and not 0 <= ticks_diff(self._ticks_ms(), self._up_ms) < _STEADY_MS:
            self.cause = ""
            self._reconnect.reset()
        self.is_up = False

    def _begin(self) -> None:
        """Nothing of a connection yet."""
        self.is_up = False
        self._up_ms = 0
        self._shown = None
        self._ahead = []  # the `to` of each batch that waits for its acknowledgement
        self._next = 0
        self._resend_ms = None
        self._fresh_ms = None
        self._spoken_ms = 0
        self._results = []
        self._fresh_told_ms = None

    def _greet(self) -> None:
        """The first messages of a connection."""
        self.is_up = True
        self._up_ms = self._ticks_ms()
        self._link.send("availability", b"online", True)
        kept = self._outbox.acknowledgement()
        if kept is not None:
            self._link.send("journal", kept, False)
        self._begin_again()  # the head goes out with each connection

    def _take(self, message: bytes) -> None:
        outcome = self._outbox.acknowledge(message)
        if outcome == FORGED:
            self._forged.note()
        elif outcome == AHEAD:
            self._events.record(record.FAULT, {record.DETAIL: SET_BACK, record.LINK: _LINK_MQTT})
        if outcome != RELEASED:
            return
        acknowledged = self._outbox.acknowledged
        self._ahead = [to for to in self._ahead if to > acknowledged]
        self._next = max(self._next, acknowledged)
        self._resend.reset()
        self._resend_ms = None if not self._ahead else self._due_in(self._resend.next_ms())

    async def _execute(self, envelope: bytes) -> None:
        """Have a command carried out now, whoever is in session: one that locks down must hold within a second."""
        if self._commands is None:
            return
        begin_ms = self._ticks_ms()
        result = self._commands.execute(envelope, _LINK_MQTT)
        if result.is_authentic and len(self._results) < _RESULTS_MAX:
            self._results.append(_result_text(result))
        if result.is_done and result.number == AUDIT:
            self._resend.reset()
            self._begin_again()
        spent_ms = ticks_diff(self._ticks_ms(), begin_ms)
        # whoever floods us leaves two thirds of the processor to the others
        await asyncio.sleep_ms(0 if result.is_done else max(1, _JUNK_REST * spent_ms))

    async def _hand_over(self, message: bytes) -> None:
        """Take what may be a piece of an update, and answer it as op 9 is (SPEC.md 20.2)."""
        if self.updates is None:
            return
        begin_ms = self._ticks_ms()
        try:
            is_refused, answer = self.updates.answer(cbor.decode(message, UPDATE_MAX), _LINK_MQTT, 0)
        except (cbor.CborError, Malformed):
            is_refused, answer = _REFUSED, {}
        self._link.send("update/answer", cbor.encode(answer), False)
        spent_ms = ticks_diff(self._ticks_ms(), begin_ms)
        await asyncio.sleep_ms(max(1, _JUNK_REST * spent_ms) if is_refused == _REFUSED else 0)

    def _tell_fresh(self, time_state: int) -> int:
        """Let a time server know a nonce if that is due; return in how many milliseconds the next one is."""
        period_ms = _FRESH_MS if time_state else _FRESH_UNTRUSTED_MS
        now_ms = self._ticks_ms()
        if self._fresh_told_ms is not None:
            left_ms = period_ms - ticks_diff(now_ms, self._fresh_told_ms)
            if left_ms > 0:
                return left_ms
        cnonce = hexlify(self._freshness.issue(now_ms)).decode()
        text = '{"cnonce": "%s", "time": "%s"}' % (cnonce, _TIME_STATES[time_state])
        if self._link.send("fresh", text.encode(), False):
            self._fresh_told_ms = now_ms
        return period_ms

    def _pump(self) -> int:
        """Send what is due, one batch at most; return in how many milliseconds something may be due again."""
        while self._results and self._link.send("result", self._results[0], False):
            self._results.pop(0)
        time_state = self._clock.reading()[1]
        shown = self._door.lock_state, self._door.door_state, time_state, self._scenario.name, self._door.alarms
        if shown != self._shown and self._link.send("state", _state_text(shown), True):
            self._shown = shown
        fresh_ms = self._tell_fresh(time_state)
        if self._resend_ms is not None and self._left_ms(self._resend_ms) <= 0:
            self._restart()
        if not self._link.has_room():
            return _PAUSE_MAX_MS  # it tells when there is
        if self._is_held():
            return _SETTLE_MS
        is_waiting = self._next < self._outbox.count and len(self._ahead) < AHEAD_MAX
        if is_waiting and self._fresh_ms is None:
            # while a backlog is on its way there is nothing to settle
            self._fresh_ms = self._due_in(0 if self._ahead else _SETTLE_MS)
        is_due = is_waiting and self._fresh_ms is not None and self._left_ms(self._fresh_ms) <= 0
        if is_due or (not self._ahead and self._left_ms(self._spoken_ms) <= -self._heartbeat_ms):
            self._send_batch()
        if self._next >= self._outbox.count:
            self._fresh_ms = None
        return self._rest_ms(fresh_ms)

    def _rest_ms(self, fresh_ms: int) -> int:
        rest_ms = min(_PAUSE_MAX_MS, fresh_ms)
        if not self._ahead:
            rest_ms = min(rest_ms, self._heartbeat_ms + self._left_ms(self._spoken_ms))
        if self._resend_ms is not None:
            rest_ms = min(rest_ms, self._left_ms(self._resend_ms))
        if self._fresh_ms is not None and len(self._ahead) < AHEAD_MAX:
            rest_ms = min(rest_ms, self._left_ms(self._fresh_ms))
        return max(rest_ms, 1)  # others come in between, also while a backlog is sent

    def _is_held(self) -> bool:
        """Whether a person at the door comes first; whoever stays in session for ever does not."""
        if not self._is_busy():
            self._held_ms = None
            return False
        if self._held_ms is None:
            self._held_ms = self._due_in(_HOLD_MAX_MS)
        return self._left_ms(self._held_ms) > 0

    def _restart(self) -> None:
        """Begin again from what is acknowledged: what was sent since may be lost."""
        self._ahead = []
        self._next = self._outbox.acknowledged
        self._resend_ms = None
        self._fresh_ms = self._due_in(0)

    def _begin_again(self) -> None:
        """Have all that is not acknowledged sent at once, or a heartbeat."""
        self._restart()
        self._spoken_ms = self._due_in(-self._heartbeat_ms)

    def _send_batch(self) -> None:
        """Send the next batch; it is a heartbeat if there are no records."""
        batch, to = self._outbox.batch(self._next, _BATCH_MAX)
        self._link.send("journal", batch, False)
        if to > self._next:
            self._ahead.append(to)
            self._next = to
            if self._resend_ms is None:
                self._resend_ms = self._due_in(self._resend.next_ms())
        self._spoken_ms = self._ticks_ms()

    def _due_in(self, delay_ms: int) -> int:
        return ticks_add(self._ticks_ms(), delay_ms)

    def _left_ms(self, due_ms: int) -> int:
        return ticks_diff(due_ms, self._ticks_ms())


class _Folded:
    """Forged acknowledgements: who makes them must not fill the journal. One at once, then counts every 10 minutes."""

    def __init__(self, events: "EventLog", ticks_ms: "Callable[[], int]") -> None:
        self._events = events
        self._ticks_ms = ticks_ms
        self._count = 0  # not recorded yet
        self._until_ms = None

    def note(self) -> None:
        """One more."""
        self._count += 1
        if self._until_ms is None:
            self._record()

    def tend(self) -> None:
        """Record the count if it is time."""
        if self._until_ms is not None and ticks_diff(self._until_ms, self._ticks_ms()) <= 0:
            self._until_ms = None
            if self._count:
                self._record()

    def _record(self) -> None:
        self._until_ms = ticks_add(self._ticks_ms(), _FOLD_MS)
        fields = {record.DETAIL: "ack:forged", record.COUNT: self._count, record.LINK: _LINK_MQTT}
        self._count = 0
        self._events.record(record.FAULT, fields)


def _never() -> bool:
    return False


def _state_text(shown: "tuple[int, int, int, str, tuple[int, ...]]") -> bytes:
    lock, door, clock, scenario, alarms = shown
    text = '{"version": "%s", "lock": "%s", "door": "%s", "time": "%s", "scenario": "%s", "alarms": [%s]}'
    names = ", ".join(['"' + _name(_ALARMS, _ALARM_NAMES, code) + '"' for code in alarms])
    return (text % (VERSION, _LOCK_STATES[lock], _DOOR_STATES[door], _TIME_STATES[clock], scenario, names)).encode()


def _result_text(result: "Result") -> bytes:
    sequence = "" if result.sequence is None else ', "sequence": %d' % result.sequence
    text = '{"id": "%s", "reason": "%s"%s}'
    reason = _name(_REASONS, _REASON_NAMES, result.reason)
    return (text % (hexlify(result.id or b"").decode(), reason, sequence)).encode()


def _name(numbers: bytes, names: str, number: int) -> str:
    """Return the name of `number`, or its digits if this table does not have it."""
    place = numbers.find(bytes((number,)))
    return str(number) if place < 0 else names.split(" ")[place]
