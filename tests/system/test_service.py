"""Service over the wire of the emulated board, with the tool's own commands; and everything that must not open it."""

import asyncio
import json

from support.service_lab import COUNT, DIGEST, LINK, SERVICE, SUB, details, files_of, vitrine, wired
from support.store import (
    DETAIL,
    LOCK_ID,
    LOCK_OPERATION,
    LOCK_OPERATION_ERROR,
    OPERATION,
    REASON,
    of_kind,
    strike_changes,
)
from vitrine_tools.field import console_link
from vitrine_tools.protocol import Action, Op, Reason, Status


async def test_open_with_a_token_then_close(store):
    async with wired(store) as (lock, path):
        status, output = await vitrine("service", "open", "--port", path, *files_of(store))
        assert status == 0 and f"{LOCK_ID} is in service" in output, output
        (begun,) = of_kind(lock, SERVICE)
        assert (begun[DETAIL], begun[SUB], begun[LINK]) == ("begin", b"engineer", 4)
        status, output = await vitrine("service", "close", "--port", path)
        assert status == 0 and details(lock) == ["begin", "closed"], output
        status, output = await vitrine("service", "close", "--port", path)
        assert status == 0 and details(lock) == ["begin", "closed"], "twice is once"
        assert strike_changes(lock) == []


async def test_an_issuers_key_opens_a_lock_that_does_not_know_the_time(store):
    key = store.folder / "issuer.pem"
    store.issuer.save(key)
    async with wired(store, is_time_trusted=False) as (lock, path):
        status, output = await vitrine(
            "service", "open", "--port", path, "--lock", LOCK_ID, "--key", key, "--sub", "engineer-3", "--json"
        )
        assert status == 0 and json.loads(output) == {"lock": LOCK_ID, "port": str(path), "open": True}
        assert of_kind(lock, SERVICE)[0][SUB] == b"engineer-3"


async def test_mpremote_runs_in_it_and_it_is_closed_then(store):
    async with wired(store) as (lock, path):
        program = "print(6 * 7)"
        status, output = await vitrine("service", "open", "--port", path, *files_of(store), "--", "exec", program)
        assert status == 0 and "42" in output.splitlines(), output
        assert details(lock) == ["begin", "closed"]
        ended = of_kind(lock, SERVICE)[-1]
        assert ended[COUNT] >= 1 and ended[DIGEST] != bytes(32) and ended[SUB] == b"engineer"
        status, output = await vitrine(
            "service", "open", "--port", path, *files_of(store), "--keep", "--", "exec", "raise ValueError(7)"
        )
        assert status == 1 and "ValueError: 7" in output, output
        assert details(lock)[2:] == ["begin"], "it was to stay open"


async def test_the_strike_moves_for_half_a_second_and_it_is_on_record(store):
    async with wired(store) as (lock, path):
        files = files_of(store)
        status, output = await vitrine("service", "test", "--port", path, *files)
        assert status == 0 and "half a second" in output, output
        await asyncio.sleep(1)
        tested = [event for event in of_kind(lock, LOCK_OPERATION) if event.get(DETAIL) == "test"]
        assert len(tested) == 1 and tested[0][OPERATION] == 1 and tested[0][LINK] == 4
        changes = strike_changes(lock)
        assert changes[0][1] == 1 and changes[-1][1] == 0
        assert 450 <= changes[-1][0] - changes[0][0] <= 1500
        assert details(lock) == ["begin", "closed"], "as it was found"


async def test_it_stays_open_if_it_was(store):
    async with wired(store) as (lock, path):
        files = files_of(store)
        await vitrine("service", "open", "--port", path, *files)
        status, _ = await vitrine("service", "test", "--port", path, *files)
        assert status == 0 and details(lock) == ["begin", "replaced", "begin"]
        async with console_link.reach(path) as phone:
            phone.wire.write(b"\r")
            assert b">>> " in await asyncio.to_thread(phone.wire.hear, 3.0, b">>> ")


async def test_a_token_without_the_scope_opens_nothing(store):
    async with wired(store) as (lock, path):
        for command in ("open", "test"):
            status, output = await vitrine("service", command, "--port", path, *files_of(store, scopes=("unlock",)))
            assert status == 2 and "ScopeMissing" in output and "scope service" in output, output
        assert details(lock) == [] and strike_changes(lock) == []
        refused = of_kind(lock, LOCK_OPERATION_ERROR)
        assert {event[OPERATION] for event in refused} == {130} and refused[0][REASON] == Reason.ScopeMissing


async def test_the_lock_that_was_meant(store):
    async with wired(store) as (lock, path):
        status, output = await vitrine("service", "open", "--port", path, "--lock", "case-13", *files_of(store))
        assert status == 2 and LOCK_ID in output and details(lock) == []
        status, output = await vitrine("service", "open", "--port", store.folder / "nothing", *files_of(store))
        assert status == 2 and "cannot open" in output


async def test_a_lock_without_an_identity_has_nothing_to_open(store):
    async with wired(store, provision=None, journal=None) as (_, path):
        status, output = await vitrine("service", "open", "--port", path, *files_of(store))
        assert status == 2 and "NotProvisioned" in output, output


async def test_attacks_on_it(store):
    """What a thief can send over the wire and the air who has heard a technician, and holds tokens of others."""
    token = store.token(scopes=("service",))
    async with wired(store) as (lock, path):
        async with console_link.reach(path) as phone:
            hello = await phone.hello()
            await phone.present(token)
            body = None

            async def ask(op, content=None, remember=phone.ask):
                nonlocal body
                body = content if op == Op.ACT else body
                return await remember(op, content)

            phone.ask = ask
            acted = await phone.act(Action.SERVICE, token=token, holder=store.holder, nonce=hello.nonce)
            assert acted.status == Status.OK
            # the same proof again, in this session and in another
            del phone.ask
            assert (await phone.ask(Op.ACT, body))[0] == Status.REFUSED
        await vitrine("service", "close", "--port", path)
        async with console_link.reach(path) as phone:
            await phone.hello()
            await phone.present(token)
            status, answer = await phone.ask(Op.ACT, body)
            assert status == Status.REFUSED and 1 not in answer
            # somebody else's key
            nonce = (await phone.hello()).nonce
            acted = await phone.act(Action.SERVICE, token=token, holder=store.thief, nonce=nonce)
            assert acted.status == Status.REFUSED and acted.reason is None
        assert details(lock) == ["begin", "closed"]
        # over the air: service opens no console; the strike is not tested, whether the console is open or not
        for is_open in (False, True):
            if is_open:
                assert (await vitrine("service", "open", "--port", path, *files_of(store)))[0] == 0
            async with store.phone(lock) as (_, phone):
                hello = await phone.hello()
                await phone.present(token)
                acted = await phone.act(Action.TEST, token=token, holder=store.holder, nonce=hello.nonce)
                assert acted.status == Status.REFUSED and acted.reason is None
                if not is_open:
                    acted = await phone.act(Action.SERVICE, token=token, holder=store.holder, nonce=acted.nonce)
                    assert acted.status == Status.OK and details(lock)[-1] == "doctor"
                    acted = await phone.act(Action.TEST, token=token, holder=store.holder, nonce=acted.nonce)
                    assert acted.status == Status.REFUSED
        assert strike_changes(lock) == []
        assert [event for event in of_kind(lock, LOCK_OPERATION_ERROR) if event[REASON] == Reason.ActionUnknown]
