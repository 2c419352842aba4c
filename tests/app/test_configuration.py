"""The configuration of a lock: the whole of a new one, or the old one. Bytes and rules of SPEC.md 6.1."""

from support import given, ints, lists, tuples
from vitrine.access import reasons
from vitrine.access.schedule import Zone
from vitrine.app.configuration import Configuration, empty
from vitrine.codec import cbor

VIENNA = "CET-1CEST,M3.5.0,M10.5.0/3"
SUMMER_NOON_S = 1_782_036_000  # a Sunday, 10:00 UTC
ALWAYS = [[255, 0, 1440]]
WITHOUT_HOLIDAYS = [[127, 0, 1440]]


class Store:
    """Keeps a blob; `fails` makes a write fail before it has changed anything, as a power cut does."""

    def __init__(self, blob):
        self.blob = blob
        self.fails = False
        self.saves = 0

    def load(self):
        if self.blob == "unreadable":
            raise OSError
        return self.blob

    def save(self, data):
        if self.fails:
            raise OSError
        self.blob = data
        self.saves += 1


class Provision:
    """What a configuration needs of a provisioning record."""

    def __init__(self, door=None, zone="UTC0"):
        self.door = door or {}
        self.zone = Zone(zone)


def fresh(**provision):
    return Configuration(Store(empty()), Provision(**provision))


def body(settings=None, holidays=None, zone=None, hours=None):
    return {
        2: {} if settings is None else settings,
        3: [] if holidays is None else holidays,
        4: zone,
        5: [] if hours is None else hours,
    }


def state_of(configuration):
    """What is in force, as far as anybody can see it."""
    probes = [SUMMER_NOON_S + 3600 * n for n in range(0, 240, 7)]
    return (
        configuration.sequence,
        configuration.is_sound,
        configuration.settings.differences(Configuration(Store(None), None).settings),
        configuration.hours,
        [configuration.calendar.is_open([[62, 480, 1080], [128, 600, 720]], at_s) for at_s in probes],
    )


def test_as_provisioned():
    assert cbor.decode(empty(), 32) == {1: 0, 2: {}, 3: [], 4: None, 5: []}
    configuration = fresh(door={1: 3000})
    assert configuration.is_sound and configuration.sequence == 0 and configuration.hours == []
    assert configuration.settings.unlock_ms == 3000 and configuration.settings.hold_ms == 10000
    assert configuration.calendar.is_open([[127, 600, 601]], SUMMER_NOON_S)
    assert fresh(zone=VIENNA).calendar.is_open([[127, 720, 721]], SUMMER_NOON_S)


def test_a_new_one_holds_at_once_and_after_a_start():
    configuration = fresh(door={1: 3000, 2: 2000})
    assert configuration.apply(body(settings={1: 4000}, zone=VIENNA, hours=[[62, 540, 1140]]), 7) == reasons.GRANTED
    for found in (configuration, Configuration(configuration._store, Provision(door={1: 3000, 2: 2000}))):
        assert found.sequence == 7 and found.is_sound
        assert found.settings.unlock_ms == 4000 and found.settings.hold_ms == 2000
        assert found.hours == [[62, 540, 1140]]
        assert found.calendar.is_open([[1, 720, 721]], SUMMER_NOON_S)  # 12:00 in Vienna
    # the next one replaces it whole
    assert configuration.apply(body(), 8) == reasons.GRANTED
    assert configuration.settings.unlock_ms == 3000 and configuration.hours == []
    assert configuration.calendar.is_open([[1, 600, 601]], SUMMER_NOON_S)


def test_holidays_stand_in_place_of_their_weekday():
    configuration = fresh(zone=VIENNA)
    day = SUMMER_NOON_S // 86400
    assert configuration.apply(body(holidays=[[day + 1, 2], [day + 20, 31]]), 1) == reasons.GRANTED
    for days, is_holiday in (
        (0, False),
        (1, True),
        (2, True),
        (3, False),
        (19, False),
        (20, True),
        (50, True),
        (51, False),
    ):
        at_s = SUMMER_NOON_S + 86400 * days
        assert configuration.calendar.is_open(WITHOUT_HOLIDAYS, at_s) is not is_holiday
        assert configuration.calendar.is_open([[128, 0, 1440]], at_s) is is_holiday
        assert configuration.calendar.is_open(ALWAYS, at_s)


def test_roll_back_is_refused():
    configuration = fresh()
    assert configuration.apply(body(settings={1: 4000}), 5) == reasons.GRANTED
    before = state_of(configuration), configuration._store.blob
    for sequence in (5, 4, 1, 0, -1, 2**32):
        assert configuration.apply(body(settings={1: 600}), sequence) == reasons.SEQUENCE_STALE
        assert (state_of(configuration), configuration._store.blob) == before
    assert configuration.apply(body(), 2**32 - 1) == reasons.GRANTED


BAD = (
    None,
    [],
    b"",
    5,
    "body",
    {},
    {2: {}},
    {2: {}, 3: [], 4: None},
    {1: 9, 2: {}, 3: [], 4: None, 5: []},
    {2: {}, 3: [], 4: None, 5: [], 6: 0},
    {2: {}, 3: [], 4: None, "5": []},
    body(settings=[]),
    {2: None, 3: [], 4: None, 5: []},
    body(settings={0: 1}),
    body(settings={99: 1}),
    body(settings={"unlock_ms": 1000}),
    body(settings={1: 499}),
    body(settings={1: 10001}),
    body(settings={1: True}),
    body(settings={1: None}),
    body(settings={31: 2**32}),
    body(settings={14: 1500}),
    body(settings={25: 299}),
    {2: {}, 3: None, 4: None, 5: []},
    body(holidays={}),
    body(holidays=[20000]),
    body(holidays=[[20000]]),
    body(holidays=[[20000, 1, 1]]),
    body(holidays=[[20000, 0]]),
    body(holidays=[[20000, 32]]),
    body(holidays=[[65536, 1]]),
    body(holidays=[[-1, 1]]),
    body(holidays=[[True, 1]]),
    body(holidays=[[1, True]]),
    body(holidays=[[20000, 1]] * 65),
    body(zone=""),
    body(zone=0),
    body(zone=False),
    body(zone=b"UTC0"),
    body(zone="Europe/Vienna"),
    body(zone="EST5EDT"),
    body(zone="<" + "A" * 46 + ">0"),
    {2: {}, 3: [], 4: None, 5: None},
    body(hours={}),
    body(hours=[[0, 0, 1]]),
    body(hours=[[256, 0, 1]]),
    body(hours=[[1, 0, 1441]]),
    body(hours=[[1, -1, 60]]),
    body(hours=[[1, 0]]),
    body(hours=[[1, 0, True]]),
    body(hours=[[127, 0, 1440]] * 17),
    # more than the lock could read back
    body(holidays=[[65535, 31]] * 64, hours=[[255, 1440, 1440]] * 16),
)


def test_bad_bodies_change_nothing():
    configuration = fresh()
    assert configuration.apply(body(settings={1: 4000}, holidays=[[20626, 1]], zone=VIENNA), 5) == reasons.GRANTED
    before = state_of(configuration), configuration._store.blob
    for bad in BAD:
        assert configuration.apply(bad, 6) == reasons.COMMAND_MALFORMED, bad
        assert (state_of(configuration), configuration._store.blob) == before


def test_rules_across_fields_hold_over_the_provisioning_record():
    configuration = fresh(door={24: 3600, 25: 3600})
    assert configuration.apply(body(settings={25: 600}), 1) == reasons.COMMAND_MALFORMED
    assert configuration.apply(body(settings={24: 600, 25: 600}), 1) == reasons.GRANTED
    assert configuration.settings.lockout_max_s == 600


def test_a_setting_may_be_set_back_to_its_default():
    configuration = fresh(door={1: 3000})
    assert configuration.apply(body(settings={1: 5000}), 1) == reasons.GRANTED
    assert configuration.settings.unlock_ms == 5000


def test_64_holidays_and_32_settings_fit():
    configuration = fresh()
    holidays = [[65535 - n, 31] for n in range(64)]
    assert configuration.apply(body(holidays=holidays, hours=[[255, 1439, 1440]] * 8), 2**32 - 1) == reasons.GRANTED
    assert Configuration(configuration._store, Provision()).is_sound
    configuration = fresh()
    settings = {key: 3600000 for key in (4, 9, 10, 12)}
    settings.update({31: 2**32 - 1, 1: 10000, 30: 604800, 22: 120000})
    assert configuration.apply(body(settings=settings, hours=[[255, 1439, 1440]] * 16), 2**32 - 1) == reasons.GRANTED
    assert Configuration(configuration._store, Provision()).is_sound


def test_a_store_that_fails_leaves_the_old_one():
    configuration = fresh()
    assert configuration.apply(body(settings={1: 4000}), 5) == reasons.GRANTED
    before = state_of(configuration)
    configuration._store.fails = True
    heard = []
    configuration.add_listener(heard.append)
    assert configuration.apply(body(settings={1: 600}), 6) == reasons.FAULT
    assert state_of(configuration) == before and heard == []
    assert state_of(Configuration(configuration._store, Provision())) == before
    configuration._store.fails = False
    assert configuration.apply(body(settings={1: 600}), 6) == reasons.GRANTED


def test_missing_or_malformed_is_not_sound_until_written_anew():
    good = cbor.encode({1: 9, 2: {1: 4000}, 3: [[20626, 1]], 4: VIENNA, 5: [[62, 540, 1140]]})
    assert Configuration(Store(good), Provision()).is_sound
    for blob, sequence in (
        (None, 0),
        (b"", 0),
        ("unreadable", 0),
        (good[:-1], 0),
        (good + b"\x00", 0),
        (cbor.encode([]), 0),
        (cbor.encode({1: -1, 2: {}, 3: [], 4: None, 5: []}), 0),
        (cbor.encode({1: None, 2: {}, 3: [], 4: None, 5: []}), 0),
        (cbor.encode({0: 9, 2: {}, 3: [], 4: None, 5: []}), 0),
        (cbor.encode({1: 9, 2: {1: 499}, 3: [], 4: None, 5: []}), 9),
        (cbor.encode({1: 9, 2: {99: 1}, 3: [], 4: None, 5: []}), 9),
        (cbor.encode({1: 9, 2: {}, 3: [], 4: "", 5: []}), 9),
        (cbor.encode({1: 9, 2: {}, 3: [], 4: None, 6: []}), 9),
        (cbor.encode({1: 9, 2: {}, 3: [], 4: None, 5: [], 6: 0}), 0),
    ):
        configuration = Configuration(Store(blob), Provision(door={2: 2000}))
        assert configuration.is_sound is False and configuration.sequence == sequence
        assert configuration.settings.unlock_ms == 5000 and configuration.settings.hold_ms == 2000
        assert configuration.hours == [] and configuration.calendar.is_open(ALWAYS, SUMMER_NOON_S)
        if sequence:  # what is too old for a sound one is too old for this one
            assert configuration.apply(body(), sequence) == reasons.SEQUENCE_STALE
        assert configuration.apply(body(), 10) == reasons.GRANTED
        assert configuration.is_sound and Configuration(configuration._store, Provision()).is_sound


def test_a_lock_that_is_not_provisioned_has_defaults():
    configuration = Configuration(Store(None), None)
    assert not configuration.is_sound and configuration.settings.unlock_ms == 5000
    assert configuration.calendar.is_open([[1, 600, 601]], SUMMER_NOON_S)


def test_listeners_hear_of_what_is_in_force_already():
    configuration = fresh()
    heard = []
    configuration.add_listener(lambda settings: heard.append((settings.unlock_ms, configuration.settings is settings)))
    configuration.add_listener(lambda settings: heard.append(configuration.sequence))
    assert configuration.apply(body(settings={1: 4000}), 3) == reasons.GRANTED
    assert configuration.apply(body(settings={1: 1}), 4) == reasons.COMMAND_MALFORMED
    assert configuration.apply(body(settings={1: 4000}), 3) == reasons.SEQUENCE_STALE
    assert heard == [(4000, True), 3]


def test_changes_are_told_for_the_record():
    configuration = fresh(door={2: 2000})
    before = configuration.settings
    first = body(settings={1: 4000, 31: 2**32 - 1}, zone=VIENNA, hours=[[62, 540, 1140]])
    assert configuration.apply(first, 1) == reasons.GRANTED
    assert configuration.changes(before) == [
        (1, "unlock_ms=4000"),
        (31, "sntp_address=4294967295"),
        (0, "zone"),
        (0, "hours"),
    ]
    before = configuration.settings
    second = body(settings={1: 4000}, zone=VIENNA, hours=[[62, 540, 1140]], holidays=[[20626, 1]])
    assert configuration.apply(second, 2) == reasons.GRANTED
    assert configuration.changes(before) == [(31, "sntp_address=0"), (0, "holidays")]
    before = configuration.settings
    assert configuration.apply(second, 3) == reasons.GRANTED
    assert configuration.changes(before) == []


def test_what_is_held_is_never_changed_in_place():
    configuration = fresh()
    held = configuration.settings, configuration.calendar, configuration.hours
    assert configuration.apply(body(settings={1: 4000}, hours=ALWAYS, holidays=[[20626, 1]]), 1) == reasons.GRANTED
    assert held[0].unlock_ms == 5000 and held[2] == [] and held[1].day_bit(20626) != 128


@given(
    lists(tuples(ints(0, 35), ints(-1, 700000)), 0, 3),
    lists(tuples(ints(-1, 65540), ints(0, 33)), 0, 4),
    lists(tuples(ints(0, 260), ints(0, 1445), ints(0, 1445)), 0, 3),
    ints(0, 4),
)
def test_all_of_it_or_nothing(settings, holidays, hours, sequence):
    configuration = fresh()
    assert configuration.apply(body(settings={1: 4000}), 2) == reasons.GRANTED
    before = state_of(configuration), configuration._store.blob
    new = body(
        settings=dict(settings), holidays=[list(each) for each in holidays], hours=[list(each) for each in hours]
    )
    reason = configuration.apply(new, sequence)
    if reason == reasons.GRANTED:
        assert sequence > 2
        kept = cbor.decode(configuration._store.blob, 640)
        assert kept.pop(1) == sequence and kept == new
    else:
        assert reason == (reasons.SEQUENCE_STALE if sequence <= 2 else reasons.COMMAND_MALFORMED)
        assert (state_of(configuration), configuration._store.blob) == before
    assert state_of(Configuration(configuration._store, Provision())) == state_of(configuration)
