"""A till opens the case: each paid sale once, over lost results, lost brokers and new starts of the bridge."""

import asyncio
import base64
import json
import secrets
import time

import pytest

from support.broker_lock import LOCK, BrokerLock, till_at
from support.mosquitto import needs_mosquitto
from vitrine_tools.commanding_broker import connected
from vitrine_tools.pos.bridge import Bridge, Shop
from vitrine_tools.pos.sale import ref_of
from vitrine_tools.pos.till_book import TillBook

pytestmark = [needs_mosquitto, pytest.mark.system]
REF = 9


@pytest.fixture
def case(tmp_path, broker):
    return BrokerLock(tmp_path, broker)


class Running:
    """A bridge that runs; `lines` is what it says."""

    def __init__(self, case, folder, *, timeout_s=5.0, fixtures=(LOCK,), book="sales.db", **shop):
        shop = Shop(issuer=case.till, fixtures=frozenset(fixtures), timeout_s=timeout_s, **shop)
        address = case.broker.client("pos")
        self.book = TillBook(folder / book)
        self.lines = []
        self.bridge = Bridge(shop, address, address, self.book, self.lines.append)

    async def __aenter__(self):
        self._task = asyncio.create_task(self.bridge.run())
        async with asyncio.timeout(20):
            await self.bridge.is_listening.wait()
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait({self._task})
        self.book.close()

    async def said(self, text):
        async with asyncio.timeout(20):
            while not any(text in line for line in self.lines):
                await asyncio.sleep(0.02)


def sale():
    """A reference as a till makes it; with a letter in front no number."""
    return "a" + secrets.token_hex(8)[1:]


async def test_a_paid_sale_opens_its_case_once_and_its_reference_is_on_record(case, tmp_path):
    reference = sale()
    async with case.running(), Running(case, tmp_path), till_at(case.broker) as till:
        begin_s = time.monotonic()
        await till.sell(reference)
        assert await till.told() == {"sale": reference, "opened": True, "reason": "Granted"}
        assert time.monotonic() - begin_s < 3
        for _ in range(3):
            await till.sell(reference)
            assert (await till.told())["opened"] is True
        assert case.openings() == 1
        assert case.kinds(2)[0][REF] == ref_of(reference)
        # many at once, and the same many times, each once
        several = [sale() for _ in range(3)]
        for reference in several * 2:
            await till.sell(reference)
        told = {}
        while len(told) < 3:
            told |= {(one := await till.told())["sale"]: one["opened"]}
        assert told == dict.fromkeys(several, True) and case.openings() == 4


async def test_what_is_not_paid_not_of_this_shop_or_no_sale_opens_nothing(case, tmp_path):
    async with case.running(), Running(case, tmp_path) as running, till_at(case.broker) as till:
        await till.sell(sale(), paid=False)
        await till.sell(sale(), "case-99")
        for paid in (1, "true", None, [True]):
            await till.sell(sale(), paid=paid)
        for reference in ("", "x", "anna@shop.example", "4111111111111111", "a" * 65, "+4930123456", 7, None):
            await till.sell(reference)
        messages = [b"", b"[]", b"{}", b"\xff", b"[" * 200, bytes(300), b'{"sale": "aa11", "fixture": "case-12"}']
        messages += [b'{"sale": "aa11", "fixture": "case-12", "paid": true, "name": "Anna"}']
        messages += [b'{"sale": "aa11", "fixture": "case-12", "paid": false, "paid": true}']
        async with connected(case.broker.client("till")) as client:
            for message in messages:
                await client.publish("vitrine-pos/sale", message, qos=1)
        good = sale()
        await till.sell(good)
        assert (await till.told())["sale"] == good, "and nobody was told anything before"
        assert case.openings() == 1
        assert not any("anna" in line or "4111" in line for line in running.lines)


async def test_a_retained_sale_is_an_old_one(case, tmp_path):
    async with till_at(case.broker) as till:
        await till.sell(sale(), retain=True)
        async with case.running(), Running(case, tmp_path) as running:
            await running.said("kept")
            assert case.openings() == 0


async def test_a_refused_sale_says_why(case, tmp_path):
    async with case.running(), Running(case, tmp_path), till_at(case.broker) as till:
        async with connected(case.broker.client("commander")) as client:
            down = case.order(number=4, body={2: True}, sequence=5, signer=case.issuer)
            assert (await case.carrier(client).send(down)).is_done
        reference = sale()
        await till.sell(reference)
        assert await till.told() == {"sale": reference, "opened": False, "reason": "LockedDown"}
        assert case.openings() == 0


async def test_a_lock_that_does_not_answer_and_a_new_start_open_nothing_twice(case, tmp_path):
    """The result is lost: the till asks again, the bridge sends the very same, and the lock does not do it again."""
    reference = sale()
    async with case.running(), till_at(case.broker) as till:
        async with Running(case, tmp_path, timeout_s=0.001):
            await till.sell(reference)
            assert await till.told() == {"sale": reference, "opened": False, "reason": "Unknown"}
            await case.on_record(2, f9=ref_of(reference))
        async with Running(case, tmp_path):
            await till.sell(reference)
            assert await till.told() == {"sale": reference, "opened": False, "reason": "Unknown"}
        assert case.openings() == 1


async def test_a_broker_that_is_lost_and_comes_back(case, tmp_path):
    first, second = sale(), sale()
    async with case.running(), Running(case, tmp_path) as running:
        async with till_at(case.broker) as till:
            await till.sell(first)
            assert (await till.told())["opened"] is True
        await case.broker.stop()
        await running.said("next try")
        await case.broker.start()
        async with asyncio.timeout(30):
            await running.bridge.is_listening.wait()
        async with connected(case.broker.client("intruder")) as watcher:
            await watcher.subscribe(f"vitrine/{LOCK}/availability", qos=1)
            async with asyncio.timeout(30):
                async for message in watcher.messages:
                    if message.payload == b"online":
                        break
        async with till_at(case.broker) as till:
            await till.sell(first)
            assert (await till.told())["opened"] is True
            await till.sell(second)
            assert (await till.told())["sale"] == second
        assert case.openings() == 2


async def test_a_customers_phone_opens_once_with_the_token_of_a_sale(case, tmp_path):
    reference = sale()
    holder = case.holder.public
    async with case.running(), Running(case, tmp_path, holder=holder) as running, till_at(case.broker) as till:
        await till.sell(reference)
        told = await till.told()
        assert (told["opened"], told["reason"]) == (False, "Token")
        token = base64.urlsafe_b64decode(told["token"] + "==")
        await till.sell(reference)
        assert (await till.told())["token"] == told["token"], "the same one, and no other"
        async with case.phone() as phone:
            assert (await phone.open(token, case.holder)).is_granted
        async with case.phone() as phone:
            assert (await phone.open(token, case.holder)).reason == 14
        assert case.openings() == 1 and case.kinds(2)[0][REF] == ref_of(reference)
        assert not any(told["token"] in line for line in running.lines)


async def test_two_bridges_with_one_book_open_a_sale_once(case, tmp_path):
    reference = sale()
    async with case.running(), till_at(case.broker) as till:
        async with Running(case, tmp_path), Running(case, tmp_path):
            await till.sell(reference)
            await till.told()
            await asyncio.sleep(1)
        assert case.openings() == 1
        assert json.dumps(reference)
