"""Runs the programs of an open console: their names, their limits, and what of the chip they get (SPEC.md section 18).

While a program runs nothing else of the firmware does. A timer's callback feeds the watchdog meanwhile, for a minute:
then the program gets what Ctrl-C gives, and if it does not end, the watchdog ends it. Loaded when the console opens.
"""

import builtins
import gc
import io
import os
import sys
from asyncio import core  # pyright: ignore[reportAttributeAccessIssue]

import machine
from micropython import const, kbd_intr

from vitrine.door.ticks import ticks_diff

from .console_guard import guards

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CTRL_C = const(3)
_LONGEST_MS = const(60_000)
_LONG_MS = const(1_000)
# so often the watchdog is fed, and the strike read back
_LOOK_MS = const(200)


class Interrupter(io.IOBase):
    """A terminal beside the wire, on which somebody presses Ctrl-C: Python has no other way to interrupt a program."""

    def __init__(self) -> None:
        self._is_pressed = False

    def press(self) -> None:
        """To be the last that a callback does: what comes after it may not come any more."""
        self._is_pressed = True
        os.dupterm(self)
        os.dupterm_notify(None)

    def readinto(self, buf) -> "int | None":
        if not self._is_pressed:
            return None
        self._is_pressed = False
        buf[0] = _CTRL_C
        return 1

    def write(self, buf) -> int:
        return len(buf)

    def ioctl(self, _request: int, _arg: int) -> int:
        return 0


class Programs:
    """The programs of one session, and the names that they share; `lock` is one of them.

    ran(program) is told each before it runs. feed(): of the watchdog. look(): of the strike; both run in a callback.
    excuse(): a program held all others up. fault(name, error) puts on record. ended(): a program is about to reset the
    chip.
    """

    def __init__(
        self,
        lock: "object",
        board,
        ticks_ms: "Callable[[], int]",
        ran: "Callable[[bytes], object]",
        feed: "Callable[[], object]",
        look: "Callable[[], object]",
        excuse: "Callable[[], object]",
        fault: "Callable[[str, BaseException], object]",
        ended: "Callable[[], object]",
    ) -> None:
        self._lock = lock
        self._ticks_ms = ticks_ms
        self._ran = ran
        self._feed = feed
        self._look = look
        self._excuse = excuse
        self._fault = fault
        self._guards = guards(board, ended)
        self._builtins = {name: getattr(builtins, name) for name in dir(builtins)}
        self._interrupter = Interrupter()
        self._began_ms = 0
        self._is_late = False
        self._folder = "/"
        self._path: "list[str]" = []
        self._names: "dict[str, Any]" = {}
        self._loaded: "set[str]" = set()  # modules that programs have imported

    def run(self, source: bytes, is_interactive: bool) -> "BaseException | None":
        """Run a program to its end, or until it is interrupted; return what it raised."""
        self._ran(source)
        if not self._names:
            self._names = {"__name__": "__main__", "lock": self._lock}
        modules: "Any" = sys.modules
        before = dict(modules)
        # The firmware's own are out of reach: who imports one gets another of its kind, on the guards.
        for name in before:
            if _is_ours(name):
                del modules[name]
        task = core.cur_task
        timer = machine.Timer(-1)
        self._is_late = False
        self._began_ms = self._ticks_ms()
        self._tick(None)
        timer.init(mode=machine.Timer.PERIODIC, period=_LOOK_MS, callback=self._tick)
        modules.update(self._guards)
        # theirs is behind everything else, and ends with the program: no file there is to be taken for the firmware's
        path = sys.path[:]
        sys.path[:] = self._path or path + ["", "/lib"]
        try:
            mode = "single" if is_interactive else "exec"
            error = _execute(source, self._names, mode, self._folder, self._builtins)
        finally:
            timer.deinit()
            if self._is_late:
                os.dupterm(None)
            core.cur_task = task  # a program with an event loop of its own has changed it
            for name in list(modules):
                if _is_ours(name) or name in self._guards:
                    del modules[name]
            modules.update(before)
            self._loaded |= set(modules) - set(before)
            self._path, sys.path[:] = sys.path[:], path
            self._folder = os.getcwd()
            os.chdir("/")
            if ticks_diff(self._ticks_ms(), self._began_ms) > _LONG_MS:
                self._excuse()
        if self._is_late:
            self._fault("console", error or KeyboardInterrupt())
        return error

    def explain(self, error: BaseException) -> None:
        """Write a traceback to the wire."""
        out: "Any" = sys.stdout
        sys.print_exception(error, out)

    def forget(self) -> None:
        """Throw the names away, and whatever the session has mounted from the technician's side."""
        self._names = {}
        self._path = []
        self._folder = "/"
        for name in self._loaded:
            sys.modules.pop(name, None)
        self._loaded = set()
        try:
            os.umount("/remote")
        except OSError:
            pass
        gc.collect()

    def _tick(self, _timer) -> None:
        """Runs between a program's steps, as a callback."""
        self._look()
        if 0 <= ticks_diff(self._ticks_ms(), self._began_ms) < _LONGEST_MS:
            self._feed()
        elif not self._is_late:
            self._is_late = True
            self._feed()
            self._interrupter.press()


def _is_ours(name: str) -> bool:
    return name in ("main", "boot") or name.startswith("vitrine")


def _execute(
    source: bytes, names: "dict[str, Any]", mode: str, folder: str, own: "dict[str, Any]"
) -> "BaseException | None":
    """Compile and run; Ctrl-C interrupts the run, and nothing after it. own: the built-in names."""
    put = setattr
    try:
        try:
            code = compile(source, "<stdin>", mode)
            kbd_intr(_CTRL_C)
            os.chdir(folder)
            exec(code, names)  # noqa: S102
        finally:
            kbd_intr(-1)
            for _ in (0, 0):  # one that has come is raised where the interpreter jumps: here, not later
                pass
            # a program can replace them, for everybody; one that has is not to be seen by reading them
            for name in own:
                put(builtins, name, own[name])
    except BaseException as error:  # noqa: BLE001
        return error
    return None
