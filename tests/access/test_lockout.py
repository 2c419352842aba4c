"""vitrine.access.lockout: sources that try wrongly wait, and nobody else does."""

from binascii import crc32
from hashlib import sha256

from support import ON_MICROPYTHON, blobs, given, ints, lists, tuples
from vitrine.access.lockout import Lockouts, empty

KEY = b"K" * 32
OTHER = b"O" * 32
PEER = b"\x01\x02\x03\x04\x05\x06"
STRANGER = b"\x0a\x0b\x0c\x0d\x0e\x0f"
MINUTE = 60_000
DAY = 86_400_000


class Settings:
    lockout_tries = 4
    lockout_s = 300
    lockout_max_s = 3600


class Store:
    def __init__(self, blob=None):
        self.blob = empty() if blob is None else blob
        self.saves = 0
        self.is_broken = False

    def load(self):
        if self.is_broken:
            raise OSError(5)
        return self.blob

    def save(self, data):
        if self.is_broken:
            raise OSError(5)
        self.saves += 1
        self.blob = bytes(data)


class Lock:
    """Lock-outs on a store, through starts; `told`: its faults."""

    def __init__(self, blob=None, settings=Settings):
        self.store = Store(blob)
        self.settings = settings
        self.told = []
        self.start()

    def start(self):
        self.lockouts = Lockouts(self.store, lambda: self.settings, self.told.append)

    def lock_out(self, key=KEY, now_ms=0):
        return [self.lockouts.failed_key(key, now_ms) for _ in range(4)]

    def lock_out_peer(self, peer=PEER, now_ms=0):
        return [self.lockouts.failed_peer(peer, now_ms) for _ in range(4)]


def test_empty_is_as_specified():
    assert empty() == b"\x01\x00" + crc32(b"\x01\x00").to_bytes(4, "big")


def test_the_fourth_bad_try_locks_the_key_out_and_nobody_else():
    lock = Lock()
    assert lock.lock_out(now_ms=1000) == [0, 0, 0, 300]
    assert lock.lockouts.key_wait_s(KEY, 1000) == 300
    assert lock.lockouts.key_wait_s(KEY, 1001) == 300 and lock.lockouts.key_wait_s(KEY, 2000) == 299
    assert lock.lockouts.key_wait_s(KEY, 300_999) == 1 and lock.lockouts.key_wait_s(KEY, 301_000) == 0
    assert lock.lockouts.key_wait_s(OTHER, 1000) == 0
    # a source is a key or a peer, even with the same bytes
    assert lock.lockouts.peer_wait_s(KEY, 1000) == 0


def test_lock_outs_double_to_the_most():
    lock = Lock()
    now_ms = 0
    waits = []
    for _ in range(20):
        waits.append(lock.lock_out_peer(now_ms=now_ms)[-1])
        now_ms += waits[-1] * 1000
        lock.lockouts.tend(now_ms)
    assert waits == [300, 600, 1200, 2400] + [3600] * 16


def test_the_settings_in_force_hold():
    class Strict:
        lockout_tries = 2
        lockout_s = 3600
        lockout_max_s = 65535

    lock = Lock(settings=Strict)
    assert [lock.lockouts.failed_key(KEY, 0) for _ in range(2)] == [0, 3600]
    now_ms = 0
    for wait_s in (3600, 7200, 14400, 28800, 57600):
        now_ms += wait_s * 1000
        lock.lockouts.tend(now_ms)
        last = [lock.lockouts.failed_key(KEY, now_ms) for _ in range(2)]
    assert last == [0, 65535] and lock.lockouts.key_wait_s(KEY, now_ms) == 65535


def test_fewer_tries_allowed_than_there_were_already():
    lock = Lock()
    for _ in range(3):
        lock.lockouts.failed_key(KEY, 0)

    class Strict(Settings):
        lockout_tries = 2

    lock.settings = Strict
    assert lock.lockouts.failed_key(KEY, 0) == 300


def test_a_try_while_locked_out_neither_counts_nor_prolongs():
    lock = Lock()
    lock.lock_out()
    saves = lock.store.saves
    for now_ms in (0, 1000, 299_999):
        assert lock.lockouts.failed_key(KEY, now_ms) == 0
    assert lock.lockouts.key_wait_s(KEY, 300_000) == 0 and lock.store.saves == saves
    assert lock.lock_out(now_ms=300_000) == [0, 0, 0, 600]


def test_a_grant_forgets_both():
    lock = Lock()
    for _ in range(3):
        lock.lockouts.failed_key(KEY, 0)
        lock.lockouts.failed_peer(PEER, 0)
    lock.lockouts.failed_peer(STRANGER, 0)
    lock.lockouts.succeeded(KEY, PEER, 0)
    assert lock.lock_out() == [0, 0, 0, 300] and lock.lock_out_peer() == [0, 0, 0, 300]
    assert lock.lock_out_peer(STRANGER) == [0, 0, 300, 0]


def test_a_day_without_a_bad_try_forgets_and_not_a_moment_less():
    for quiet_ms, expected in ((DAY - 1, [600, 0, 0, 0]), (DAY, [0, 0, 0, 300])):
        for is_tended in (False, True):
            lock = Lock()
            lock.lock_out()
            for _ in range(3):
                lock.lockouts.failed_key(KEY, 300_000)
            if is_tended:
                for minute in range(0, quiet_ms + 300_001, 6 * MINUTE):
                    lock.lockouts.tend(minute)
            assert lock.lock_out(now_ms=300_000 + quiet_ms) == expected


def test_ticks_wrap():
    for begin_ms in (2**30 - 1, 2**30 - 150_000, 2**30 - 300_000):
        lock = Lock()
        assert lock.lock_out(now_ms=begin_ms)[-1] == 300
        assert lock.lockouts.key_wait_s(KEY, (begin_ms + 299_001) % 2**30) == 1
        assert lock.lockouts.key_wait_s(KEY, (begin_ms + 300_000) % 2**30) == 0
    # tended all the time, an old one does not come back when the ticks do
    lock = Lock()
    lock.lock_out(now_ms=5)
    for now_ms in range(5, 2**30, 30 * MINUTE):
        lock.lockouts.tend(now_ms)
    assert lock.lockouts.key_wait_s(KEY, 6) == 0


def test_who_read_the_clock_before_frees_nobody():
    lock = Lock()
    lock.lock_out(now_ms=5000)
    assert lock.lockouts.key_wait_s(KEY, 4990) == 300
    lock.lockouts.tend(4990)
    assert lock.lockouts.key_wait_s(KEY, 5000) == 300


def test_layout_is_as_specified():
    lock = Lock()
    lock.lockouts.failed_peer(PEER, 0)
    lock.lock_out(now_ms=500)
    lock.lockouts.failed_key(OTHER, 10_500)
    blob = lock.store.blob
    assert blob[:2] == b"\x01\x03" and len(blob) == 2 + 3 * 12 + 4
    assert blob[2:14] == b"\x01" + sha256(b"\x01" + KEY).digest()[:8] + b"\x10" + (290).to_bytes(2, "big")
    assert blob[14:26] == b"\x01" + sha256(b"\x01" + OTHER).digest()[:8] + b"\x01\x00\x00"
    assert blob[26:38] == b"\x02" + sha256(b"\x02" + PEER).digest()[:8] + b"\x01\x00\x00"
    assert blob[-4:] == crc32(blob[:-4]).to_bytes(4, "big")


def test_a_key_change_is_durable_when_the_try_is_answered():
    lock = Lock()
    for count in range(1, 5):
        lock.lockouts.failed_key(KEY, 0)
        assert lock.store.saves == count
        # the power is cut right here
        other = Lock(lock.store.blob)
        if count < 4:
            assert other.lock_out()[3 - count] == 300
        else:
            assert other.lockouts.key_wait_s(KEY, 12345) == 300


def test_a_start_goes_on_from_what_was_left():
    lock = Lock()
    lock.lock_out()
    lock.lockouts.failed_key(OTHER, 100_001)  # this writes what is left of the other one
    lock.start()
    # not before somebody asks do the seconds run: this start's ticks are its own
    assert lock.lockouts.key_wait_s(KEY, 777) == 200
    assert lock.lockouts.key_wait_s(KEY, 777 + 199_999) == 1
    assert lock.lockouts.key_wait_s(KEY, 777 + 200_000) == 0


def test_one_that_is_over_does_not_begin_again_at_a_start():
    lock = Lock()
    lock.lock_out()
    lock.lockouts.tend(301_000)
    lock.start()
    assert lock.lockouts.key_wait_s(KEY, 0) == 0
    # but the next one is twice as long
    assert lock.lock_out()[-1] == 600


def test_what_was_forgotten_stays_forgotten():
    lock = Lock()
    lock.lock_out()
    lock.lockouts.tend(301_000)
    lock.lockouts.succeeded(KEY, b"", 302_000)
    lock.lockouts.tend(302_000)
    lock.lockouts.tend(361_000)
    assert lock.store.blob == empty()
    lock.lock_out(now_ms=400_000)
    lock.lockouts.tend(400_000 + DAY)
    assert lock.store.blob == empty()


def test_strangers_write_once_a_minute_at_most():
    lock = Lock()
    lock.lockouts.tend(0)
    now_ms = 0
    for n in range(2000):
        now_ms += 250
        lock.lockouts.failed_peer(n.to_bytes(6, "big"), now_ms)
        lock.lockouts.tend(now_ms)
    assert now_ms == 500_000 and lock.store.saves == 8
    for _ in range(3):
        now_ms += MINUTE
        lock.lockouts.tend(now_ms)
    assert lock.store.saves == 9, "nothing new, nothing written"


def test_a_locked_out_key_and_a_stranger_write_no_more_together():
    lock = Lock()
    lock.lock_out()
    saves = lock.store.saves
    for n in range(50):
        lock.lockouts.failed_peer(n.to_bytes(6, "big"), 1000)
        lock.lockouts.failed_key(KEY, 1000)
    assert lock.store.saves == saves
    # neither does a key's next try wait for what a stranger has done
    lock.lockouts.failed_key(OTHER, 2000)
    assert lock.store.saves == saves + 1


def test_strangers_are_written_within_a_minute_however_long_it_was_quiet():
    for days in (8, 11):  # ticks wrap after 12.4 days, and half of them look like the future
        lock = Lock()
        for now_ms in range(0, days * DAY, 30 * MINUTE):
            lock.lockouts.tend(now_ms)
        lock.lock_out_peer(now_ms=now_ms)
        lock.lockouts.tend(now_ms + MINUTE)
        assert lock.store.saves == 1


def test_a_start_writes_nothing_of_peers_in_its_first_minute():
    """Or who can switch the supply could wear out the flash."""
    lock = Lock()
    for start_ms in (5_000_000, 2**30 - 1000):
        lock.start()
        lock.lockouts.tend(start_ms)
        lock.lock_out_peer(now_ms=start_ms + 1)
        lock.lockouts.tend((start_ms + 59_999) % 2**30)
        assert lock.store.saves == 0
    lock.lockouts.tend((start_ms + 60_000) % 2**30)
    assert lock.store.saves == 1


def test_peers_survive_a_power_cut_once_they_are_written():
    lock = Lock()
    lock.lockouts.tend(0)
    assert lock.lock_out_peer(now_ms=1000)[-1] == 300
    lock.lockouts.tend(61_000)
    lock.start()
    assert lock.lockouts.peer_wait_s(PEER, 0) == 240


def test_strangers_take_no_place_of_a_key():
    lock = Lock()
    keys = [bytes([n]) * 32 for n in range(16)]
    for key in keys:
        lock.lock_out(key)
    for n in range(3000 if not ON_MICROPYTHON else 1000):
        lock.lockouts.failed_peer(n.to_bytes(6, "big"), n)
    assert all([lock.lockouts.key_wait_s(key, 3000) == 297 for key in keys])
    lock.lockouts.failed_key(OTHER, 3000)
    assert len(lock.store.blob) == 2 + 48 * 12 + 4


def test_the_one_without_a_lock_out_gives_way_then_the_one_that_ends_first():
    lock = Lock()
    peers = [bytes([n]) * 6 for n in range(32)]
    for n, peer in enumerate(peers):
        for _ in range(3 if n == 20 else 4):
            lock.lockouts.failed_peer(peer, n * 1000)
    lock.lockouts.failed_peer(STRANGER, 40_000)
    assert lock.lockouts.peer_wait_s(peers[0], 40_000) == 260
    assert lock.lockouts.failed_peer(peers[20], 40_000) == 0, (
        "its three tries are gone, and it took the stranger's place"
    )
    for _ in range(3):
        lock.lockouts.failed_peer(peers[20], 40_000)
    lock.lockouts.failed_peer(STRANGER, 41_000)
    assert lock.lockouts.peer_wait_s(peers[0], 41_000) == 0
    assert all([lock.lockouts.peer_wait_s(peer, 41_000) for peer in peers[1:]])


def test_without_an_address_nobody_is_counted():
    lock = Lock()
    assert [lock.lockouts.failed_peer(b"", 0) for _ in range(10)] == [0] * 10
    assert lock.lockouts.peer_wait_s(b"", 0) == 0


def test_a_store_that_fails_is_told_of_once_and_written_later():
    lock = Lock()
    lock.lockouts.tend(0)
    lock.store.is_broken = True
    assert lock.lock_out(now_ms=0)[-1] == 300
    for now_ms in range(0, 200_000, 20_000):
        lock.lockouts.tend(now_ms)
    assert lock.told == ["lockout:write"]
    assert lock.lockouts.key_wait_s(KEY, 200_000) == 100, "it goes on in RAM"
    lock.store.is_broken = False
    lock.lockouts.tend(260_000)
    lock.start()
    assert lock.lockouts.key_wait_s(KEY, 0) == 40 and lock.told == ["lockout:write"]
    lock.store.is_broken = True
    lock.lockouts.failed_key(OTHER, 0)
    assert lock.told == ["lockout:write"] * 2
    lock.start()
    assert lock.told[2:] == ["lockout:read"] and lock.lock_out()[-1] == 300


def entry(kind, n=0, counts=0x10, left_s=100):
    return bytes([kind]) + n.to_bytes(8, "big") + bytes([counts]) + left_s.to_bytes(2, "big")


def sealed(*entries, version=1, count=None):
    body = bytes([version, len(entries) if count is None else count]) + b"".join(entries)
    return body + crc32(body).to_bytes(4, "big")


def test_a_store_that_is_no_store_is_told_of_and_locks_nobody_out():
    lock = Lock()
    lock.lock_out()
    good = lock.store.blob
    damaged = [good[:-1], good + b"\0", b"", b"\x01\x00", sealed(version=2), sealed(entry(1), count=2)]
    damaged += [sealed(entry(3)), sealed(entry(0)), sealed(*[entry(1, n) for n in range(17)])]
    damaged += [sealed(*[entry(2, n) for n in range(33)])]
    damaged += [good[:n] + bytes([good[n] ^ 4]) + good[n + 1 :] for n in range(len(good))]
    for blob in damaged:
        lock = Lock(blob)
        assert lock.told == ["lockout:damaged"] and lock.lockouts.key_wait_s(KEY, 0) == 0
        assert lock.lock_out()[-1] == 300 and lock.store.blob == good
    store = Store()
    store.blob = None
    told = []
    Lockouts(store, lambda: Settings, told.append)
    assert told == ["lockout:missing"]


def test_a_full_store_is_read_back():
    blob = sealed(*[entry(2, n) for n in range(32)] + [entry(1, n) for n in range(16)])
    lock = Lock(blob)
    lock.lock_out()
    assert lock.told == [] and len(lock.store.blob) == 2 + 48 * 12 + 4


def test_the_alarm_tells_of_peers_once_in_five_minutes_with_their_number():
    lock = Lock()
    assert lock.lockouts.peer_alarm(0) == 0
    lock.lock_out_peer(now_ms=0)
    assert lock.lockouts.peer_alarm(0) == 1 and lock.lockouts.peer_alarm(0) == 0
    for n in range(7):
        lock.lock_out_peer(bytes([n]) * 6, now_ms=1000)
    lock.lock_out(now_ms=1000)
    assert lock.lockouts.peer_alarm(1000) == 0 and lock.lockouts.peer_alarm(299_999) == 0
    assert lock.lockouts.peer_alarm(300_000) == 7
    for now_ms in range(300_000, 2**30 + 300_000, 60 * MINUTE):
        lock.lockouts.tend(now_ms)
    lock.lock_out_peer(now_ms=2**30 + 300_001)
    assert lock.lockouts.peer_alarm(2**30 + 300_001) == 1, (
        "when the ticks come round, the last alarm is not a recent one"
    )


@given(lists(tuples(ints(0, 5), ints(0, 3), ints(0, 400)), 0, 60), examples=60)
def test_a_power_cut_at_any_moment_shortens_no_lock_out_of_a_key(steps):
    """Against a model of one key's truth: until when it is locked out; starts only ever add to it."""
    lock = Lock()
    now_ms = 0
    until_ms = [0, 0, 0, 0]
    for what, who, seconds in steps:
        now_ms += seconds * 1000
        key = bytes([who]) * 32
        if what == 0:
            lock.start()
        elif what == 1:
            lock.lockouts.tend(now_ms)
        else:
            began_s = lock.lockouts.failed_key(key, now_ms)
            if began_s:
                until_ms[who] = now_ms + began_s * 1000
        for n in range(4):
            assert lock.lockouts.key_wait_s(bytes([n]) * 32, now_ms) * 1000 >= until_ms[n] - now_ms


@given(blobs(0, 700), examples=200)
def test_any_bytes_are_read_without_raising(blob):
    lock = Lock(blob)
    assert lock.lockouts.key_wait_s(KEY, 0) == 0
