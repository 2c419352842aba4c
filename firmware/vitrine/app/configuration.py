"""What a signed command configured: settings, holidays, zone, hours. Source: SPEC.md 6.1.

Over the settings and the zone of the provisioning record. What is in force is replaced as a whole, and never changed
in place: whoever holds `settings` holds them as they were.
"""

from micropython import const

from vitrine.access.reasons import GRANTED
from vitrine.access.schedule import Calendar, Zone, parse_windows
from vitrine.door.settings import Settings

from .sequenced_blob import SequencedBlob, pairs

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vitrine.access.provision import Provision

    from .sequenced_blob import Store

_SETTINGS = const(2)
_HOLIDAYS = const(3)
_ZONE = const(4)
_HOURS = const(5)

_MAX_HOLIDAYS = const(64)
_MAX_DAY = const(0xFFFF)
_MAX_DAYS = const(31)
_MAX_HOURS = const(16)


class Configuration(SequencedBlob):
    """settings: door.settings.Settings. calendar: access.schedule.Calendar. hours: list of windows.

    If the blob is not sound, what the provisioning record says is in force, without holidays and hours.
    """

    def __init__(self, store: "Store", provision: "Provision | None") -> None:
        """Take up the blob in `store`, over `provision`: None on a lock that is not provisioned."""
        self._provision = provision
        self._listeners: "list[Callable[[Settings], None]]" = []
        self._renewed: "list[tuple[int, str]]" = []
        super().__init__(store, {_SETTINGS: {}, _HOLIDAYS: [], _ZONE: None, _HOURS: []})

    def add_listener(self, listener: "Callable[[Settings], None]") -> None:
        """Have `listener(settings)` called each time a new configuration has come into force. It must not raise."""
        self._listeners.append(listener)

    def apply(self, body: "Any", sequence: int) -> int:
        """Replace the whole of it by `body`, from a command; see SequencedBlob."""
        before = (self._zone, self._holidays, self.hours)
        reason = super().apply(body, sequence)
        if reason == GRANTED:
            after = (self._zone, self._holidays, self.hours)
            self._renewed = [(0, ("zone", "holidays", "hours")[i]) for i in range(3) if before[i] != after[i]]
            for listener in self._listeners:
                listener(self.settings)
        return reason

    def changes(self, before: Settings) -> "list[tuple[int, str]]":
        """Return what the last apply changed, for the record.

        That is (key, "name=value") of each setting that is not as in `before`, then (0, "zone"), (0, "holidays"), (0,
        "hours").
        """
        return self.settings.differences(before) + self._renewed

    def _read(self, record: "dict[Any, Any]") -> "tuple[Any, ...]":
        if not isinstance(record[_SETTINGS], dict):
            raise ValueError
        own = self._provision
        named = dict(own.door) if own else {}
        named.update(record[_SETTINGS])
        posix_tz = record[_ZONE]
        zone = own.zone if own and posix_tz is None else Zone("UTC0" if posix_tz is None else posix_tz)
        holidays = pairs(record[_HOLIDAYS], _MAX_HOLIDAYS, _MAX_DAY, _MAX_DAYS)
        hours = parse_windows(record[_HOURS], 0, _MAX_HOURS)
        return Settings(named), Calendar(zone, holidays), holidays, posix_tz, hours

    def _hold(self, state: "tuple[Any, ...]") -> None:
        self.settings: Settings
        self.calendar: Calendar
        self.settings, self.calendar, self._holidays, self._zone, self.hours = state


def empty() -> bytes:
    """Return the blob that provisioning writes: {1: 0, 2: {}, 3: [], 4: null, 5: []}."""
    return b"\xa5\x01\x00\x02\xa0\x03\x80\x04\xf6\x05\x80"
