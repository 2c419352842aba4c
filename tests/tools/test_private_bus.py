"""The private D-Bus: there while it is wanted, for its owner only, and gone afterwards in every case."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from dbus_fast.aio.message_bus import MessageBus

from vitrine_tools.ble.private_bus import BusError, PrivateBus

pytestmark = pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)")


def socket_of(address):
    return Path(address.removeprefix("unix:path=").partition(",")[0])


async def test_runs_while_it_is_wanted():
    async with PrivateBus() as bus:
        path = socket_of(bus.address)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        client = await MessageBus(bus_address=bus.address).connect()
        assert client.unique_name
        client.disconnect()
    assert not path.parent.exists()
    with pytest.raises((OSError, EOFError)):
        await MessageBus(bus_address=bus.address).connect()


async def test_two_at_once():
    async with PrivateBus() as one, PrivateBus() as other:
        assert one.address != other.address


async def test_without_the_daemon(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BusError, match="apt-get install dbus"):
        await PrivateBus().start()


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/nonsense\n"])
async def test_a_daemon_that_does_not_start(tmp_path, monkeypatch, script):
    (tmp_path / "dbus-daemon").write_text(script)
    (tmp_path / "dbus-daemon").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    bus = PrivateBus()
    with pytest.raises(BusError):
        await bus.start()
    await bus.stop()


async def test_ends_with_a_program_that_is_killed():
    script = (
        "import asyncio\nfrom vitrine_tools.ble.private_bus import PrivateBus\n"
        "async def main():\n async with PrivateBus() as bus:\n"
        "  print(bus._process.pid, bus.address, flush=True); await asyncio.Event().wait()\nasyncio.run(main())"
    )
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    daemon, address = (await asyncio.wait_for(program.stdout.readline(), 20)).decode().split()
    watch = os.pidfd_open(int(daemon))
    program.kill()
    await program.wait()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(watch, gone.set)
    await asyncio.wait_for(gone.wait(), 10)
    asyncio.get_running_loop().remove_reader(watch)
    os.close(watch)
    socket_of(address).unlink(missing_ok=True)
    socket_of(address).parent.rmdir()
    assert -program.returncode == signal.SIGKILL
