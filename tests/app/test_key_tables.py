"""The tables of pinned and holder keys: kept, checked, rebuilt, bounded, and made in slices."""

import asyncio
import hashlib
import os

import pytest
from nacl.signing import SigningKey

from vitrine.app.key_tables import KeyTables
from vitrine.crypto import comb
from vitrine.crypto.curve import D2, P
from vitrine.crypto.ed25519 import GRANT, PublicKey, verify

TEETH = 3  # small tables: quick to make


class Store(dict):
    """A store in memory; `broken` makes every access fail."""

    broken = False

    def load(self, name):
        self.check()
        return self.get(name)

    def save(self, name, data):
        self.check()
        self[name] = data

    def remove(self, name):
        self.check()
        self.pop(name, None)

    def check(self):
        if self.broken:
            raise OSError(5)


class Secrets:
    """The blob with the lock's secret."""

    def __init__(self):
        self.blob = None
        self.broken = False

    def load(self):
        if self.broken:
            raise OSError(5)
        return self.blob

    def save(self, data):
        self.blob = data


class Bench:
    def __init__(self, holders=2):
        self.store = Store()
        self.secrets = Secrets()
        self.events = []
        self.holders = holders
        self.restart()

    def restart(self):
        self.tables = KeyTables(
            self.store,
            lambda event, detail: self.events.append(event),
            self.secrets,
            os.urandom,
            teeth=TEETH,
            holders=self.holders,
        )

    def work(self):
        steps = 1
        while self.tables.step():
            steps += 1
        return steps


@pytest.fixture
def bench():
    return Bench()


def signer(number):
    return SigningKey(bytes([number]) * 32)


def raw(number):
    return bytes(signer(number).verify_key)


def works(key, number):
    good = signer(number).sign(b"open").signature
    return key.verify(b"open", good) and not key.verify(b"shut", good)


def test_a_pinned_key_works_before_its_table_is_there_and_after(bench):
    key = bench.tables.pin(raw(1))
    assert not key.has_table and bench.tables.waiting == 1
    assert works(key, 1)
    bench.work()
    assert key.has_table and bench.tables.waiting == 0
    assert works(key, 1)


def test_a_pinned_key_finds_its_table_after_a_restart(bench):
    bench.tables.pin(raw(1))
    bench.work()
    assert len(bench.store) == 1
    bench.restart()
    key = bench.tables.pin(raw(1))
    assert key.has_table
    assert works(key, 1)
    assert bench.tables.step() is False
    assert bench.events == []


@pytest.mark.parametrize("damage", ["bit in digest", "bit in table", "cut short", "too long", "empty", "other key's"])
def test_a_damaged_table_is_reported_rebuilt_and_never_used(bench, damage):
    bench.tables.pin(raw(1))
    bench.tables.pin(raw(2))
    bench.work()
    name, other = bench.store
    sound = bench.store[name]
    data = bytearray(sound)
    if damage == "bit in digest":
        data[5] ^= 4
    elif damage == "bit in table":
        data[-7] ^= 1
    elif damage == "cut short":
        del data[-96:]
    elif damage == "too long":
        data += bytes(96)
    elif damage == "empty":
        data.clear()
    else:
        data[:] = bench.store[other]
    bench.store[name] = bytes(data)
    bench.restart()
    key = bench.tables.pin(raw(1))
    assert bench.events == ["key_table_damaged"]
    assert not key.has_table
    assert name not in bench.store
    assert works(key, 1)
    bench.work()
    assert key.has_table
    assert bench.store[name] == sound


def test_a_table_that_was_made_elsewhere_is_never_used(bench):
    """Whoever may write files could have the issuer's key verify as his own: of a table of that, in its place."""
    bench.tables.pin(raw(1))
    bench.work()
    (name,) = bench.store
    thief = Bench()
    thief.tables.pin(raw(1))
    thief.tables.pin(raw(6))
    thief.work()
    table = max(data for other, data in thief.store.items() if other != name)[32:]
    assert len(table) == len(bench.store[name]) - 32
    codes = [thief.tables._code(PublicKey(raw(1)), table), bench.store[name][:32], bytes(32)]
    codes.append(hashlib.sha256(b"vitrine comb table 1" + raw(1) + table).digest())
    for code in codes:
        bench.store[name] = code + table
        bench.restart()
        key = bench.tables.pin(raw(1))
        assert bench.events[-1] == "key_table_damaged" and not key.has_table
        assert works(key, 1) and not works(key, 6)
    # it is the code that counts: with the lock's own secret that table would be used
    bench.store[name] = bench.tables._code(PublicKey(raw(1)), table) + table
    bench.restart()
    assert not works(bench.tables.pin(raw(1)), 1)


@pytest.mark.parametrize("secret", [None, b"", b"short", "broken"])
def test_without_its_secret_a_table_is_made_again(bench, secret):
    bench.tables.pin(raw(1))
    bench.work()
    bench.secrets.broken = secret == "broken"
    bench.secrets.blob = secret
    bench.restart()
    key = bench.tables.pin(raw(1))
    assert not key.has_table and bench.events == ["key_table_store" if secret == "broken" else "key_table_damaged"]
    bench.work()
    assert key.has_table and works(key, 1)


def test_an_unpinned_key_leaves_nothing(bench):
    bench.tables.pin(raw(1))
    bench.work()
    bench.tables.unpin(raw(1))
    assert not bench.store


def test_a_key_unpinned_while_its_table_is_made_leaves_nothing(bench):
    bench.tables.pin(raw(1))
    key = bench.tables.holder(raw(2))
    for _ in range(3):
        assert bench.tables.step()
    bench.tables.unpin(raw(1))
    bench.work()
    assert not bench.store
    assert key.has_table and works(key, 2)


def test_a_holder_is_fast_the_second_time_and_not_stored(bench):
    bench.tables.holder(raw(3))
    bench.work()
    key = bench.tables.holder(raw(3))
    assert key.has_table and works(key, 3)
    assert not bench.store


def test_the_holder_cache_is_bounded_and_keeps_the_latest(bench):
    first = bench.tables.holder(raw(1))
    bench.tables.holder(raw(2))
    bench.work()
    assert bench.tables.holder(raw(1)) is first
    bench.tables.holder(raw(3))  # pushes out 2, the least recently used
    assert bench.tables.holder(raw(1)) is first
    assert not bench.tables.holder(raw(2)).has_table


def test_a_holder_pushed_out_while_its_table_is_made_costs_nothing_more(bench):
    gone = bench.tables.holder(raw(1))
    bench.tables.step()
    bench.tables.step()
    kept = [bench.tables.holder(raw(2)), bench.tables.holder(raw(3))]
    bench.work()
    assert not gone.has_table
    for number, key in zip((2, 3), kept, strict=True):
        assert key.has_table and works(key, number)


def test_bad_keys_raise_and_leave_no_work(bench):
    for bad in (b"", bytes(32), b"\xff" * 32, None, "x" * 32):
        for get in (bench.tables.pin, bench.tables.holder):
            with pytest.raises(ValueError):
                get(bad)
    assert bench.tables.step() is False


def test_a_broken_store_costs_speed_only(bench):
    bench.store.broken = True
    key = bench.tables.pin(raw(1))
    bench.work()
    assert key.has_table and works(key, 1)
    bench.tables.unpin(raw(1))
    assert bench.events == ["key_table_store"] * 3


def test_a_computation_that_fails_is_reported_and_the_next_goes_on(bench, monkeypatch):
    monkeypatch.setattr(comb, "on_curve", lambda x, y: False)
    failed = bench.tables.pin(raw(1))
    bench.work()
    assert bench.events == ["key_table_failed"]
    assert not failed.has_table and not bench.store
    monkeypatch.undo()
    key = bench.tables.pin(raw(2))
    bench.work()
    assert key.has_table and works(key, 2)


def test_the_work_is_cut_into_slices_and_gives_way(bench):
    async def scenario():
        task = asyncio.create_task(bench.tables.run())
        key = bench.tables.holder(raw(1))
        turns = 0
        while not key.has_table:
            await asyncio.sleep(0)
            turns += 1
            assert turns < 1000
        second = bench.tables.holder(raw(2))
        while not second.has_table:
            await asyncio.sleep(0)
        task.cancel()
        return turns

    assert asyncio.run(scenario()) > 10


def mixed_order_key():
    """A key A + T with T of order 2, and its secret scalar's base part: the point (-x, -y)."""
    y = int.from_bytes(raw(9), "little") & ((1 << 255) - 1)
    sign = raw(9)[31] >> 7
    # -(x, y) + (0, -1): negating both coordinates adds the point of order 2
    return ((P - y) | (1 - sign) << 255).to_bytes(32, "little")


def test_a_key_with_a_small_order_component_gets_no_table(bench):
    key = bench.tables.pin(mixed_order_key())
    bench.work()
    assert not key.has_table
    assert not bench.store
    assert bench.events == []


def test_a_table_of_each_size_gives_the_same_answers():
    for teeth in (2, 4, 5):
        key = PublicKey(raw(4))
        table = list(comb.build(key, teeth))[-1]
        assert len(table) == 96 << teeth
        # the first entry in the middle of a block is a point of the curve in the promised form
        yp, ym, t2 = (int.from_bytes(table[i : i + 32], "little") for i in (96, 128, 160))
        x, y = (yp - ym) * pow(2, -1, P) % P, (yp + ym) * pow(2, -1, P) % P
        assert t2 == D2 * x * y % P
        key.use_table(table)
        for n in range(8):
            message = bytes([n]) * n
            signature = bytearray(signer(4).sign(message).signature)
            assert key.verify(message, signature)
            signature[9 * n % 64] ^= 1
            assert not key.verify(message, signature)
            assert not verify(key.raw, message, bytes(signature))
    for size in (0, 95, 96, 385, 6143):
        with pytest.raises(ValueError):
            key.use_table(bytes(size))


def test_an_expected_key_is_ready_and_pushes_no_regular_out(bench):
    """It is decoded once and verifies as any other; it gets no table, and the last three are kept."""
    signers = [SigningKey.generate() for _ in range(5)]
    regular = SigningKey.generate()
    bench.tables.holder(bytes(regular.verify_key))
    bench.work()
    for signer in signers:
        raw = bytes(signer.verify_key)
        bench.tables.expect(raw)
        bench.tables.expect(raw)
        good = signer.sign(b"proof").signature
        assert bench.tables.verify_holder(raw, b"proof", good) == GRANT
        assert bench.tables.verify_holder(raw, b"other", good) != GRANT
    assert [key.raw for key in bench.tables._expected] == [bytes(signer.verify_key) for signer in signers[2:]]
    assert [key.raw for key in bench.tables._holders] == [bytes(regular.verify_key)]
    assert not bench.tables.step()
    bench.tables.expect(b"not a key")
    bench.tables.expect(bytes(32))
    assert bench.tables.verify_holder(bytes(32), b"proof", bytes(64)) != GRANT
