"""Wi-Fi: the lock as a station of one network, connected for as long as there is one (SPEC.md section 14).

Owns the radio's state, the retries and the pauses between them; what is sent over it is others' business. Never an
access point: that interface is switched off, and looked at, before each try. ESP-IDF takes a network without WPA2 for
none when there is a passphrase, so an open one of the same name is no trap.

Between tries the radio is off: BLE has the antenna, and the driver starts from the beginning. It would try again by
itself for ever: `reconnects` forbids that. `status` goes on giving the last try's reason during the next one, so it
is asked only when the time is over. Power save as ESP-IDF demands it of a station beside BLE.
"""

import asyncio

import network
from micropython import const

from vitrine.app.sync import Pause

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine.app.event_log import EventLog

    from .network_settings import NetworkSettings

_PAUSE_MIN_MS = const(1_000)
_CONNECT_MS = const(15_000)
_LOOK_MS = const(100)
_WATCH_MS = const(1_000)
_STEADY_MS = const(60_000)  # a network that comes and goes is one trouble, not many
_HOLD_MAX_MS = const(30_000)
_HOLD_LOOK_MS = const(250)
_FAULT = const(129)  # SPEC.md section 7, as is the key of its detail
_DETAIL = const(15)

_NAME_UNPROVISIONED = const("vitrine")

# ESP-IDF's wifi_err_reason_t. What a wrong passphrase leads to differs by access point: the handshake fails, or ends
# nowhere.
_NO_NETWORK = const(b"\xc9\xd2\xd3\xd4")  # 201 no AP found, 210 to 212 none with such security, mode or signal
_PASSWORD = const(b"\x0f\xca\xcc")  # 15 four-way handshake, 202 authentication, 204 handshake


class WifiLink:
    """WifiLink(settings, lock_id, events, clock, random_bytes, is_busy): `run` is its task.

    is_up: connected. cause: of the trouble that is on record, until a connection held.
    """

    def __init__(
        self,
        settings: "NetworkSettings",
        lock_id: str,
        events: "EventLog",
        clock,
        random_bytes: "Callable[[int], bytes]",
        is_busy: "Callable[[], bool]",
    ) -> None:
        self._settings = settings
        self._lock_id = lock_id
        self._events = events
        self._clock = clock
        self._is_busy = is_busy
        self._pause = Pause(_PAUSE_MIN_MS, random_bytes)
        self.cause = ""
        self.is_up = False

    async def run(self, vote) -> None:
        """Connect, again and again, for ever. Whatever the radio does, nothing comes of it but a record."""
        while True:
            held_ms = 0
            while self._is_busy() and held_ms < _HOLD_MAX_MS:
                held_ms += _HOLD_LOOK_MS
                await asyncio.sleep_ms(_HOLD_LOOK_MS)
            try:
                cause = await self._live()
            except (OSError, RuntimeError):  # the second is what the chip raises for errors that it has no name for
                cause = "radio"
            finally:
                self.is_up = False
                self._switch_off()
            if cause != self.cause:
                self._tell(cause)
                self.cause = cause
            await asyncio.sleep_ms(self._pause.next_ms())

    async def _live(self) -> str:
        """Live through one connection; return why there is none, or none any more. Raises what the radio raises."""
        clock = self._clock
        # before the first address: the mDNS responder takes it then, once
        network.hostname(self._lock_id or _NAME_UNPROVISIONED)
        access_point = network.WLAN(network.WLAN.IF_AP)
        access_point.active(False)
        if access_point.active():
            raise OSError
        wlan = network.WLAN(network.WLAN.IF_STA)
        wlan.active(True)
        wlan.config(reconnects=0, pm=wlan.PM_PERFORMANCE)
        wlan.connect(self._settings.ssid, self._settings.passphrase)
        start_ms = clock.ticks_ms()
        while not wlan.isconnected():
            if clock.ticks_diff(clock.ticks_ms(), start_ms) >= _CONNECT_MS:
                reason = wlan.status()
                return "no-network" if reason in _NO_NETWORK else "password" if reason in _PASSWORD else "timeout"
            await asyncio.sleep_ms(_LOOK_MS)
        self.is_up = True
        start_ms = clock.ticks_ms()
        while wlan.isconnected():
            if clock.ticks_diff(clock.ticks_ms(), start_ms) >= _STEADY_MS:
                self._pause.reset()
                if self.cause:
                    self.cause = ""
                    self._tell("back")
            await asyncio.sleep_ms(_WATCH_MS)
        return "lost"

    def _switch_off(self) -> None:
        try:
            network.WLAN(network.WLAN.IF_STA).active(False)
        except (OSError, RuntimeError):
            pass  # the next try will tell

    def _tell(self, cause: str) -> None:
        self._events.record(_FAULT, {_DETAIL: "wifi:" + cause})
