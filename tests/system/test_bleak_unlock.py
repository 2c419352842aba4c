"""From the command line to the firmware: `vitrine emulate` and, through the real bleak, `vitrine unlock`. Real time."""

import asyncio
import json
import os
import pty
import re
import signal
import sys

import pytest

from vitrine_tools import control, keys, tokens, when, workspace
from vitrine_tools.ble.private_bus import PrivateBus
from vitrine_tools.keys import PrivateKey

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)"),
]

VITRINE = [sys.executable, "-c", "from vitrine_tools.cli import main; main()"]
LIMIT_S = 30.0


class Emulator:
    """A running `vitrine emulate --json` and its timeline."""

    def __init__(self, folder):
        self.folder = folder
        self.lines = []

    async def start(self, *words):
        self.process = await asyncio.create_subprocess_exec(
            *VITRINE, "emulate", str(self.folder), "--json", *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await self.until("is on the air")

    async def until(self, what):
        """Read the timeline until an entry says `what`; return it."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                line = await self.process.stdout.readline()
                if not line:
                    raise AssertionError((await self.process.stderr.read()).decode())
                self.lines.append(json.loads(line))
                if what in self.lines[-1]["what"]:
                    return self.lines[-1]

    async def send(self, command):
        return await asyncio.to_thread(control.send, self.folder, command)

    async def stop(self):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(self.process.communicate(), LIMIT_S)
        return self.process.returncode, err.decode()


@pytest.fixture
async def emulator(tmp_path):
    emulator = Emulator(tmp_path / "lock")
    await emulator.start()
    yield emulator
    await emulator.stop()


async def vitrine(*words):
    """Run the command line; return (exit status, standard output, standard error)."""
    process = await asyncio.create_subprocess_exec(
        *VITRINE, *map(str, words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    return process.returncode, out.decode(), err.decode()


def unlock_words(folder, *more, lock="case-12", token="token.cbor", key="holder.pem"):
    return ["unlock", "--lock", lock, "--token", folder / token, "--key", folder / key, "--emulator", folder, *more]


async def test_a_day_at_the_case(emulator):
    status, out, err = await vitrine(*unlock_words(emulator.folder, "--json"))
    assert (status, err) == (0, "")
    outcome = json.loads(out)
    assert outcome["granted"] and outcome["token_accepted"] and outcome["time_state"] == "trusted"
    assert (outcome["lock_state"], outcome["door_state"]) == ("Unlocked", "DoorClosed")
    await emulator.until("UNLOCKED")
    assert (await emulator.send("status"))["strike"]
    assert (await emulator.send("open"))["door"] == "open"
    await emulator.until("door opened")
    await emulator.send("close")
    await emulator.until("locked")
    assert (await emulator.send("open"))["door"] == "closed"  # the bolt holds
    await emulator.send("rex")
    assert (await emulator.until("UNLOCKED"))["why"] == "exit button"
    assert (await emulator.stop()) == (0, "")
    assert not (emulator.folder / "control.sock").exists() and not (emulator.folder / "emulator.json").exists()


async def test_over_http(tmp_path):
    """`--http 0`: the lock says where it is, and opens there as over Bluetooth; without it, it serves nobody."""
    emulator = Emulator(tmp_path / "lock")
    try:
        await emulator.start("--http", "0")
        url = (await emulator.until("serves HTTP"))["why"]
        words = unlock_words(emulator.folder, "--json")[:-3]
        status, out, err = await vitrine(*words, "--http", url, "--json")
        assert (status, err) == (0, "") and json.loads(out)["granted"]
        await emulator.until("UNLOCKED")
        assert (await vitrine(*unlock_words(emulator.folder)))[0] == 0
        await emulator.stop()
        await emulator.start()
        status, out, err = await vitrine(*words, "--http", url)
        assert (status, out) == (2, "") and "refused" in err
        assert (await vitrine(*unlock_words(emulator.folder)))[0] == 0
    finally:
        await emulator.stop()


async def test_a_power_cut_comes_back_locked_and_opens_again(emulator):
    assert (await vitrine(*unlock_words(emulator.folder)))[0] == 0
    status = await emulator.send("power-cut")
    assert status["power"] and not status["strike"]
    assert (await emulator.until("on the air again"))["who"] == "lock"
    status, out, _ = await vitrine(*unlock_words(emulator.folder))
    assert status == 0 and re.fullmatch(r"case-12 unlocked \(DoorClosed\); found in \d+ ms, opened in \d+ ms\n", out)


async def test_forced_open_is_an_alarm(emulator):
    await emulator.send("force")
    assert (await emulator.until("ALARM"))["bad"]


async def test_a_refusal_is_one_line_with_its_reason(emulator, tmp_path):
    issuer = keys.load_private(emulator.folder / "issuer.pem")
    holder = keys.load_private(emulator.folder / "holder.pem")

    async def refused(signer=issuer, audience="case-12", scopes=("unlock",), action="unlock", **change):
        claims = tokens.Claims.for_holder(
            holder.public, [audience], now_s=when.parse_time("2026-01-01T00:00Z"), valid_s=3600, scopes=scopes, **change
        )
        (emulator.folder / "other").write_bytes(tokens.issue(claims, signer))
        words = unlock_words(emulator.folder, "--action", action, token="other")
        status, out, err = await vitrine(*words)
        assert (status, out, err.count("\n")) == (1, "", 1)
        return err

    assert "case-12 refused: Expired" in await refused()
    assert "case-12 refused: AudienceMismatch" in await refused(audience="case-13")
    assert "gives no reason" in await refused(signer=PrivateKey.generate())
    status, out, _ = await vitrine(*unlock_words(emulator.folder, "--action", "hold", "--json"))
    assert status == 0 and json.loads(out)["action"] == "hold"
    status, out, _ = await vitrine(*unlock_words(emulator.folder, "--json", token="other"))
    assert status == 1 and not json.loads(out)["granted"]


async def test_a_lock_that_is_not_there(emulator):
    status, out, err = await vitrine(*unlock_words(emulator.folder, "--timeout", "0.5", lock="case-99"))
    assert (status, out) == (2, "")
    assert re.fullmatch(r"vitrine: lock case-99 is not in reach \(but another Vitrine lock is\): .*\n", err)


async def test_a_second_emulator_in_the_folder_is_refused_and_changes_nothing(emulator, tmp_path):
    workspace.prepare(tmp_path / "other", "case-7", None, "UTC0")
    before = {
        path.name: path.read_bytes() for ending in ("cbor", "pem") for path in emulator.folder.glob(f"*.{ending}")
    }
    assert {"provision.cbor", "token.cbor", "holder.pem", "issuer.pem"} <= before.keys()
    for words in ((), ("--provisioning", tmp_path / "other" / "provision.cbor")):
        status, out, err = await vitrine("emulate", emulator.folder, *words)
        assert status == 2 and "already runs" in err and err.count("\n") == 1
    assert {name: (emulator.folder / name).read_bytes() for name in before} == before
    assert (await emulator.send("status"))["power"]


async def test_it_is_the_same_lock_after_a_restart(tmp_path):
    emulator = Emulator(tmp_path / "lock")
    await emulator.start("--lock", "case-7")
    await emulator.stop()
    again = Emulator(tmp_path / "lock")
    await again.start()
    assert (await again.send("status"))["lock_id"] == "case-7"
    assert (await vitrine(*unlock_words(tmp_path / "lock", lock="case-7")))[0] == 0
    await again.stop()


async def test_without_dbus_the_lock_runs_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    emulator = Emulator(tmp_path / "lock")
    await emulator.start()
    assert any("apt-get install dbus" in line["why"] for line in emulator.lines)
    status, _, err = await vitrine(*unlock_words(tmp_path / "lock"))
    assert status == 2 and "has no D-Bus" in err
    assert (await emulator.stop()) == (0, "")


async def test_it_ends_when_nobody_reads_it_any_more(tmp_path):
    emulator = Emulator(tmp_path / "lock")
    await emulator.start()
    emulator.process._transport.get_pipe_transport(1).close()
    await asyncio.to_thread(control.send, emulator.folder, "force")
    assert await asyncio.wait_for(emulator.process.wait(), LIMIT_S) in (0, 1)
    assert await emulator.process.stderr.read() == b""


async def test_a_firmware_that_cannot_start_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROPYTHON", "/nowhere/micropython")
    status, _, err = await vitrine("emulate", tmp_path / "lock")
    assert status == 2 and err.count("\n") == 1 and "/nowhere/micropython" in err
    assert not control.is_listening(tmp_path / "lock")


async def test_keys_operate_the_door(tmp_path):
    """On a terminal: one key each, and the terminal is as before afterwards."""
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    workspace.prepare(tmp_path / "lock", None, None, "UTC0")
    process = await asyncio.create_subprocess_exec(
        *VITRINE, "emulate", str(tmp_path / "lock"), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    text = ""
    news = asyncio.Event()

    def readable():
        nonlocal text
        try:
            text += os.read(master, 4096).decode()
        except OSError:
            asyncio.get_running_loop().remove_reader(master)
        news.set()

    async def until(word, start=0):
        async with asyncio.timeout(LIMIT_S):
            while word not in text[start:]:
                news.clear()
                await news.wait()

    asyncio.get_running_loop().add_reader(master, readable)
    try:
        await until("q quit")
        assert f"unlock --lock case-12 --token {tmp_path}/lock/token.cbor" in text.replace("\r\n", "")
        for key, word in (("o", "the bolt holds it"), ("x", "UNLOCKED"), ("o", "door opened"), ("c", "door closed")):
            start = len(text)
            os.write(master, key.encode())
            await until(word, start)
        start = len(text)
        os.write(master, b"s?h")
        await until("q quit", start)
        assert "case-12: door closed" in text[start:]
        os.write(master, b"q")
        assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0
        assert termios.tcgetattr(slave) == before
    finally:
        asyncio.get_running_loop().remove_reader(master)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)
        os.close(slave)
