"""The Wi-Fi link in virtual time, over a radio that refuses what the chip refuses."""

import asyncio

from support import fake_network
from support.virtual_time import VirtualTime
from vitrine.door.ticks import ticks_diff

fake_network.install(None)

from vitrine.links.wifi import WifiLink  # noqa: E402

HOUR_MS = 3_600_000
NO_AP, AUTH, HANDSHAKE = 201, 202, 15


class Settings:
    ssid = b"Store"
    passphrase = "correct horse"


class Lab:
    """One link: `run(ms)`; `told` has (ms since the start, detail) of each record."""

    def __init__(self, *plan, random=0, lock_id="case-12"):
        self.time = VirtualTime()
        self.ticks_ms = self.time.ticks_ms
        self.start_ms = self.ticks_ms()
        self.air = fake_network.install(self.ticks_ms)
        self.air.plan = list(plan)
        self.told = []
        self.busy = []  # (from, until) in ms since the start
        self.link = WifiLink(Settings, lock_id, self, self, lambda size: bytes([random]) * size, self.is_busy)

    def ticks_diff(self, end_ms, start_ms):
        return ticks_diff(end_ms, start_ms)

    def record(self, kind, fields):
        assert kind == 129 and list(fields) == [15]
        self.told.append((self.now_ms(), fields[15]))

    def now_ms(self):
        return self.ticks_ms() - self.start_ms

    def is_busy(self):
        return any(begin <= self.now_ms() < end for begin, end in self.busy)

    @property
    def tries(self):
        return [ms - self.start_ms for ms in self.air.tries]

    @property
    def pauses(self):
        """Between a try that took all its time and the next."""
        tries = self.tries
        return [tries[i + 1] - tries[i] - 15_000 for i in range(len(tries) - 1)]

    def run(self, ms):
        """Let the link run for so long, and end it; return whether it was up at the end."""

        async def main():
            task = asyncio.create_task(self.link.run(lambda: None))
            await asyncio.sleep_ms(ms)
            assert not task.done(), "it ended"
            was_up = self.link.is_up
            task.cancel()
            await asyncio.sleep_ms(0)
            return was_up

        return self.time.run(main())

    def details(self):
        return [detail for _, detail in self.told]


def test_it_connects_as_a_station_and_says_nothing():
    lab = Lab((2_000, None))
    assert lab.run(HOUR_MS)
    assert lab.tries == [0] and lab.air.calls == [(b"Store", "correct horse")]
    assert lab.air.name == "case-12"
    assert lab.told == []
    assert lab.air.settings == {"reconnects": 0, "pm": 1}


def test_when_it_ends_the_radio_is_off():
    lab = Lab((0, None))
    assert lab.run(5_000)
    assert lab.air.active == {0: False, 1: False} and not lab.link.is_up


def test_an_unprovisioned_lock_has_a_name_as_well():
    lab = Lab((0, None), lock_id="")
    lab.run(1_000)
    assert lab.air.name == "vitrine"


def test_it_is_up_only_while_it_is():
    lab = Lab((3_000, None))
    assert not lab.run(2_900)
    lab = Lab((3_000, None))
    assert lab.run(3_200)


def test_back_off_doubles_to_five_minutes():
    """15 s for the try itself, then 1 s doubling to 300 s."""
    lab = Lab(NO_AP)
    assert not lab.run(3 * HOUR_MS)
    assert lab.pauses[:9] == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000]
    assert lab.pauses[9:] and set(lab.pauses[9:]) == {300_000}
    assert lab.details() == ["wifi:no-network"], "one record for the cause, not one for each try"
    assert lab.told[0][0] == 15_000


def test_jitter_takes_up_to_a_half_and_never_all():
    lab = Lab(NO_AP, random=255)
    lab.run(10 * 60_000)
    for i in range(5):
        assert 500 << i <= lab.pauses[i] < 510 << i


def test_between_tries_the_radio_is_off():
    lab = Lab(NO_AP)
    looked = []

    async def look():
        while True:
            looked.append((lab.now_ms(), lab.air.active[0]))
            await asyncio.sleep_ms(500)

    async def main():
        tasks = [asyncio.create_task(lab.link.run(lambda: None)), asyncio.create_task(look())]
        await asyncio.sleep_ms(200_000)
        for task in tasks:
            task.cancel()

    lab.time.run(main())
    for ms, is_active in looked:
        in_a_try = [begin for begin in lab.tries if begin < ms < begin + 15_000]
        at_its_edge = [begin for begin in lab.tries if ms in (begin, begin + 15_000)]
        assert at_its_edge or is_active == bool(in_a_try), ms


def test_causes():
    for reason, detail in (
        (NO_AP, "no-network"),
        (210, "no-network"),
        (211, "no-network"),
        (212, "no-network"),
        (AUTH, "password"),
        (HANDSHAKE, "password"),
        (204, "password"),
        (0, "timeout"),  # still connecting, for ever
        (200, "timeout"),
        (2, "timeout"),
    ):
        lab = Lab(reason)
        lab.run(60_000)
        assert lab.details() == ["wifi:" + detail], reason


def test_a_connection_that_is_too_slow_is_given_up_after_15_s():
    lab = Lab((16_000, None), (1_000, None))
    assert lab.run(60_000)
    assert lab.tries == [0, 16_000]
    assert lab.details() == ["wifi:timeout"]


def test_a_lost_connection_comes_back_and_says_so_once_it_holds():
    lab = Lab((1_000, 600_000), (1_000, None))
    assert lab.run(HOUR_MS)
    (lost_ms, lost), (back_ms, back) = lab.told
    assert (lost, back) == ("wifi:lost", "wifi:back")
    assert 601_000 <= lost_ms <= 602_000
    assert 60_000 <= back_ms - lost_ms - 2_000 <= 62_000
    assert lab.tries[1] - lost_ms == 1_000, "after a connection that held, the shortest pause"


def test_the_next_trouble_is_a_new_one():
    lab = Lab((0, 120_000), (0, 120_000), (0, 120_000), (0, None))
    lab.run(HOUR_MS)
    assert lab.details() == ["wifi:lost", "wifi:back"] * 3


def test_a_network_that_flaps_is_one_trouble():
    lab = Lab((500, 2_000))
    lab.run(2 * HOUR_MS)
    assert lab.details() == ["wifi:lost"]
    assert lab.tries[-1] - lab.tries[-2] > 300_000, "and the pauses grow"


def test_each_change_of_the_cause_is_on_record():
    lab = Lab(NO_AP, NO_AP, AUTH, AUTH, (0, None))
    lab.run(HOUR_MS)
    assert lab.details() == ["wifi:no-network", "wifi:password", "wifi:back"]


def test_connecting_waits_for_who_is_in_session():
    lab = Lab((0, None))
    lab.busy = [(0, 12_000)]
    lab.run(60_000)
    assert lab.tries == [12_000]


def test_but_not_for_ever():
    lab = Lab((0, None))
    lab.busy = [(0, HOUR_MS)]
    lab.run(60_000)
    assert lab.tries == [30_000]


def test_a_dead_radio_is_a_record_and_no_more():
    for operation in ("WLAN", "active", "config", "connect", "isconnected", "status"):
        for error in (OSError("WiFi Out of Memory"), RuntimeError("Wifi Unknown Error 0x3001")):
            lab = Lab(NO_AP)
            lab.air.dead = (operation,)
            lab.air.error = error
            assert not lab.run(HOUR_MS), "and the task lives"
            assert lab.details() == ["wifi:radio"], operation


def test_a_radio_that_dies_later_and_recovers():
    lab = Lab((0, None))

    async def main():
        task = asyncio.create_task(lab.link.run(lambda: None))
        await asyncio.sleep_ms(100_000)
        assert lab.link.is_up
        lab.air.dead = ("isconnected", "active")
        await asyncio.sleep_ms(100_000)
        assert not lab.link.is_up and not task.done()
        lab.air.dead = ()
        await asyncio.sleep_ms(300_000)
        assert lab.link.is_up
        task.cancel()

    lab.time.run(main())
    assert lab.details() == ["wifi:radio", "wifi:back"]


def test_an_access_point_is_switched_off_before_anything():
    lab = Lab((0, None))
    lab.air.active[1] = True  # whoever left it on
    assert lab.run(10_000)
    assert lab.air.active[1] is False


def test_with_an_access_point_that_stays_there_is_no_wifi():
    lab = Lab((0, None))
    lab.air.active[1] = lab.air.is_stubborn = True
    assert not lab.run(HOUR_MS)
    assert lab.tries == [] and lab.details() == ["wifi:radio"]
    assert lab.air.active[0] is False
