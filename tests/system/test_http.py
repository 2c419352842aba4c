"""The same lock over the local network: what opens it over BLE opens it over HTTP, and what does not, does not."""

import asyncio
import json
import subprocess
import sys

import pytest

from support.http_client import ask, free_port, network_blob
from support.store import LOCK_ID, NOW_S, OPERATION, SOURCE, of_kind, strike_changes
from vitrine_tools import commanding
from vitrine_tools.certificates import Authority
from vitrine_tools.errors import LinkError
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


async def test_a_session_lives_5_s_idle_and_15_in_all(store, lock):
    idle, busy = phone(lock), phone(lock)
    await idle.hello()
    await busy.hello()
    for _ in range(4):
        await lock.advance(3_500)
        await busy.hello()
    with pytest.raises(LinkError, match="ended the session"):
        await idle.hello()
    await lock.advance(1_500)
    with pytest.raises(LinkError, match="ended the session"):
        await busy.hello()


async def test_two_persons_by_two_ways(store, new_lock):
    """Whoever comes over BLE and whoever comes over HTTP are two persons at the same lock."""
    async with new_lock() as lock:
        token = store.token(persons=2, sub=b"one")
        first = await phone(lock).open(token, store.holder)
        assert first.reason == Reason.PersonsRequired
        second = store.token(persons=2, sub=b"two", holder=store.colleague)
        assert (await store.open(lock, second, holder=store.colleague)).is_granted


async def test_a_command_needs_no_session(store, lock):
    answer = await phone(lock).command(
        store.envelope(commanding.Number.TIME, NOW_S + 60, sequence=None, cnonce=bytes(16))
    )
    assert not answer.is_done
    cnonce, _ = await phone(lock).fresh()
    envelope = store.envelope(commanding.Number.TIME, NOW_S + 60, sequence=None, cnonce=cnonce)
    assert (await phone(lock).command(envelope)).is_done


async def test_without_a_port_there_is_no_server(store, lock, new_lock):
    other = new_lock()
    other.flash.nvs_put("vitrine", "network", network_blob(None))
    await lock.close()
    async with other:
        with pytest.raises(ConnectionRefusedError):
            await ask(other.http_port, "GET", "/v1/hello")


async def test_from_the_command_line(store, lock, tmp_path):
    (tmp_path / "token.cbor").write_bytes(store.token())
    store.holder.save(tmp_path / "holder.pem")
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", "from vitrine_tools.cli import main; main()", "unlock", "--lock", LOCK_ID],
        *["--token", "token.cbor", "--key", "holder.pem", "--http", f"http://127.0.0.1:{lock.http_port}", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0 and err == b"" and json.loads(out)["granted"] is True, err
    assert lock.strike_energised
