"""Stand-in for the ESP32's `network`: a Wi-Fi station without a net of its own; sockets are the host's."""

import _board_link

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202

_EINVAL = 22


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
            wlan._settings = {"hostname": "mpy-esp32"}
            cls._instances[interface] = wlan
        return cls._instances[interface]

    def __init__(self, interface=STA_IF):
        pass

    def active(self, *value):
        if value:
            self._active = bool(value[0])
            if not self._active:
                self._connected = False
            _board_link.is_wifi_active = any([wlan._active for wlan in self._instances.values()])
        return self._active

    def connect(self, ssid=None, key=None, *, bssid=None):
        if self._interface != STA_IF or not self._active:
            raise OSError("Wifi Internal State Error")
        if ssid is not None and not 0 < len(ssid) <= 32:
            raise ValueError("invalid ssid")
        if key is not None and len(key) > 64:
            raise ValueError("invalid key")
        self._connected = True

    def disconnect(self):
        if not self._active:
            raise OSError("Wifi Internal State Error")
        self._connected = False

    def isconnected(self):
        return self._connected

    def status(self, *param):
        if not param:
            return STAT_GOT_IP if self._connected else STAT_IDLE
        if param[0] == "rssi" and self._connected:
            return -50
        raise ValueError("unknown status param")

    def ifconfig(self, *config):
        if config:
            raise OSError(_EINVAL)  # the host's addresses are not ours to change
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1") if self._connected else ("0.0.0.0",) * 4

    def config(self, *args, **kwargs):
        if kwargs:
            self._settings.update(kwargs)
            return None
        if args[0] == "mac":
            return bytes.fromhex(_board_link.setup["id"])
        if args[0] not in self._settings:
            raise ValueError("unknown config param")
        return self._settings[args[0]]
