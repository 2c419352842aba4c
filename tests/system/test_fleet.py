"""A fleet of three: own keys and flashes, one broker and collector, from the command line; and nothing is left."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path

import pytest

from support.mosquitto import Mosquitto, needs_mosquitto
from vitrine_tools import commanding
from vitrine_tools.audit import query, verdict
from vitrine_tools.ble.private_bus import PrivateBus
from vitrine_tools.collector.escrow import Escrow
from vitrine_tools.collector.store import Store
from vitrine_tools.commanding_broker import connected
from vitrine_tools.demo.brokers import HOST
from vitrine_tools.emulator import BumblePhone
from vitrine_tools.errors import ToolError
from vitrine_tools.fleet.fleet import Fleet
from vitrine_tools.fleet.play import to_all
from vitrine_tools.fleet.traffic import Traffic
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Phone
from vitrine_tools.workspace import GROUP

from .test_bleak_unlock import VITRINE, vitrine

pytestmark = [needs_mosquitto, pytest.mark.system]
LIMIT_S = 40.0
LOCKS = ["case-001", "case-002", "case-003"]


async def until(is_it):
    async with asyncio.timeout(LIMIT_S):
        while not is_it():
            await asyncio.sleep(0.02)


async def test_each_opens_to_its_own_token_only_and_the_collector_gets_all(tmp_path):
    heard = {}

    async def listen(broker):
        async with connected(broker) as client:
            await client.subscribe("vitrine/#", qos=1)
            async for message in client.messages:
                heard.setdefault(str(message.topic), []).append(message.payload)

    async with Fleet(tmp_path / "fleet", "mosquitto", has_bus=False) as fleet:
        tap = asyncio.create_task(listen(fleet.uplink.client("intruder")))
        await fleet.resize(3)
        assert [member.lock_id for member in fleet.members] == LOCKS
        for name in ("flash.bin", "issuer.pem", "holder.pem"):
            assert len({(tmp_path / "fleet" / lock / name).read_bytes() for lock in LOCKS}) == 3
        async with BumblePhone(fleet.radio) as phone:
            for member in fleet.members:
                for other in fleet.members:
                    await phone.connect(member.lock.address)
                    outcome = await Phone(phone, member.lock_id).open(other.token(), other.holder)
                    assert outcome.is_granted == (member is other)
                    await phone.disconnect()
                    await phone.disconnected.wait()
        async with Traffic(fleet.radio, lambda: fleet.members, 2) as traffic:
            task = asyncio.create_task(traffic.run(600))
            await until(lambda: len(traffic.latencies_ms) >= 4)
            task.cancel()
            await asyncio.wait({task}, timeout=10)
            assert task.cancelled()
        counts = lambda: [(member.records, member.stored) for member in fleet.members]  # noqa: E731
        await until(lambda: all(stored == made > 4 for made, stored in counts()))
        assert all(member.is_online and not member.trouble for member in fleet.members)
        for lock in LOCKS:
            assert b"online" in heard[f"vitrine/{lock}/availability"]
            assert json.loads(heard[f"vitrine/{lock}/state"][-1])["time"] == "trusted"
            assert heard[f"vitrine/{lock}/journal"]
        assert fleet.lags_s and min(fleet.lags_s) >= 0 and max(fleet.lags_s) < LIMIT_S
        before = dict(zip(LOCKS, counts(), strict=True))
        pids = [member.lock.firmware.pid for member in fleet.members]
        await fleet.resize(2)
        assert not Path(f"/proc/{pids[2]}").exists() and Path(f"/proc/{pids[0]}").exists()
        tap.cancel()
        await asyncio.wait({tap})
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    store = Store(str(fleet.database))
    entries = list(query.select(store, query.Filter()))
    judged = verdict.judge(store, Escrow(fleet.escrow))
    store.close()
    assert len(judged) == 3 and all(each.is_whole for each in judged)
    for lock in LOCKS:
        numbers = sorted(entry.sequence for entry in entries if entry.lock_id == lock)
        assert numbers == list(range(len(numbers))) and len(numbers) >= before[lock][0]


@pytest.mark.parametrize("kind", ["embedded", "given"])
async def test_one_signature_shuts_a_whole_fleet(tmp_path, kind):
    """At the embedded broker, and at one that is there already."""
    async with contextlib.AsyncExitStack() as stack:
        url, certificates = "embedded", None
        if kind == "given":
            (tmp_path / "broker").mkdir()
            given = Mosquitto(tmp_path / "broker")
            await given.start()
            stack.push_async_callback(given.stop)
            url, certificates = f"mqtts://{HOST}:{given.port}", given.folder
        fleet = await stack.enter_async_context(Fleet(tmp_path / "fleet", url, certificates, has_bus=False))
        await fleet.resize(2)
        await until(lambda: all(member.is_online for member in fleet.members))
        async with BumblePhone(fleet.radio) as phone:

            async def may_open():
                granted = []
                for member in fleet.members:
                    await phone.connect(member.lock.address)
                    outcome = await Phone(phone, member.lock_id).open(member.token(), member.holder)
                    granted.append(outcome.is_granted)
                    await phone.disconnect()
                    await phone.disconnected.wait()
                return granted

            assert await may_open() == [True, True]
            for command, expected in (("lockdown", False), ("release", True)):
                status, out, err = await vitrine(*to_all(fleet, command), "--json", "--timeout", "3")
                assert (status, err) == (0, "") and out.count("case-00") == 2, (out, err)
                assert await may_open() == [expected, expected]
        await until(lambda: all(member.stored == member.records > 2 for member in fleet.members))


async def test_whom_a_fleet_shall_trust_can_be_given(tmp_path):
    headquarters, stranger = PrivateKey.generate(), PrivateKey.generate()
    async with Fleet(tmp_path / "fleet", "embedded", issuer=headquarters.public, has_bus=False) as fleet:
        await fleet.resize(1)
        assert to_all(fleet, "lockdown") == [] and not (fleet.folder / "fleet.pem").exists()
        member = fleet.members[0]
        async with BumblePhone(fleet.radio) as phone:
            await phone.connect(member.lock.address)
            session = Phone(phone, member.lock_id)
            for key, is_done in ((stranger, False), (headquarters, True)):
                command = commanding.Command(
                    number=commanding.Number.SCENARIO,
                    body={2: True},
                    sequence=1,
                    audiences=(GROUP,),
                    exp_s=int(time.time()) + 60,
                )
                assert (await session.command(commanding.sign(command, key).data)).is_done is is_done
    with pytest.raises(ToolError, match="does not trust the key"):
        async with Fleet(tmp_path / "fleet", "embedded", issuer=stranger.public, has_bus=False) as fleet:
            await fleet.resize(1)


@pytest.fixture
def short_folder():
    """A folder for temporary files whose path leaves room for that of a socket: 107 bytes in all."""
    with tempfile.TemporaryDirectory(prefix="v-") as name:
        yield Path(name)


@pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)")
async def test_from_the_command_line_and_nothing_is_left(tmp_path, short_folder):
    temporary = short_folder
    folder = tmp_path / "fleet"
    words = ["emulate", str(folder), "--count", "3", "--json", "--unlocks-per-minute", "120", "--phones", "2"]
    process = await asyncio.create_subprocess_exec(
        *VITRINE, *words, env={**os.environ, "TMPDIR": str(temporary)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S):
            seen = {}
            while seen.get("online") != 3 or seen.get("unlocks", 0) < 2 or not seen["stored"]:
                line = await process.stdout.readline()
                assert line, (await process.stderr.read()).decode()
                seen = json.loads(line)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 5  # three locks, broker, bus
        status, _, err = await vitrine("unlock", "--emulator", folder, "--lock", "case-002")
        assert (status, err) == (0, "")
        key = folder / "case-002" / "issuer.pem"
        status, _, err = await vitrine("command", "lockdown", "--emulator", folder, "--lock", "case-002", "--key", key)
        assert (status, err) == (0, "")
        assert (await vitrine("unlock", "--emulator", folder, "--lock", "case-002"))[0] == 1
        status, _, err = await vitrine("emulate", folder, "--count", "1")
        assert status == 2 and "already runs" in err
    finally:
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert (process.returncode, err) == (0, b"")
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert list(temporary.iterdir()) == []
    assert not [path for path in folder.rglob("*") if path.is_socket() or path.name in ("emulator.json", "broker")]


def children_of(pid):
    """All processes below this one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children_of(int(child))]
    return found


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def on_a_terminal(folder, temporary, broker="embedded"):
    """A fleet of two, for a person at a terminal; yields (process, what reads its screen until it shows something)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    process = subprocess.Popen(
        [*VITRINE, "emulate", str(folder), "--count", "2", "--broker", broker, "--unlocks-per-minute", "120"],
        env={**os.environ, "TMPDIR": str(temporary), "TERM": "xterm", "COLUMNS": "80"},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)

    def shows(predicate):
        seen, end_s = "", time.monotonic() + LIMIT_S
        while not predicate(seen):
            assert select.select([ours], [], [], max(0.0, end_s - time.monotonic()))[0], seen
            seen += os.read(ours, 65536).decode(errors="replace")
        return seen

    shows.terminal = ours
    try:
        yield process, shows
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)


def has_opened(screen):
    return "case-002" in screen and any(
        re.search(r"case-00[12] +\S +\S+ +\S +\S+ +\S +[1-9]", line) for line in screen.splitlines()
    )


def drain(terminal):
    """Read what still comes, so that whoever writes there can end."""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
        while os.read(terminal, 65536):
            pass


def test_the_table_on_a_terminal_and_ctrl_c(tmp_path, short_folder):
    with on_a_terminal(tmp_path / "fleet", short_folder) as (process, shows):
        screen = shows(has_opened)
        assert "unlock_p99_ms" in screen and "--group demo" in screen
        children = children_of(process.pid)
        assert len(children) >= 2
        os.write(shows.terminal, b"\x03")
        drain(shows.terminal)
        assert process.wait(LIMIT_S) == 0
    assert not any(map(is_there, children))
    assert list(short_folder.iterdir()) == []


async def test_killed_it_leaves_no_process_and_starts_again(tmp_path, short_folder):
    with on_a_terminal(tmp_path / "fleet", short_folder, "mosquitto") as (process, shows):
        shows(has_opened)
        children = children_of(process.pid)
        assert len(children) >= 3  # two locks and the broker
        process.kill()
        process.wait()
    await until(lambda: not any(map(is_there, children)))
    with on_a_terminal(tmp_path / "fleet", short_folder, "mosquitto") as (process, shows):
        shows(has_opened)
