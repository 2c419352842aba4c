"""Updates for emulated locks: the firmware as bundles and images of any sequence, signed manifests, and senders."""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from support.store import LOCK_ID, NOW_S, Store
from vitrine_tools import bundle
from vitrine_tools.emulator import image as images
from vitrine_tools.emulator.bumble_link import PhoneError
from vitrine_tools.errors import LinkError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.provisioning import Issuer, Provision
from vitrine_tools.updates import component, manifest
from vitrine_tools.updates.links import SessionLink
from vitrine_tools.updates.push import Patience, Sender

ROOT = Path(__file__).resolve().parents[2]
BOARD = "unix"
VERSION = 'VERSION = "{}"\nSEQUENCE = {}\n'
PUBLISHER = PrivateKey.from_seed(b"\x06" * 32)

sys.path.append(str(ROOT / "tools" / "checks"))
import mpy_sizes  # noqa: E402


@functools.cache
def _tree() -> Path:
    """The firmware's `.mpy` for the unix port, compiled once for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="vitrine-mpy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    mpy_sizes.compile_tree("x64", folder)
    for name in ("boot", "main"):
        _compile(ROOT / "firmware" / f"{name}.py", folder / f"{name}.mpy")
    return folder


def _compile(source: Path, target: Path) -> None:
    command = [mpy_sizes.MPY_CROSS, "-march=x64", *mpy_sizes.OPTIONS, "-s", source.stem, "-o", target, source]
    subprocess.run(command, check=True)


def compiled(source: str) -> bytes:
    """Return the `.mpy` of a module's text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "module.py"
        path.write_text(source)
        _compile(path, path.with_suffix(".mpy"))
        return path.with_suffix(".mpy").read_bytes()


def files(sequence: int, changes: dict[str, str] | None = None, said: int | None = None) -> dict[str, bytes]:
    """Return the firmware's files by path. changes: other texts of modules; said: the sequence in version.py."""
    tree = _tree()
    found = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*.mpy")}
    texts = {"vitrine/version.py": VERSION.format(f"0.7.{sequence}", sequence if said is None else said)}
    for path, text in (texts | (changes or {})).items():
        found[path.replace(".py", ".mpy")] = compiled(text)
    return found


@functools.cache
def _application(sequence: int, changes: tuple, said: int | None) -> component.Component:
    found = files(sequence, dict(changes), said)
    del found["boot.mpy"]
    return component.application(bundle.pack(found, sequence, f"0.7.{sequence}"))


def application(sequence: int, changes: dict[str, str] | None = None, said: int | None = None) -> component.Component:
    """Return the firmware as an application of this sequence."""
    return _application(sequence, tuple(sorted((changes or {}).items())), said)


def image(
    sequence: int, changes: dict[str, str] | None = None, said: int | None = None, chip: int = images.CHIP_ESP32
) -> component.Component:
    """Return the firmware as an image of this sequence."""
    import contextlib
    import io

    from mpremote.romfs import VfsRomWriter, copy_recursively

    with tempfile.TemporaryDirectory() as folder:
        for path, data in files(sequence, changes, said).items():
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        writer = VfsRomWriter()
        with contextlib.redirect_stdout(io.StringIO()):
            copy_recursively(writer, f"{folder}/", "", False)
    return component.image(images.build(writer.finalise(), f"0.7.{sequence}", chip=chip))


def signed(of: component.Component, sequence: int | None = None, *, key: PrivateKey = PUBLISHER, **fields):
    """Return the signed manifest of a component."""
    board = fields.pop("board", BOARD)
    if of.kind is component.Kind.IMAGE:
        fields.setdefault("version", f"0.7.{sequence}")
    return manifest.sign(manifest.of_component(of, board, sequence=sequence, **fields), key)


class UpdateStore(Store):
    """A store whose publisher may sign updates."""

    def provision(self, lock_id: str = LOCK_ID, **door: int) -> bytes:
        def issuer(key, name, scopes):
            return Issuer(public_key=key.public, name=name, scopes=scopes, audiences=(lock_id,), max_lifetime_s=86_400)

        issuers = (
            issuer(self.issuer, "store-7", ("unlock", "hold", "service")),
            issuer(self.headquarters, "headquarters", ("unlock", "admin")),
            issuer(PUBLISHER, "publisher", ("update",)),
        )
        record = Provision(lock_id=lock_id, groups=(), issuers=issuers, provisioned_at_s=NOW_S, door=door)
        return record.to_bytes()

    def sender(self, lock, of: component.Component, sequence: int | None = None, **how) -> Sender:
        """Return what brings this component to `lock` over BLE."""
        fields = {key: how.pop(key) for key in list(how) if key in ("key", "board", "preconditions", "audiences")}

        @asynccontextmanager
        async def connect():
            try:
                async with self.phone(lock) as (_, session):
                    yield SessionLink(session)
            except PhoneError as error:
                raise LinkError(str(error)) from error  # it is starting again just now

        async def sleep(seconds: float) -> None:
            await lock.advance(seconds * 1000)

        def clock() -> float:
            return lock.now_ms / 1000

        patience = how.pop("patience", Patience(silent_s=60, wait_s=120))
        return Sender(connect, signed(of, sequence, **fields), of, patience=patience, sleep=sleep, clock=clock, **how)

    async def ask(self, lock, body):
        """Ask op 9 of `lock` over BLE; return (status, answer)."""
        async with self.phone(lock) as (_, session):
            return await session.ask(9, body)


def updates_of(lock) -> list[tuple]:
    """(detail, sequence, reason) of the lock's records of updates."""
    return [(event.get(15), event.get(27), event.get(4)) for event in lock.events if event[1] == 137]
