"""The power fails while a command is made durable: afterwards it holds wholly, or not at all, and is no riddle."""

import asyncio

import pytest

from support.store import DETAIL, FAULT, NOW_S, Store, of_kind
from vitrine_tools import configuration
from vitrine_tools.commanding import Number
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.protocol import Reason

CUTS = (0, 9, 48, 90, 400)
SUB = b"anna"


def is_uv_required(flash: FlashImage) -> bool:
    blob = flash.nvs_get("vitrine", "configuration")
    assert blob is not None
    return configuration.from_blob(blob)[1].settings.uv_required == 1


@pytest.mark.parametrize("name", ["lockdown", "configure", "revoke"])
async def test_a_command_that_is_cut_off_holds_wholly_or_not_at_all(tmp_path, name):
    number, body, reason = {
        "lockdown": (Number.SCENARIO, {2: True}, Reason.LockedDown),
        "configure": (Number.CONFIGURE, {2: {20: 1}, 3: [], 4: None, 5: []}, Reason.UserVerificationRequired),
        "revoke": (Number.REVOKE, {1: 0, 2: [[2, SUB, 0]]}, Reason.Revoked),
    }[name]
    outcomes = set()
    for cut in CUTS:
        store = Store(tmp_path / str(cut))
        store.folder.mkdir()
        how = {"issuer": store.issuer} if name == "revoke" else {}
        async with store.lock(battery=True) as lock:
            lock.flash_cut(cut)
            try:
                async with asyncio.timeout(1):  # nobody answers any more
                    is_done = (await store.command(lock, number, body, exp_s=NOW_S + 7200, **how)).is_done
            except Exception:  # the power may fail in the middle of anything
                is_done = False
            await lock.power_cut()
            await lock.start()
            assert not [event for event in of_kind(lock, FAULT) if str(event.get(DETAIL)).startswith("rules:")], cut
            outcome = await store.open(lock, store.token(sub=SUB))
            assert outcome.reason in (Reason.Granted, reason), (cut, outcome)
            holds = outcome.reason == reason
            assert holds or not is_done, cut
            if name == "configure":
                assert is_uv_required(lock.flash) == holds
            # again, as who was not answered would: taken, or known already
            answer = await store.command(lock, number, body, exp_s=NOW_S + 7200, **how)
            assert answer.reason in (Reason.Granted, Reason.SequenceStale) and answer.sequence == 1
            assert (await store.open(lock, store.token(sub=SUB))).reason == reason
            outcomes.add((is_done, holds))
    assert {(False, False), (True, True)} <= outcomes, "the cuts fell before and behind what is written"
