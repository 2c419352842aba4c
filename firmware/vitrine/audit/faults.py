"""What can be wrong with a journal as a whole (SPEC.md 8.7)."""

from micropython import const

NOT_PROVISIONED = const(1)
FOREIGN = const(2)
GEOMETRY = const(3)
WORN_OUT = const(4)
NAMES = {1: "NotProvisioned", 2: "Foreign", 3: "Geometry", 4: "WornOut"}


class JournalError(Exception):
    """There is no journal, or it takes no more records. `fault` is one of the numbers above."""

    def __init__(self, fault: int) -> None:
        super().__init__(NAMES[fault])
        self.fault = fault
