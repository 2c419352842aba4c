"""Play the traces of tools/risk/traces.py to vitrine.app.risk, as a lock would; count what it found. Portable."""

from vitrine.access.schedule import Calendar, Zone
from vitrine.app.risk import Risk

ALARM = 50  # from this score on an opening counts as found; the value recommended for risk_uv

_KID = b"issuer-7"
_TICKS = 0x3FFFFFFF
_OUTSIDE_WINDOW, _TOKEN_FORGED = 11, 9


class Token:
    """What assess() looks at."""

    kid = _KID
    cti = b"identity"

    def __init__(self, sub):
        self.sub = sub


class Configuration:
    def __init__(self, hours):
        self.hours = hours
        self.calendar = Calendar(Zone("UTC0"), [])


class Lock:
    """One lock's risk, its clock, and its open door."""

    def __init__(self, line):
        _, self.name, start_s, hours = line.split()
        self.now_s = self.start_s = int(start_s)
        self.closes_s = 0
        windows = [[int(number) for number in window.split(":")] for window in hours.split(",")]
        self.risk = Risk(Configuration(windows), self.ticks_ms)

    def ticks_ms(self):
        # not from 0: so that it wraps in the middle of the second week
        return (self.now_s - self.start_s + 500_000) * 1000 & _TICKS

    def note(self, kind, **more):
        record = {1: kind, 2: self.now_s, 3: 1}
        for key, value in more.items():
            record[int(key[1:])] = value
        self.risk.note(record)

    def close(self, now_s):
        """What happens to the door until now."""
        if self.closes_s and self.closes_s <= now_s:
            self.now_s, self.closes_s = self.closes_s, 0
            self.note(1, _10=1, _17=1)

    def play(self, line):
        """Do what a line says; return (score, rule, label) of an opening, else None."""
        words = line.split()
        at_s = int(words[0]) + self.clock_s
        self.clock_s = at_s
        self.close(at_s)
        self.now_s = max(self.now_s, at_s)
        what, label = words[1], words[-1]
        if what == "o":
            token = Token(words[2].encode())
            score, rule = self.risk.assess(token, 1, (self.now_s, 1, 1), self.ticks_ms())
            self.note(2, _4=0, _5=1, _6=7, _7=token.sub, _8=token.cti, _13=_KID, _16=True, _18=1)
            self.now_s += 2
            self.note(1, _10=0, _17=2)
            self.closes_s = self.now_s + int(words[3])
            return score, rule, label
        if what == "r":
            sub = words[2].encode()
            self.note(3, _4=_OUTSIDE_WINDOW, _5=1, _6=7, _7=sub, _8=b"identity", _12=3, _13=_KID, _16=True, _18=1)
        elif what == "j":
            for _ in range(min(int(words[2]), 50)):
                self.note(3, _4=_TOKEN_FORGED, _6=7, _12=1, _18=1)
        elif what == "a":
            self.note(0, _11=int(words[2]), _14=1)
        return None


def play(lines):
    """Yield (lock name, start_s, now_s, score, rule, label) of every opening."""
    lock = None
    for line in lines:
        if line.startswith("lock "):
            lock = Lock(line)
            lock.clock_s = lock.start_s
            continue
        seen = lock.play(line)
        if seen is not None:
            yield (lock.name, lock.start_s, lock.now_s) + seen


class Outcome:
    """What was found in a trace, at scores from `alarm` on.

    attacks, found: {scenario: number of attacks}. found_at: {scenario: numbers of the openings at which each was}.
    false_alarms, openings, weeks: {lock name: number}. falsely: {rule: number}.
    """

    def __init__(self, lines, alarm=ALARM):
        self.attacks, self.found, self.found_at = {}, {}, {}
        self.false_alarms, self.openings, self.weeks, self.falsely = {}, {}, {}, {}
        self.wrong = []
        counts = {}
        for name, start_s, now_s, score, rule, label in play(lines):
            self.openings[name] = self.openings.get(name, 0) + 1
            self.weeks[name] = (now_s - start_s) // 604_800 + 1
            is_alarm = score >= alarm
            if label == "-":
                if is_alarm:
                    self.false_alarms[name] = self.false_alarms.get(name, 0) + 1
                    self.falsely[rule] = self.falsely.get(rule, 0) + 1
                    self.wrong.append((name, now_s - start_s, score, rule))
                continue
            scenario = label.split("/")[0]
            attack = name + " " + label
            if attack not in counts:
                counts[attack] = 0
                self.attacks[scenario] = self.attacks.get(scenario, 0) + 1
            if counts[attack] is not None:
                counts[attack] += 1
                if is_alarm:
                    self.found[scenario] = self.found.get(scenario, 0) + 1
                    self.found_at.setdefault(scenario, []).append(counts[attack])
                    counts[attack] = None
        self.missed = [(a.split()[0][:-2], a.split()[1].split("/")[0], n) for a, n in counts.items() if n is not None]

    def recall(self, scenario=None):
        if scenario is not None:
            return self.found.get(scenario, 0) / self.attacks[scenario]
        return sum(self.found.values()) / sum(self.attacks.values())

    def false_alarms_per_week(self, name=None):
        if name is not None:
            return self.false_alarms.get(name, 0) / self.weeks[name]
        return sum(self.false_alarms.values()) / sum(self.weeks.values())
