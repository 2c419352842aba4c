"""The same lock over the local network: what opens it over BLE opens it over HTTP, and what does not, does not."""

import pytest

from support.http_client import ask, free_port, network_blob
from support.store import LOCK_ID, OPERATION, SOURCE, of_kind, strike_changes
from vitrine_tools.certificates import Authority
from vitrine_tools.http_phone import HttpPhone
from vitrine_tools.protocol import Reason

LINK = 18
LINK_HTTP = 2


@pytest.fixture
def new_lock(store):
    """A lock in a network; `.http_port` is where it serves."""

    def make(*, certificate=None, **options):
        lock = store.lock(**options)
        lock.http_port = free_port()
        lock.flash.create()
        more = {} if certificate is None else {5: certificate.certificate_der, 6: certificate.key_der}
        lock.flash.nvs_put("vitrine", "network", network_blob(lock.http_port, more))
        return lock

    return make


@pytest.fixture
async def lock(new_lock):
    async with new_lock() as lock:
        yield lock


def phone(lock, scheme="http", **how) -> HttpPhone:
    return HttpPhone(f"{scheme}://localhost:{lock.http_port}", LOCK_ID, **how)


async def test_open(store, lock):
    outcome = await phone(lock).open(store.token(), store.holder)
    assert outcome.is_granted and outcome.is_token_accepted
    assert lock.strike_energised
    operation = of_kind(lock, 2)[-1]
    assert operation[OPERATION] == 1 and operation[SOURCE] == 7 and operation[LINK] == LINK_HTTP


async def test_a_holder_is_told_why_not(store, lock):
    outcome = await phone(lock).open(store.token(valid_s=60, age_s=3600), store.holder)
    assert not outcome.is_granted and outcome.reason == Reason.Expired
    assert not strike_changes(lock)


async def test_over_tls(store, new_lock, tmp_path):
    authority = Authority.new("store")
    ca, _ = authority.save(tmp_path, "ca")
    async with new_lock(certificate=authority.issue("localhost", hosts=("localhost",))) as lock:
        assert (await phone(lock, "https", ca=str(ca)).open(store.token(), store.holder)).is_granted
        stranger, _ = Authority.new("somebody").save(tmp_path, "stranger")
        with pytest.raises(Exception, match="certificate"):
            await phone(lock, "https", ca=str(stranger)).hello()


async def test_without_a_port_there_is_no_server(store, lock, new_lock):
    other = new_lock()
    other.flash.nvs_put("vitrine", "network", network_blob(None))
    await lock.close()
    async with other:
        with pytest.raises(ConnectionRefusedError):
            await ask(other.http_port, "GET", "/v1/hello")
