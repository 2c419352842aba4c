"""A private D-Bus: one dbus-daemon on a socket in a folder of its own, ended with the program that started it."""

import asyncio
import contextlib
import ctypes
import shutil
import signal
import tempfile
from importlib.resources import as_file, files

from ..errors import ToolError

ADDRESS_VARIABLE = "DBUS_SYSTEM_BUS_ADDRESS"  # where every D-Bus client looks for the system bus
_START_LIMIT_S = 10.0
_STOP_LIMIT_S = 5.0
_PR_SET_PDEATHSIG = 1


class BusError(ToolError):
    """The private D-Bus could not be started."""


class PrivateBus:
    """`async with PrivateBus() as bus:` runs a dbus-daemon; clients reach it at `bus.address`."""

    def __init__(self) -> None:
        self.address = ""
        self._folder = ""
        self._process: asyncio.subprocess.Process | None = None

    @staticmethod
    def is_available() -> bool:
        """Tell whether a dbus-daemon is installed."""
        return shutil.which("dbus-daemon") is not None

    async def start(self) -> None:
        """Start the daemon and wait until it listens; BusError if it does not."""
        if not self.is_available():
            raise BusError("dbus-daemon is not installed: `apt-get install dbus` brings it")
        self._folder = tempfile.mkdtemp(prefix="vitrine-bus-")
        try:
            with as_file(files("vitrine_tools.ble") / "private_bus.conf") as config:
                self._process = await asyncio.create_subprocess_exec(
                    "dbus-daemon",
                    f"--config-file={config}",
                    f"--address=unix:path={self._folder}/socket",
                    "--nofork",
                    "--nopidfile",
                    "--print-address=1",
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    preexec_fn=end_with_parent,
                    start_new_session=True,  # Ctrl-C ends the program first, and the program its bus
                )
                if self._process.stdout is None:
                    raise OSError("no pipe")
                async with asyncio.timeout(_START_LIMIT_S):
                    line = await self._process.stdout.readline()
        except (OSError, TimeoutError) as error:
            await self.stop()
            raise BusError(f"dbus-daemon did not start: {error}") from error
        self.address = line.decode("ascii", "replace").strip()
        if not self.address:
            await self.stop()
            raise BusError("dbus-daemon ended at once: look at what `dbus-daemon --session` says")

    async def stop(self) -> None:
        """End the daemon and remove its folder. May be called at any time."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(_STOP_LIMIT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    async def __aenter__(self) -> "PrivateBus":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


_LIBC = ctypes.CDLL(None)


def end_with_parent() -> None:
    """In the child: be told to end when the parent dies, even if it is killed (Linux)."""
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
