"""Power cuts of provisioning and deprovisioning, on the emulated board: before each operation on the flash, and within.

The operations are those of one uncut run. Of the many that only write over freed blocks, one of sixty is cut.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from support.field_lab import WIPE, cut_provisioning, cut_wipe, field_board, in_service, provisioning, said
from support.store import Store
from vitrine_tools.emulator.flash import FlashImage

_FILL_FROM, _FILL_EVERY = 120, 60  # operations of a wipe
_WITHIN = 16  # bytes: a shorter program is not cut within


class FieldCuts:
    """operations: (what is done, units done before it, its own units), of provisioning, then of a wipe."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self.operations = asyncio.run(self._trace())

    def close(self) -> None:
        """Remove the flash files."""
        shutil.rmtree(self._folder)

    def run(self, number: int) -> "list[tuple[str, str]]":
        """Cut operation `number` before it begins and within; return (name of the case, what is wrong or "")."""
        what, before, units = self.operations[number]
        return [
            (f"{what}.{after}", asyncio.run(self._cut(what, after)))
            for after in ([before, before + units // 2] if units >= _WITHIN else [before])
        ]

    async def _trace(self) -> "list[tuple[str, int, int]]":
        store = self._store("lock")
        async with field_board(store.folder, ""):
            pass
        program = provisioning(store.provision()).replace("lock.restart()", "show(_units)\n    lock.restart()")
        async with field_board(store.folder, program, is_traced=True) as lock:
            await lock.advance(1000)
            operations = _operations("provision", said(lock)[0])
        (store.folder / "flash.bin").unlink()
        image = await in_service(store.folder, store)
        shutil.copy(image.path, self._folder / "in-service.bin")
        async with field_board(store.folder, WIPE, is_traced=True) as lock:
            await lock.advance(1000)
            wipe = _operations("wipe", max(said(lock), key=len))
        return operations + wipe[:_FILL_FROM] + wipe[_FILL_FROM::_FILL_EVERY]

    async def _cut(self, what: str, after: int) -> str:
        store = self._store("cut")
        try:
            if what == "provision":
                return "" if await cut_provisioning(store, after) else "nothing was cut"
            image = FlashImage(store.folder / "flash.bin")
            shutil.copy(self._folder / "in-service.bin", image.path)
            return "" if await cut_wipe(store, image, after) is not None else "nothing was cut"
        except Exception as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        finally:
            shutil.rmtree(store.folder)

    def _store(self, name: str) -> Store:
        folder = self._folder / name
        folder.mkdir()
        return Store(folder)


def _operations(what: str, units: "list[int]") -> "list[tuple[str, int, int]]":
    return [(what, sum(units[:number]), each) for number, each in enumerate(units)]
