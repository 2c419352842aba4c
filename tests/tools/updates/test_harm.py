"""New alarms and refusals beyond what is usual, out of a collector's database."""

import pytest

from support.sim_lock import SimLock
from vitrine_tools.audit import sealed
from vitrine_tools.collector.store import Store, Verified
from vitrine_tools.updates.rollout.harm import Figures
from vitrine_tools.updates.rollout.plan import Stop

BEGUN_S = 1_800_000_000
DAY_S = 86_400
ALARM, REFUSAL, UNLOCK = 0, 3, 2


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "vitrine.db"))
    yield store
    store.close()


class Journal(SimLock):
    """A lock whose records have the kinds and times that they are given."""

    def add(self, store, kind, *times_s, is_altered=False, **fields):
        first = len(self.bodies)
        for time_s in times_s:
            self.live(1, **{"1": kind, "2": int(time_s)} | {name[1:]: value for name, value in fields.items()})
        batch = sealed.read(self.batch(first, len(self.bodies))[0])
        records = sealed.open_batch(batch, self.keys)
        if is_altered:
            records = tuple(sealed.Record(r.sequence, r.body, r.tag, sealed.Seal.ALTERED) for r in records)
        store.add([Verified(batch, records)])


def figures(store, now_s, **stop):
    return Figures(store, BEGUN_S, DAY_S, Stop(**stop), clock=lambda: now_s)


def test_new_alarms_stop_it_and_usual_ones_do_not(store):
    one, two = Journal("case-1"), Journal("case-2")
    # on the day before one alarm an hour at each
    for journal in (one, two):
        journal.add(store, ALARM, *range(BEGUN_S - DAY_S, BEGUN_S, 3600))
    since_s, now_s = BEGUN_S + 3600, BEGUN_S + 5 * 3600
    done = {"case-1": since_s, "case-2": since_s}
    one.add(store, ALARM, *range(since_s, now_s, 3600))
    two.add(store, ALARM, *range(since_s, now_s, 3600))
    assert figures(store, now_s, alarms=3)(done) is None
    two.add(store, ALARM, since_s + 10, since_s + 20)
    assert figures(store, now_s, alarms=3)(done) is None
    two.add(store, ALARM, now_s)
    assert figures(store, now_s, alarms=3)(done) == "11 alarms where 8.0 are usual, most of them at case-2"
    assert figures(store, now_s, alarms=4)(done) is None
    assert figures(store, now_s, refusals=1)(done) is None and figures(store, now_s)(done) is None


def test_what_does_not_count(store):
    lock, other = Journal("case-1"), Journal("case-9")
    since_s, now_s = BEGUN_S + 100, BEGUN_S + 1000
    lock.add(store, REFUSAL, BEGUN_S + 50)  # before it ran the update
    lock.add(store, UNLOCK, since_s + 5)
    lock.add(store, REFUSAL, now_s + 500)  # a clock that is wrong
    lock.add(store, REFUSAL, since_s + 6, is_altered=True)
    other.add(store, REFUSAL, since_s + 7)
    assert figures(store, now_s, refusals=1)({"case-1": since_s}) is None
    lock.add(store, REFUSAL, since_s + 8)
    assert figures(store, now_s, refusals=1)({"case-1": since_s}).startswith("1 refusals where 0.0 are usual")


def test_folded_refusals_count_as_many(store):
    lock = Journal("case-1")
    lock.add(store, REFUSAL, BEGUN_S + 200, f14=40)
    assert figures(store, BEGUN_S + 300, refusals=40)({"case-1": BEGUN_S + 100}).startswith("40 refusals")
    assert figures(store, BEGUN_S + 300, refusals=41)({"case-1": BEGUN_S + 100}) is None


def test_the_database_is_not_asked_all_the_time(store, monkeypatch):
    now_s = [float(BEGUN_S)]
    look = Figures(store, BEGUN_S, DAY_S, Stop(alarms=1), clock=lambda: now_s[0])
    asked = []
    monkeypatch.setattr(look, "_look", lambda done, now: asked.append(now))
    for _ in range(100):
        look({"case-1": BEGUN_S})
        now_s[0] += 1
    assert len(asked) == 4
    look({})
    assert len(asked) == 4


def test_many_locks(store):
    lock = Journal("case-1200")
    lock.add(store, ALARM, BEGUN_S + 20)
    done = {f"case-{n}": float(BEGUN_S + 10) for n in range(1201)}
    assert figures(store, BEGUN_S + 30, alarms=1)(done) == "1 alarms where 0.0 are usual, most of them at case-1200"
