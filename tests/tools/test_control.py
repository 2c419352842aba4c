"""The control socket: obeys, refuses in words, and does not mistake a leftover for a running emulator."""

import asyncio
import socket
from pathlib import Path

import pytest

from vitrine_tools import control
from vitrine_tools.control import ControlError, ControlServer
from vitrine_tools.emulator_state import EmulatorState, NotRunningError
from vitrine_tools.errors import ToolError


async def obey(command):
    if command == "rex":
        raise ToolError("the button is broken")
    return {"did": command}


@pytest.fixture
async def folder(tmp_path):
    server = ControlServer(tmp_path, obey)
    await server.start()
    yield tmp_path
    await server.stop()
    assert not (tmp_path / "control.sock").exists()


async def send(folder, command):
    return await asyncio.to_thread(control.send, folder, command)


async def test_obeys(folder):
    assert await send(folder, "open") == {"did": "open"}
    assert await send(folder, "status") == {"did": "status"}


async def test_says_what_is_wrong(folder):
    with pytest.raises(ControlError, match="the button is broken"):
        await send(folder, "rex")
    with pytest.raises(ControlError, match="no such command"):
        await send(folder, "explode")


@pytest.mark.parametrize("data", [b"\n", b"junk\n", b"[1]\n", b'{"a":1}\n', b"\xff" * 10_000 + b"\n", b""])
async def test_any_bytes_do_no_harm(folder, data):
    reader, writer = await asyncio.open_unix_connection(str(folder / "control.sock"))
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    assert answer == b"" or b'"ok": false' in answer
    writer.close()
    assert await send(folder, "open") == {"did": "open"}


async def test_one_emulator_to_a_folder(folder):
    with pytest.raises(ControlError, match="already runs"):
        await ControlServer(folder, obey).start()


async def test_a_socket_left_behind_is_taken_over(tmp_path):
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "control.sock"))
    assert not control.is_listening(tmp_path)
    server = ControlServer(tmp_path, obey)
    await server.start()
    assert await send(tmp_path, "close") == {"did": "close"}
    await server.stop()


async def test_a_folder_with_a_long_name(tmp_path):
    folder = tmp_path / ("long-" * 40) / ("name-" * 40)
    folder.mkdir(parents=True)
    server = ControlServer(folder, obey)
    await server.start()
    assert await send(folder, "open") == {"did": "open"}
    await server.stop()


def test_no_emulator(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ControlError, match="no emulator runs in"):
            control.send(folder, "open")


async def test_an_emulator_that_does_not_answer(tmp_path):
    async def hang_up(reader, writer):
        writer.close()

    server = await asyncio.start_unix_server(hang_up, str(tmp_path / "control.sock"))
    with pytest.raises(ControlError, match="did not answer"):
        await send(tmp_path, "open")
    server.close()


def state_of(folder, lock_id="case-12", bus_address="unix:path=/x"):
    return EmulatorState(folder=folder, lock_id=lock_id, bus_address=bus_address)


async def test_state_is_found_only_while_the_emulator_runs(folder, tmp_path_factory):
    state_of(folder).save()
    assert EmulatorState.find(folder, "case-12") == state_of(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    state_of(elsewhere).save()  # left behind by an emulator that was killed
    assert EmulatorState.load(elsewhere) is None
    with pytest.raises(NotRunningError, match="no emulator runs"):
        EmulatorState.find(elsewhere, "case-12")
    for content in ("", "[]", "{}", '{"lock_id": "a"}', "null"):
        (folder / "emulator.json").write_text(content)
        assert EmulatorState.load(folder) is None
    state_of(folder, bus_address="").save()
    with pytest.raises(NotRunningError, match="no D-Bus"):
        EmulatorState.find(folder, "case-12")


async def test_a_lock_is_found_in_the_folder_of_its_fleet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    servers = []
    for folder, lock_id in (("build/emulator", "case-12"), ("build/fleet/case-002", "case-002")):
        place = Path(folder)
        place.mkdir(parents=True)
        servers.append(ControlServer(place, obey))
        await servers[-1].start()
        state_of(place, lock_id).save()
    assert EmulatorState.find(Path("build/fleet"), "case-002").lock_id == "case-002"
    with pytest.raises(NotRunningError, match="no emulator runs in build/fleet"):
        EmulatorState.find(Path("build/fleet"), "case-003")
    assert EmulatorState.find(None, "case-002").folder == Path("build/fleet/case-002")
    assert EmulatorState.find(None, "case-12").folder == Path("build/emulator")
    assert EmulatorState.find(None, "case-9").lock_id == "case-12"
    for server in servers:
        await server.stop()
