"""The control socket of a running `vitrine emulate`: one line of JSON in, one line of JSON out, for each connection.

The socket lies in the emulator's folder, which only its owner may enter.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from .errors import ToolError

COMMANDS: Final = ("open", "close", "rex", "force", "power-cut", "status")
_NAME = "control.sock"
_MAX_LINE = 4096
_LIMIT_S = 10.0


class ControlError(ToolError):
    """No emulator runs in the folder, or it did not do what it was told."""


class ControlServer:
    """Serves the socket in `folder`; `obey(command)` returns the answer's fields, or raises ToolError."""

    def __init__(self, folder: Path, obey: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        self._folder = folder
        self._obey = obey
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; ControlError if another emulator does so in this folder."""
        check_free(self._folder)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _reachable(self._folder) as path:
                Path(path).unlink(missing_ok=True)  # left behind by one that was killed
                listener.bind(path)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_MAX_LINE)
        except OSError as error:
            listener.close()
            raise ControlError(f"cannot listen in {self._folder}: {error.strerror}") from error

    async def stop(self) -> None:
        """Close the socket and remove it."""
        if self._server is not None:
            self._server.close()
            self._server = None
            (self._folder / _NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(_LIMIT_S):
                command = json.loads(await reader.readline())
                try:
                    if command not in COMMANDS:
                        raise ControlError(f"no such command: use one of {', '.join(COMMANDS)}")
                    answer = {"ok": True, **await self._obey(command)}
                except ToolError as error:
                    answer = {"ok": False, "error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()


def send(folder: Path, command: str) -> dict[str, Any]:
    """Send one command to the emulator in `folder` and return its answer's fields; ControlError if it fails."""
    try:
        with _connected(folder) as connection:
            connection.settimeout(_LIMIT_S)
            connection.sendall(json.dumps(command).encode() + b"\n")
            with connection.makefile("rb") as file:
                answer = json.loads(file.readline(_MAX_LINE))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise ControlError(f"no emulator runs in {folder}: start it with `vitrine emulate {folder}`") from None
    except (OSError, ValueError) as error:
        raise ControlError(f"the emulator in {folder} did not answer ({error}): start it again") from error
    if not answer.pop("ok", False):
        raise ControlError(answer.get("error", "the emulator refused"))
    return answer


def check_free(folder: Path) -> None:
    """ControlError if an emulator runs in `folder`: what lies there is its own then."""
    if is_listening(folder):
        raise ControlError(f"an emulator already runs in {folder}: stop it, or give another folder")


def is_listening(folder: Path) -> bool:
    """Tell whether an emulator runs in `folder`."""
    try:
        with _connected(folder):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _connected(folder: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        with _reachable(folder) as path:
            connection.connect(path)
        yield connection


@contextlib.contextmanager
def _reachable(folder: Path) -> Iterator[str]:
    """Yield a short path to the socket: the kernel takes at most 107 bytes, and a folder's name may be longer."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)
