"""The collector of a fleet: the one of `vitrine collect`, which also tells what it stored, and when."""

import asyncio
import time
from collections.abc import Callable

from ..collector.escrow import Escrow
from ..collector.intake import Intake
from ..collector.store import Covered, Store, Verified


class TellingIntake(Intake):
    """TellingIntake(escrow, store, stored): calls `stored(verified, time.monotonic)` on the event loop that made it."""

    def __init__(self, escrow: Escrow, store: Store, stored: Callable[[list[Verified], float], object]) -> None:
        super().__init__(escrow, store)
        self._stored = stored
        self._loop = asyncio.get_running_loop()

    def store(self, proven: list[Verified | Covered]) -> tuple[list[tuple[str, bytes]], list[str]]:
        result = super().store(proven)
        batches = [item for item in proven if isinstance(item, Verified)]
        self._loop.call_soon_threadsafe(self._stored, batches, time.monotonic())
        return result
