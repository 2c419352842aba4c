"""A courier at the whole firmware: records of a lock without network, over BLE, to a collector and back."""

import secrets

import pytest

from vitrine_tools import courier, names, tokens
from vitrine_tools.audit import query, verdict
from vitrine_tools.collector import bag, escrow
from vitrine_tools.collector.intake import Intake
from vitrine_tools.collector.store import Store
from vitrine_tools.emulator import BumblePhone, EmulatedLock, FlashImage, VirtualRadio
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Phone
from vitrine_tools.provisioning import Issuer, Provision

pytestmark = pytest.mark.system
NOW_S = 1_800_000_000
LOCK = "case-12"
ISSUER, HOLDER = (PrivateKey.from_seed(seed * 32) for seed in (b"\x01", b"\x02"))


@pytest.fixture
def flash(tmp_path):
    """The flash of a lock with a journal and without a broker; its root key is escrowed in keys/."""
    issuer = Issuer(
        public_key=ISSUER.public,
        name="store-7",
        scopes=("unlock", "courier"),
        audiences=(LOCK,),
        max_lifetime_s=86_400,
    )
    flash = FlashImage(tmp_path / "flash.bin").create()
    flash.provision(Provision(lock_id=LOCK, issuers=(issuer,), provisioned_at_s=NOW_S).to_bytes())
    root = secrets.token_bytes(32)
    escrow.save(tmp_path / "keys", LOCK, NOW_S, root)
    flash.provision_journal(LOCK, root, NOW_S)
    return flash


async def visit(radio, tmp_path, *, opens):
    """Open the case if asked to, and be the courier, on one connection; return what was carried."""
    claims = tokens.Claims.for_holder(
        HOLDER.public, [LOCK], now_s=NOW_S, valid_s=3600, scopes=("unlock", "courier"), sub=b"staff-17"
    )
    token = tokens.issue(claims, ISSUER)
    async with BumblePhone(radio) as link:
        await link.connect(await link.scan(names.hint(LOCK)))
        phone = Phone(link, LOCK)
        if opens:
            assert (await phone.open(token, HOLDER)).is_granted
        return await courier.visit(phone, LOCK, token, HOLDER, tmp_path / "bag")


async def test_records_travel_with_a_phone_and_survive_the_locks_power(flash, tmp_path):
    radio = VirtualRadio()
    store = Store(str(tmp_path / "vitrine.db"))
    lock = EmulatedLock(radio, flash=flash.path, rtc_s=NOW_S, is_time_trusted=True, battery=True)
    async with lock:
        await lock.wait_advertising()
        first = await visit(radio, tmp_path, opens=True)
        assert first.is_complete and first.batches >= 1 and first.delivered == 0
        emptied = bag.empty(tmp_path / "bag", Intake(escrow.Escrow(tmp_path / "keys"), store))
        assert emptied.stored >= 4 and not emptied.refused
        second = await visit(radio, tmp_path, opens=False)
        assert second.delivered == 1
        await lock.power_cut()
    async with EmulatedLock(radio, flash=flash.path, rtc_s=NOW_S + 60, is_time_trusted=True, battery=True) as lock:
        await lock.wait_advertising()
        third = await visit(radio, tmp_path, opens=False)
        assert third.is_complete
    bag.empty(tmp_path / "bag", Intake(escrow.Escrow(tmp_path / "keys"), store))
    entries = list(query.select(store, query.Filter()))
    judged = verdict.judge(store, escrow.Escrow(tmp_path / "keys"))[0]
    store.close()
    assert judged.is_whole, judged.findings
    assert [entry.word(5) for entry in entries if entry.kind_name == "LockOperation"][:2] == ["Unlock", "Courier"]
    assert sum(entry.kind_name == "Start" for entry in entries) == 2
