"""What a start on trial must show, and that each thing that is wrong is found. Runs on MicroPython."""

from support.session_lab import VECTORS, Lab
from support.virtual_time import VirtualTime
from vitrine.access import reasons
from vitrine.access.decision import denied
from vitrine.access.provision import parse_provision
from vitrine.access.session import Session
from vitrine.app import health


class Ble:
    """On the air after so many milliseconds."""

    def __init__(self, time, after_ms=0):
        self._time = time
        self._from_ms = time.now_ms + after_ms

    @property
    def is_on_air(self):
        return self._time.now_ms >= self._from_ms


class Vote:
    def __init__(self, name, is_vital=True):
        self.name = name
        self.is_vital = is_vital
        self.restarts = 0
        self.is_missed = False


def outcome(after_ms=0, votes=(), change=None, is_provisioned=True):
    """Return (what is wrong, milliseconds that it took)."""
    time = VirtualTime()
    lab = Lab()
    lab.clock.ticks_ms = lambda: time.now_ms & (2**30 - 1)
    provision = parse_provision(bytes.fromhex(VECTORS["provision"])) if is_provisioned else None
    asked = []
    if change is not None:
        change(lab)
    begin_ms = time.now_ms
    found = time.run(health.examine(lab.dispatch, provision, Ble(time, after_ms), votes, lambda: asked.append(0)))
    assert asked or found in ("crypto", "decision")
    return found, time.now_ms - begin_ms


def with_patch(owner, name, value, *how):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        return outcome(*how)[0]
    finally:
        setattr(owner, name, before)


def test_a_lock_that_is_well_is_so_at_once():
    found, took_ms = outcome()
    assert found == "" and took_ms < 1000
    assert outcome(is_provisioned=False)[0] == ""


def test_the_radio_has_its_time_and_no_more():
    found, took_ms = outcome(after_ms=40_000)
    assert found == "" and 40_000 <= took_ms < 41_000
    found, took_ms = outcome(after_ms=10_000_000)
    assert found == "ble" and 55_000 <= took_ms < 56_000


def test_arithmetic_that_says_yes_or_no_to_everything_is_found():
    assert with_patch(health, "verdict", lambda *_: health.GRANT) == "crypto"
    assert with_patch(health, "verdict", lambda *_: ~health.GRANT) == "crypto"


def test_a_decision_that_is_not_the_right_one_is_found():
    for reason in (reasons.GRANTED, reasons.TOKEN_MALFORMED, reasons.ISSUER_UNKNOWN, reasons.FAULT):
        assert with_patch(Session, "present", lambda self, *_, reason=reason: denied(reason)) == "decision", reason

    def unsound(lab):
        lab.rules.lockouts.is_sound = False
        lab.configuration.is_sound = False

    assert outcome(change=unsound)[0] == "decision"


def test_a_journal_that_fails_or_loses_is_found():
    labs = []

    class Thief(Vote):
        """A task over whose vote a record is lost."""

        @property
        def is_vital(self):
            labs[0].events.missed = 1
            return False

        @is_vital.setter
        def is_vital(self, value):
            pass

    def fails(lab):
        lab.events.is_sound = False

    assert outcome(change=fails)[0] == "journal"
    assert outcome(after_ms=5_000)[0] == ""
    assert outcome(after_ms=5_000, votes=[Thief("thief")], change=labs.append)[0] == "journal"


def test_a_task_that_the_watchdog_asks_for_must_live():
    door, keys = Vote("door"), Vote("keys", is_vital=False)
    assert outcome(votes=[door, keys])[0] == ""
    keys.restarts = 3
    assert outcome(votes=[door, keys])[0] == ""
    door.restarts = 1
    assert outcome(votes=[door, keys])[0] == "task:door"
    door.restarts, door.is_missed = 0, True
    assert outcome(votes=[door, keys])[0] == "task:door"
