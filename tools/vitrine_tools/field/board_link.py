"""Programs for the open console of a lock, by mpremote's raw REPL; its `lock` answers (firmware/SPEC.md section 21).

What comes back is input from a stranger: bounded in size and time, and never shown. A console may echo what it was
sent, secrets among it; so of a refusal only the texts that the firmware is known to have get through.
"""

import contextlib
import io
import json
import secrets
import struct
import time
from types import TracebackType
from typing import Any, Final, Self

import serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from ..errors import LinkError, ToolError

ANSWER_S: Final = 20.0
_SILENCE_S: Final = 10.0
_POLL_S: Final = 0.002
_ANSWER_MAX: Final = 16 * 1024
_CLOSED: Final = b": service is closed"
DONE: Final = "print('done')"
_DONE: Final = b"done\r\n"
_SHOWN: Final = 64  # of a name that a console says

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
    """The lock is in service, and its console closed."""


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


class BoardLink:
    """The open console behind `port`; a context manager. BoardError and LinkError are all that it raises."""

    def __init__(self, port: str) -> None:
        self._port = port
        with self._quietly("cannot be opened: is it the board's, and free?"):
            self._transport = _Transport(port)
        try:
            with self._quietly("does not come to its prompt: is it a board with our firmware, and not in use?"):
                self._transport.enter_raw_repl(soft_reset=False, timeout_overall=5)
        except LinkError:
            self.close()
            head, closed, _ = self._transport.heard.partition(_CLOSED)
            if closed:
                raise ClosedError(
                    f"{_name(head)} is in service, and its console closed: open it with `vitrine service open` first"
                ) from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the friendly prompt behind, and let go of the port."""
        with contextlib.suppress(OSError, serial.SerialException, TransportError):
            self._transport.exit_raw_repl()
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

    def run_last(self, program: str, silence_s: float = ANSWER_S) -> None:
        """Run a program that ends in the board's reset, of which nothing is heard: not by the port, nor by who waits.

        Return when it has printed DONE, or has said nothing of a failure in `silence_s`.
        """
        program = f"# {secrets.token_hex(16)}\n{program}"
        with self._quietly("does not answer: was the cable pulled?"):
            self._transport.stop = _DONE
            self._transport.exec_raw_no_follow(program)
            said = self._transport.read_until(1, b"\x04", timeout_overall=silence_s)
            if not said.endswith(b"\x04"):
                return
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
            raise LinkError(f"{self._port} {trouble}") from None


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
    name = heard.rpartition(b"Vitrine ")[2][:_SHOWN].decode("ascii", "replace")
    return name if name and all(character.isalnum() or character == "-" for character in name) else "this lock"
