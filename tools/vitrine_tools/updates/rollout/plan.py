"""The plan of a rollout, a TOML file:

    manifest = "app-8.manifest"
    component = "app-8.bundle"
    zone = "Europe/Vienna"
    windows = ["daily 20:00-06:00"]     # when an update may begin, in local time; any time if absent
    concurrency = 8                     # locks at the same time
    silent = "15m"                      # who says nothing for so long has failed

    [fleet]                             # or fleet = ["case-001", ...]
    case-001 = ["jewellery", "store-7"]
    case-002 = []

    [stop]
    failures = 1                        # locks of a ring that returned, refused or fell silent
    rate = 0.02                         # their share of the ring; a ring may have a `stop` of these two of its own
    alarms = 3                          # new alarms at all updated locks beyond what is usual: the collector knows
    refusals = 20                       # refusals at the doors, likewise

    [[ring]]
    name = "canary"
    locks = ["case-001"]
    soak = "1h"

    [[ring]]
    percent = 10                        # of the fleet, those of the rings before included
    labels = ["jewellery"]              # only of locks that have one of these
    soak = "1d"

    [[ring]]
    percent = 100
    shadow = true                       # fetched and verified, and not switched to

Files are beside the plan.
"""

import tomllib
import zoneinfo
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ... import keys, names, when
from ...errors import ToolError

_MAX_FILE: Final = 4 * 1024 * 1024
_MAX_LOCKS: Final = 100_000


class PlanError(ToolError):
    """Not a plan, or one that cannot be followed."""


def _said(check: Any) -> Any:
    """Have pydantic tell what one of our own checks says."""

    def checked(value: Any) -> Any:
        try:
            return check(value)
        except ToolError as error:
            raise ValueError(str(error)) from None

    return checked


def _fleet(value: Any) -> Any:
    if isinstance(value, list) and len(set(map(str, value))) != len(value):
        raise ValueError("a lock is named twice")
    return {each: [] for each in value} if isinstance(value, list) else value


def _zone(text: str) -> str:
    zone_of(text)
    return text


def zone_of(text: str) -> tzinfo:
    """Return a time zone by its name, or by its POSIX TZ text; TimeTextError otherwise."""
    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return when.posix_zone(text)


LockId = Annotated[str, AfterValidator(_said(names.check_lock_id))]
Duration = Annotated[int, BeforeValidator(_said(lambda value: when.parse_duration(str(value))))]
Window = Annotated[tuple[int, int, int], BeforeValidator(_said(lambda value: when.parse_window(str(value))))]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stop(_Model):
    """What ends a rollout. Without `failures` and `rate` the first failure does."""

    failures: int | None = Field(None, ge=1)
    rate: float | None = Field(None, gt=0, le=1)
    alarms: int | None = Field(None, ge=1)
    refusals: int | None = Field(None, ge=1)

    def is_reached(self, failed: int, size: int) -> bool:
        """Tell whether so many failures in a ring of `size` locks are too many."""
        if self.failures is None and self.rate is None:
            return failed >= 1
        by_count = self.failures is not None and failed >= self.failures
        return by_count or (self.rate is not None and failed > 0 and failed >= self.rate * size)


class RingPlan(_Model):
    """One ring: named locks, or a percentage."""

    name: str = Field("", max_length=32)
    locks: tuple[LockId, ...] = ()
    percent: float | None = Field(None, gt=0, le=100)
    labels: tuple[str, ...] = ()
    shadow: bool = False
    soak: Duration = 0
    concurrency: int | None = Field(None, ge=1, le=1000)
    windows: tuple[Window, ...] | None = None
    stop: Stop | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if bool(self.locks) == (self.percent is not None):
            raise ValueError("a ring has either locks or a percent")
        if self.locks and (self.labels or len(set(self.locks)) != len(self.locks)):
            raise ValueError("a ring of named locks names each once, and needs no labels")
        return self


class Plan(_Model):
    """A whole plan."""

    manifest: Path
    component: Path
    fleet: Annotated[dict[LockId, tuple[str, ...]], BeforeValidator(_fleet)] = Field(
        min_length=1, max_length=_MAX_LOCKS
    )
    ring: tuple[RingPlan, ...] = Field(min_length=1, max_length=32)
    zone: Annotated[str, AfterValidator(_said(_zone))] = "UTC0"
    windows: tuple[Window, ...] = ()
    concurrency: int = Field(4, ge=1, le=1000)
    silent: Duration = 900
    baseline: Duration = 86_400
    stop: Stop = Stop()  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        labels = {label for each in self.fleet.values() for label in each}
        for number, ring in enumerate(self.ring, 1):
            strangers = set(ring.locks) - self.fleet.keys()
            if strangers:
                raise ValueError(f"ring {number} names {min(strangers)}, which is not in the fleet")
            if ring.stop and (ring.stop.alarms or ring.stop.refusals):
                raise ValueError(f"ring {number} stops by alarms or refusals: only the whole plan can")
            if set(ring.labels) - labels:
                raise ValueError(f"ring {number} wants the label {min(set(ring.labels) - labels)}, which no lock has")
        return self


def read(path: Path) -> str:
    """Return the text of a plan's file; PlanError if it cannot be one."""
    try:
        return keys.read_file(path, "plan", _MAX_FILE).decode()
    except UnicodeDecodeError:
        raise PlanError(f"{path} is not TOML: it is no text") from None


def parse(text: str, folder: Path) -> Plan:
    """Read a plan whose files are in `folder`; PlanError names the line or the value that is wrong."""
    try:
        plan = Plan.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"the plan is not TOML: {error}") from None
    except ValidationError as error:
        raise PlanError(f"the plan's {_text(error)}") from None
    return plan.model_copy(update={"manifest": folder / plan.manifest, "component": folder / plan.component})


def _text(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "[key]")
    text = first["msg"].removeprefix("Value error, ")
    return f"{place}: {text}" if place else text
