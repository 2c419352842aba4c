"""What the acts of the demo share: the cast, the clock, and a timeline in which every step is checked."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from .. import describe

PATIENCE_S = 5.0
_STYLES = {"phone": "cyan", "thief": "magenta", "lock": "bold", "door": "blue", "strike": "yellow"}


class Failed(Exception):
    """A step did not come out as it must."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline. `is_ok`: True or False for a checked step, None for what merely happened."""

    at_s: float
    who: str
    what: str
    why: str
    is_ok: bool | None


class Stage:
    """The timeline, and the events of the lock that have not been waited for yet."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._console = Console(highlight=False)
        self._begin_s = time.perf_counter()
        self._unseen: list[dict[int, Any]] = []
        self._news = asyncio.Event()
        self.failures = 0
        self.steps = 0

    def heading(self, text: str) -> None:
        """Begin a part of the story."""
        if not self._is_json:
            self._console.print(f"\n[bold underline]{text}[/]")

    def say(self, who: str, what: str, why: str = "", *, is_ok: bool | None = None) -> None:
        """Add a line to the timeline."""
        entry = Entry(round(time.perf_counter() - self._begin_s, 3), who, what, why, is_ok)
        if self._is_json:
            print(json.dumps(asdict(entry)), flush=True)
            return
        mark = {True: Text("  ok ", "green"), False: Text(" FAIL", "bold red"), None: Text("     ")}[is_ok]
        line = Text(f"{entry.at_s:7.3f} s ")
        line.append(mark)
        line.append(f"  {who:<7}", _STYLES.get(who, ""))
        line.append(f" {what:<46}")
        line.append(f" {why}", "dim")
        self._console.print(line, soft_wrap=True)

    def check(self, who: str, what: str, why: str, is_ok: bool) -> None:
        """Add a step that must hold; a step that does not is counted, and the story goes on."""
        self.steps += 1
        self.failures += not is_ok
        self.say(who, what, why, is_ok=is_ok)

    def on_event(self, record: dict[int, Any]) -> None:
        """Take an audit record of the lock: show it, and keep it for `expect`."""
        line = describe.describe(record)
        self.say(line.who, line.what, line.why)
        self._unseen.append(record)
        self._news.set()

    async def expect(
        self, what: str, matches: Callable[[dict[int, Any]], bool], patience_s: float = PATIENCE_S
    ) -> dict[int, Any]:
        """Return the first record not waited for yet that matches; Failed if none comes."""
        deadline_s = time.perf_counter() + patience_s
        while True:
            for index, record in enumerate(self._unseen):
                if matches(record):
                    del self._unseen[: index + 1]
                    return record
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), max(0.0, deadline_s - time.perf_counter()))
                continue
            self.steps += 1
            self.failures += 1
            self.say("demo", f"waited in vain: {what}", "", is_ok=False)
            raise Failed(what)

    def end(self) -> int:
        """Print the balance; return the exit status."""
        took_s = time.perf_counter() - self._begin_s
        if self._is_json:
            print(json.dumps({"steps": self.steps, "failed": self.failures, "seconds": round(took_s, 3)}))
        elif self.failures:
            self._console.print(f"\n[bold red]{self.failures} of {self.steps} steps failed.[/]")
        else:
            self._console.print(f"\n[bold green]All {self.steps} steps came out as they must[/] in {took_s:.1f} s.")
        sys.stdout.flush()
        return 1 if self.failures or not self.steps else 0
