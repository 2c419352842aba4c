"""Stand-in for the ESP32's `network`: a Wi-Fi station as its driver behaves; the radio and the network are the harness.

As on the chip a disconnection has a reason, which `status` goes on giving while the next try runs, and the driver
tries again by itself unless it is told how often (`reconnects`). Sockets are the host's: modules/socket.py.
"""

import sys

import _board_link

link = _board_link.link

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204

_EINVAL = 22
_HOSTNAME_MAX = 32
_ASSOC_LEAVE = 8
_EARLY_REASONS = (201, 202, 210, 211, 212)  # that `status` gives whatever else is the case
_QUERIES = ("hostname", "pm", "reconnects")

_hostname = "mpy-esp32"


def hostname(*name):
    """Get or set the name that DHCP and mDNS tell; mDNS takes the one that holds at the first address."""
    global _hostname
    if not name:
        return _hostname
    if len(name[0]) > _HOSTNAME_MAX:
        raise ValueError
    _hostname = name[0]
    return None


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    _instances = {}

    def __new__(cls, interface=STA_IF):
        if interface not in (STA_IF, AP_IF):
            raise ValueError("invalid WLAN interface identifier")
        if interface not in cls._instances:
            wlan = super().__new__(cls)
            wlan._interface = interface
            wlan._active = False
            wlan._connected = False
            wlan._connecting = False
            wlan._wanted = False
            wlan._reason = 0
            wlan._retries = 0
            wlan._settings = {"pm": cls.PM_PERFORMANCE, "reconnects": -1}
            wlan._credentials = ("", "")
            cls._instances[interface] = wlan
        return cls._instances[interface]

    def __init__(self, interface=STA_IF):
        pass

    def active(self, *value):
        if value:
            wanted = bool(value[0])
            if wanted != self._active:
                other = self._instances.get(AP_IF - self._interface)
                both = (wanted, bool(other and other._active))
                station, access_point = both if self._interface == STA_IF else (both[1], both[0])
                link.request("wifi_active", {"station": station, "access_point": access_point})
                self._active = wanted
                if self._interface == STA_IF:
                    self._end()
            _board_link.is_wifi_active = any([wlan._active for wlan in self._instances.values()])
        return self._active

    def connect(self, ssid=None, key=None, *, bssid=None):
        if self._interface != STA_IF or not self._active:
            raise OSError("Wifi Internal State Error")
        if ssid is not None:
            if not 0 < len(ssid) <= 32:
                raise ValueError("invalid ssid")
            if key is not None and len(key) > 64:
                raise ValueError("invalid key")
            self._credentials = (ssid, key or "")
        if self._connecting:
            raise OSError("Wifi Internal Error")  # "sta is connecting, return error"
        self._retries = 0
        self._wanted = True
        self._try()

    def _try(self):
        ssid, key = [each.encode() if isinstance(each, str) else bytes(each) for each in self._credentials]
        link.request("wifi_connect", {"ssid": ssid.hex(), "key": key.hex(), "name": _hostname})
        self._connecting = True
        self._set_connected(False)

    def disconnect(self):
        if not self._active:
            raise OSError("Wifi Not Started")
        link.request("wifi_disconnect")
        self._end()
        self._reason = _ASSOC_LEAVE

    def _end(self):
        self._wanted = self._connecting = False
        self._set_connected(False)

    def _set_connected(self, is_connected):
        self._connected = is_connected
        _board_link.is_online = is_connected

    def _heard(self, message):
        """The driver's events; they come at any time, from a task of its own."""
        if not self._active:
            return
        self._reason = message["reason"]
        self._connecting = False
        self._set_connected(not self._reason)

    def _again(self, message):
        """What the event handler does next. Here it waits until the firmware waits: it talks to the radio."""
        if not self._reason or not self._wanted or not self._active or self._connecting:
            return
        self._retries += 1
        if self._retries <= self._settings["reconnects"] or self._settings["reconnects"] == -1:
            self._try()

    def isconnected(self):
        if link.has_message():
            link.receive_all()
        return self._connected

    def status(self, *param):
        if param:
            if param[0] == "rssi" and self._interface == STA_IF:
                if not self._connected:
                    raise OSError("Wifi Not Connected")
                return -50
            raise ValueError("unknown status param")
        if self._interface == AP_IF:
            return None
        if self.isconnected():
            return STAT_GOT_IP
        if self._reason in _EARLY_REASONS:
            return self._reason
        if self._reason == _ASSOC_LEAVE:
            return STAT_IDLE
        most = self._settings["reconnects"]
        if self._wanted and (most == -1 or self._retries < most + 1):
            return STAT_CONNECTING
        return self._reason or STAT_IDLE

    def ifconfig(self, *config):
        if config:
            raise OSError(_EINVAL)  # the host's addresses are not ours to change
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1") if self._connected else ("0.0.0.0",) * 4

    def config(self, *args, **kwargs):
        if kwargs:
            if args:
                raise TypeError("either pos or kw args are allowed")
            for name in kwargs:
                if name not in _QUERIES:
                    raise ValueError("unknown config param")
            if self._interface != STA_IF:
                raise OSError("STA required")
            if not self._active:
                raise OSError("Wifi Invalid Mode")
            if kwargs.get("pm") == self.PM_NONE and _is_ble_active():
                # "Should enable WiFi modem sleep when both WiFi and Bluetooth are enabled": ESP-IDF aborts
                sys.modules["machine"].reset()
            if "hostname" in kwargs:
                hostname(kwargs.pop("hostname"))
            self._settings.update(kwargs)
            return None
        if args[0] == "mac":
            return bytes.fromhex(_board_link.setup["id"])
        if args[0] == "hostname":
            return _hostname
        if args[0] not in self._settings:
            raise ValueError("unknown config param")
        return self._settings[args[0]]


def _is_ble_active():
    bluetooth = sys.modules.get("bluetooth")
    return bluetooth is not None and bluetooth.BLE().active()


link.on("early:wifi", lambda message: WLAN(STA_IF)._heard(message))
link.on("wifi", lambda message: WLAN(STA_IF)._again(message))
