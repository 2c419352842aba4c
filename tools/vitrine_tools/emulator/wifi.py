"""The Wi-Fi radio of an emulated lock, and the network around it: joining takes time, and can fail as on the chip.

No packets: the lock's sockets are the host's (boards/unix/README.md says what that leaves out). They stall while a
network that was there is lost.
"""

from collections.abc import Callable

from vitrine_tools.emulator.clock import Alarm, HardwareClock
from vitrine_tools.emulator.stall import Stall

# ESP-IDF's wifi_err_reason_t
GOT_IP, HANDSHAKE_TIMEOUT, BEACON_TIMEOUT, NO_AP_FOUND = 0, 15, 200, 201

_SCAN_MS = 2_400  # 13 channels, 120 ms of listening each, and some of it twice
_JOIN_MS = 800  # scan, handshake, DHCP


class WifiRadio:
    """One station. What is assigned to the attributes below, up to `join_ms`, holds from then on.

    has_network: the access point is there. is_password_wrong: it wants another. is_stuck: joining never ends.
    is_dead: whatever is asked of the radio fails.
    """

    def __init__(self, clock: HardwareClock, send: Callable[[dict], None], pid: Callable[[], int]) -> None:
        """pid: the process that has the lock's sockets, 0 if there is none."""
        self._clock = clock
        self._send = send
        self._pid = pid
        self.stall = Stall()
        self._alarm: Alarm | None = None
        self._has_network = True
        self._is_dead = False
        self.is_password_wrong = False
        self.is_stuck = False
        self.join_ms = _JOIN_MS
        self.is_active = False
        self.is_connected = False
        self.tries: list[float] = []  # hardware milliseconds
        self.access_points = 0  # how often one was opened
        self.hostname = ""
        self.credentials: tuple[bytes, bytes] | None = None  # of the last try

    @property
    def has_network(self) -> bool:
        return self._has_network

    @has_network.setter
    def has_network(self, has_network: bool) -> None:
        self._has_network = has_network
        if not has_network:
            self._lose()

    @property
    def is_dead(self) -> bool:
        return self._is_dead

    @is_dead.setter
    def is_dead(self, is_dead: bool) -> None:
        self._is_dead = is_dead
        if is_dead:
            self._lose()

    def handle(self, message: dict) -> bool:
        """Do what the firmware asks of the radio; False if it is not the radio's business."""
        op = message["op"]
        if op not in ("wifi_active", "wifi_connect", "wifi_disconnect"):
            return False
        if self._is_dead:
            self._send({"a": message["q"], "errno": ["Wifi Internal Error"]})
            return True
        if op == "wifi_active":
            self._on_active(message["station"], message["access_point"])
        elif op == "wifi_connect":
            self._on_connect(message)
        else:
            self._end()
        self._send({"a": message["q"]})
        return True

    def power_off(self) -> None:
        """The chip resets, or has no power."""
        self.stall.forget()
        self.is_connected = False
        self._end()
        self.is_active = False

    def _on_active(self, station: bool, access_point: bool) -> None:
        if access_point:
            self.access_points += 1
        if not station:
            self._end()
        self.is_active = station

    def _on_connect(self, message: dict) -> None:
        self._end()
        self.tries.append(self._clock.now_us / 1000)
        self.hostname = message["name"]
        self.credentials = bytes.fromhex(message["ssid"]), bytes.fromhex(message["key"])
        if not self.is_stuck:
            delay_ms = self.join_ms if self._has_network else _SCAN_MS
            self._alarm = self._clock.after(round(delay_ms * 1000), self._join)

    def _join(self) -> None:
        self._alarm = None
        self.is_connected = self._has_network and not self.is_password_wrong
        if self.is_connected:
            self.stall.end()
            self._tell(GOT_IP)
        else:
            self._tell(HANDSHAKE_TIMEOUT if self._has_network else NO_AP_FOUND)

    def _lose(self) -> None:
        """The connection, or what was to become one, is over without the station's doing."""
        if self.is_connected or self._alarm is not None:
            self._end()
            self._tell(BEACON_TIMEOUT)

    def _end(self) -> None:
        if self.is_connected:
            self.stall.begin(self._pid())
        self.is_connected = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _tell(self, reason: int) -> None:
        self._send({"e": "wifi", "reason": reason})
