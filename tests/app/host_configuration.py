"""Configuration and scenario against bytes and bodies of anybody: a reason comes back, and all of one of them holds."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vitrine.access import reasons
from vitrine.access.schedule import Zone
from vitrine.app import configuration, scenario, sequenced_blob
from vitrine.app.configuration import Configuration
from vitrine.app.scenario import Scenario
from vitrine.codec import cbor

SEQUENCES = st.integers(0, 12) | st.integers(2**32 - 2, 2**32 + 1)
LEAVES = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=4) | st.text(max_size=4)
KEYS = st.integers(0, 7) | st.integers(0, 40) | st.text(max_size=2)
VALUES = st.recursive(
    LEAVES | st.integers(0, 1500),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
WINDOWS = st.lists(st.tuples(st.integers(1, 255), st.integers(0, 1440), st.integers(0, 1440)).map(list), max_size=17)
PAIRS = st.lists(st.tuples(st.integers(0, 65536), st.integers(0, 32)).map(list), max_size=66)
CONFIGURATIONS = st.fixed_dictionaries(
    {
        2: st.dictionaries(st.integers(1, 34), st.integers(0, 70000), max_size=4),
        3: PAIRS,
        4: st.sampled_from([None, "UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "CET-1CEST", "x" * 49]),
        5: WINDOWS,
    }
)
SCENARIOS = st.fixed_dictionaries({}, optional={2: st.booleans(), 3: st.booleans(), 4: WINDOWS, 5: PAIRS})


class PowerCut(OSError):
    pass


class Store:
    """NVS: a blob is written whole or not at all. cut: None, or whether the cut write has reached the flash."""

    def __init__(self, blob):
        self.blob = blob
        self.cut = None

    def load(self):
        return self.blob

    def save(self, data):
        if self.cut is None or self.cut:
            self.blob = data
        if self.cut is not None:
            raise PowerCut


class Provision:
    door = {1: 3000, 24: 600}
    zone = Zone("UTC0")


def configured(store):
    return Configuration(store, Provision())


def seen(holder):
    """All that anybody can see of a configuration or a scenario."""
    if isinstance(holder, Scenario):
        own = holder.is_lockdown, holder.is_shadow, holder._weekly, holder._passage, holder.name
    else:
        days = [holder.calendar.day_bit(day) for day in range(20000, 20100)]
        own = vars(holder.settings), holder.hours, holder._holidays, holder._zone, days
    return holder.sequence, holder.is_sound, own


def test_nothing_is_kept_that_a_start_could_not_read(monkeypatch):
    # as it would be with more settings: today 256 items come before 640 bytes
    monkeypatch.setattr(sequenced_blob, "_MAX_SIZE", 40)
    holder = configured(Store(configuration.empty()))
    body = {2: {}, 3: [[20000, 1]] * 7, 4: None, 5: []}
    assert holder.apply(body, 1) == reasons.COMMAND_MALFORMED and holder.sequence == 0
    body[3].pop()
    body[3].pop()
    assert holder.apply(body, 1) == reasons.GRANTED and configured(holder._store).is_sound


@given(VALUES | CONFIGURATIONS, SEQUENCES)
def test_any_body_of_a_configuration(body, sequence):
    _any_body(configured, Store(configuration.empty()), body, sequence)


@given(VALUES | SCENARIOS, SEQUENCES)
def test_any_body_of_a_scenario(body, sequence):
    _any_body(Scenario, Store(scenario.empty()), body, sequence)


def _any_body(make, store, body, sequence):
    holder = make(store)
    before = seen(holder), store.blob
    reason = holder.apply(body, sequence)
    if reason == reasons.GRANTED:
        kept = cbor.decode(store.blob, 640)
        assert kept[1] == sequence == holder.sequence
        assert all(kept[key] == value for key, value in body.items())
    else:
        stale = not 0 < sequence < 2**32
        assert reason == (reasons.SEQUENCE_STALE if stale else reasons.COMMAND_MALFORMED)
        assert (seen(holder), store.blob) == before
    assert seen(make(store)) == seen(holder)  # what holds now holds after a start


@given(st.binary(max_size=700) | VALUES.map(cbor.encode), st.sampled_from([configured, Scenario]))
def test_any_bytes_in_the_store(blob, make):
    holder = make(Store(blob))
    if holder.is_sound:
        assert set(cbor.decode(blob, 640)) == {1, 2, 3, 4, 5}
    elif make is Scenario:
        assert holder.is_lockdown is True
    else:
        assert holder.settings.unlock_ms == 3000 and holder.hours == []


@given(st.sampled_from([(configured, configuration.empty()), (Scenario, scenario.empty())]), st.data())
def test_one_damaged_byte_in_the_store(which, data):
    make, blob = which
    damaged = bytearray(blob)
    at = data.draw(st.integers(0, len(blob) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    holder = make(Store(bytes(damaged)))
    assert not holder.is_sound or cbor.decode(bytes(damaged), 640).keys() == {1, 2, 3, 4, 5}


class Life(RuleBasedStateMachine):
    """Commands and power cuts in any order, against a model that knows only whole records."""

    def __init__(self):
        super().__init__()
        self.stores = [Store(configuration.empty()), Store(scenario.empty())]
        self.heard = []
        self.start()

    def start(self):
        self.holders = [configured(self.stores[0]), Scenario(self.stores[1])]
        self.holders[0].add_listener(self.heard.append)

    def command(self, i, body, sequence, cut):
        store, holder = self.stores[i], self.holders[i]
        before, old, heard = store.blob, seen(holder), len(self.heard)
        store.cut = cut
        reason = holder.apply(body, sequence)
        store.cut = None
        if reason == reasons.GRANTED:
            assert cut is None and sequence > old[0] and (i or self.heard[heard:] == [holder.settings])
        else:
            assert seen(holder) == old and len(self.heard) == heard
            assert reason in (reasons.SEQUENCE_STALE, reasons.COMMAND_MALFORMED, reasons.FAULT)
            # in flash is the old one or, if the cut came after the last byte, the new one: whole
            if store.blob != before:
                assert cut is True and reason == reasons.FAULT
                assert cbor.decode(store.blob, 640)[1] == sequence
        if cut is not None:
            self.start()

    @rule(body=CONFIGURATIONS, sequence=SEQUENCES, cut=st.sampled_from([None, None, False, True]))
    def configure(self, body, sequence, cut):
        self.command(0, body, sequence, cut)

    @rule(body=SCENARIOS, sequence=SEQUENCES, cut=st.sampled_from([None, None, False, True]))
    def direct(self, body, sequence, cut):
        self.command(1, body, sequence, cut)

    @rule()
    def restart(self):
        self.start()

    @invariant()
    def flash_and_lock_agree(self):
        for store, holder, make in zip(self.stores, self.holders, (configured, Scenario), strict=True):
            assert holder.is_sound and seen(make(store)) == seen(holder)
            assert cbor.decode(store.blob, 640)[1] == holder.sequence


TestLife = Life.TestCase
