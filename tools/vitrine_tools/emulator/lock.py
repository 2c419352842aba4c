"""An emulated lock: a board in a door, and what people and bad luck do to it."""

import asyncio
from typing import Any

from vitrine_tools.emulator.board import EmulatedBoard
from vitrine_tools.emulator.radio import VirtualRadio
from vitrine_tools.provisioning import trusted_time_mark

_HANG_LIMIT_S = 10


class EmulatedLock(EmulatedBoard):
    """One lock. `async with EmulatedLock(radio, flash=path, provision=blob, virtual=True) as lock:`

    flash: its file, made if it does not exist. provision: the record to store before the first start.
    journal: (lock id, root key, epoch) of the sealed journal to make before the first start; None: there is none.
    firmware: folder with boot.py, main.py and vitrine (sources or .mpy), or a ROMFS image of it.
    deps: folder with third-party packages (default: VITRINE_DEPS, or build/deps).
    rtc_s: Unix time of the RTC at the start (None: as after a power cut, 2000-01-01). is_time_trusted: a technician has
    set it, and left the mark that the firmware looks for. battery: RTC and mark survive a power cut.
    uptime_ms: what the tick counters start from at each boot; close to 2**30 to test their wrap-around.
    """

    def __init__(self, radio: VirtualRadio, *, is_time_trusted: bool = False, **options: Any) -> None:
        super().__init__(radio, **options)
        self._is_bolt_stuck = False
        self._door_closed = True
        self.set_door(True)
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
        self._pins.drive("DPS", 0 if closed else 1)

    def pull_door(self) -> bool:
        """A person pulls the door; it opens only if the bolt is drawn. Returns whether it is open."""
        if self._door_closed and self.strike_energised and not self._is_bolt_stuck:
            self.set_door(False)
        return not self._door_closed

    def press_rex(self, pressed: bool = True) -> None:
        """Press the exit button, or let it go."""
        self._pins.drive("REX", 0 if pressed else 1)

    def trust_time(self) -> None:
        """Mark the clock as trusted, as provisioning over the wire does (firmware/SPEC.md section 5.1)."""
        self._hardware.set_memory(trusted_time_mark(int(self.rtc_s)))

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

    def dps_cut(self) -> None:
        """The door switch's wire is cut: it reads as open."""
        self._pins.drive("DPS", None)

    def strike_stuck(self, is_stuck: bool = True) -> None:
        """The bolt does not move although the strike is energised."""
        self._is_bolt_stuck = is_stuck

    def ble_drop(self) -> None:
        """Every BLE connection is lost; both ends see the supervision time-out."""
        self._lock_radio.drop_all()

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
