"""Provisioning and deprovisioning on the emulated board: whole or not at all, whatever fails."""

import hashlib

import pytest

from support.field_lab import (
    BLOBS,
    EPOCH,
    MQTT,
    NETWORK,
    NOW_S,
    ROOT_KEY,
    SLOTS,
    WIPE,
    blob_calls,
    cut_provisioning,
    cut_wipe,
    ended_well,
    field_board,
    in_service,
    journal_call,
    kept_of_updates,
    opens,
    provisioned,
    said,
    traces,
)
from support.store import LOCK_ID, Store
from vitrine_tools import cbor
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.keys import PrivateKey
from vitrine_tools.provisioning import Issuer, Provision


def another_record(seed: bytes, lock_id: str = LOCK_ID) -> bytes:
    issuer = Issuer(
        public_key=PrivateKey.from_seed(seed * 32).public,
        name="elsewhere",
        scopes=("unlock",),
        audiences=(lock_id,),
        max_lifetime_s=3600,
    )
    return Provision(lock_id=lock_id, issuers=(issuer,), provisioned_at_s=NOW_S).to_bytes()


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
    for secret in (MQTT, NETWORK, *Keys(ROOT_KEY, LOCK_ID, EPOCH).secrets):
        for size in (8, len(secret)):
            assert secret[:size].hex() not in text and repr(secret[:size])[2:-1] not in text
    assert hashlib.sha256(NETWORK).hexdigest()[:16] not in text, "a passphrase can be guessed by that"


@pytest.mark.parametrize("after", [0, 40, 150, 300, 700, 1200, 1500, 1600, 1700, 1800, 1900, 2000, 2100, 2200, 2300])
async def test_a_power_cut_leaves_no_lock_or_a_whole_one(tmp_path, after):
    assert await cut_provisioning(Store(tmp_path), after), "nothing was cut"


@pytest.mark.parametrize("after", [0, 20, 40, 60, 80, 120, 160, 200, 240])
async def test_a_journal_that_was_cut_off_is_not_taken_for_the_one_before(tmp_path, after):
    assert (await answers(tmp_path, journal_call() + "show(lock.state()['epoch'])"))[-1] == EPOCH
    lock = field_board(tmp_path, journal_call(epoch=EPOCH + 1))
    lock.flash_cut(after)
    async with lock:
        assert not lock.is_on, "nothing was cut"
    state = (await answers(tmp_path, "show(lock.state())"))[-1]
    assert state["epoch"] == (EPOCH if state["is_journal_sound"] else 0), state
    assert state["is_journal_sound"] == (after < 40)


async def answers(folder, program: str) -> list:
    """What a program on the board with this flash shows."""
    async with field_board(folder, program) as lock:
        await lock.advance(1000)
        ended_well(lock)
        return said(lock)


def offer(record: bytes) -> str:
    """A program that brings a record; the last thing that it shows is why it was refused."""
    *calls, commit = blob_calls("provision", record).splitlines()
    check = commit.removeprefix("lock.commit(").removesuffix(")")
    return "\n".join(calls) + f"\nshow(refused(lock.commit, {check}))\n"


async def test_a_lock_of_another_site_is_not_taken_over(tmp_path):
    store = Store(tmp_path)
    await provisioned(tmp_path, store.provision())
    refusal = "ValueError: this lock belongs to another site"
    assert await answers(tmp_path, offer(another_record(b"o"))) == [refusal]
    assert await answers(tmp_path, offer(store.provision("case-13"))) == [refusal], "its journal is of case-12"
    assert await answers(tmp_path, offer(store.provision(unlock_ms=700))) == [None]
    journal = journal_call(epoch=EPOCH + 1).strip().removeprefix("lock.journal(").removesuffix(")")
    assert await answers(tmp_path, f"show(refused(lock.journal, {journal}))") == ["ValueError: there is a journal"]
    assert await answers(tmp_path, "show(refused(lock.wipe, 'case-13'))") == ["ValueError: another lock"]
    assert await opens(store, tmp_path / "flash.bin")


async def test_a_record_that_cannot_be_read_does_not_say_whose_the_lock_is(tmp_path):
    store = Store(tmp_path)
    await provisioned(tmp_path, store.provision())
    FlashImage(tmp_path / "flash.bin").nvs_put("vitrine", "provision", b"damaged")
    calls = ("lock.begin, 'provision', 5", "lock.remove, 'mqtt'", "lock.journal, 1, '', '', ''")
    program = "".join(f"show(refused({call}))\n" for call in calls)
    assert await answers(tmp_path, program) == ["ValueError: the record is damaged: deprovision"] * 3
    assert (await answers(tmp_path, "show(lock.state()['trouble'])")) == ["identity:ProvisionError"]
    async with field_board(tmp_path, "if identity.trouble:\n    lock.wipe('')\n") as lock:
        await lock.advance(1000)
    assert traces(store, FlashImage(tmp_path / "flash.bin")) == []


async def test_what_is_damaged_on_the_way_is_not_taken(tmp_path):
    record = Store(tmp_path).provision()
    program = (
        "show(refused(lock.commit, ''))\nlock.begin('mqtt', 4)\nlock.put('0011')\nshow(refused(lock.commit, ''))\n"
        "show(refused(lock.put, '001122'))\nlock.put('0011')\nshow(refused(lock.commit, '0' * 16))\n"
        "show(refused(lock.begin, 'lockout', 4))\nshow(refused(lock.begin, 'provision', 1901))\n"
        "show(refused(lock.begin, 'mqtt', 1985))\nshow(refused(lock.begin, 'mqtt', 0))\n"
        f"show(refused(lock.finish, {NOW_S * 1000}, 1000))\n" + offer(b"no record")
    )
    program += f"show(refused(lock.journal, {EPOCH}, '{'00' * 24}', '{'00' * 32}', '{'0' * 16}'))\n"
    program += "show(lock.state()['blobs'])\n"
    assert await answers(tmp_path, program) == [
        "ValueError: not whole",
        "ValueError: not whole",
        "ValueError: too long",
        "ValueError: damaged on the way",
        *["ValueError: no such blob"] * 4,
        "ValueError: no record, or no journal",
        "ProvisionError: provisioning record: cut short",
        "ValueError: damaged on the way",
        {},
    ]
    assert await answers(tmp_path, offer(record) + f"show(refused(lock.finish, {NOW_S * 1000}, 1000))\n") == [
        None,
        "ValueError: no record, or no journal",
    ]


async def test_provisioning_again_mends_the_floor_and_hands_nothing_back(tmp_path):
    store = Store(tmp_path)
    await provisioned(tmp_path, store.provision())
    image = FlashImage(tmp_path / "flash.bin")
    image.nvs_put("vitrine", "floor", 3_900_000_000 - 2**32)  # somebody with admin said that it is 2093
    image.nvs_put("vitrine", "scenario", cbor.encode({1: 7, 2: True, 3: False, 4: [], 5: []}))
    image.nvs_put("vitrine", "revocations", cbor.encode([[store.issuer.public.kid, 5, 0]]))
    ledger = image.read("access")
    assert (await answers(tmp_path, "show(lock.state()['floor'])")) == [3_900_000_000]
    program = f"if integer('floor').load() != {NOW_S}:\n"
    finish = blob_calls("provision", store.provision()) + f"lock.finish({NOW_S * 1000 + 5000}, 1000)\nlock.restart()\n"
    program += "".join(f"    {line}\n" for line in finish.splitlines()) + "show(lock.state())\n"
    state = (await answers(tmp_path, "integer = lambda key: Integer('vitrine', key)\n" + program))[-1]
    assert state["floor"] == NOW_S and state["time"][1] == 1 and NOW_S + 5 <= state["time"][0] <= NOW_S + 7
    assert cbor.decode(image.nvs_get("vitrine", "scenario"), 256)[1] == 7
    assert cbor.decode(image.nvs_get("vitrine", "revocations"), 256) == [
        [store.issuer.public.kid, 5, 0],
        [store.headquarters.public.kid, 0, 0],
    ]
    assert image.read("access") == ledger


async def test_a_wiped_lock_is_nobodys_and_nothing_of_it_is_left(tmp_path):
    store = Store(tmp_path)
    image = await in_service(tmp_path, store)
    assert len(traces(store, image)) > 12
    async with field_board(tmp_path, WIPE + "show(os.listdir('/./'))\nshow(len(open('/slot-a').read()))\n") as lock:
        await lock.advance(1000)
        ended_well(lock)
        assert said(lock)[0] == ["slot-a"] and said(lock)[1] == 33_000
    assert traces(store, image) == []
    assert not image.read("journal").strip(b"\xff") and not image.read("access").strip(b"\xff")
    assert kept_of_updates(image) == (9, SLOTS), "an old application does not come back by this"
    assert await opens(store, image.path) is None
    record = another_record(b"o")
    state = await provisioned(tmp_path, record)
    assert state["lock"] == LOCK_ID and state["is_journal_sound"] and state["is_ledger_sound"]


@pytest.mark.parametrize(
    "after", [0, 60, 130, 200, 201, 203, 205, 207, 209, 300, 1000, 5000, 9000, 20_000, 200_000, 300_000]
)
async def test_a_wipe_that_was_cut_goes_on_at_the_next_start(tmp_path, after):
    store = Store(tmp_path)
    image = await in_service(tmp_path, store)
    is_wiped = await cut_wipe(store, image, after)
    assert is_wiped or (is_wiped is False and after < 600), "it was begun, and forgotten"


@pytest.mark.parametrize("name", [".wipe", ".wiped"])
async def test_a_file_that_looks_like_the_mark_of_a_wipe_changes_nothing(tmp_path, name):
    """Files can be copied over an open console: what to run next, and whose the lock is, are not theirs to say."""
    store = Store(tmp_path)
    image = await in_service(tmp_path, store)
    mark = b"\x00\x00\x00\x01" + b"run what is in slot a" * 6
    program = f"""
if "forged" not in os.listdir("/"):
    for path in ("/{name}", "/forged"):
        with open(path, "wb") as file:
            file.write({mark!r})
    lock.restart()
show(sorted(os.listdir("/./")))
"""
    files = (await answers(tmp_path, program))[-1]
    assert "forged" in files and name not in files
    assert kept_of_updates(image) == (9, SLOTS)
    assert await opens(store, image.path)


@pytest.mark.parametrize("when", ["at once", "after the start"])
async def test_a_record_that_was_misread_once_wipes_nothing(tmp_path, when):
    """Who glitches one read of the record is offered a wipe: by then, and at the start after, it can be read again."""
    store = Store(tmp_path)
    image = await in_service(tmp_path, store)
    misread = "lambda: True" if when == "after the start" else "lambda: bool(Identity(blob('provision')).trouble)"
    program = f"""
from vitrine.drivers.wipe import begin
if "tried" not in os.listdir("/"):
    open("/tried", "wb").close()
    begin("vitrine", {misread})
    show(".wipe" in os.listdir("/"))
    lock.restart()
show(sorted(os.listdir("/./")))
"""
    begun, files = await answers(tmp_path, program)
    assert begun is (when == "after the start") and ".wipe" not in files and "notes" in files
    assert await opens(store, image.path)
