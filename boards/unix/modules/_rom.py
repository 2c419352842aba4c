"""The image: several folders of the host as one read-only file system, first folder first. On the chip it is frozen.

Instead of a folder a ROMFS image of one may be given, as a path or as bytes: its bytecode runs in place, as it does
from flash.
"""

import os

import vfs

_EROFS = 30
_ENOENT = 2


class Rom:
    def __init__(self, folders):
        self._folders = [_system(folder) for folder in folders]

    def mount(self, readonly, mkfs):
        for folder in self._folders:
            folder.mount(True, False)

    def umount(self):
        pass

    def open(self, path, mode):
        if "r" not in mode or "+" in mode:
            raise OSError(_EROFS)
        return self._first("open", path, mode)

    def stat(self, path):
        return self._first("stat", path)

    def ilistdir(self, path):
        names = set()
        for folder in self._folders:
            try:
                entries = list(folder.ilistdir(path))
            except OSError:
                continue
            for entry in entries:
                if entry[0] not in names:
                    names.add(entry[0])
                    yield entry

    def statvfs(self, path):
        return 4096, 4096, 0, 0, 0, 0, 0, 0, 1, 255

    def chdir(self, path):
        self.stat(path)

    def getcwd(self):
        return "/"

    def _refuse(self, *args):
        raise OSError(_EROFS)

    mkdir = remove = rename = rmdir = _refuse

    def _first(self, method, *args):
        for folder in self._folders:
            try:
                return getattr(folder, method)(*args)
            except OSError as error:
                if error.errno != _ENOENT:
                    raise
        raise OSError(_ENOENT)


def _system(path):
    if not isinstance(path, str):
        return vfs.VfsRom(path)
    if not path.endswith(".romfs"):
        return vfs.VfsPosix(path)
    image = bytearray(os.stat(path)[6])  # at once: read() would need the space twice
    with open(path, "rb") as file:
        file.readinto(image)
    return vfs.VfsRom(image)
