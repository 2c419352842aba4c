"""The door's settings and their bounds (SPEC.md section 6). A setting out of its bounds is refused, never clipped."""

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

# A bolt reported home before the debounced door switch has spoken would turn a late exit into a forced entry.
_SETTLE_BEYOND_DEBOUNCE_MS = const(100)
_LAST_KEY = const(8)


class SettingsError(ValueError):
    """The settings are not those of SPEC.md section 6."""


class Settings:
    """unlock_ms, hold_ms, relock_ms, ajar_ms, pull_ms, hold_duty_pct, debounce_ms, advertise_ms: integers in bounds."""

    def __init__(self, differing: "dict[Any, Any] | None" = None) -> None:
        """Take the settings that differ from their default, by SPEC.md's keys; raise SettingsError for any other."""
        differing = differing or {}
        for key in differing:
            # bool is an int to isinstance, and True would be a key of its own making
            if type(key) is not int or not 1 <= key <= _LAST_KEY:
                raise SettingsError("unknown door setting")
        self.unlock_ms = _setting(differing, 1, 5000, 500, 10000)
        self.hold_ms = _setting(differing, 2, 10000, 500, 10000)
        self.relock_ms = _setting(differing, 3, 400, 100, 5000)
        self.ajar_ms = _setting(differing, 4, 30000, 5000, 3600000)
        self.pull_ms = _setting(differing, 5, 150, 20, 1000)
        self.hold_duty_pct = _setting(differing, 6, 40, 10, 100)
        self.debounce_ms = _setting(differing, 7, 30, 5, 200)
        self.advertise_ms = _setting(differing, 8, 100, 20, 1000)

    @property
    def settle_ms(self) -> int:
        """How long a closed door must stay closed before Locked is said: relock_ms, or what debouncing needs."""
        return max(self.relock_ms, self.debounce_ms + _SETTLE_BEYOND_DEBOUNCE_MS)


def _setting(differing: "dict[Any, Any]", key: int, default: int, least: int, most: int) -> int:
    value = differing.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise SettingsError("setting %d out of bounds" % key)
    return value
