"""The clock: the epoch in one place, trust only with the mark, never below the floor."""

import binascii
import struct
import time

from support import blobs, given, raises
from vitrine.drivers import clock
from vitrine.drivers.clock import TRUSTED, UNTRUSTED, Clock

NOW_S = 1_790_000_000
FLOOR_S = 1_789_000_000


class FakeTime:
    """The `time` of a chip that counts from `epoch_s`, beside its RTC."""

    def __init__(self, epoch_s):
        self.epoch_s = epoch_s
        self.unix_s = epoch_s  # power-up
        self.ticks_ms = time.ticks_ms

    def time(self):
        return self.unix_s - self.epoch_s

    def gmtime(self, seconds):
        return time.gmtime(seconds + self.epoch_s)[:8]


class FakeRtc:
    def __init__(self, chip_time):
        self._time = chip_time
        self._memory = b""

    def memory(self, *data):
        if data:
            self._memory = bytes(data[0])
        return self._memory

    def datetime(self, fields):
        year, month, day, weekday, hour, minute, second, subseconds = fields
        assert 0 <= weekday <= 6 and subseconds == 0
        self._time.unix_s = int(time.mktime((year, month, day, hour, minute, second, 0, 0, 0)))


class Board:
    """A chip with its epoch; `cut()` is a power cut, `new()` what a start of the firmware makes."""

    def __init__(self, epoch_s=946_684_800, floor_s=FLOOR_S):
        self.floor_s = floor_s
        self.time = FakeTime(epoch_s)
        self.rtc = FakeRtc(self.time)

    def new(self):
        clock.time = self.time
        clock._EPOCH_S = self.time.epoch_s
        return Clock(self.rtc, self.floor_s)

    def cut(self):
        self.time.unix_s = self.time.epoch_s
        self.rtc.memory(b"")


def teardown(test):
    def run():
        kept = clock.time, clock._EPOCH_S
        try:
            test()
        finally:
            clock.time, clock._EPOCH_S = kept

    return run


@teardown
def test_untrusted_until_it_is_set():
    for epoch_s in (0, 946_684_800):
        board = Board(epoch_s)
        assert board.new().reading() == (FLOOR_S, UNTRUSTED)
        # an RTC that somebody set, who did not have our trust
        board.time.unix_s = NOW_S
        assert board.new().reading() == (NOW_S, UNTRUSTED)


@teardown
def test_set_and_kept_over_a_restart_but_not_over_a_power_cut():
    for epoch_s in (0, 946_684_800):
        board = Board(epoch_s)
        board.new().set_trusted(NOW_S)
        assert board.new().reading() == (NOW_S, TRUSTED)
        board.time.unix_s += 3600
        assert board.new().reading() == (NOW_S + 3600, TRUSTED)
        board.cut()
        assert board.new().reading() == (FLOOR_S, UNTRUSTED)


@teardown
def test_never_below_the_floor():
    board = Board()
    board.new().set_trusted(NOW_S)
    board.time.unix_s = NOW_S - 1
    assert board.new().reading() == (NOW_S, UNTRUSTED)
    board = Board()
    with raises(ValueError):
        board.new().set_trusted(FLOOR_S - 1)
    board.new().set_trusted(FLOOR_S)
    board.new().set_trusted(NOW_S)
    with raises(ValueError):
        board.new().set_trusted(NOW_S - 1)
    assert board.new().reading() == (NOW_S, TRUSTED)


@teardown
def test_a_later_provisioning_raises_the_floor():
    board = Board()
    board.new().set_trusted(NOW_S)
    board.floor_s = NOW_S + 100
    assert board.new().reading() == (NOW_S + 100, UNTRUSTED)


@teardown
def test_a_cut_while_setting_leaves_it_untrusted():
    board = Board()
    board.new().set_trusted(NOW_S)
    board.rtc.datetime = None  # dies here
    with raises(TypeError):
        board.new().set_trusted(NOW_S + 5)
    assert board.new().reading() == (NOW_S, UNTRUSTED)


@teardown
def test_the_mark_is_as_specified():
    """SPEC.md section 5.1, written by hand."""
    board = Board()
    mark = b"VTR1" + struct.pack(">Q", NOW_S)
    board.rtc.memory(mark + struct.pack(">I", binascii.crc32(mark)))
    board.time.unix_s = NOW_S
    assert board.new().reading() == (NOW_S, TRUSTED)


@teardown
def test_one_flipped_bit_is_no_mark():
    board = Board()
    board.new().set_trusted(NOW_S)
    mark = board.rtc.memory()
    for i in range(8 * len(mark)):
        bent = bytearray(mark)
        bent[i // 8] ^= 1 << (i % 8)
        board.rtc.memory(bent)
        assert board.new().reading() == (NOW_S, UNTRUSTED)


@given(blobs(0, 40))
def test_no_memory_is_a_mark_by_chance(memory):
    board = Board()
    board.rtc.memory(memory)
    kept = clock.time, clock._EPOCH_S
    try:
        assert board.new().reading()[1] == UNTRUSTED
    finally:
        clock.time, clock._EPOCH_S = kept


def test_the_epoch_is_the_interpreters_own():
    assert clock._EPOCH_S == 0  # the unix port counts from 1970
    unix_s, state = Clock(FakeRtc(FakeTime(0)), 0).reading()
    assert abs(unix_s - time.time()) <= 1 and state == UNTRUSTED
