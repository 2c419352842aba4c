"""A station radio for tests of links.wifi: what the chip's `network` does and refuses, in the test's own time.

air = install(ticks_ms)     # before links.wifi is imported; the same module every time
air.plan = [(2_000, None)]  # each connect: connected after so many ms, for so long (None: for ever)
air.plan = [201]            # or ends with this reason of ESP-IDF
"""

import sys

GOT_IP, CONNECTING, IDLE = 1010, 1001, 1000


class Air:
    """What the test plans, and what it sees."""

    def __init__(self):
        self.begin(None)

    def begin(self, ticks_ms):
        self.ticks_ms = ticks_ms
        self.plan = []
        self.dead = ()  # names of operations that raise
        self.error = OSError("Wifi Internal Error")
        self.calls = []
        self.tries = []  # when
        self.name = None
        self.active = {0: False, 1: False}
        self.is_stubborn = False  # the access point's interface does not go off
        self.up_ms = self.down_ms = None
        self.reason = 0
        self.settings = {}

    def meet(self, name):
        if name in self.dead:
            raise self.error

    def is_connected(self):
        now_ms = self.ticks_ms()
        return (
            self.active[0]
            and self.up_ms is not None
            and now_ms >= self.up_ms
            and (self.down_ms is None or now_ms < self.down_ms)
        )


air = Air()


class WLAN:
    IF_STA, IF_AP = 0, 1
    PM_NONE, PM_PERFORMANCE, PM_POWERSAVE = 0, 1, 2

    def __init__(self, interface=0):
        air.meet("WLAN")
        self.interface = interface

    def active(self, *wanted):
        if not wanted:
            return air.active[self.interface]
        air.meet("active")
        if wanted[0]:
            assert self.interface == self.IF_STA, "an access point"
        if not (self.interface == self.IF_AP and air.is_stubborn):
            air.active[self.interface] = wanted[0]
        if not air.active[0]:
            air.up_ms = None
        return wanted[0]

    def config(self, **settings):
        air.meet("config")
        assert air.active[0], "Wifi Not Started"
        assert settings["pm"] != self.PM_NONE, "ESP-IDF aborts: BLE is on"
        air.settings.update(settings)

    def connect(self, ssid, key):
        air.meet("connect")
        assert air.active[0] and not air.active[1]
        assert air.settings["reconnects"] == 0, "the driver would try again by itself, for ever"
        air.tries.append(air.ticks_ms())
        air.calls.append((ssid, key))
        outcome = air.plan.pop(0) if len(air.plan) > 1 else air.plan[0]
        if isinstance(outcome, tuple):
            after_ms, for_ms = outcome
            air.up_ms = air.ticks_ms() + after_ms
            air.down_ms = None if for_ms is None else air.up_ms + for_ms
        else:
            air.up_ms = None
            air.reason = outcome

    def isconnected(self):
        air.meet("isconnected")
        return air.is_connected()

    def status(self):
        air.meet("status")
        return GOT_IP if air.is_connected() else air.reason or CONNECTING


def hostname(name):
    assert len(name) <= 32
    air.name = name


def install(ticks_ms):
    """Stand for `network`; return the air, as new."""
    sys.modules["network"] = sys.modules[__name__]
    air.begin(ticks_ms)
    return air
