"""The words of README.md for a board as it comes: emulated bare, provisioned over its wire, opened, serviced, wiped."""

import asyncio
import json
import os
import sys

import pytest

from vitrine_tools import keys, names
from vitrine_tools.ble.private_bus import PrivateBus
from vitrine_tools.emulator_state import EmulatorState

VITRINE = [sys.executable, "-c", "from vitrine_tools.cli import main; main()"]
LIMIT_S = 60


async def vitrine(folder, *words):
    """Run one command to its end in `folder`; return (exit status, standard output)."""
    environment = {**os.environ, "VITRINE_ESCROW_PASSPHRASE": "a long passphrase"}
    process = await asyncio.create_subprocess_exec(
        *VITRINE, *words, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode()


class Emulator:
    """`vitrine emulate --bare` while it runs; `heard`: the lines that came so far."""

    def __init__(self, folder):
        self._folder = folder
        self.heard = []

    async def __aenter__(self):
        self._process = await asyncio.create_subprocess_exec(
            *VITRINE,
            *("emulate", "--bare", "--console", "wire", "--json"),
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        await self.line("has its wire at")
        return self

    async def line(self, what):
        """Wait for the next line that says so."""
        async with asyncio.timeout(LIMIT_S):
            while raw := await self._process.stdout.readline():
                self.heard.append(json.loads(raw))
                if self.heard[-1]["what"] == what:
                    return self.heard[-1]
        raise AssertionError(self.heard)

    async def __aexit__(self, *_):
        self._process.terminate()
        await self._process.communicate()


@pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)")
async def test_a_bare_board_is_provisioned_opened_serviced_and_wiped(tmp_path):
    wire, own = ("--port", "wire"), ("--key", "build/bare/issuer.pem")
    escrow = ("--keys", "build/bare/escrow")
    async with Emulator(tmp_path) as emulator:
        assert EmulatorState.load(tmp_path / "build/bare").lock_id == "case-12"
        status, says = await vitrine(
            tmp_path, "provision", *wire, "--lock", "case-12", "--site", "build/bare/site.toml", *escrow
        )
        assert status == 0 and "is provisioned" in says, says
        phone = ("--token", "build/bare/token.cbor", "--key", "build/bare/holder.pem")
        status, says = await vitrine(tmp_path, "unlock", "--lock", "case-12", *phone)
        assert status == 0 and "unlocked" in says, says
        await emulator.line("UNLOCKED")
        status, says = await vitrine(tmp_path, "service", "open", *wire, *own, "--", "exec", "print(6 * 7)")
        assert status == 0 and "42" in says.split(), says
        status, says = await vitrine(tmp_path, "service", "test", *wire, *own)
        assert status == 0, says
        await emulator.line("strike TESTED")
        status, says = await vitrine(tmp_path, "deprovision", *wire, "--lock", "case-12", *own, "--yes")
        assert status == 0, says
    flash = (tmp_path / "build/bare/flash.bin").read_bytes()
    issuer = keys.load_public(tmp_path / "build/bare/issuer.pub.pem")
    for trace in (b"case-12", issuer.raw, issuer.kid, names.hint("case-12")):
        assert trace not in flash


async def test_a_bare_board_that_was_provisioned_is_found_so_again(tmp_path):
    async with Emulator(tmp_path):
        words = ("--port", "wire", "--lock", "case-12", "--site", "build/bare/site.toml", "--keys", "keys")
        status, says = await vitrine(tmp_path, "provision", *words)
        assert status == 0, says
    async with Emulator(tmp_path):
        status, says = await vitrine(tmp_path, "provision", *words)
        assert status == 2 and "the console of case-12 is closed" in says
        status, says = await vitrine(tmp_path, "provision", *words, "--key", "build/bare/issuer.pem")
        assert status == 0 and "nothing to do" in says, says
