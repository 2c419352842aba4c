"""Service on the console: whose it is, how long it lasts, and what of it is on record. Source: SPEC.md section 18.

Knows no wire and runs no program: links.console asks whether it is open, and tells what it has run. Made at the first
act 130 that is granted over the console; a lock that is never serviced does not load it.
"""

from hashlib import sha256

from micropython import const

from vitrine.audit import record
from vitrine.door.ticks import ticks_diff

from .attempts import describe_token

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from vitrine.access.decision import Decision

    from .evidence import Evidence

LINK = const(4)  # the console (SPEC.md section 7, field 18)
KIND = const(136)
_DIGEST = const(31)
_LONGEST_MS = const(900_000)
_IDLE_MS = const(300_000)
_REST_MS = const(300_000)


class Service:
    """Service(evidence, clock): one for a lock. number: of this session, from 1; programs of another are none of its.

    Each end is a record: how many programs were run, and the chain over them. `end` is told why: "closed" by who was
    served, "idle" or "limit" by the clock, "replaced" by the next.

    has_run: whether a program has run since the chip started. It may have left a task, a timer or a thread, or changed
    the firmware's own modules in memory: all of that ends with a restart, and with nothing less.
    """

    def __init__(self, evidence: "Evidence", clock) -> None:
        self._evidence = evidence
        self._ticks_ms = clock.ticks_ms
        self.number = 0
        self.has_run = False
        self._is_open = False
        self._begun_ms = self._touched_ms = self._ended_ms = 0
        self._programs = 0
        self._chain = bytes(32)
        self._fields: "dict[int, Any]" = {}

    def begin(self, decision: "Decision") -> None:
        """Open for the holder of a granted act; its record is durable, and so is the end of the session before."""
        self._fields = {}
        describe_token(self._fields, decision.token)
        self._programs = 0
        self._chain = bytes(32)
        self._begun_ms = self._touched_ms = self._ticks_ms()
        self.number += 1
        self._is_open = True

    def is_open(self) -> bool:
        """Tell whether programs may run; ends what is over. To be asked every minute at least."""
        if self._is_open:
            now_ms = self._ticks_ms()
            # a time that lies ahead is days ago (ticks wrap)
            if not 0 <= ticks_diff(now_ms, self._begun_ms) < _LONGEST_MS:
                self.end("limit")
            elif not 0 <= ticks_diff(now_ms, self._touched_ms) < _IDLE_MS:
                self.end("idle")
        return self._is_open

    def touch(self) -> None:
        """A byte has come."""
        if self.is_open():
            self._touched_ms = self._ticks_ms()

    def ran(self, program: bytes) -> None:
        """Count a program: to be told before it runs, as it may end the firmware.

        On record are the first, the second, the fourth, ...: who pulls the plug hides no more than half of them.
        """
        self.has_run = True
        self._programs += 1
        self._chain = sha256(self._chain + sha256(program).digest()).digest()
        if not self._programs & (self._programs - 1):
            self._record("run")

    def end(self, why: str) -> None:
        """Close it, if it is open, and put that on record."""
        if self._is_open:
            self._is_open = False
            self._ended_ms = self._ticks_ms()
            self._record(why)

    def is_to_restart(self, is_quiet: bool) -> bool:
        """Whether the chip is to start again now: programs have run, it is over, and quiet or 5 minutes ago."""
        if self._is_open or not self.has_run:
            return False
        return is_quiet or not 0 <= ticks_diff(self._ticks_ms(), self._ended_ms) < _REST_MS

    def _record(self, detail: str) -> None:
        fields = dict(self._fields)
        fields[record.LINK] = LINK
        fields[record.DETAIL] = detail
        fields[record.COUNT] = self._programs
        fields[_DIGEST] = self._chain
        self._evidence.record(KIND, fields)
