"""The doctor's report from the whole firmware: by radio, over the wire, and by `vitrine doctor`; and who gets none."""

import asyncio
import json
import secrets
import signal

from support.http_client import free_port, network_blob
from support.service_lab import ROOT_KEY, VITRINE, details, files_of, vitrine, wired
from support.store import LOCK_ID, NOW_S, of_kind
from vitrine_tools import cbor, http_phone
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.collector import escrow
from vitrine_tools.field import diagnosis, findings
from vitrine_tools.field.authority import Authority
from vitrine_tools.protocol import Action, Op, Status

KEYS = Keys(ROOT_KEY, LOCK_ID, NOW_S)
JOURNAL = (LOCK_ID, ROOT_KEY, NOW_S)


async def report_of(store, lock, **claims):
    """The report as a phone with a service token gets it."""
    authority = Authority(store.token(**({"scopes": ("service",)} | claims)), store.holder)
    async with store.phone(lock) as (_, phone):
        await authority.ask(phone, Action.SERVICE)
        return await diagnosis.fetch(phone, LOCK_ID)


async def test_a_lock_tells_how_it_is(store):
    async with store.lock(journal=JOURNAL) as lock:
        await lock.advance(25_000)
        report = await report_of(store, lock)
        assert report.is_authentic(KEYS) and report.epoch == NOW_S
        told = report.told
        assert told[5][2] == "unix" and told[5][3] == 0 and told[4] == ["group:jewellery"]
        assert [each[0] for each in told[6]] == [store.issuer.public.kid, store.headquarters.public.kid]
        assert told[7][0] == len(lock.events) and told[7][4] == 1
        assert told[8] == [True, 0, 0] and told[9][5] == 0 and told[10] == []
        assert told[11][0] == NOW_S + 25 and told[11][1] == 1
        assert told[12][1] > 0 and told[12][0] > 0 and told[13][2] >= 24
        assert told[14]["door"] == 0 and "evidence" in told[14] and told[15] == []
        assert told[17] == [1, 1, False, [], "normal"] and told[18][2] == 1
        wrong = [each.name for each in findings.judge(told) if each.is_wrong]
        assert wrong == [], wrong
        assert details(lock) == ["doctor"], "it is on record, and opens no console"


async def test_what_is_wrong_is_said(store):
    door = {"battery_low_mv": 4000, "dps_mode": 1}
    async with store.lock(journal=JOURNAL, door=door, dps_line="eol", is_time_trusted=False) as lock:
        lock.set_battery_mv(3500)
        lock.open_housing()
        lock.dps_cut()
        await lock.advance(15_000)
        issuer = Authority(issuer=store.issuer)
        async with store.phone(lock) as (_, phone):
            await issuer.ask(phone, Action.SERVICE)
            report = await diagnosis.fetch(phone, LOCK_ID)
        names = [each.name for each in findings.judge(report.told) if each.is_wrong]
        assert {"alarm", "switch", "housing", "time"} <= set(names), names
        assert report.told[18][0] == 3500 and report.told[18][1] >= 2700
        assert set(report.told[17][3]) >= {5, 129, 133}


async def test_without_a_journal_nobody_can_check_it(store):
    async with store.lock() as lock:
        report = await report_of(store, lock)
        assert report.tag == b"" and report.told[7] is None and report.epoch is None
        assert not report.is_authentic(KEYS)


async def test_strangers_get_none(store):
    async with store.lock(journal=JOURNAL) as lock, store.phone(lock) as (_, phone):
        body = {1: secrets.token_bytes(16), 2: 0}
        assert await phone.ask(Op.DOCTOR, body) == (Status.REFUSED, None)
        token = store.token()
        hello = await phone.hello()
        await phone.present(token)
        acted = await phone.act(Action.SERVICE, token=token, holder=store.holder, nonce=hello.nonce)
        assert acted.status == Status.REFUSED
        assert await phone.ask(Op.DOCTOR, body) == (Status.REFUSED, None)
        assert await phone.ask(Op.COURIER, {3: 0}) == (Status.REFUSED, None)
        acted = await phone.act(Action.UNLOCK, token=token, holder=store.holder, nonce=acted.nonce)
        assert acted.status == Status.OK, "a holder of something else stays one"
        assert await phone.ask(Op.DOCTOR, body) == (Status.REFUSED, None)
        assert of_kind(lock, 136) == []


async def test_an_answer_altered_on_the_way_is_not_believed(store):
    async with store.lock(journal=JOURNAL) as lock:
        report = await report_of(store, lock)
        told = cbor.decode(report.payload, 4096)
        told[17][3] = []
        told[10] = []
        told[12] = [1, 1]
        forged = diagnosis.Diagnosis(LOCK_ID, told, cbor.encode(told), report.tag)
        assert report.is_authentic(KEYS) and not forged.is_authentic(KEYS)


async def test_the_command_over_the_wire(store):
    async with wired(store) as (lock, path):
        keys = store.folder / "keys"
        escrow.save(keys, LOCK_ID, NOW_S, ROOT_KEY)
        files = files_of(store)
        status, output = await vitrine("doctor", "--port", path, "--keys", keys, *files, "--json")
        said = json.loads(output)
        assert status == 0 and said["lock"] == LOCK_ID and said["authentic"] is True, output
        assert said["report"]["software"]["board"] == "unix" and said["report"]["door"]["scenario"] == "normal"
        assert details(lock) == ["begin", "closed"], "a console that was closed is closed again"
        status, output = await vitrine("doctor", "--port", path, "--keys", keys, *files)
        assert status == 0 and "sealed by the lock" in output and "note" in output, output
        status, output = await vitrine("doctor", "--port", path, "--keys", keys, *files, "--strict")
        assert status == 1
        # no key to check it with: nothing is well that nobody has checked
        status, output = await vitrine("doctor", "--port", path, "--keys", store.folder / "none", *files)
        assert status == 1 and "NOT VERIFIED" in output and "nobody has checked" in output
        # the key of another journal: the seal is wrong, and nothing of it is shown
        other = store.folder / "other"
        escrow.save(other, LOCK_ID, NOW_S, b"s" * 32)
        status, output = await vitrine("doctor", "--port", path, "--keys", other, *files)
        assert status == 2 and "does not bear its lock's seal" in output and "software" not in output
        lock.open_housing()
        status, output = await vitrine("doctor", "--port", path, "--keys", keys, *files)
        assert status == 1 and "wrong" in output and "close it" in output
        status, output = await vitrine("doctor", "--keys", keys, *files)
        assert status == 2 and "--lock" in output
        token = files_of(store, scopes=("unlock",))
        status, output = await vitrine("doctor", "--port", path, "--keys", keys, *token)
        assert status == 2 and "ScopeMissing" in output


async def test_the_command_over_the_local_network(store):
    lock = store.lock(virtual=False, journal=JOURNAL)
    port = free_port()
    lock.flash.create()
    lock.flash.nvs_put("vitrine", "network", network_blob(port))
    key, keys = store.folder / "issuer.pem", store.folder / "keys"
    store.issuer.save(key)
    escrow.save(keys, LOCK_ID, NOW_S, ROOT_KEY)
    async with lock:
        await lock.wait_advertising()
        await until_served(port)
        arguments = ("--http", f"http://127.0.0.1:{port}", "--lock", LOCK_ID, "--keys", keys, "--key", key)
        for _ in range(20):  # loopback serves at once, and the emulated network takes a moment to be up
            status, output = await vitrine("doctor", *arguments, "--json")
            said = json.loads(output)
            wrong = [each["name"] for each in said["findings"] if each["wrong"]]
            assert said["authentic"] and wrong == ([] if said["report"]["links"]["wifi"][0] else ["wifi"]), output
            if not wrong:
                break
        assert status == 0 and set(details(lock)) == {"doctor"}
        status, output = await vitrine("logs", "pull", *arguments, "--out", store.folder / "bag", "--json")
        assert status == 0 and json.loads(output)["whole"], output
        # who was granted nothing in this session
        phone = http_phone.HttpPhone(f"http://127.0.0.1:{port}", LOCK_ID)
        await phone.hello()
        assert await phone.ask(Op.DOCTOR, {1: bytes(16), 2: 0}) == (Status.REFUSED, None)


async def until_served(port):
    """The emulated network takes a moment to come up."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            await writer.wait_closed()
            return


async def test_the_command_by_radio(tmp_path):
    """Through bleak, to a lock of `vitrine emulate`, with the issuer's key that lies beside it."""
    folder = tmp_path / "lock"
    emulator = await asyncio.create_subprocess_exec(
        *VITRINE, "emulate", folder, "--json", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            while b"is on the air" not in (line := await emulator.stdout.readline()):
                assert line, "it did not start"
        arguments = ("--lock", "case-12", "--emulator", folder, "--key", folder / "issuer.pem")
        status, output = await vitrine("doctor", *arguments, "--keys", folder / "escrow")
        assert status == 0 and "case-12, sealed by the lock" in output, output
        status, output = await vitrine("doctor", "--lock", "case-13", *arguments[2:], "--timeout", "1")
        assert status == 2 and "not in reach" in output
    finally:
        emulator.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await emulator.communicate()
