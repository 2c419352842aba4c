"""What a policy asks besides the token, in one place: the rules of one lock and their stores. Contracts: README.md."""

from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .lockout import Lockouts
    from .persons import Persons
    from .receipts import Receipts
    from .revocation import Revocations
    from .uses import Uses


def _always() -> bool:
    return True


class Rules:
    """configuration, scenario and risk are app's; alarms() is the mask of SPEC.md 7.2 that is active now.

    can_prove(): whether what is granted now will be on record; else nothing is, and no use is spent on it.
    """

    def __init__(
        self,
        uses: "Uses",
        revocations: "Revocations",
        receipts: "Receipts",
        lockouts: "Lockouts",
        persons: "Persons",
        configuration: "Any",
        scenario: "Any",
        risk: "Any",
        alarms: "Callable[[], int]",
        can_prove: "Callable[[], bool]" = _always,
    ) -> None:
        self.uses = uses
        self.revocations = revocations
        self.receipts = receipts
        self.lockouts = lockouts
        self.persons = persons
        self.configuration = configuration
        self.scenario = scenario
        self.risk = risk
        self.alarms = alarms
        self.can_prove = can_prove

    @property
    def is_sound(self) -> bool:
        """Whether it is known what these rules forbid; else everything is refused (SPEC.md 5).

        Revocations and the ledger are asked in every decision, and raise if they do not know.
        """
        return self.configuration.is_sound and self.scenario.is_sound and self.receipts.is_sound

    def tend(self, now_ms: int) -> None:
        """Forget what is over; at least once a day."""
        self.receipts.tend(now_ms)
        self.persons.tend(now_ms, self.configuration.settings.persons_window_ms)
