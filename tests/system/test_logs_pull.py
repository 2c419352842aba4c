"""`vitrine logs pull`: the records of the emulated lock, out of its own flash, over the wire and by radio."""

import json
from contextlib import asynccontextmanager

from support.service_lab import ROOT_KEY, details, files_of, vitrine, wired
from support.store import LOCK_ID, NOW_S
from vitrine_tools.audit.sealed import Keys, acknowledge
from vitrine_tools.collector import escrow
from vitrine_tools.field import pull
from vitrine_tools.field.authority import Authority
from vitrine_tools.protocol import Action, Op, Status

KEYS = Keys(ROOT_KEY, LOCK_ID, NOW_S)


async def test_over_the_wire_and_on_from_there(store):
    keys = store.folder / "keys"
    escrow.save(keys, LOCK_ID, NOW_S, ROOT_KEY)
    out = store.folder / "case-12.bag"
    async with wired(store) as (lock, path):
        for _ in range(3):
            assert (await store.open(lock)).is_granted
        common = ("--port", path, "--keys", keys, *files_of(store))
        status, output = await vitrine("logs", "pull", "--out", out, *common)
        assert status == 0 and "seals right" in output, output
        assert details(lock) == ["begin", "closed"]
        before = out.stat().st_size
        status, output = await vitrine("logs", "pull", "--out", out, *common, "--json")
        said = json.loads(output)
        assert status == 0 and said["whole"] and said["proved"] == said["count"] == said["records"], output
        assert out.stat().st_size > before, "what has happened since"
        # for other programs
        status, output = await vitrine(
            "logs", "pull", "--out", store.folder / "out.jsonl", "--format", "cloudevents", *common
        )
        lines = [json.loads(line) for line in (store.folder / "out.jsonl").read_text().splitlines()]
        assert status == 0 and len(lines) >= said["count"], output
        assert {"vitrine.audit.LockOperation", "vitrine.audit.Service"} <= {line["type"] for line in lines}
        assert {line["seal"] for line in lines} == {"right"} and not (store.folder / "out.jsonl.part").exists()
        # without the key nobody knows; and nothing was released by any of it
        status, output = await vitrine("logs", "pull", "--out", out, "--port", path, *files_of(store))
        assert status == 1 and "nobody has checked" in output
        # nor if the key is not to be had: what was fetched is there, and said to be
        (store.folder / "bad").mkdir()
        (store.folder / "bad" / f"{LOCK_ID}-{NOW_S}.journal.json").write_text("{}")
        status, output = await vitrine(
            "logs", "pull", "--out", out, "--port", path, "--keys", store.folder / "bad", *files_of(store)
        )
        assert status == 2 and "has the records, unchecked" in output, output
        # a collector takes the same file
        db = f"sqlite:///{store.folder / 'vitrine.db'}"
        status, output = await vitrine("collect", "--from", out, "--keys", keys, "--db", db)
        assert status == 0, output


async def test_by_radio_and_what_a_collector_has_is_still_there(store):
    async with store.lock(journal=(LOCK_ID, ROOT_KEY, NOW_S)) as lock:
        for _ in range(8):
            assert (await store.open(lock)).is_granted
            await lock.advance(2_000)
        async with store.phone(lock) as (_, phone):
            count = (await phone.hello()).audit_count
            assert await phone.ask(Op.COURIER, {2: acknowledge(KEYS, count).to_bytes()}) == (Status.OK, None)
        authority = Authority(store.token(scopes=("service",)), store.holder)
        connections = 0

        def connect():
            nonlocal connections
            connections += 1
            return served()

        @asynccontextmanager
        async def served():
            async with store.phone(lock) as (_, phone):
                await authority.ask(phone, Action.SERVICE)
                yield phone

        pulled = await pull.Puller(store.folder / "bag").pull(connect)
        judged = pull.judge(pulled, KEYS)
        assert judged.is_whole and judged.collected == count and judged.absent == 0, "acknowledged, and still there"
        assert judged.proved == pulled.count > count
        assert details(lock) == ["doctor"] * connections
