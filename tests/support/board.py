"""Run small programs on the emulated board: what they trace comes back."""

from pathlib import Path

from vitrine_tools.emulator import EmulatedLock, VirtualRadio

ECHO_APP = Path(__file__).resolve().parents[1] / "boards" / "echo_app"


def board(folder: Path, source: str, *, boot: str = "", radio: VirtualRadio | None = None, **options) -> EmulatedLock:
    """A board that will run `source` as its main.py, in virtual time unless asked otherwise; not started."""
    code = folder / "code"
    code.mkdir(exist_ok=True)
    (code / "boot.py").write_text(boot)
    (code / "main.py").write_text(source)
    settings = {"flash": folder / "flash.bin", "firmware": code, "virtual": True, "deps": folder}
    return EmulatedLock(radio or VirtualRadio(), **(settings | options))


async def run(folder: Path, source: str, **options) -> list[dict]:
    """Run `source` to its end; return what it traced, without times. An exception of it fails the test."""
    async with board(folder, source, **options) as lock:
        assert lock.ended == "", lock.last_words()
        return [{key: value for key, value in event.items() if key != "t_ms"} for event in lock.events]


def echo(folder: Path, radio: VirtualRadio, **options) -> EmulatedLock:
    """A board with the echo app (tests/boards/echo_app), in virtual time, not started."""
    settings = {"flash": folder / "flash.bin", "firmware": ECHO_APP, "virtual": True, "deps": folder}
    return EmulatedLock(radio, **(settings | options))
