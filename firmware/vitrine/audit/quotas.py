"""Who gives way when the flash is full (SPEC.md 7.1): the acknowledged first, then the refused, the routine, the kept.

Only chooses; journal.py records what is lost by it.
"""

from micropython import const

from .record import CLASSES, KEPT, REFUSED, ROUTINE
from .walk import Walk

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .sectors import Sectors
    from .state import State
    from .tails import Tail

READY_AHEAD = const(4)  # erased in idle time
RESERVE = const(2)  # of these, what a RecordsLost may need in the worst case: a sector for itself and one for the state
USABLE_MIN = const(11)  # READY_AHEAD, one for the state, two for each class


def floor(sectors: "Sectors") -> int:
    """Return how many sectors a class of routine or refused records may hold against all others."""
    return max(2, sectors.count >> 6)


def wanted_free(sectors: "Sectors") -> int:
    """Return how many sectors are to be free before one is taken.

    That one, those ready ahead, and the floors of the classes that hold less.
    """
    return 1 + READY_AHEAD + _below_floor(sectors, ROUTINE) + _below_floor(sectors, REFUSED)


def is_short(sectors: "Sectors", for_class: int) -> bool:
    """Tell whether something has to be given up before `for_class` takes a sector."""
    # a class below its floor takes what was held free for it
    is_held_free = for_class != KEPT and _below_floor(sectors, for_class) > 0
    return sectors.free() < wanted_free(sectors) - int(is_held_free)


def victim(sectors: "Sectors", state: "State", tails: "list[Tail]", newest_first: int, for_class: int) -> int:
    """Return the sector whose loss costs least, or -1.

    The oldest that holds nothing unacknowledged; else the oldest of the lowest class above its floor. A class that is
    at its floor and asks for more gives up its own, never one of a higher class.
    """
    found = -1
    for of_class in range(CLASSES):
        sector = sectors.oldest(of_class)
        if sector >= 0 and (found < 0 or sectors.first[sector] < sectors.first[found]):
            if _is_acknowledged(sectors, state, tails[of_class], newest_first, sector):
                found = sector
    if found >= 0:
        return found
    for of_class in (REFUSED, ROUTINE):
        if sectors.in_use(of_class) + int(of_class == for_class) > floor(sectors):
            return sectors.oldest(of_class)
    return sectors.oldest(KEPT) if sectors.in_use(KEPT) > 1 else -1


def _below_floor(sectors: "Sectors", of_class: int) -> int:
    return max(0, floor(sectors) - sectors.in_use(of_class))


def _is_acknowledged(sectors: "Sectors", state: "State", tail: "Tail", newest_first: int, sector: int) -> bool:
    first = sectors.first[sector]
    if first >= state.acknowledged:
        return False
    if sector == tail.sector:
        # records from newest_first on must stay where a start reads them: the head hangs on them
        return first < newest_first and tail.last < newest_first and tail.last < state.acknowledged
    walk = Walk(sectors, sector, state.count)
    while walk.step():
        pass
    return walk.sequence < state.acknowledged
