"""Rollouts: who is in which ring, when the next one begins, and that a stop is a stop; over every course of events."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine_tools.errors import ToolError
from vitrine_tools.updates.rollout import plan as plans
from vitrine_tools.updates.rollout.book import Book, BookError, Course
from vitrine_tools.updates.rollout.plan import Plan, PlanError, RingPlan, Stop
from vitrine_tools.updates.rollout.rings import (
    FAILED,
    Begin,
    Check,
    Finished,
    Halt,
    Place,
    State,
    Wait,
    assign,
    next_step,
)
from vitrine_tools.updates.rollout.runner import Outcome, Runner

FRIDAY_8_S = 1_800_000_000  # 08:00 UTC
RELEASE = b"r" * 32
FIVE = tuple(f"case-{number:03}" for number in range(1, 6))


def a_plan(rings, fleet=FIVE, **how):
    values = {"manifest": "m", "component": "c", "fleet": list(fleet), "ring": rings}
    return Plan.model_validate(values | how)


# ---------- plans ----------

PLAN = """
manifest = "app-8.manifest"
component = "app-8.bundle"
zone = "Europe/Vienna"
windows = ["daily 20:00-06:00"]
concurrency = 8
silent = "15m"
[fleet]
case-001 = ["jewellery", "store-7"]
case-002 = []
[stop]
failures = 2
rate = 0.02
alarms = 3
[[ring]]
name = "canary"
locks = ["case-001"]
soak = "1h"
[[ring]]
percent = 50
labels = ["jewellery"]
stop = { failures = 1 }
[[ring]]
percent = 100
shadow = true
windows = []
"""


def written(tmp_path, text):
    (tmp_path / "plan.toml").write_text(text)
    return tmp_path / "plan.toml"


def test_a_plan_as_in_the_manual(tmp_path):
    path = written(tmp_path, PLAN)
    plan = plans.parse(plans.read(path), path.parent)
    assert plan.manifest == tmp_path / "app-8.manifest" and plan.silent == 900 and plan.baseline == 86_400
    assert plan.windows == ((127, 1200, 360),) and plan.ring[2].windows == ()
    assert plan.ring[0].soak == 3600 and plan.ring[1].stop == Stop(failures=1)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('percent = 50', 'percent = 0', "ring.1.percent"),
        ('percent = 50', 'percent = 101', "ring.1.percent"),
        ('percent = 50', '', "either locks or a percent"),
        ('percent = 50', 'percent = 50\nlocks = ["case-001"]', "either locks or a percent"),
        ('locks = ["case-001"]', 'locks = ["case-009"]', "case-009, which is not in the fleet"),
        ('locks = ["case-001"]', 'locks = ["case-001", "case-001"]', "names each once"),
        ('locks = ["case-001"]', 'locks = ["CASE"]', "not a lock id"),
        ('case-002 = []', 'CASE = []', "not a lock id"),
        ('labels = ["jewellery"]', 'labels = ["shoes"]', "shoes, which no lock has"),
        ('soak = "1h"', 'soak = "soon"', "not a duration"),
        ('windows = ["daily 20:00-06:00"]', 'windows = ["always"]', "not a window"),
        ('zone = "Europe/Vienna"', 'zone = "Atlantis/North"', "not a time zone"),
        ('concurrency = 8', 'concurrency = 0', "concurrency"),
        ('concurrency = 8', 'parallel = 8', "parallel"),
        ('rate = 0.02', 'rate = 2', "stop.rate"),
        ('stop = { failures = 1 }', 'stop = { alarms = 1 }', "only the whole plan"),
        ('failures = 2', 'failures = 0', "stop.failures"),
        ('manifest = "app-8.manifest"', 'manifest = ', "not TOML"),
        ('[fleet]\ncase-001 = ["jewellery", "store-7"]\ncase-002 = []', 'fleet = ["a", "a"]', "named twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_plan_is_said(tmp_path, old, new, what):
    assert old in PLAN
    with pytest.raises(PlanError, match=what):
        plans.parse(PLAN.replace(old, new, 1), tmp_path)


# ---------- rings ----------

fleets = st.integers(1, 60).map(lambda count: tuple(f"lock-{n}" for n in range(count)))


@st.composite
def ring_plans(draw, fleet):
    if draw(st.booleans()):
        locks = draw(st.lists(st.sampled_from(fleet), min_size=1, max_size=4, unique=True))
        ring = {"locks": locks}
    else:
        ring = {"percent": draw(st.integers(1, 100))}
    return ring | {"shadow": draw(st.sampled_from([False, False, True])), "soak": draw(st.sampled_from(["1h", "1d"]))}


@st.composite
def some_plans(draw):
    fleet = draw(fleets)
    rings = draw(st.lists(ring_plans(fleet), min_size=1, max_size=5))
    stop = draw(st.sampled_from([{}, {"failures": 3}, {"rate": 0.3}, {"failures": 5, "rate": 0.5}]))
    return a_plan(rings, fleet, stop=stop, concurrency=draw(st.integers(1, 6)))


@given(some_plans(), st.binary(min_size=32, max_size=32))
def test_nobody_is_in_two_rings_and_no_share_is_exceeded(plan, release):
    rings = assign(plan, release)
    assert rings == assign(plan, release), "the same for everybody who asks"
    real = [lock for ring in rings if not ring.is_shadow for lock in ring.locks]
    assert len(real) == len(set(real)) and set(real) <= plan.fleet.keys()
    so_far: set[str] = set()
    for ring, wanted in zip(rings, plan.ring, strict=True):
        before = len(so_far)
        if wanted.percent is not None:
            share = max(1, int(len(plan.fleet) * wanted.percent / 100))
            assert before + len(ring.locks) == max(before, share)
            assert wanted.percent < 100 or before + len(ring.locks) == len(plan.fleet)
        if not ring.is_shadow:
            so_far |= set(ring.locks)


def test_another_release_begins_with_others():
    fleet = [f"lock-{n}" for n in range(1000)]
    plan = a_plan([{"percent": 10}], fleet)
    first, second = (set(assign(plan, release)[0].locks) for release in (b"1" * 32, b"2" * 32))
    assert len(first) == len(second) == 100 and 0 < len(first & second) < 40
    # which locks, is not where they stand in the file
    assert first == set(assign(a_plan([{"percent": 10}], fleet[::-1]), b"1" * 32)[0].locks)


def test_labels():
    fleet = {f"case-{n}": ["jewellery"] if n < 10 else ["shoes"] for n in range(40)}
    plan = Plan.model_validate(
        {
            "manifest": "m",
            "component": "c",
            "fleet": fleet,
            "ring": [{"percent": 50, "labels": ["jewellery"]}, {"percent": 50}],
        }
    )
    jewellery, rest = assign(plan, RELEASE)
    assert len(jewellery.locks) == 5 and all(fleet[lock] == ["jewellery"] for lock in jewellery.locks)
    assert len(rest.locks) == 15


# ---------- steps ----------


def places_of(rings, **states):
    places = {(number, lock): Place() for number, ring in enumerate(rings) for lock in ring.locks}
    return places | {(0, lock): place for lock, place in states.items()}


def test_a_ring_waits_for_its_soak_and_a_last_look():
    plan = a_plan([{"locks": ["case-001"], "soak": "1h"}, {"percent": 100}], concurrency=3)
    rings, now_s = assign(plan, RELEASE), float(FRIDAY_8_S)
    places = places_of(rings)
    assert next_step(plan, rings, places, now_s) == Begin(0, ("case-001",))
    places[0, "case-001"] = Place(State.GOING, now_s)
    assert isinstance(next_step(plan, rings, places, now_s), Wait)
    places[0, "case-001"] = Place(State.DONE, now_s)
    assert isinstance(next_step(plan, rings, places, now_s + 3599), Wait)
    assert next_step(plan, rings, places, now_s + 3600) == Check(0, ("case-001",))
    places[0, "case-001"] = Place(State.DONE, now_s, checked_s=now_s + 3599)
    assert isinstance(next_step(plan, rings, places, now_s + 3600), Check)
    places[0, "case-001"] = Place(State.DONE, now_s, checked_s=now_s + 3600)
    step = next_step(plan, rings, places, now_s + 3600)
    assert step == Begin(1, rings[1].locks[:3])
    for lock in rings[1].locks:
        places[1, lock] = Place(State.DONE, now_s)
    assert next_step(plan, rings, places, now_s + 3600) == Finished()
    places[0, "case-001"] = Place(State.RETURNED, now_s)
    assert isinstance(next_step(plan, rings, places, now_s + 3600), Halt)


def test_stop_conditions():
    fleet = [f"lock-{n}" for n in range(100)]
    for stop, failed, halts in (
        ({}, 1, True),
        ({"failures": 3}, 2, False),
        ({"failures": 3}, 3, True),
        ({"rate": 0.05}, 4, False),
        ({"rate": 0.05}, 5, True),
        ({"failures": 10, "rate": 0.05}, 5, True),
        ({"failures": 2, "rate": 0.05}, 2, True),
        ({"failures": 200}, 100, True),  # none made it
    ):
        plan = a_plan([{"percent": 100}], fleet, stop=stop)
        rings = assign(plan, RELEASE)
        places = places_of(rings)
        for number, lock in enumerate(rings[0].locks):
            state = [State.RETURNED, State.REFUSED, State.SILENT][number % 3] if number < failed else State.DONE
            places[0, lock] = Place(state, 5.0)
        assert isinstance(next_step(plan, rings, places, 10.0), Halt) is halts, stop
    own = a_plan([{"locks": [fleet[0]], "stop": {"failures": 5}}, {"percent": 100}], fleet)
    rings = assign(own, RELEASE)
    failed = places_of(rings, **{fleet[0]: Place(State.SILENT, 1.0)})
    assert next_step(own, rings, failed, 10.0) == Halt("ring 1: none of its locks made it")


def test_windows_are_local_time():
    plan = a_plan([{"percent": 100}], zone="America/New_York", windows=["daily 02:00-04:00"])
    rings = assign(plan, RELEASE)
    places = places_of(rings)
    for hour, begins in ((-2, False), (-1, True), (0, True), (1, False)):  # 08:00 UTC is 03:00 there
        step = next_step(plan, rings, places, FRIDAY_8_S + hour * 3600)
        assert isinstance(step, Begin) is begins, hour
    always = a_plan([{"percent": 100, "windows": []}], windows=["daily 02:00-02:01"])
    assert isinstance(next_step(always, rings, places, FRIDAY_8_S), Begin)


def test_harm_is_looked_for_before_each_step():
    plan = a_plan([{"locks": ["case-001"]}, {"percent": 100}])
    rings = assign(plan, RELEASE)
    seen = []

    def harm(numbers):
        seen.append(list(numbers))
        return "too many alarms"

    assert next_step(plan, rings, places_of(rings), 0.0, harm) == Halt("too many alarms")
    done = places_of(rings, **{"case-001": Place(State.DONE, 1.0)})
    assert next_step(plan, rings, done, 10.0, harm) == Halt("too many alarms")
    assert seen == [[0], [0, 1]]


@settings(max_examples=100, deadline=None)
@given(some_plans(), st.integers(0, 2**32), st.floats(0, 0.4))
def test_no_ring_begins_before_the_one_before_it_has_passed(plan, seed, bad):
    chance = random.Random(seed)
    rings = assign(plan, RELEASE)
    places = places_of(rings)
    now_s, halted = 0.0, False
    for _ in range(2000):
        step = next_step(plan, rings, places, now_s)
        going = [key for key, place in places.items() if place.state is State.GOING]
        if halted or isinstance(step, Finished):
            break
        match step:
            case Halt():
                halted = True
                # for whatever time passes, and whatever those that are going come to: it stays so
                for key in going:
                    places[key] = Place(chance.choice([State.DONE, State.RETURNED]), now_s)
                assert isinstance(next_step(plan, rings, places, now_s + 10**7), Halt)
            case Begin(ring, locks):
                assert locks and len(going) + len(locks) <= plan.concurrency
                for lock in locks:
                    assert places[ring, lock].state is State.WAITING
                    places[ring, lock] = Place(State.GOING, now_s)
                for before in range(ring):
                    ended = [places[before, lock] for lock in rings[before].locks]
                    assert all(place.state is State.DONE or place.state in FAILED for place in ended)
                    done = [place for place in ended if place.state is State.DONE]
                    last_s = max((place.since_s for place in done), default=0.0)
                    assert not done or now_s >= last_s + plan.ring[before].soak
                    assert all(place.checked_s >= last_s + plan.ring[before].soak for place in done)
                    failed, stop = len(ended) - len(done), plan.stop
                    assert not stop.is_reached(failed, len(ended))
            case Check(ring, locks):
                for lock in locks:
                    if chance.random() < bad / 4:
                        places[ring, lock] = Place(State.RETURNED, now_s)
                    else:
                        places[ring, lock] = replace(places[ring, lock], checked_s=now_s)
            case Wait():
                now_s += chance.choice([1, 600, 3600])
                for key in going:
                    if chance.random() < 0.7:
                        state = chance.choice(sorted(FAILED)) if chance.random() < bad else State.DONE
                        places[key] = Place(State(state), now_s)
    else:
        raise AssertionError("it does not come to an end")


# ---------- the book ----------


def a_book(path, rings=(("canary", ("case-001",), False), ("rest", FIVE[1:], False)), begun_s=5.0):
    from vitrine_tools.updates.rollout.rings import Ring

    return Book.create(path, "{}", Path("/plans"), b"manifest", tuple(Ring(*ring) for ring in rings), begun_s)


def test_a_book_keeps_everything(tmp_path):
    book = a_book(tmp_path / "book")
    assert book.begin(0, ("case-001",), 7.0)
    book.put(1, "case-003", Place(State.RETURNED, 8.0, 9.0, "why"))
    book.steer(Course.PAUSED, "lunch")
    book.close()
    book = Book(tmp_path / "book")
    assert (book.plan, book.folder, book.manifest, book.begun_s) == ("{}", Path("/plans"), b"manifest", 5.0)
    assert book.course == (Course.PAUSED, "lunch")
    assert [ring.name for ring in book.rings] == ["canary", "rest"] and book.rings[1].locks == FIVE[1:]
    places = book.places()
    assert list(places) == [(0, "case-001"), *((1, lock) for lock in FIVE[1:])]
    assert places[0, "case-001"] == Place(State.GOING, 7.0)
    assert places[1, "case-003"] == Place(State.RETURNED, 8.0, 9.0, "why")
    assert book.retry(frozenset({State.GOING})) == 1 and book.places()[0, "case-001"].state is State.WAITING
    assert not book.begin(0, ("case-001",), 9.0), "paused"
    with pytest.raises(BookError, match="there already"):
        a_book(tmp_path / "book")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["book"]


def test_an_abort_is_for_good(tmp_path):
    book = a_book(tmp_path / "book")
    book.steer(Course.STOPPED, "too many")
    with pytest.raises(BookError, match="stopped"):
        book.steer(Course.PAUSED)
    book.steer(Course.RUNNING)
    book.steer(Course.ABORTED)
    for course in (Course.RUNNING, Course.PAUSED, Course.STOPPED, Course.FINISHED):
        with pytest.raises(BookError, match="aborted"):
            book.steer(course)
    assert not book.begin(0, ("case-001",), 9.0)


def test_what_is_no_book(tmp_path):
    with pytest.raises(BookError, match="no rollout"):
        Book(tmp_path / "nothing")
    (tmp_path / "rubbish").write_bytes(b"rubbish" * 1000)
    with pytest.raises(BookError, match="not a rollout's file"):
        Book(tmp_path / "rubbish")
    with pytest.raises(BookError, match="cannot make"):
        a_book(tmp_path / "nowhere" / "book")


def test_only_one_runs_it(tmp_path):
    book = a_book(tmp_path / "book")
    with book.running(), pytest.raises(BookError, match="another process"), Book(tmp_path / "book").running():
        pass
    with book.running():
        pass


# ---------- the runner ----------


class Shop:
    """Locks for a runner: each takes a while, and comes to what `fate` says."""

    def __init__(self, fate=None, check=None):
        self.fate = fate or {}
        self.fate_at_check = check or {}
        self.pushed = []
        self.checked = []
        self.now_s = float(FRIDAY_8_S)
        self.at_once = self.most_at_once = 0
        self.lines = []
        self.on_push = lambda lock: None

    async def push(self, lock, is_shadow):
        self.pushed.append((lock, is_shadow))
        self.on_push(lock)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        return Outcome(self.fate.get(lock, State.DONE), "as it was told")

    async def check(self, lock, is_shadow):
        self.checked.append(lock)
        return Outcome(self.fate_at_check.get(lock, State.DONE))

    async def sleep(self, seconds):
        self.now_s += seconds
        await asyncio.sleep(0)

    def runner(self, book, plan, **how):
        return Runner(
            book, plan, push=self.push, check=self.check, told=self.lines.append, clock=lambda: self.now_s,
            sleep=self.sleep, **how,
        )  # fmt: skip


TWO_RINGS = [{"name": "canary", "locks": ["case-001"], "soak": "2m"}, {"percent": 100, "soak": "1m"}]


def begin(path, plan, shop):
    return Book.create(path, "", path.parent, b"m", assign(plan, RELEASE), shop.now_s)


async def test_it_runs_to_its_end(tmp_path):
    shop, plan = Shop(), a_plan(TWO_RINGS, concurrency=2)
    book = begin(tmp_path / "book", plan, shop)
    assert await shop.runner(book, plan).run() is Course.FINISHED
    assert shop.pushed[0] == ("case-001", False) and sorted(shop.pushed) == [(lock, False) for lock in FIVE]
    assert sorted(shop.checked) == list(FIVE) and shop.most_at_once == 2
    assert shop.now_s - FRIDAY_8_S >= 180
    assert {place.state for place in book.places().values()} == {State.DONE}
    pushed = len(shop.pushed)
    assert await shop.runner(book, plan).run() is Course.FINISHED and len(shop.pushed) == pushed


@pytest.mark.parametrize("failed", [State.RETURNED, State.REFUSED, State.SILENT])
async def test_a_bad_canary_stops_it(tmp_path, failed):
    shop, plan = Shop({"case-001": failed}), a_plan(TWO_RINGS)
    book = begin(tmp_path / "book", plan, shop)
    assert await shop.runner(book, plan).run() is Course.STOPPED
    assert shop.pushed == [("case-001", False)] and book.course[1].startswith("canary: 1 of 1 failed")
    # to run it again changes nothing: it would have to be told to try again
    book.steer(Course.RUNNING)
    assert await shop.runner(book, plan).run() is Course.STOPPED and len(shop.pushed) == 1
    book.steer(Course.RUNNING)
    assert book.retry(frozenset({failed})) == 1
    shop.fate.clear()
    assert await shop.runner(book, plan).run() is Course.FINISHED


async def test_a_canary_that_goes_back_while_it_is_watched(tmp_path):
    shop, plan = Shop(check={"case-001": State.RETURNED}), a_plan(TWO_RINGS)
    assert await shop.runner(begin(tmp_path / "book", plan, shop), plan).run() is Course.STOPPED
    assert shop.pushed == [("case-001", False)]


async def test_a_shadow_ring_first(tmp_path):
    plan = a_plan([{"name": "try", "percent": 100, "shadow": True}, {"percent": 20}])
    shop = Shop()
    book = begin(tmp_path / "book", plan, shop)
    assert await shop.runner(book, plan).run() is Course.FINISHED
    assert sorted(shop.pushed[:5]) == [(lock, True) for lock in FIVE] and [s for _, s in shop.pushed[5:]] == [False]


@pytest.mark.parametrize("course", [Course.PAUSED, Course.ABORTED])
async def test_pause_and_abort_from_outside(tmp_path, course):
    shop, plan = Shop(), a_plan(TWO_RINGS, concurrency=1)
    book = begin(tmp_path / "book", plan, shop)
    shop.on_push = lambda lock: Book(tmp_path / "book").steer(course, "by hand") if len(shop.pushed) == 3 else None
    assert await shop.runner(book, plan).run() is course
    assert len(shop.pushed) == 3 and State.GOING not in {place.state for place in book.places().values()}
    if course is Course.PAUSED:
        shop.on_push = lambda lock: None
        book.steer(Course.RUNNING)
        assert await shop.runner(book, plan).run() is Course.FINISHED
        assert {lock for lock, _ in shop.pushed} == set(FIVE) and len(shop.pushed) <= 6
    else:
        assert await shop.runner(book, plan).run() is Course.ABORTED and len(shop.pushed) == 3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.3))
def test_killed_at_any_moment_it_goes_on(tmp_path_factory, seed, bad):
    chance = random.Random(seed)
    path = tmp_path_factory.mktemp("rollout") / "book"
    fleet = [f"lock-{n}" for n in range(12)]
    fate = {lock: State.RETURNED for lock in fleet if chance.random() < bad}
    plan = a_plan(
        [{"locks": fleet[:2], "soak": "10s"}, {"percent": 50}, {"percent": 100}],
        fleet,
        concurrency=3,
        stop={"failures": 2},
    )
    shop = Shop(fate)
    begin(path, plan, shop).close()

    async def live():
        book = Book(path)
        task = asyncio.ensure_future(shop.runner(book, plan).run())
        for _ in range(chance.randrange(200)):
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
        await asyncio.wait({task})
        book.close()
        return None if task.cancelled() else task.result()

    for _ in range(500):
        course = asyncio.run(live())
        if course is not None:
            break
    book = Book(path)
    ended = book.places()
    failed = {number: 0 for number in range(3)}
    for (number, lock), place in ended.items():
        failed[number] += place.state in FAILED
        assert place.state is State.WAITING or (place.state is State.RETURNED) is (lock in fate)
    stopped = [
        number for number, ring in enumerate(book.rings) if failed[number] >= 2 or failed[number] == len(ring.locks) > 0
    ]
    assert course is (Course.STOPPED if stopped else Course.FINISHED)
    if stopped:
        assert all(place.state is State.WAITING for (number, _), place in ended.items() if number > stopped[0])


async def test_harm_stops_it(tmp_path):
    shop, plan = Shop(), a_plan(TWO_RINGS)
    seen = []

    def harm(done):
        seen.append(dict(done))
        return "12 alarms where 1.0 are usual" if "case-001" in done else None

    book = begin(tmp_path / "book", plan, shop)
    assert await shop.runner(book, plan, harm=harm).run() is Course.STOPPED
    assert book.course[1] == "12 alarms where 1.0 are usual" and len(shop.pushed) == 1
    assert seen[0] == {} and list(seen[-1]) == ["case-001"]


def test_ring_plans_have_defaults():
    assert RingPlan.model_validate({"locks": ["a"]}).soak == 0 and issubclass(PlanError, ToolError)
