"""The lock's settings and their bounds (SPEC.md section 6). A setting out of its bounds is refused, never clipped."""

import struct

from micropython import const

from .settings_table import NAMES, ROWS

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from .settings_table import Fields
else:
    Fields = object

# A bolt reported home before the debounced door switch has spoken would turn a late exit into a forced entry.
_SETTLE_BEYOND_DEBOUNCE_MS = const(100)

_ROW = const(">IHI")  # default, least, most, after the byte `since`
_ROW_SIZE = const(11)


class SettingsError(ValueError):
    """The settings are not those of SPEC.md section 6."""


class Settings(Fields):
    """One attribute for each row of SPEC.md section 6, by its name: a whole number in bounds. Never changed."""

    def __init__(self, differing: "dict[Any, Any] | None" = None) -> None:
        """Take the settings that differ from their default, by SPEC.md's keys; raise SettingsError for any other."""
        differing = differing or {}
        names = NAMES.split(" ")
        for key in differing:
            # a lock refuses what it does not know. bool is an int to isinstance, and True a key equal to 1
            if type(key) is not int or not 1 <= key <= len(names):
                raise SettingsError("unknown")
        for i in range(len(names)):
            row = struct.unpack_from(_ROW, ROWS, _ROW_SIZE * i + 1)  # pyright: ignore[reportUnknownMemberType]
            default, least, most = row
            value: "Any" = differing.get(i + 1, default)
            if type(value) is not int or not least <= value <= most:
                raise SettingsError("setting %d" % (i + 1))
            setattr(self, names[i], value)
        if not self.dps_short_mv < self.dps_closed_mv < self.dps_open_mv:
            raise SettingsError("bands")
        if self.lockout_max_s < self.lockout_s:
            raise SettingsError("lock-out")

    @property
    def settle_ms(self) -> int:
        """How long a closed door must stay closed before Locked is said: relock_ms, or what debouncing needs."""
        return max(self.relock_ms, self.debounce_ms + _SETTLE_BEYOND_DEBOUNCE_MS)

    def differences(self, before: "Settings") -> "list[tuple[int, str]]":
        """Return (key, "name=value") of each setting that differs from `before`: at most 32 bytes of text each."""
        found: "list[tuple[int, str]]" = []
        names = NAMES.split(" ")
        for i in range(len(names)):
            value = getattr(self, names[i])
            if value != getattr(before, names[i]):
                found.append((i + 1, "%s=%d" % (names[i], value)))
        return found
