"""What images for boards leave out: native code takes its place, or the lock does not come up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine_tools.demo.cast import Cast
from vitrine_tools.emulator import EmulatedLock, EmulatorError, VirtualRadio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "checks"))

import mpy_image  # noqa: E402
import mpy_sizes  # noqa: E402

MICROPYTHON = os.environ.get("MICROPYTHON") or str(Path(sys.executable).parent / "micropython")
ENGINE = "from vitrine.crypto.engine import edwards, sha512; print(edwards.__name__, len(sha512(b'')))"


def engine_of(folder):
    return subprocess.run(
        [MICROPYTHON, "-c", ENGINE],
        env={**os.environ, "MICROPYPATH": f"{folder}:.frozen"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_names_modules_that_are_there():
    names = mpy_sizes.fallback()
    assert names and all(name.is_file() for name in names)


def test_native_code_needs_no_fallback(tmp_path):
    done = engine_of(mpy_sizes.compile_tree("x64", tmp_path))
    assert done.stdout.split() == ["vitrine.crypto.edwards_viper", "64"], done.stderr


def test_another_boards_code_does_not_verify_by_bytecode(tmp_path):
    done = engine_of(mpy_sizes.compile_tree("xtensawin", tmp_path))
    assert done.returncode and "edwards_int" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("architecture", ["x64", "xtensawin"])
async def test_a_lock_without_its_native_code_never_comes_on_the_air(tmp_path, monkeypatch, architecture):
    compile_tree = mpy_sizes.compile_tree
    monkeypatch.setattr(mpy_image, "compile_tree", lambda _, target: compile_tree(architecture, target))
    players = Cast()
    radio = VirtualRadio()
    lock = EmulatedLock(
        radio,
        flash=tmp_path / "flash.bin",
        provision=players.provision().to_bytes(),
        firmware=mpy_image.build(tmp_path / "image"),
        virtual=True,
        rtc_s=players.now_s,
        is_time_trusted=True,
    )
    async with lock:
        await lock.advance(5_000)
        if architecture == "x64":
            await lock.wait_advertising()
        else:
            with pytest.raises(EmulatorError, match=r"no module named 'vitrine.*edwards_int'"):
                await lock.wait_advertising(1)
        assert not lock.strike_energised
