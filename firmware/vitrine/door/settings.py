"""The door's settings and their bounds (SPEC.md section 6). A setting out of its bounds is refused, never clipped."""

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

# A bolt reported home before the debounced door switch has spoken would turn a late exit into a forced entry.
_SETTLE_BEYOND_DEBOUNCE_MS = const(100)

# key: (name, default, least, most)
_BOUNDS = {
    1: ("unlock_ms", 5000, 500, 10000),
    2: ("hold_ms", 10000, 500, 10000),
    3: ("relock_ms", 400, 100, 5000),
    4: ("ajar_ms", 30000, 5000, 3600000),
    5: ("pull_ms", 150, 20, 1000),
    6: ("hold_duty_pct", 40, 10, 100),
    7: ("debounce_ms", 30, 5, 200),
    8: ("advertise_ms", 100, 20, 1000),
}


class SettingsError(ValueError):
    """The settings are not those of SPEC.md section 6."""


class Settings:
    """unlock_ms, hold_ms, relock_ms, ajar_ms, pull_ms, hold_duty_pct, debounce_ms, advertise_ms: integers in bounds."""

    unlock_ms: int
    hold_ms: int
    relock_ms: int
    ajar_ms: int
    pull_ms: int
    hold_duty_pct: int
    debounce_ms: int
    advertise_ms: int

    def __init__(self, differing: "dict[Any, Any] | None" = None) -> None:
        """Take the settings that differ from their default, by SPEC.md's keys; raise SettingsError for any other."""
        differing = differing or {}
        for key, value in differing.items():
            # bool is an int to isinstance, and True would be a key of its own making
            if type(key) is not int or key not in _BOUNDS:
                raise SettingsError("unknown door setting")
            name, _, least, most = _BOUNDS[key]
            if type(value) is not int or not least <= value <= most:
                raise SettingsError("%s out of bounds" % name)
        for key, (name, default, _, _) in _BOUNDS.items():
            setattr(self, name, differing.get(key, default))

    @property
    def settle_ms(self) -> int:
        """How long a closed door must stay closed before Locked is said: relock_ms, or what debouncing needs."""
        return max(self.relock_ms, self.debounce_ms + _SETTLE_BEYOND_DEBOUNCE_MS)
