"""The lock's judgement, put together: the policy with all that it remembers and asks, and the upkeep of that.

Owns no rule. What is missing or damaged is said once at the start (a Fault record `rules:NAME`, SPEC.md section 5); the
rules themselves then refuse everything.
"""

import asyncio

from micropython import const

from vitrine.access.ledger import Ledger, LedgerError
from vitrine.access.lockout import Lockouts
from vitrine.access.persons import Persons
from vitrine.access.policy import Policy
from vitrine.access.receipts import Receipts
from vitrine.access.revocation import Revocations
from vitrine.access.rules import Rules
from vitrine.access.uses import Uses
from vitrine.audit.record import DETAIL, FAULT

from .commands import Commands
from .operations import Operations
from .risk import Risk

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vitrine.access.freshness import Freshness

    from .configuration import Configuration
    from .controller import Controller
    from .evidence import Evidence
    from .identity import Identity
    from .key_tables import KeyTables
    from .scenario import Scenario
    from .timekeeper import Timekeeper

_TEND_MS = const(1000)
_RULES_ROUNDS = const(60)  # what the rules forget counts in hours
_PAUSE_MS = const(1)  # between two pieces of the ledger's work, at most one erase each


class _NoLedger(Ledger):
    """In place of a ledger that cannot be taken up: it knows of nothing whether it was revoked or spent."""

    def __init__(self) -> None:
        pass

    def has(self, of_class: int, digest: bytes, until_s: "int | None" = None) -> bool:
        raise LedgerError("none")

    def add(self, of_class: int, digest: bytes, until_s: int) -> bool:
        raise LedgerError("none")

    def tend(self, now_s: "int | None") -> bool:
        return False


class Judgement:
    """policy, commands and rules: None while unprovisioned. ledger, lockouts, freshness, risk. Each is of the class of
    this name. troubles: the details of the Fault records made here.

    blob(key) returns the store of that key; partition(label) a block device, or raises OSError.
    """

    def __init__(
        self,
        identity: "Identity",
        blob: "Callable[[str], Any]",
        partition: "Callable[[str], Any]",
        tables: "KeyTables",
        configuration: "Configuration",
        scenario: "Scenario",
        door: "Controller",
        timekeeper: "Timekeeper",
        freshness: "Freshness",
        clock,
        evidence: "Evidence",
    ) -> None:
        provision = identity.provision
        self._is_provisioned = provision is not None
        self._clock = clock
        self._evidence = evidence
        self.troubles: "list[str]" = []
        self.freshness = freshness
        self.risk = Risk(configuration, clock.ticks_ms)
        self.lockouts = Lockouts(blob("lockout"), lambda: configuration.settings, self._fault)
        self.policy: "Policy | None" = None
        self.commands: "Commands | None" = None
        self.verify_issuer: "Any" = None
        self.ledger: Ledger = _NoLedger()
        self.rules: "Rules | None" = None
        if provision is None:
            return
        try:
            self.ledger = Ledger(partition("access"))
        except (LedgerError, OSError):
            self._fault("rules:access")
        keys = {issuer.kid: tables.pin(issuer.public_key) for issuer in provision.issuers}

        def verify_issuer(issuer, message: bytes, signature: bytes) -> int:
            return keys[issuer.kid].verdict(message, signature)

        self.verify_issuer = verify_issuer
        revocations = Revocations(blob("revocations"), self.ledger)
        receipts = Receipts(blob("receipts"), freshness)
        self.rules = Rules(
            Uses(self.ledger),
            revocations,
            receipts,
            self.lockouts,
            Persons(),
            configuration,
            scenario,
            self.risk,
            door.alarm_mask,
            lambda: evidence.is_sound,
        )
        self.policy = Policy(provision, verify_issuer, self.rules)
        operations = Operations(blob("operations"), provision.issuers, self.policy, door, evidence, clock)
        self.commands = Commands(
            provision,
            verify_issuer,
            clock,
            freshness,
            timekeeper,
            revocations,
            configuration,
            scenario,
            evidence,
            operations,
        )
        for name, is_sound in (
            ("configuration", configuration.is_sound),
            ("scenario", scenario.is_sound),
            ("receipts", receipts.is_sound),
            ("operations", operations.is_sound),
            ("revocations", revocations.is_sound([issuer.kid for issuer in provision.issuers])),
        ):
            if not is_sound:
                self._fault("rules:" + name)

    async def run(self, vote: "Callable[[], None]", is_busy: "Callable[[], bool]") -> None:
        """Forget what is over, write what is due, and tidy the ledger while nobody is in session."""
        rounds = 0
        while True:
            vote()
            now_ms = self._clock.ticks_ms()
            self.lockouts.tend(now_ms)
            rounds = (rounds + 1) % _RULES_ROUNDS
            if self.rules is not None and not rounds:
                self.rules.tend(now_ms)
            while not is_busy() and self._tend_ledger():
                await asyncio.sleep_ms(_PAUSE_MS)
            await asyncio.sleep_ms(_TEND_MS)

    def _tend_ledger(self) -> bool:
        now_s, time_state = self._clock.reading()
        try:
            return self.ledger.tend(now_s if time_state else None)
        except (LedgerError, OSError):
            # it says so again to whoever asks it; here it would every second
            return False

    def _fault(self, detail: str) -> None:
        if self._is_provisioned:  # who has nothing lacks nothing
            if detail not in self.troubles:
                self.troubles.append(detail)
            self._evidence.record(FAULT, {DETAIL: detail})
