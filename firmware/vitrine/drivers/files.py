"""Small files of the file system, replaced whole: after a power cut the old or the new one is there.

littlefs can show a created file as empty after a cut, so a new content is written aside, synced by closing it, and
renamed over the old one, which littlefs does atomically.
"""

import os

from micropython import const

_ENOENT = const(2)
_ASIDE = const(".new")


class Files:
    """Files of which the path begins with `prefix`. Names are ours, never a peer's."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def load(self, name: str) -> "bytes | None":
        """Return the whole file, or None if there is none; other OSErrors go on."""
        try:
            with open(self._path(name), "rb") as file:
                return file.read()
        except OSError as error:
            if error.errno == _ENOENT:
                return None
            raise

    def save(self, name: str, data: bytes) -> None:
        """Replace the file by `data`; durable when this returns, OSError if it could not be."""
        path = self._path(name)
        with open(path + _ASIDE, "wb") as file:
            file.write(data)
        os.rename(path + _ASIDE, path)

    def remove(self, name: str) -> None:
        """Remove the file, if there is one."""
        try:
            os.remove(self._path(name))
        except OSError as error:
            if error.errno != _ENOENT:
                raise

    def _path(self, name: str) -> str:
        return self._prefix + name
