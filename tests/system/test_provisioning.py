"""Provisioning and deprovisioning on the emulated board: whole or not at all, whatever fails."""

import shutil

import pytest

from support.field_lab import EPOCH, NOW_S, ROOT_KEY, blob_calls, field_board, journal_call, said
from support.store import LOCK_ID, Store, strike_changes
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.keys import PrivateKey
from vitrine_tools.provisioning import Issuer, Provision

MQTT, NETWORK = b"the broker and its key" * 60, b"the network and its passphrase"
BLOBS = {"configuration", "scenario", "receipts", "lockout", "revocations", "operations"}


def provisioning(record: bytes) -> str:
    """A program that provisions the lock if that is not done, as the tool would."""
    steps = journal_call() + blob_calls("mqtt", MQTT) + blob_calls("network", NETWORK) + blob_calls("provision", record)
    steps += f"while tables.step():\n    pass\nlock.finish({NOW_S * 1000}, 1000)\n"
    return (
        "if not identity.lock_id:\n" + "".join(f"    {line}\n" for line in steps.splitlines()) + "show(lock.state())\n"
    )


def another_record(seed: bytes, lock_id: str = LOCK_ID) -> bytes:
    issuer = Issuer(
        public_key=PrivateKey.from_seed(seed * 32).public,
        name="elsewhere",
        scopes=("unlock",),
        audiences=(lock_id,),
        max_lifetime_s=3600,
    )
    return Provision(lock_id=lock_id, issuers=(issuer,), provisioned_at_s=NOW_S).to_bytes()


def program_of(lock) -> None:
    assert lock.ended == "", lock.last_words()


async def provisioned(folder, record: bytes) -> dict:
    """Provision a bare board; return what it says of itself then. Its flash is folder / "flash.bin"."""
    async with field_board(folder, provisioning(record)) as lock:
        await lock.advance(1000)
        program_of(lock)
        return said(lock)[-1]


async def test_a_bare_board_becomes_a_lock_that_phones_open(tmp_path):
    store = Store(tmp_path)
    state = await provisioned(tmp_path, store.provision())
    assert state["lock"] == LOCK_ID and state["trouble"] == ""
    assert state["blobs"].keys() == BLOBS | {"provision", "journal", "mqtt", "network"}
    assert state["is_journal_sound"] and state["is_ledger_sound"] and state["epoch"] == EPOCH
    assert state["time"] == [NOW_S, 1]
    image = FlashImage(tmp_path / "flash.bin")
    assert image.nvs_get("vitrine", "mqtt") == MQTT and image.nvs_get("vitrine", "network") == NETWORK
    async with store.lock(flash=image.path, provision=None) as lock:
        assert (await store.open(lock)).is_granted, lock.last_words()


async def test_the_state_shows_no_content(tmp_path):
    store = Store(tmp_path)
    await provisioned(tmp_path, store.provision())
    async with field_board(tmp_path, "show(lock.state())") as lock:
        text = str(said(lock)[-1])
    from vitrine_tools.audit.sealed import Keys

    for secret in (MQTT, NETWORK, *Keys(ROOT_KEY, LOCK_ID, EPOCH).secrets):
        for size in (8, len(secret)):
            assert secret[:size].hex() not in text and repr(secret[:size])[2:-1] not in text
    import hashlib

    assert hashlib.sha256(NETWORK).hexdigest()[:16] not in text, "a passphrase can be guessed by that"


async def opens(store: Store, flash) -> bool | None:
    """Whether the lock with this flash opens for a phone; None if it says that it is nobody's, and does not."""
    async with store.lock(flash=flash, provision=None) as lock:
        is_locks = FlashImage(flash).nvs_get("vitrine", "provision") is not None
        async with store.phone(lock, lock_id=LOCK_ID if is_locks else "") as (_, session):
            outcome = await session.open(store.token(), store.holder)
        if not is_locks:
            assert outcome.reason_name == "NotProvisioned" and not strike_changes(lock)[1:]
            return None
        return outcome.is_granted


@pytest.mark.parametrize("after", [0, 40, 300, 700, 1500, 2100, 2500, 2800, 3000, 3200, 3400, 3500, 3600, 3700, 3800])
async def test_a_power_cut_leaves_no_lock_or_a_whole_one(tmp_path, after):
    store = Store(tmp_path)
    async with field_board(tmp_path, "") as lock:
        program_of(lock)  # the chip's own first start: file system and NVS are made
    lock = field_board(tmp_path, provisioning(store.provision()))
    lock.flash_cut(after)
    async with lock:
        await lock.advance(1000)
        if lock.is_on:
            raise AssertionError("nothing was cut")
        copy = tmp_path / "copy.bin"
        shutil.copy(lock.flash.path, copy)
        assert await opens(store, copy) in (None, True)
        lock.events.clear()
        await lock.start()
        await lock.advance(1000)
        program_of(lock)
        state = said(lock)[-1]
        assert state["lock"] == LOCK_ID and state["is_journal_sound"] and state["is_ledger_sound"]
        assert state["blobs"].keys() == BLOBS | {"provision", "journal", "mqtt", "network"}
    assert await opens(store, lock.flash.path)
