"""A technician's work over the wire of the emulated board: from a bare board to a lock in service, and back."""

import asyncio
import hashlib
import json
import os
import sys
from contextlib import asynccontextmanager

import pytest

from support.field_site import LOCK_ID, PASSPHRASE, WIFI_PASSPHRASE, Cable, Store
from vitrine_tools import names, tokens
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.emulator import BumblePhone, EmulatedLock, VirtualRadio
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.errors import ToolError
from vitrine_tools.field.deprovision import STEPS, deprovision
from vitrine_tools.field.report import Report
from vitrine_tools.field.verify import examine
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Phone

KIND, DETAIL, CONFIGURATION_CHANGE, SERVICE = 1, 15, 130, 136  # firmware/SPEC.md section 7
VITRINE = [sys.executable, "-c", "from vitrine_tools.cli import main; main()"]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@asynccontextmanager
async def bare_board(store, **options):
    """A board with nothing on it but the firmware, in real time, with a cable in it."""
    radio = VirtualRadio()
    port = store.folder / "port"
    settings = {"flash": store.folder / "flash.bin", "console": port}
    async with EmulatedLock(radio, **(settings | options)) as lock:
        await lock.wait_advertising()
        yield lock, port, radio


async def opens(store, radio):
    """Whether a phone of this store opens the lock."""
    import time

    holder = PrivateKey.generate()
    wanted = tokens.Claims.for_holder(holder.public, (LOCK_ID,), now_s=int(time.time()), valid_s=600)
    async with BumblePhone(radio) as phone:
        await phone.connect(await phone.scan(names.hint(LOCK_ID)))
        outcome = await Phone(phone, LOCK_ID).open(tokens.issue(wanted, store.issuer), holder)
        return outcome.is_granted


async def provision(store, port, right=None, **how):
    return await asyncio.to_thread(store.provision, port, right, **how)


def blobs(store):
    image = FlashImage(store.folder / "flash.bin")
    names_of = ("provision", "configuration", "scenario", "revocations", "operations", "journal", "mqtt", "network")
    return {name: image.nvs_get("vitrine", name) for name in names_of}


async def vitrine(*arguments, **environment):
    """Run the command; return (exit status, standard output, standard error)."""
    process = await asyncio.create_subprocess_exec(
        *VITRINE,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(), errors.decode()


async def test_from_a_bare_board_to_a_lock_that_opens_and_back(store):
    async with bare_board(store) as (_, port, radio):
        done = await provision(store, port)
        assert done.changed == ("journal", "mqtt", "network", "record")
        assert await opens(store, radio)
        assert store.keys(done.epoch) is not None and done.key_file.stat().st_mode & 0o077 == 0
        with pytest.raises(ToolError, match="the console of case-12 is closed: give --key"):
            await provision(store, port)
        await asyncio.to_thread(deprovision, str(port), LOCK_ID, Report(STEPS), store.right)
    data = (store.folder / "flash.bin").read_bytes()
    first, acknowledge = store.keys(done.epoch).secrets
    for secret in (LOCK_ID.encode(), store.issuer.public.raw, WIFI_PASSPHRASE.encode(), first, acknowledge):
        assert secret not in data
    async with bare_board(store) as (_, port, radio):
        again = await provision(store, port)
        assert again.changed == done.changed and again.epoch > done.epoch, "a new journal, another key"
        assert await opens(store, radio)


async def test_a_second_run_changes_nothing(store):
    async with bare_board(store) as (lock, port, _):
        await provision(store, port)
        before, counts = blobs(store), await lock.flash_counts()
        done = await provision(store, port, store.right)
        assert done.changed == () and lock.resets == [2]
        assert done.wrong is not None and all("broker" in each or "network" in each for each in done.wrong), done.wrong
        strange = Keys(bytes(32), LOCK_ID, done.epoch)
        with pytest.raises(ToolError, match="does not have the key that it was given"):
            await asyncio.to_thread(examine, str(port), LOCK_ID, store.right, strange)
        after = await lock.flash_counts()
        assert after["erased"] == counts["erased"]
    assert blobs(store) == before


async def test_another_network_or_record_is_brought_to_a_lock_in_service(store):
    async with bare_board(store) as (lock, port, radio):
        await provision(store, port)
        before = blobs(store)
        (store.folder / "wifi.txt").write_text("another passphrase")
        assert (await provision(store, port, store.right)).changed == ("network",)
        assert await opens(store, radio)
        store.write(store.text[: store.text.index("[broker]")].replace("4000", "3000"))
        assert (await provision(store, port, store.right)).changed == ("mqtt", "network", "record")
        assert await opens(store, radio)
        details = [event[DETAIL] for event in lock.events if event[KIND] in (SERVICE, CONFIGURATION_CHANGE)]
        details = [detail for detail in details if detail != "run"]
        assert details == [*["begin", "closed"] * 2, "begin", "provision", "closed", "begin", "closed"]
    after = blobs(store)
    assert after.pop("mqtt") is None and after.pop("network") is None
    changed = {name for name, blob in after.items() if blob != before[name]}
    assert changed == {"provision"}


async def test_a_floor_that_a_mistake_moved_far_ahead_is_mended(store):
    async with bare_board(store) as (lock, port, radio):
        await provision(store, port)
        await lock.power_cut()
        lock.flash.nvs_put("vitrine", "floor", 3_900_000_000 - 2**32)  # an admin has said that it is 2093
        await lock.start()
        await lock.wait_advertising()
        assert not await opens(store, radio)
        assert (await provision(store, port, store.right)).changed == ("record",)
        assert await opens(store, radio)
        assert (await provision(store, port, store.right)).changed == ()


async def test_a_lock_of_another_site_is_left_alone(store, tmp_path_factory):
    other = Store(tmp_path_factory.mktemp("other"))
    async with bare_board(store) as (_, port, radio):
        await provision(store, port)
        before = blobs(store)
        with pytest.raises(ToolError, match="belongs to another site"):
            await provision(other, port, store.right)
        with pytest.raises(ToolError, match="it is 'case-12', not 'case-13'"):
            (store.folder / "locks" / "case-13.crt").write_bytes((store.folder / "locks/case-12.crt").read_bytes())
            (store.folder / "locks" / "case-13.key").write_bytes((store.folder / "locks/case-12.key").read_bytes())
            await provision(store, port, store.right, lock_id="case-13")
        with pytest.raises(ToolError):
            await asyncio.to_thread(deprovision, str(port), "case-13", Report(STEPS), store.right)
        with pytest.raises(ToolError, match="refused"):
            await asyncio.to_thread(deprovision, str(port), LOCK_ID, Report(STEPS), other.right)
        assert await opens(store, radio)
    assert blobs(store) == before
    assert not other.escrow.exists(), "not even a key was made"


async def test_a_lock_with_a_damaged_record_is_wiped_and_provisioned_anew(store):
    async with bare_board(store) as (_, port, _):
        first = await provision(store, port)
    FlashImage(store.folder / "flash.bin").nvs_put("vitrine", "provision", b"damaged")
    async with bare_board(store) as (_, port, radio):
        with pytest.raises(ToolError, match="record is damaged"):
            await provision(store, port, store.right)
        await asyncio.to_thread(deprovision, str(port), LOCK_ID, Report(STEPS), store.right)
        assert (await provision(store, port)).changed == first.changed
        assert await opens(store, radio)


@pytest.mark.parametrize("stride", [790])
async def test_a_pulled_cable_is_made_good_by_running_it_again(store, stride):
    async with bare_board(store) as (lock, port, radio):
        cable_path = store.folder / "cable"
        is_done = False
        pulled = 0
        for run in range(1, 40):
            with Cable(port, cable_path, run * stride % 7000) as cable:
                try:
                    await provision(store, cable_path)
                    is_done = True
                except ToolError as error:
                    assert cable.is_pulled, error
                    assert "\n" not in str(error)
            if is_done:
                break
            pulled += 1
            state = blobs(store)
            assert state["provision"] is None or all(state.values())
            if state["provision"]:
                break
        assert pulled >= 3
        await lock.wait_advertising()
        assert await opens(store, radio)
        assert (await provision(store, port, store.right)).changed == ()


async def test_the_commands(store):
    passphrase = store.folder / "passphrase.txt"
    passphrase.write_bytes(PASSPHRASE + b"\n")
    issuer = store.folder / "issuer.pem"
    store.issuer.save(issuer)
    async with bare_board(store) as (lock, port, radio):
        common = ["provision", "--port", port, "--lock", LOCK_ID, "--site", store.path, "--keys", store.escrow]
        status, output, errors = await vitrine(*common, "--passphrase-file", passphrase, "--json")
        assert status == 0, errors
        assert json.loads(output)["changed"] == ["journal", "mqtt", "network", "record"]
        assert errors.splitlines()[0].startswith("[1/8] connecting")
        assert await opens(store, radio)
        status, output, errors = await vitrine(*common, "--key", issuer, VITRINE_ESCROW_PASSPHRASE="a wrong passphrase")
        assert status == 2 and errors.splitlines()[-1].endswith("does not open with this passphrase")
        status, output, errors = await vitrine(*common, "--key", issuer, "--passphrase-file", passphrase)
        assert status == 0 and output.startswith(f"case-12 is as {store.path} has it: nothing to do.\n"), errors
        assert "not examined" not in output and all(line.startswith("  NO  ") for line in output.splitlines()[1:])
        status, output, errors = await vitrine(
            "deprovision", "--port", port, "--lock", LOCK_ID, "--key", issuer, "--yes"
        )
        assert status == 0 and "case-12 is nobody's lock now" in output, errors
        said = "\n".join(lock.output)
    root = json.loads(next(store.escrow.iterdir()).read_text())
    assert "root" not in root
    epoch = root["epoch"]
    first, acknowledge = store.keys(epoch).secrets
    for secret in (first.hex(), acknowledge.hex(), WIFI_PASSPHRASE, WIFI_PASSPHRASE.encode().hex()):
        assert secret not in said, "the console echoes it"
        assert secret not in output + errors
    assert hashlib.sha256(WIFI_PASSPHRASE.encode()).hexdigest() not in said
