"""`vitrine command` against the whole firmware, over the air: what it changes holds at once, and after a power cut."""

import json

import pytest

from vitrine_tools.ble.private_bus import PrivateBus

from .test_bleak_unlock import Emulator, unlock_words, vitrine

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)"),
]


@pytest.fixture
async def emulator(tmp_path):
    emulator = Emulator(tmp_path / "lock")
    await emulator.start()
    yield emulator
    await emulator.stop()


async def unlock(emulator):
    """Try to unlock; return the reason."""
    _, out, err = await vitrine(*unlock_words(emulator.folder, "--json"))
    assert err == ""
    return json.loads(out)["reason"]


async def command(emulator, *words, key="issuer.pem"):
    """Give a command; return (exit status, result)."""
    way = ["--lock", "case-12", "--emulator", emulator.folder, "--json"]
    signing = [] if words[0] in ("send", "fresh") else ["--key", emulator.folder / key]
    status, out, err = await vitrine("command", *words, *signing, *way)
    assert err == "", err
    printed = json.loads(out)
    return status, printed["results"][0] if "results" in printed else printed


async def test_lockdown_holds_until_it_is_released_and_over_a_power_cut(emulator):
    assert await unlock(emulator) == "Granted"
    status, result = await command(emulator, "lockdown")
    assert status == 0 and result["done"]
    assert await unlock(emulator) == "LockedDown"
    await emulator.send("power-cut")
    await emulator.until("on the air again")
    assert await unlock(emulator) == "LockedDown"
    # an older command does not end it
    status, old = await command(emulator, "release", "--sequence", result["sequence"] - 1)
    assert (status, old["reason"], old["sequence"]) == (1, "SequenceStale", result["sequence"])
    # nor does one that a holder signs
    status, foreign = await command(emulator, "release", key="holder.pem")
    assert (status, foreign["reason"]) == (1, None)
    assert await unlock(emulator) == "LockedDown"
    assert (await command(emulator, "release"))[0] == 0
    assert await unlock(emulator) == "Granted"


async def test_a_revoked_token_opens_no_more_whoever_carries_the_list(emulator, tmp_path):
    assert await unlock(emulator) == "Granted"
    lists = tmp_path / "lists.cmd"
    key = ["--key", emulator.folder / "issuer.pem", "--lock", "case-12"]
    status, _, err = await vitrine("command", "revoke", "--token", emulator.folder / "token.cbor", "--out", lists, *key)
    assert status == 0, err
    assert await unlock(emulator) == "Granted", "not yet there"
    status, result = await command(emulator, "send", lists)
    assert status == 0 and result["done"]
    assert await unlock(emulator) == "Revoked"
    status, result = await command(emulator, "send", lists)
    assert (status, result["reason"]) == (1, "SequenceStale")
    assert (await command(emulator, "revoke"))[0] == 0, "it has them all"


async def test_time_and_configuration(emulator, tmp_path):
    status, nonce = await command(emulator, "fresh")
    assert status == 0 and nonce["time_state"] in ("trusted", "coasting", "untrusted")
    store = tmp_path / "store.toml"
    store.write_text("[settings]\nuv_required = 1\n")
    assert (await command(emulator, "configure", store))[0] == 0
    assert await unlock(emulator) == "UserVerificationRequired"
    store.write_text("")
    assert (await command(emulator, "configure", store))[0] == 0
    assert await unlock(emulator) == "Granted"
    # the lock takes a statement only if it makes its time better
    status, told = await command(emulator, "time")
    assert told["reason"] in ("Granted", "SequenceStale") and status == (0 if told["done"] else 1)
