"""How far a piece of field work has come: a bar on a terminal, plain lines anywhere else."""

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Report:
    """step(what) begins the next of `steps`; note(text) says something that stays."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = -1
        self._what = ""
        self._bar: Progress | None = None
        self._task = None

    def step(self, what: str) -> None:
        """Begin with `what`."""
        self._done += 1
        self._what = what
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, description=what)
        else:
            print(f"[{min(self._done + 1, self._steps)}/{self._steps}] {what}", file=sys.stderr, flush=True)

    def skip(self, steps: int) -> None:
        """There is nothing to do for so many."""
        self._done += steps

    def part(self, share: float) -> None:
        """So much of the step is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done + share)

    @contextlib.contextmanager
    def shown(self) -> Iterator["Report"]:
        """Show it while this lasts, and where it was interrupted."""
        try:
            if not sys.stderr.isatty():
                yield self
                return
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            with Progress(*columns, console=Console(stderr=True), transient=True) as self._bar:
                self._task = self._bar.add_task("", total=self._steps)
                yield self
            self._bar = None
        except KeyboardInterrupt:
            print(f"vitrine: interrupted ({self._what}); the same command goes on from there", file=sys.stderr)
            raise
