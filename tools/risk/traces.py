"""Labelled traces of retail fixtures: what a lock sees in ordinary weeks, and in attacks. Seeded: the same each time.

python tools/risk/traces.py [--check]      writes tests/data/risk/*.txt, or fails if they are not what it would write

A file is a sequence of lines. `lock ID START HOURS`: a lock, the Unix seconds (UTC, a Monday 00:00) that its times are
counted from, and its hours as DAYS:START:END[,...] of SPEC.md claim -70001. Then its events, in order of time, each
with the seconds since the one before:

    DT o WHO STAY LABEL     WHO (u: unlock granted) opens the fixture, which stands open for STAY seconds
    DT r WHO LABEL          a proven holder is refused (OutsideWindow)
    DT j COUNT LABEL        that many tries of strangers, a second apart
    DT a CODE LABEL         an alarm of SPEC.md 7.2 begins

LABEL is `-`, or SCENARIO/NUMBER of the attack that the event belongs to. WHO is a number; 1000 and above were never
here before.

Ordinary (`-`): openings by a staff of the fixture's size, in clumps (a customer at the case), busier on Saturdays;
displays dressed in the morning and cleared at night; restocking after deliveries, long and short; a training day with a
new colleague in one week of three; mistakes of staff and expired tokens; people who stay late now and then; nuisance
alarms; strangers who play with an app; and, once a week at some locks, half an hour of hammering by strangers while the
staff goes on working.

Attacks, each in an otherwise ordinary week:
    burst    an insider opens 10 to 25 times, 12 to 45 s apart
    slow     an insider opens 9 to 14 times, 45 to 90 s apart
    crew     two or three colleagues open 4 to 7 times each, together 8 to 30 s apart
    night    one to three openings with a good token between 22:30 and 05:30
    prop     an insider leaves it open 2 to 4 times within two hours, 8 to 20 times as long as usual, 5 minutes at least
    stolen   with a stolen phone, 3 to 6 refusals of its proven holder, then an opening
    probe    8 to 30 wrong tokens and proofs within 10 minutes, then an opening by somebody who never was here
    force    forced open (a latch held back, a hand at the case), and within 8 minutes an opening with a token
"""

import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "risk"
# the limits in vitrine.app.risk were chosen on the first, and on the seeds 11 and 12; the second only judges them
FILES = {"tuning.txt": 1, "heldout.txt": 3}

START_S = 1_799_625_600  # Monday 2027-01-11 00:00 UTC
WEEKS = 6
LOCKS_PER_KIND = 2
ATTACKS = ("burst", "slow", "crew", "night", "prop", "stolen", "probe", "force")
ATTACKS_PER_WEEK = 4
FIRST_ATTACK_WEEK = 1

DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60
OPEN_S, CLOSE_S, CLOSE_SATURDAY_S = 9 * HOUR_S, 20 * HOUR_S, 18 * HOUR_S
# staff comes half an hour before and leaves half an hour after
HOURS = "62:510:1230,64:510:1110"
_OPENED, _STRANGER, _FORCED = "o", "j", "a"


@dataclass(frozen=True)
class Kind:
    """A kind of fixture: openings on a weekday, Saturday's factor, staff, median stay in s, its spread, and habits."""

    name: str
    openings: float
    saturday: float
    staff: int
    stay_s: float
    spread: float
    clump: float  # chance that another opening by the same person follows within 3 minutes
    restocks: float  # a week
    is_dressed: bool = False


KINDS = (
    Kind("jewellery", 18, 2.2, 5, 35, 0.6, 0.35, 0.5, True),
    Kind("phones", 40, 2.0, 7, 25, 0.6, 0.30, 3),
    Kind("spirits", 9, 1.8, 4, 15, 0.5, 0.10, 2),
    Kind("pharmacy", 90, 1.3, 4, 8, 0.5, 0.25, 2),
    Kind("stockroom", 6, 1.3, 6, 170, 0.7, 0.15, 2),
    Kind("perfume", 25, 2.4, 6, 20, 0.6, 0.25, 1.5),
)

Event = tuple[float, str, str, str]  # when, kind, what else, label


class Fixture:
    """One lock's weeks, as a list of events."""

    def __init__(self, kind: Kind, draw: random.Random) -> None:
        self.kind = kind
        self.draw = draw
        self.events: list[Event] = []
        self.newcomers = 1000
        self.attacks = 0
        # people differ in how much they work at it
        self.weights = [draw.uniform(0.4, 1.6) for _ in range(kind.staff)]
        self.is_hammered = draw.random() < 0.5

    def person(self) -> int:
        return self.draw.choices(range(self.kind.staff), self.weights)[0]

    def newcomer(self) -> int:
        self.newcomers += 1
        return self.newcomers

    def stay(self) -> float:
        return max(2, self.draw.lognormvariate(math.log(self.kind.stay_s), self.kind.spread))

    def add(self, at_s: float, what: str, more: str, label: str = "-") -> None:
        self.events.append((at_s, what, more, label))

    def open(self, at_s: float, who: int, stay_s: float, label: str = "-") -> float:
        """Return when it is closed again. The one at the door waits for that; so nobody opens an open fixture."""
        self.add(at_s, _OPENED, f"{who} {round(stay_s)}", label)
        return at_s + 2 + stay_s

    def week(self, week: int) -> None:
        """Six ordinary days; the store is closed on Sundays."""
        for day in range(6):
            self.day((7 * week + day) * DAY_S, is_saturday=day == 5)
        draw = self.draw
        for _ in range(poisson(draw, self.kind.restocks)):
            self.restock((7 * week + draw.randrange(5)) * DAY_S + draw.uniform(7.5, 11) * HOUR_S + HOUR_S)
        if week % 3 == 1:
            self.training((7 * week + draw.randrange(5)) * DAY_S + draw.uniform(9.5, 17) * HOUR_S)
        if draw.random() < 0.15:
            self.open(
                (7 * week + draw.randrange(5)) * DAY_S + CLOSE_S + draw.uniform(32, 55) * MINUTE_S,
                self.person(),
                self.stay(),
            )
        if draw.random() < 0.03:
            self.open(
                (7 * week + draw.randrange(6)) * DAY_S + draw.uniform(21.5, 23) * HOUR_S, self.person(), self.stay()
            )
        if draw.random() < 0.06:
            self.add((7 * week + draw.uniform(0, 6)) * DAY_S, _FORCED, "6")
        for _ in range(poisson(draw, 0.5)):
            self.add(
                (7 * week + draw.randrange(6)) * DAY_S + draw.uniform(9, 18) * HOUR_S,
                _STRANGER,
                str(draw.randint(3, 10)),
            )
        if self.is_hammered:
            self.add((7 * week + draw.randrange(6)) * DAY_S + draw.uniform(10, 17) * HOUR_S, _STRANGER, "1800")

    def day(self, day_s: int, is_saturday: bool) -> None:
        """Openings at the times that customers come, most of them at noon and after work."""
        kind, draw = self.kind, self.draw
        close_s = CLOSE_SATURDAY_S if is_saturday else CLOSE_S
        if kind.is_dressed:
            who = self.person()
            self.open(day_s + OPEN_S - draw.uniform(5, 25) * MINUTE_S, who, draw.uniform(200, 600))
            self.open(day_s + close_s + draw.uniform(2, 25) * MINUTE_S, self.person(), draw.uniform(200, 600))
        clumps = kind.openings * (kind.saturday if is_saturday else 1) * (1 - kind.clump) * draw.uniform(0.75, 1.25)
        for _ in range(poisson(draw, clumps)):
            at_s = day_s + OPEN_S + (close_s - OPEN_S) * draw.choice((draw.random(), draw.betavariate(3, 2)))
            self.customer(at_s, self.person())

    def customer(self, at_s: float, who: int) -> None:
        draw = self.draw
        slip = draw.random()
        if slip < 0.02:  # an expired token: nobody has proved anything
            self.add(at_s - 20, _STRANGER, str(draw.randint(1, 3)))
        elif slip < 0.026:
            for n in range(draw.choice((1, 1, 1, 2))):
                self.add(at_s - 30 + 9 * n, "r", str(who))
        while True:
            at_s = self.open(at_s, who, self.stay()) + draw.uniform(8, 150)
            if draw.random() >= self.kind.clump:
                return

    def restock(self, at_s: float) -> None:
        """Somebody fills it up: once for long, and now and then a few times again for what was forgotten."""
        who = self.person()
        at_s = self.open(at_s, who, self.draw.uniform(3, 15) * MINUTE_S)
        for _ in range(self.draw.choice((0, 0, 1, 2))):
            at_s = self.open(at_s + self.draw.uniform(60, 400), who, self.stay())

    def training(self, at_s: float) -> None:
        """A new colleague is shown how it works, and tries it."""
        draw = self.draw
        trainee, teacher = self.newcomer(), self.person()
        self.open(at_s - 300, teacher, self.stay())
        for _ in range(draw.randint(6, 12)):
            if draw.random() < 0.1:
                self.add(at_s - 15, "r", str(trainee))
            at_s = self.open(at_s, trainee, 1.5 * self.stay()) + draw.uniform(90, 500)

    def attack(self, week: int, scenario: str, slot: int) -> None:
        """One attack; the slots of a week keep them apart."""
        draw = self.draw
        label = f"{scenario}/{self.attacks}"
        self.attacks += 1
        day_s = (7 * week + slot) * DAY_S
        at_s = day_s + draw.uniform(9.5, 17) * HOUR_S
        who = self.person()
        if scenario == "burst":
            self.sweep(at_s, [who], draw.randint(10, 25), (12, 45), label)
        elif scenario == "slow":
            self.sweep(at_s, [who], draw.randint(9, 14), (45, 90), label)
        elif scenario == "crew":
            crew = draw.sample(range(self.kind.staff), draw.randint(2, 3))
            self.sweep(at_s, crew, len(crew) * draw.randint(4, 7), (8, 30), label)
        elif scenario == "night":
            self.sweep(day_s + draw.uniform(22.5, 29.5) * HOUR_S, [who], draw.randint(1, 3), (60, 600), label)
        elif scenario == "prop":
            for _ in range(draw.randint(2, 4)):
                stay_s = max(300, self.kind.stay_s * draw.uniform(8, 20))
                at_s = self.open(at_s, who, stay_s, label) + draw.uniform(30, 1200)
            self.open(at_s, who, self.stay(), label)
        elif scenario == "stolen":
            for _ in range(draw.randint(3, 6)):
                self.add(at_s, "r", str(who), label)
                at_s += draw.uniform(4, 90)
            self.open(at_s, who, self.stay(), label)
        elif scenario == "probe":
            count = draw.randint(8, 30)
            for _ in range(count):
                self.add(at_s, _STRANGER, "1", label)
                at_s += draw.uniform(2, 600 / count)
            self.open(at_s + draw.uniform(2, 60), self.newcomer(), self.stay(), label)
        elif scenario == "force":
            self.add(at_s, _FORCED, draw.choice(("5", "6", "6", "131")), label)
            self.open(at_s + draw.uniform(5, 480), who, self.stay(), label)

    def sweep(self, at_s: float, crew: list[int], times: int, gap_s: tuple[float, float], label: str) -> None:
        """Open again and again; grabbing takes as long as it takes, 15 s at most."""
        for n in range(times):
            gap = self.draw.uniform(*gap_s)
            self.open(at_s, crew[n % len(crew)], min(gap - 4, self.draw.uniform(4, 15)), label)
            at_s += gap

    def lines(self) -> Iterator[str]:
        """The events in order, without two people at the open door: who comes too soon opens when it is closed."""
        clock_s = free_s = 0
        for at_s, what, more, label in sorted(self.events):
            if what == _OPENED:
                at_s = max(at_s, free_s)
            at_s = max(int(at_s), clock_s)
            if what == _OPENED:
                free_s = at_s + 3 + int(more.split()[1])
            yield f"{at_s - clock_s} {what} {more} {label}"
            clock_s = at_s


def poisson(draw: random.Random, mean: float) -> int:
    """Knuth's: few events, so few draws."""
    limit, product, count = math.exp(-mean), draw.random(), 0
    while product > limit:
        product *= draw.random()
        count += 1
    return count


def trace(seed: int, weeks: int = WEEKS, locks_per_kind: int = LOCKS_PER_KIND) -> Iterator[str]:
    """Yield the lines of a file. The first week has no attack; every later one has ATTACKS_PER_WEEK, in turn."""
    for kind in KINDS:
        for n in range(locks_per_kind):
            draw = random.Random(f"{seed} {kind.name} {n}")
            fixture = Fixture(kind, draw)
            turn = draw.randrange(len(ATTACKS))
            for week in range(weeks):
                fixture.week(week)
                if week < FIRST_ATTACK_WEEK:
                    continue
                for slot in sorted(draw.sample(range(6), ATTACKS_PER_WEEK)):
                    fixture.attack(week, ATTACKS[turn % len(ATTACKS)], slot)
                    turn += 1
            yield f"lock {kind.name}-{n} {START_S} {HOURS}"
            yield from fixture.lines()


def main(arguments: list[str]) -> int:
    """Write the files, or compare them."""
    drifted = []
    for name, seed in FILES.items():
        text = "".join(line + "\n" for line in trace(seed))
        path = FOLDER / name
        if "--check" in arguments:
            if not path.exists() or path.read_text() != text:
                drifted.append(name)
            continue
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in drifted:
        print(f"{name} is not what its seed yields: run python tools/risk/traces.py", file=sys.stderr)
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
