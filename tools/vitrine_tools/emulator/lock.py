"""An emulated lock: a board in a door, and what people and bad luck do to it."""

import asyncio
from typing import Any

from vitrine_tools.emulator.board import EmulatedBoard
from vitrine_tools.emulator.radio import VirtualRadio
from vitrine_tools.provisioning import trusted_time_mark

_HANG_LIMIT_S = 10

_BOLT_HOME_MS = 15  # how long the bolt's spring takes; a shorter gap in the strike's current does not drop it
_SUPPLY_MV = 5_000
_SUPPLY_DIVIDER = 2
# The door switch's line with end-of-line resistors: 4.7 kOhm up to 3.3 V, 2.2 kOhm in series with the switch, 10 kOhm
# across it.
_EOL_CLOSED_MV, _EOL_OPEN_MV, _RAIL_MV = 1_052, 2_383, 3_300


class EmulatedLock(EmulatedBoard):
    """One lock. `async with EmulatedLock(radio, flash=path, provision=blob, virtual=True) as lock:`

    flash: its file, made if it does not exist. provision: the record to store before the first start.
    journal: (lock id, root key, epoch) of the sealed journal to make before the first start; None: there is none.
    firmware: folder with boot.py, main.py and vitrine (sources or .mpy), or a ROMFS image of it.
    deps: folder with third-party packages (default: VITRINE_DEPS, or build/deps).
    rtc_s: Unix time of the RTC at the start (None: as after a power cut, 2000-01-01). is_time_trusted: a technician has
    set it, and left the mark that the firmware looks for. battery: RTC and mark survive a power cut.
    uptime_ms: what the tick counters start from at each boot; close to 2**30 to test their wrap-around.
    console: where to link the wire's terminal to, for mpremote; None: nobody is at the wire.
    dps_line: how the door switch is wired: "contact", or "eol" with end-of-line resistors (the lock's dps_mode 1).
    """

    def __init__(
        self, radio: VirtualRadio, *, is_time_trusted: bool = False, dps_line: str = "contact", **options: Any
    ) -> None:
        super().__init__(radio, **options)
        if dps_line not in ("contact", "eol"):
            raise ValueError(f"no such door switch: {dps_line}")
        self._has_eol = dps_line == "eol"
        self._is_line_cut = self._is_line_shorted = False
        self._is_bolt_stuck = False
        self._is_bolt_drawn = False
        self._is_bolt_picked = False
        self._door_closed = True
        self.set_door(True)
        self.set_motion(False)
        self.open_housing(False)
        self._move_bolt(False)
        self.set_battery_mv(_SUPPLY_MV)
        if is_time_trusted:
            self.trust_time()

    # the door and people

    @property
    def strike_energised(self) -> bool:
        return self._pins.level("STRIKE") == 1

    @property
    def strike_power(self) -> float:
        """Share of the full current in the coil."""
        return self._pins.power("STRIKE")

    @property
    def door_closed(self) -> bool:
        return self._door_closed

    def set_door(self, closed: bool) -> None:
        """Move the door, by force if need be: the reed switch follows."""
        self._door_closed = closed
        self._drive_line()

    def pull_door(self) -> bool:
        """A person pulls the door; it opens only if the bolt is drawn. Returns whether it is open."""
        if self._door_closed and (self._is_bolt_picked or (self.strike_energised and not self._is_bolt_stuck)):
            self.set_door(False)
        return not self._door_closed

    def press_rex(self, pressed: bool = True) -> None:
        """Press the exit button, or let it go."""
        self._pins.drive("REX", 0 if pressed else 1)

    @property
    def bolt_drawn(self) -> bool:
        return self._is_bolt_drawn

    def pick_bolt(self, drawn: bool = True) -> None:
        """Somebody draws the bolt without the strike, or lets it spring back."""
        self._is_bolt_picked = drawn
        self._move_bolt(drawn or (self.strike_energised and not self._is_bolt_stuck))

    def set_motion(self, is_moving: bool = True) -> None:
        """Somebody is in front of the lock, as the motion sensor sees it."""
        self._pins.drive("MOTION", 1 if is_moving else 0)

    def trigger(self, is_closed: bool = True) -> None:
        """Something happens at the trigger contact, or is over."""
        self._pins.drive("TRIGGER", 0 if is_closed else None)

    def open_housing(self, is_open: bool = True) -> None:
        """Take the cover off, or put it on again."""
        self._pins.drive("TAMPER", None if is_open else 0)

    def set_battery_mv(self, mv: int) -> None:
        """The supply's voltage, before the divider."""
        self.set_analog(self._pins.numbers["BATTERY"], mv // _SUPPLY_DIVIDER)

    def trust_time(self, ago_s: int = 0) -> None:
        """Mark the clock as trusted, as provisioning over the wire does (firmware/SPEC.md section 5.1), so long ago."""
        self._hardware.set_memory(trusted_time_mark(int(self.rtc_s) - ago_s))

    # faults

    async def hang(self) -> None:
        """The firmware runs in circles: no task, no callback, nothing; only the hardware goes on."""
        self.firmware.send({"e": "hang"})
        while not self.is_hung:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), _HANG_LIMIT_S)

    def clock_jump(self, seconds: float) -> None:
        """The RTC jumps; the tick counters do not."""
        self.rtc_s += seconds

    def dps_bounce(self, closed: bool, bounces: int = 6, gap_us: int = 700) -> None:
        """The reed switch chatters on its way to its new state."""
        for index in range(bounces * 2):
            level = index % 2 == 0
            self.clock.after(gap_us * (index + 1), lambda level=level: self.set_door(closed == level))
        self.clock.after(gap_us * (bounces * 2 + 1), lambda: self.set_door(closed))

    def dps_cut(self, is_cut: bool = True) -> None:
        """The door switch's line is cut: a contact reads as open, a line with resistors as what it is."""
        self._is_line_cut = is_cut
        self._drive_line()

    def dps_short(self, is_shorted: bool = True) -> None:
        """The door switch's line is shorted: a contact reads as closed, a line with resistors as what it is."""
        self._is_line_shorted = is_shorted
        self._drive_line()

    def strike_stuck(self, is_stuck: bool = True) -> None:
        """The bolt stays where it is, whatever the strike does."""
        self._is_bolt_stuck = is_stuck
        if not is_stuck:
            self._move_bolt(self._is_bolt_picked or self.strike_energised)

    def ble_drop(self) -> None:
        """Every BLE connection is lost; both ends see the supervision time-out."""
        self._lock_radio.drop_all()

    def ble_dead(self, is_dead: bool = True) -> None:
        """The BLE radio does not answer any more; phones see their connections end."""
        self._lock_radio.is_dead = is_dead

    def wifi_up(self, is_up: bool = True) -> None:
        """The access point goes, or comes back; `wifi` has other faults."""
        self.wifi.has_network = is_up

    def heap_squeeze(self, free: int) -> None:
        """Leave only so many bytes of heap that are worth having; 0 gives the memory back."""
        self.firmware.send({"e": "squeeze", "free": free})

    def flash_cut(self, after: int) -> None:
        """Cut the power in the middle of a flash operation: after so many units (bytes programmed, sectors erased)."""
        self._flash_cut_after = after
        self.firmware.send({"e": "flash_cut", "after": after})

    def set_analog(self, gpio: int, mv: int) -> None:
        """Put a voltage on an analog input."""
        self._hardware.analog_mv[gpio] = mv

    # behind the pins

    def _drive_line(self) -> None:
        if self._is_line_shorted:
            mv = 0
        elif self._is_line_cut:
            mv = _RAIL_MV
        elif self._has_eol:
            mv = _EOL_CLOSED_MV if self._door_closed else _EOL_OPEN_MV
        else:
            mv = 0 if self._door_closed else _RAIL_MV
        number = self._pins.numbers["DPS"]
        self.set_analog(number, mv)
        self._pins.drive("DPS", None if self._is_line_cut else int(mv > _RAIL_MV // 2))

    def _move_bolt(self, drawn: bool) -> None:
        self._is_bolt_drawn = drawn
        self._pins.drive("BOLT", 1 if drawn else 0)

    def _on_pin_change(self, name: str, level: int, power: float) -> None:
        super()._on_pin_change(name, level, power)
        if name != "STRIKE":
            return
        if level and not self._is_bolt_stuck:
            self._move_bolt(True)
        elif not level:
            self.clock.after(_BOLT_HOME_MS * 1000, self._drop_bolt)

    def _drop_bolt(self) -> None:
        if not (self.strike_energised or self._is_bolt_stuck or self._is_bolt_picked):
            self._move_bolt(False)
