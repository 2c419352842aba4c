"""Espressif's esptool, as a process of its own: what it is asked, and what its answers mean in one line.

A process, because esptool ends itself and prints tracebacks where a cable is pulled; because a write that hangs can be
ended; and because a person can run the very same commands.
"""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .chips import Chip
from .flash_plan import FlashError, Part

_PROGRAM: Final = (sys.executable, "-P", "-m", "esptool")  # -P: not one that lies in the current folder
_SILENCE_S: Final = 180  # the ROM erases before it answers: 30 s for each MiB at the worst
_MIB: Final = 1024 * 1024
_SIZE: Final = re.compile(r"^Detected flash size: (\d+)MB$", re.MULTILINE)
_WORD: Final = re.compile(r"^0x[0-9a-f]+ = (0x[0-9a-f]+)$", re.MULTILINE)
_PERCENT: Final = re.compile(r"^Writing at .* ([0-9.]+)% ")
_BEGINS: Final = "Flash will be erased from"
_VERIFIED: Final = "Hash of data verified."
# eFuse words as the chip reads them: (address, mask) of the encryption counter, which is on when it is odd, and of the
# bits of secure boot
_EFUSES: Final = {
    "esp32": ((0x3FF5A000, 0x7F << 20), (0x3FF5A018, 3 << 4)),
    "esp32s3": ((0x60007034, 7 << 18), (0x60007038, 1 << 20)),
    "esp32c3": ((0x60008834, 7 << 18), (0x60008838, 1 << 20)),
}


@dataclass(frozen=True)
class Fitting:
    """What is on the cable. flash_size in bytes, None if the flash does not tell."""

    flash_size: int | None
    is_encrypting: bool
    is_verifying: bool  # secure boot


@dataclass(frozen=True)
class Esptool:
    """One chip on one port. is_stubless: talk to the ROM only. is_manual: nobody but the user resets the board."""

    chip: Chip
    port: str
    baud: int = 460_800
    is_stubless: bool = False
    is_manual: bool = False

    def command(self, *words: str, is_stubless: bool | None = None) -> list[str]:
        """Return the whole command."""
        line = [*_PROGRAM, "--chip", self.chip.name, "--port", self.port, "--baud", str(self.baud)]
        if self.is_manual:
            line += ["--before", "no-reset", "--after", "no-reset"]
        if self.is_stubless if is_stubless is None else is_stubless:
            line.append("--no-stub")
        return [*line, *words]

    def write_command(self, parts: Sequence[Part], folder: Path) -> list[str]:
        """Return the command that writes the parts that are staged in `folder`."""
        keep = ["--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep"]  # settled in the bootloader
        files = [word for part in parts for word in (hex(part.offset), str(folder / part.file_name))]
        return self.command("write-flash", "--compress", *keep, *files)

    def fitting(self) -> Fitting:
        """Ask the chip what it is; FlashError if it does not answer, or is another one."""
        size = _SIZE.search(self._run(self.command("flash-id", is_stubless=True)))
        encryption, boot = (self._efuse(*place) for place in _EFUSES[self.chip.name])
        return Fitting(int(size[1]) * _MIB if size else None, encryption.bit_count() % 2 == 1, boot != 0)

    def write(self, parts: Sequence[Part], folder: Path, on_progress: Callable[[Part, float], None]) -> None:
        """Write what is staged in `folder`; each part is read back by the chip, and its digest compared.

        on_progress(part, percent) is called on the way, and with 100 when a part is verified. FlashError.
        """
        waiting = list(parts)
        has_begun = False

        def heard(line: str) -> None:
            nonlocal has_begun
            has_begun = has_begun or line.startswith(_BEGINS)
            percent = _PERCENT.match(line)
            if percent and waiting:
                on_progress(waiting[0], min(float(percent[1]), 99.0))
            elif line == _VERIFIED and waiting:
                on_progress(waiting.pop(0), 100.0)

        try:
            self._run(self.write_command(parts, folder), heard)
        except FlashError as error:
            if not has_begun or not waiting:
                raise
            raise FlashError(
                f"{error}; it was at {waiting[0].name}: the board is half written, run this again"
            ) from None
        if waiting:
            raise FlashError(f"esptool ended well without having verified {waiting[0].name}: run this again")

    def _efuse(self, address: int, mask: int) -> int:
        word = _WORD.search(self._run(self.command("read-mem", hex(address), is_stubless=True)))
        if word is None:
            raise FlashError(f"the chip on {self.port} does not tell whether it encrypts its flash")
        return int(word[1], 16) & mask

    def _run(self, command: Sequence[str], on_line: Callable[[str], None] = lambda _line: None) -> str:
        """Run esptool to its end and return what it said; FlashError with the reason if it failed."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
        environment.pop("PYTHONWARNINGS", None)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        said: list[str] = []
        silence = _Silence(process)
        try:
            for line in process.stdout:
                silence.broken()
                said.append(line.rstrip())
                on_line(said[-1])
            status = process.wait()
        finally:
            silence.end()
            process.kill()
            process.wait()
            process.stdout.close()
        if silence.was_too_long:
            raise FlashError(f"nothing was heard from {self.port} for {_SILENCE_S} s")
        if status:
            raise FlashError(self._reason(said))
        return "\n".join(said)

    def _reason(self, said: Sequence[str]) -> str:
        text = " ".join(said)
        for pattern, reason in _REASONS:
            match = re.search(pattern, text)
            if match:
                return reason.format(*match.groups(), port=self.port, chip=self.chip.title)
        fatal = re.search(r"A fatal error occurred: (.*)", "\n".join(said))
        last = fatal[1] if fatal else next((line for line in reversed(said) if line), "it said nothing")
        return f"esptool failed: {last}"


_BROKEN: Final = (
    "stopped responding|serial exception|data stream stopped|No serial data|Packet content transfer|Input/output error"
    "|Invalid head of packet|device disconnected|readiness to read|SLIP escape"
)
# what esptool says -> what to do; the first that fits
_REASONS: Final = (
    ("port is busy or doesn't exist", "cannot open {port}: no such port, in use, or not yours to open"),
    (r"This chip is (\S+), not", "the chip on {port} is an {0}, and the board has an {chip}: choose another --board"),
    ("Failed to connect to", "no chip answers on {port}: hold BOOT while pressing RESET, then check cable and power"),
    ("MD5 of file does not match", "the flash does not hold what was written: it is worn, or short of power"),
    (f"(?i){_BROKEN}", "the connection to {port} broke off: check the cable"),
)


class _Silence:
    """Ends a process that has said nothing for too long."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.was_too_long = False
        self._timer: threading.Timer | None = None
        self.broken()

    def broken(self) -> None:
        self.end()
        self._timer = threading.Timer(_SILENCE_S, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _kill(self) -> None:
        self.was_too_long = True
        self._process.kill()


def shown(command: Sequence[str]) -> str:
    """Return a command as a person types it."""
    return shlex.join(["esptool", *command[len(_PROGRAM) :]])
