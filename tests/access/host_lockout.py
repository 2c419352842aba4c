"""vitrine.access.lockout against a model with exact times: any order of tries, grants, starts and failures."""

import random
import sys

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vitrine.access.lockout import Lockouts, empty

DAY_MS = 86_400_000
WRAP = 1 << 30
SOURCES = [bytes([n]) * 6 for n in range(4)]


class Settings:
    lockout_tries = 4
    lockout_s = 300
    lockout_max_s = 3600


class Truth:
    """One source, with all the time in the world: no wrap, no rounding, no places."""

    def __init__(self):
        self.tries = self.lockouts = self.until_ms = 0
        self.last_ms = None

    def copy(self, now_ms):
        """As it is written: what is left, and all else."""
        kept = Truth()
        kept.tries, kept.lockouts, kept.last_ms = self.tries, self.lockouts, self.last_ms
        kept.left_s = max(0, -(-(self.until_ms - now_ms) // 1000))
        return kept

    def failed(self, now_ms, tries, first_s, most_s):
        if now_ms < self.until_ms:
            return 0
        self.last_ms = now_ms
        self.tries += 1
        if self.tries < tries:
            return 0
        wait_s = min(first_s << self.lockouts, most_s)
        self.lockouts = min(self.lockouts + 1, 15)
        self.tries = 0
        self.until_ms = now_ms + wait_s * 1000
        return wait_s


class Machine(RuleBasedStateMachine):
    """now_ms never wraps here; the lock sees it modulo 2**30, from an offset of each start's own."""

    def __init__(self):
        super().__init__()
        self.blob = empty()
        self.is_broken = False
        self.now_ms = 0
        self.truth = {(kind, source): Truth() for kind in "kp" for source in SOURCES}
        self.written = {}
        self.writes = []
        self.begin(0)

    def load(self):
        return self.blob

    def save(self, data):
        if self.is_broken:
            raise OSError(5)
        self.blob = data
        self.writes.append(self.now_ms)
        self.written = {name: truth.copy(self.now_ms) for name, truth in self.truth.items()}

    def begin(self, offset):
        self.offset = offset
        self.lock = Lockouts(self, lambda: Settings, lambda name: None)
        self.lock.tend(self.ticks)

    @property
    def ticks(self):
        return (self.now_ms + self.offset) % WRAP

    @initialize(offset=st.integers(0, WRAP - 1))
    def first_start(self, offset):
        self.begin(offset)

    @rule(ms=st.one_of(st.integers(0, 2000), st.integers(0, 400_000), st.sampled_from([299_999, 300_000, 600_000])))
    def wait(self, ms):
        self.pass_time(ms)

    @rule(ms=st.integers(DAY_MS - 400_000, DAY_MS + 400_000))
    def wait_a_day(self, ms):
        self.pass_time(ms)

    def pass_time(self, ms):
        """Tended every minute at least, as the contract wants (half an hour here: all that matters is the wrap)."""
        end_ms = self.now_ms + ms
        while end_ms - self.now_ms > 1_800_000:
            self.now_ms += 1_800_000
            self.forget()
            self.lock.tend(self.ticks)
        self.now_ms = end_ms
        self.forget()
        self.lock.tend(self.ticks)

    def forget(self):
        for name, truth in self.truth.items():
            if truth.last_ms is not None and self.now_ms - truth.last_ms >= DAY_MS:
                self.truth[name] = Truth()

    @rule(source=st.sampled_from(SOURCES), times=st.integers(1, 5))
    def bad_key(self, source, times):
        for _ in range(times):
            expected = self.truth["k", source].failed(self.now_ms, 4, 300, 3600)
            assert self.lock.failed_key(source, self.ticks) == expected

    @rule(source=st.sampled_from(SOURCES), times=st.integers(1, 5))
    def bad_peer(self, source, times):
        for _ in range(times):
            expected = self.truth["p", source].failed(self.now_ms, 4, 300, 3600)
            assert self.lock.failed_peer(source, self.ticks) == expected

    @rule(key=st.sampled_from(SOURCES), peer=st.sampled_from(SOURCES))
    def grant(self, key, peer):
        self.truth["k", key] = Truth()
        self.truth["p", peer] = Truth()
        self.lock.succeeded(key, peer, self.ticks)

    @rule(is_broken=st.booleans())
    def flash(self, is_broken):
        self.is_broken = is_broken

    @rule()
    def tend(self):
        self.lock.tend(self.ticks)

    @rule(offset=st.integers(0, WRAP - 1))
    def power_cut(self, offset):
        """What was written last holds again, its seconds from now on; a day of quiet is counted from now on too."""
        for name in self.truth:
            kept = self.written.get(name, Truth())
            truth = self.truth[name] = Truth()
            if kept.last_ms is not None:
                truth.tries, truth.lockouts = kept.tries, kept.lockouts
                truth.until_ms = self.now_ms + kept.left_s * 1000
                truth.last_ms = self.now_ms
        self.begin(offset)

    @invariant()
    def waits_are_exact(self):
        for (kind, source), truth in self.truth.items():
            wait = self.lock.key_wait_s if kind == "k" else self.lock.peer_wait_s
            assert wait(source, self.ticks) == max(0, -(-(truth.until_ms - self.now_ms) // 1000)), (kind, source)

    @invariant()
    def memory_is_bounded(self):
        assert len(self.blob) <= 2 + 48 * 12 + 4


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


def size(lock):
    return sum(sys.getsizeof(value) for value in vars(lock).values() if isinstance(value, (bytearray, int)))


def test_a_million_strangers():
    """They hammer from a new address each time, or come back as one of the last; two holders are not concerned."""
    draw = random.Random(1)

    class Store:
        blob, saves = empty(), 0

        def load(self):
            return self.blob

        def save(self, data):
            self.blob, self.saves = data, self.saves + 1

    store = Store()
    lock = Lockouts(store, lambda: Settings, lambda name: None)
    for _ in range(4):
        lock.failed_key(b"locked out", 0)
    for _ in range(3):
        lock.failed_key(b"one more try", 0)
    before = size(lock)
    begin = store.saves
    recent = [b"first"]
    for n in range(1_000_000):
        now_ms = n // 5
        if draw.random() < 0.02:
            source = recent[draw.randrange(len(recent))]
        else:
            source = draw.randbytes(6)
            recent = [*recent[-10:], source]
        lock.failed_peer(source, now_ms)
        if n % 5000 == 0:
            lock.tend(now_ms)
    assert size(lock) == before and len(store.blob) <= 2 + 48 * 12 + 4
    assert store.saves - begin <= 4, "200 s, one write a minute"
    assert lock.key_wait_s(b"locked out", 200_000) == 100
    assert lock.failed_key(b"one more try", 200_000) == 300
