"""Programs for the open console of a lock, by mpremote's raw REPL; its `lock` answers (firmware/SPEC.md section 21).

What comes back is input from a stranger: bounded in size and time, and never shown. A console may echo what it was
sent, secrets among it; so of a refusal only the texts that the firmware is known to have get through.
"""

import contextlib
import io
import json
import re
import secrets
import struct
import time
from types import TracebackType
from typing import Any, Final, Self

import serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from ..errors import ToolError

ANSWER_S: Final = 20.0
_SILENCE_S: Final = 10.0
_PROMPT_S: Final = 1
_TRIES: Final = 3
_BANNER_S: Final = 1.5
_POLL_S: Final = 0.002
_ANSWER_MAX: Final = 16 * 1024
_CLOSED: Final = b": service is closed"
_DAMAGED: Final = b"(damaged)"
# The next one at the wire begins with Ctrl-C: it must not come between the two.
RESTART: Final = "try:\n    print('done')\nfinally:\n    lock.restart()"
_RESTART_S: Final = 0.5
_DONE: Final = b"done\r\n"
_NAME: Final = re.compile("[a-z0-9-]{1,32}")

# What the firmware's `lock` refuses with, and what that means here.
_REFUSALS: Final = {
    "this lock belongs to another site": "this lock belongs to another site: whoever runs that has to deprovision it",
    "another lock": "the lock at the other end of the cable is another one",
    "there is a journal": "the lock has a journal that fails, or that is not in this escrow: deprovision it",
    "the record is damaged: deprovision": "the lock's record is damaged: `vitrine deprovision` it, then provision it",
    "damaged on the way": "the cable or the adapter loses bytes: try another one",
    "too long": "the cable or the adapter loses bytes: try another one",
    "not whole": "the cable or the adapter loses bytes: try another one",
    "no record, or no journal": "the lock has lost what was sent before: run the same command again",
    "time below the floor": "this computer's clock is behind what the lock knows to be over: set it right",
    "WornOut": "too many sectors of the lock's flash are worn out: put another board in",
    "Geometry": "the lock's partition table is not one of ours: `vitrine flash` it first",
}


class BoardError(ToolError):
    """The board at the other end of the cable did not do what it was asked to."""


class ClosedError(BoardError):
    """The lock is provisioned, and its console closed."""


class DamagedError(ClosedError):
    """The lock cannot read who it is: it can be wiped, and nothing else."""


class _Transport(SerialTransport):
    """mpremote's, which would wait for ever for a board that never stops talking, or never says anything."""

    def __init__(self, port: str) -> None:
        super().__init__(port, timeout=_SILENCE_S)
        self._port: Any = self.serial
        self._port.write_timeout = _SILENCE_S
        self.heard = b""
        self.stop = _CLOSED
        self._read = self._port.read
        self._port.read = self._read_in_time
        self.limit()

    def limit(self) -> None:
        """All that is read from now on has to come within the time of one answer."""
        self._end_s = time.monotonic() + ANSWER_S

    def _read_in_time(self, size: int = 1) -> bytes:
        if time.monotonic() > self._end_s:
            raise TimeoutError
        return self._read(size)

    def read_until(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        min_num_bytes: int,
        ending: bytes,
        timeout: float | None = _SILENCE_S,
        data_consumer: Any = None,
        timeout_overall: float | None = None,
    ) -> bytes:
        end_s = self._end_s if timeout_overall is None else min(self._end_s, time.monotonic() + timeout_overall)
        data = bytearray()
        while not data.endswith(ending) and len(data) < _ANSWER_MAX and time.monotonic() < end_s:
            if self._port.in_waiting:
                data += self._port.read(1)
            elif self.stop in data:
                break
            else:
                time.sleep(_POLL_S)
        self.heard = bytes(data)
        return self.heard

    def enter(self) -> None:
        """Come to the raw prompt, of a board that may just be starting; ClosedError if its console is closed."""
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                self.enter_raw_repl(soft_reset=False, timeout_overall=_PROMPT_S)
            except TransportError:
                self._check_closed()
                if not tries_left:
                    raise
            else:
                return

    def _check_closed(self) -> None:
        """Raise ClosedError if the board says that its console is: a lock says so at most once a second."""
        if _CLOSED not in self.heard:
            self.serial.write(b"\r")
            self.read_until(1, _CLOSED, timeout_overall=_BANNER_S)
        head, closed, _ = self.heard.partition(_CLOSED)
        if closed and head.endswith(_DAMAGED):
            raise DamagedError(_REFUSALS["the record is damaged: deprovision"])
        if closed:
            raise ClosedError(
                f"the console of {_name(head)} is closed: give --key or --token, or `vitrine service open` it first"
            )


class BoardLink:
    """The open console behind `port`; a context manager. BoardError is all that it raises.

    is_ours: it was opened for this, and is to be closed with it.
    """

    def __init__(self, port: str, *, is_ours: bool = False) -> None:
        self._port = port
        self._is_ours = is_ours
        with self._quietly("cannot be opened: is it the board's, and free?"):
            self._transport = _Transport(port)
        try:
            with self._quietly("does not come to its prompt: is it a board with our firmware, and not in use?"):
                self._transport.enter()
        except BoardError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the friendly prompt behind, or a closed console, and let go of the port."""
        with contextlib.suppress(OSError, serial.SerialException, TransportError):
            self._transport.exit_raw_repl()
            if self._is_ours:
                self._transport.serial.write(b"\x04")
        with contextlib.suppress(OSError, serial.SerialException):
            self._transport.close()

    def call(self, method: str, *values: str | int) -> Any:
        """Return what `lock.METHOD(values)` returns, as JSON has it."""
        arguments = ", ".join(repr(value) for value in values)
        said = self.run(f"import json\nprint(json.dumps(lock.{method}({arguments})))")
        try:
            return json.loads(said)
        except (ValueError, RecursionError):
            raise BoardError(f"{self._port} is no lock of ours: it answers nonsense") from None

    def run(self, program: str) -> bytes:
        """Run a program on the board; return what it printed.

        The lock keeps a digest of each program on record. A line of random numbers goes with it, as whoever reads
        the records could else try passphrases until the digest fits.
        """
        salted = f"# {secrets.token_hex(16)}\n{program}"
        try:
            with self._quietly("does not answer: was the cable pulled?"):
                return self._transport.exec(salted)
        except TransportExecError as error:
            raise BoardError(_explain(str(error.error_output))) from None

    def run_last(self, program: str, silence_s: float = ANSWER_S) -> bool:
        """Run a program that ends in the board's reset, of which nothing is heard: not by the port, nor by who waits.

        Return whether it has come to RESTART; False: it has said nothing in `silence_s`, of a failure neither.
        """
        program = f"# {secrets.token_hex(16)}\n{program}"
        with self._quietly("does not answer: was the cable pulled?"):
            self._transport.stop = _DONE
            self._transport.exec_raw_no_follow(program)
            said = self._transport.read_until(1, b"\x04", timeout_overall=silence_s)
            if _DONE in said or not said.endswith(b"\x04"):
                time.sleep(_RESTART_S)
                return _DONE in said
            trouble = self._transport.read_until(1, b"\x04").decode("utf-8", "replace")
        raise BoardError(_explain(trouble.rstrip("\x04")))

    @contextlib.contextmanager
    def _quietly(self, trouble: str):
        """Turn the transport's errors into one line, and keep from the terminal what it prints of the board's."""
        try:
            if hasattr(self, "_transport"):
                self._transport.limit()
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except TransportExecError:
            raise
        except (TransportError, OSError, serial.SerialException, struct.error, ValueError, TypeError):
            raise BoardError(f"{self._port} {trouble}") from None


def _explain(traceback: str) -> str:
    """Return the meaning of a traceback that a lock is known to print; of any other only that there was one."""
    last = traceback.strip().rpartition("\n")[2].strip()
    kind, _, text = last.partition(": ")
    if kind in ("ValueError", "LedgerError", "JournalError") and text in _REFUSALS:
        return _REFUSALS[text]
    if kind == "ProvisionError":
        return "the lock does not take this record: its firmware and these tools are of different versions"
    if last.startswith("NameError") and "lock" in last:
        return "this board has no console of ours: `vitrine flash` the firmware first"
    if kind == "OSError":
        return "the lock cannot write its flash: put another board in if it says so again"
    if kind == "MemoryError":
        return "the lock has no memory left for this: switch it off and on, then run the same command again"
    return "the board refused, for a reason that these tools do not know"


def _name(heard: bytes) -> str:
    """Return the lock's name before its banner, if that is one."""
    name = heard.rpartition(b"Vitrine ")[2].decode("latin-1")
    return name if _NAME.fullmatch(name) else "this lock"
