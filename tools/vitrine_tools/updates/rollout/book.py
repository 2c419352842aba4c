"""The file of a rollout: what it is, which locks are where, and whether it may go on. SQLite.

Every change is durable before anything follows from it, so that a rollout may be killed at any moment. Other processes
may pause or abort it by this file; only one may run it.
"""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from ...errors import ToolError
from .rings import Place, Ring, State

_BUSY_S: Final = 10.0
_FORMAT: Final = "vitrine-rollout-1"
_TABLES: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE places (
    ring INTEGER NOT NULL, lock TEXT NOT NULL, position INTEGER NOT NULL, state TEXT NOT NULL, since_s REAL NOT NULL,
    checked_s REAL NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (ring, lock)
) STRICT;
"""


class BookError(ToolError):
    """Not a rollout's file, or not to be used now."""


class Course(StrEnum):
    """Whether a rollout may go on."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"  # by one of its conditions
    ABORTED = "aborted"
    FINISHED = "finished"


FINAL: Final = frozenset({Course.ABORTED, Course.FINISHED})


class Book:
    """The open file. `Book.create` makes one; `Book(path)` opens it. BookError says what is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise BookError(f"there is no rollout {path}: `vitrine rollout start` makes one")
        try:
            self._database = _open(path)
            about = dict(self._database.execute("SELECT name, value FROM about"))
        except sqlite3.Error as error:
            raise BookError(f"{path} is not a rollout's file: {error}") from None
        if about.get("format") != _FORMAT:
            raise BookError(f"{path} is not a rollout's file, or one of another version")
        self.plan = about["plan"]
        self.folder = Path(about["folder"])
        self.manifest = bytes.fromhex(about["manifest"])
        self.begun_s = float(about["begun_s"])
        self.rings = tuple(
            Ring(ring["name"], tuple(ring["locks"]), ring["shadow"]) for ring in json.loads(about["rings"])
        )

    @classmethod
    def create(
        cls, path: Path, plan: str, folder: Path, manifest: bytes, rings: tuple[Ring, ...], begun_s: float
    ) -> "Book":
        """Make the file of a new rollout by the text of a plan in `folder`; BookError if there is one already."""
        new = path.with_name(f".{path.name}.{os.getpid()}")
        about = {
            "format": _FORMAT,
            "plan": plan,
            "folder": str(folder),
            "manifest": manifest.hex(),
            "begun_s": str(begun_s),
            "course": Course.RUNNING,
            "why": "",
            "rings": json.dumps([{"name": r.name, "locks": r.locks, "shadow": r.is_shadow} for r in rings]),
        }
        try:
            with contextlib.closing(_open(new)) as database:
                database.executescript(_TABLES)
                with _transaction(database):
                    database.executemany("INSERT INTO about VALUES (?, ?)", about.items())
                    database.executemany(
                        "INSERT INTO places VALUES (?, ?, ?, ?, ?, 0, '')",
                        (
                            (number, lock, position, State.WAITING, begun_s)
                            for number, ring in enumerate(rings)
                            for position, lock in enumerate(ring.locks)
                        ),
                    )
            os.link(new, path)  # whole, or not at all; and never over another
        except FileExistsError:
            raise BookError(f"{path} is there already: go on with `vitrine rollout resume`, or name another") from None
        except (OSError, sqlite3.Error) as error:
            raise BookError(f"cannot make {path}: {error}") from None
        finally:
            new.unlink(missing_ok=True)
        return cls(path)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @property
    def course(self) -> tuple[Course, str]:
        """Whether it may go on, and why not."""
        with self._trouble():
            about = dict(self._database.execute("SELECT name, value FROM about WHERE name IN ('course', 'why')"))
        return Course(about["course"]), about["why"]

    def steer(self, course: Course, why: str = "") -> None:
        """Say whether it may go on; BookError if it has ended for good. What has stopped can only be aborted."""
        with self._trouble(), _transaction(self._database):
            now = Course(self._database.execute("SELECT value FROM about WHERE name = 'course'").fetchone()[0])
            if now in FINAL and course is not now:
                raise BookError(f"the rollout {self.path} is {now}: it does not go on")
            if now is Course.STOPPED and course not in (Course.STOPPED, Course.ABORTED, Course.RUNNING):
                raise BookError(f"the rollout {self.path} has stopped: resume or abort it")
            self._database.executemany("UPDATE about SET value = ? WHERE name = ?", [(course, "course"), (why, "why")])

    def places(self) -> dict[tuple[int, str], Place]:
        """Return where every lock is."""
        with self._trouble():
            rows = self._database.execute(
                "SELECT ring, lock, state, since_s, checked_s, detail FROM places ORDER BY ring, position"
            )
            return {(ring, lock): Place(State(state), *rest) for ring, lock, state, *rest in rows}

    def put(self, ring: int, lock: str, place: Place) -> None:
        """Keep where a lock is."""
        with self._trouble(), _transaction(self._database):
            self._database.execute(
                "UPDATE places SET state = ?, since_s = ?, checked_s = ?, detail = ? WHERE ring = ? AND lock = ?",
                (place.state, place.since_s, place.checked_s, place.detail, ring, lock),
            )

    def begin(self, ring: int, locks: tuple[str, ...], now_s: float) -> bool:
        """Note that these locks begin, if it may go on still, in one transaction: an abort comes before it or after."""
        with self._trouble(), _transaction(self._database):
            (course,) = self._database.execute("SELECT value FROM about WHERE name = 'course'").fetchone()
            if course != Course.RUNNING:
                return False
            self._database.executemany(
                "UPDATE places SET state = ?, since_s = ?, detail = '' WHERE ring = ? AND lock = ?",
                [(State.GOING, now_s, ring, lock) for lock in locks],
            )
            return True

    def retry(self, states: frozenset[State]) -> int:
        """Have locks in these states wait again; return how many."""
        with self._trouble(), _transaction(self._database):
            marks = ", ".join("?" * len(states))
            cursor = self._database.execute(
                f"UPDATE places SET state = ? WHERE state IN ({marks})",
                (State.WAITING, *states),
            )
            return cursor.rowcount

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Be the one that runs it; BookError if another process does."""
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BookError(f"the rollout {self.path} is being run by another process") from None
            yield

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise BookError(f"cannot use {self.path}: {error}") from None


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    database.execute("PRAGMA synchronous = FULL")
    return database


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
