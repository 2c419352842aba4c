"""Pins, pulses, timers, watchdog and clocks: they belong to the hardware, and go on when the firmware does not."""

import time

import pytest

from support.board import board, run
from vitrine_tools.emulator.hardware import HARD_RESET, PWRON_RESET, SOFT_RESET, WDT_RESET

PULSE = """
import esp32, time
from machine import Pin, WDT
import board
Pin(board.STRIKE, Pin.OUT, value=0)
channel = esp32.RMT(pin=Pin(board.STRIKE), resolution_hz=312_500)
"""
STAY = """
import asyncio
async def stay():
    await asyncio.sleep(3600)
asyncio.run(stay())
"""


def strike(lock):
    return [(ms, level) for ms, name, level in lock.pin_trace if name == "STRIKE"]


async def test_nothing_moves_at_boot(tmp_path):
    async with board(tmp_path, STAY) as lock:
        await lock.advance(1000)
        assert strike(lock) == []
        outputs = {"STRIKE": 0, "LED": 0, "BUZZER": 0, "CAMERA": 0, "RELAY": 0}
        sensors = {"DPS": 0, "REX": 1, "BOLT": 0, "MOTION": 0, "TAMPER": 0, "BATTERY": 0, "TRIGGER": 1}
        assert lock.pins == outputs | sensors


async def test_a_train_ends_by_itself(tmp_path):
    source = PULSE + "channel.write_pulses([31250, 31250, 15625], [1, 1, 1])\n" + STAY
    async with board(tmp_path, source) as lock:
        assert lock.strike_energised
        await lock.advance(249.999)
        assert lock.strike_energised
        await lock.advance(0.001)
        assert strike(lock) == [(0, 1), (250, 0)]


async def test_a_train_ends_in_the_middle_of_a_hang(tmp_path):
    source = PULSE + "channel.write_pulses([31250] * 3, [1] * 3)\nwhile True:\n    pass\n"
    lock = board(tmp_path, source, virtual=False)
    await lock.start()
    try:
        await lock.during(lock_is_off_again(lock), limit_ms=5000)
        on_ms = strike(lock)[1][0] - strike(lock)[0][0]
        assert 299 <= on_ms < 400
    finally:
        await lock.close()


async def test_a_train_is_over_when_its_pin_is_low_even_where_the_hardware_is_late(tmp_path):
    source = (
        PULSE
        + """
board.trace({"begun": 1})
channel.write_pulses([31250], [1])
while not channel.wait_done():
    pass
board.trace({"level": Pin(board.STRIKE).value()})
"""
        + STAY
    )
    async with board(tmp_path, source, virtual=False) as lock:
        await lock.wait_event(lambda event: "begun" in event)
        time.sleep(0.3)  # three trains long the hardware does nothing
        assert (await lock.wait_event(lambda event: "level" in event))["level"] == 0


async def lock_is_off_again(lock):
    import asyncio

    while len(strike(lock)) < 2:
        await asyncio.sleep(0.01)


async def test_a_watchdog_cuts_a_level_that_nothing_else_would(tmp_path):
    """A plain output left high by a hung firmware falls with the reset, and the reset's cause is known."""
    source = """
import board, machine
from machine import Pin, WDT
board.trace({"cause": machine.reset_cause()})
if machine.reset_cause() == machine.PWRON_RESET:
    WDT(timeout=3000)
    Pin(board.STRIKE, Pin.OUT, value=1)
"""
    async with board(tmp_path, source + STAY) as lock:
        await lock.hang()
        await lock.advance(2999)
        assert lock.strike_energised
        assert lock.is_hung
        await lock.advance(1)
        assert strike(lock) == [(0, 1), (3000, 0)]
        assert lock.resets == [WDT_RESET]
        assert [event["cause"] for event in lock.events] == [PWRON_RESET, WDT_RESET]


async def test_a_busy_loop_is_a_hang(tmp_path, monkeypatch):
    """Not only a hang that the test asks for: any loop without an end is left to the watchdog."""
    monkeypatch.setattr("vitrine_tools.emulator.firmware.HUNG_CPU_S", 0.3)
    source = """
import machine, board
if machine.reset_cause() == machine.PWRON_RESET:
    machine.WDT(timeout=1000)
    while True:
        pass
"""
    async with board(tmp_path, source + STAY) as lock:
        assert lock.is_hung
        await lock.advance(1000)
        assert lock.resets == [WDT_RESET]
        assert not lock.is_hung


async def test_feeding_keeps_the_watchdog_away(tmp_path):
    source = """
import asyncio, machine, board
async def main():
    watchdog = machine.WDT(timeout=1000)
    for _ in range(20):
        watchdog.feed()
        await asyncio.sleep_ms(999)
    board.trace({"stops": 1})
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:
        await lock.advance(19_980)
        assert lock.events[0]["t_ms"] == 19_980
        assert lock.resets == []
        await lock.advance(1)
        assert lock.resets == [WDT_RESET]


async def test_gives_the_pin_back_when_it_is_set_up_again(tmp_path):
    """Pin.init routes the matrix back to the register; the train goes on unseen, and a new RMT takes the pin again."""
    source = (
        PULSE
        + """
channel.write_pulses([31250] * 10, [1] * 10)
time.sleep_ms(100)
Pin(board.STRIKE, Pin.OUT, value=0)
time.sleep_ms(100)
board.trace({"sending": channel.active(), "done": channel.wait_done()})
board.trace({"done": channel.wait_done(timeout=2000)})
second = esp32.RMT(pin=Pin(board.STRIKE), resolution_hz=312_500, tx_carrier=(20_000, 40, 1))
second.write_pulses([31250], True)
"""
        + STAY
    )
    async with board(tmp_path, source) as lock:
        await lock.advance(200)
        assert strike(lock) == [(0, 1), (100, 0)]
        await lock.advance(850)
        assert lock.strike_power == 0.4
        await lock.advance(1000)
        assert strike(lock) == [(0, 1), (100, 0), (1000, 1), (1100, 0)]
        assert next(event for event in lock.events if "sending" in event)["sending"] is True
        assert lock.events[1]["done"] is True


async def test_giving_up_a_channel_switches_the_output_off(tmp_path):
    """As ESP-IDF does, whoever drives the pin by then: the strike's driver must not be surprised by it."""
    source = PULSE + "Pin(board.STRIKE, Pin.OUT, value=1)\ntime.sleep_ms(10)\nchannel.deinit()\n" + STAY
    async with board(tmp_path, source) as lock:
        await lock.advance(20)
        assert strike(lock) == [(0, 1), (10, 0)]


async def test_soft_reset_keeps_the_pins_and_a_hard_one_drops_them(tmp_path):
    source = (
        PULSE
        + """
import machine
board.trace({"cause": machine.reset_cause()})
if machine.reset_cause() == machine.PWRON_RESET:
    channel.write_pulses([31250] * 10, [1] * 10)
    time.sleep_ms(100)
    machine.soft_reset()
elif machine.reset_cause() == machine.SOFT_RESET:
    Pin(board.LED, Pin.OUT, value=1)
    time.sleep_ms(100)
    machine.reset()
"""
        + STAY
    )
    boot = "import machine"
    async with board(tmp_path, source.replace("Pin(board.STRIKE, Pin.OUT, value=0)\n", ""), boot=boot) as lock:
        await lock.advance(500)
        assert lock.resets == [SOFT_RESET, HARD_RESET]
        assert [event["cause"] for event in lock.events] == [PWRON_RESET, SOFT_RESET, HARD_RESET]
        assert [(ms, level) for ms, name, level in lock.pin_trace if name == "LED"] == [(100, 1), (200, 0)]


async def test_timers_run_to_the_microsecond(tmp_path):
    source = """
import asyncio, board, time
from machine import Timer
def tick(timer):
    board.trace({"us": time.ticks_us()})
once = Timer(-1)
once.init(mode=Timer.ONE_SHOT, period=7, callback=tick)
steady = Timer(0, mode=Timer.PERIODIC, freq=250, callback=tick)
time.sleep_ms(14)
steady.deinit()
time.sleep_ms(100)
"""
    async with board(tmp_path, source) as lock:
        await lock.advance(1000)
        assert [event["us"] for event in lock.events] == [4000, 7000, 8000, 12000]


async def test_inputs_and_interrupts(tmp_path):
    source = """
import board, time
from machine import Pin
dps = Pin(board.DPS, Pin.IN, Pin.PULL_UP)
rex = Pin(board.REX, Pin.IN, Pin.PULL_UP)
dps.irq(lambda pin: board.trace({"dps": pin.value(), "us": time.ticks_us()}))
rex.irq(lambda pin: board.trace({"rex": pin.value()}), Pin.IRQ_FALLING)
"""
    async with board(tmp_path, source + STAY) as lock:
        lock.set_door(False)
        await lock.advance(1)
        lock.press_rex()
        await lock.advance(1)
        lock.press_rex(False)
        lock.dps_bounce(True, bounces=2, gap_us=500)
        await lock.advance(10)
        edges = [(event["dps"], event["us"]) for event in lock.events if "dps" in event]
        assert edges == [(1, 0), (0, 2500), (1, 3000), (0, 3500), (1, 4000), (0, 4500)]
        assert [event["rex"] for event in lock.events if "rex" in event] == [0]
        lock.dps_cut()
        await lock.advance(1)
        assert lock.events[-1]["dps"] == 1


async def test_converter_and_tone(tmp_path):
    source = """
import board, time
from machine import ADC, PWM, Pin
adc = ADC(Pin(35), atten=ADC.ATTN_11DB)
board.trace({"uv": adc.read_uv()})
tone = PWM(Pin(board.BUZZER), freq=2700, duty_u16=32768)
time.sleep_ms(5)
tone.deinit()
"""
    lock = board(tmp_path, source)
    lock.set_analog(35, 1234)
    async with lock:
        await lock.advance(10)
        assert lock.events[0]["uv"] == 1_234_000
        assert [(ms, level) for ms, name, level in lock.pin_trace if name == "BUZZER"] == [(0, 1), (5, 0)]
        assert ("BUZZER", 0.5) in [(name, round(power, 3)) for _, name, power in lock.power_trace]


async def test_the_door_switch_by_its_voltage(tmp_path):
    """Each state of the line in the band of its own, with the firmware's defaults; a contact knows only two."""
    source = """
import board, time
from machine import ADC, Pin
adc = ADC(Pin(board.DPS), atten=ADC.ATTN_11DB)
while True:
    board.trace({"mv": adc.read_uv() // 1000})
    time.sleep_ms(10)
"""
    for line, wanted in (("eol", [1, 2, 1, 3, 1, 0, 2]), ("contact", [0, 3, 0, 3, 0, 0, 3])):
        bands = []
        async with board(tmp_path, source, dps_line=line) as lock:
            for change in (
                lambda lock: None,
                lambda lock: lock.set_door(False),
                lambda lock: lock.set_door(True),
                lambda lock: lock.dps_cut(),
                lambda lock: lock.dps_cut(False),
                lambda lock: lock.dps_short(),
                lambda lock: (lock.dps_short(False), lock.set_door(False)),
            ):
                change(lock)
                await lock.advance(20)
                bands.append(sum(lock.events[-1]["mv"] >= edge for edge in (300, 1500, 2700)))
        assert bands == wanted, line
    with pytest.raises(ValueError, match="no such door switch"):
        board(tmp_path, source, dps_line="radio")


async def test_bolt_motion_housing_and_supply(tmp_path):
    source = """
import asyncio, board
from machine import ADC, Pin
bolt, tamper = Pin(board.BOLT, Pin.IN, Pin.PULL_UP), Pin(board.TAMPER, Pin.IN, Pin.PULL_UP)
motion, strike = Pin(board.MOTION, Pin.IN, Pin.PULL_DOWN), Pin(board.STRIKE, Pin.OUT, value=0)
adc = ADC(Pin(board.BATTERY), atten=ADC.ATTN_11DB)
bolt.irq(lambda pin: board.trace({"bolt": pin.value()}))
async def main():
    for i in range(1000):
        board.trace({"seen": (bolt.value(), motion.value(), tamper.value(), adc.read_uv() // 1000)})
        await asyncio.sleep_ms(20)
        if i == 5:
            strike.value(1)
        if i == 10:
            strike.value(0)
            await asyncio.sleep_ms(5)
            strike.value(1)
        if i == 15:
            strike.value(0)
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:

        def seen():
            return [event["seen"] for event in lock.events if "seen" in event][-1]

        await lock.advance(50)
        assert seen() == (0, 0, 0, 2500) and not lock.bolt_drawn
        lock.set_motion()
        lock.open_housing()
        lock.set_battery_mv(3000)
        await lock.advance(20)
        assert seen() == (0, 1, 1, 1500)
        await lock.advance(400)
        bolt = [(event["t_ms"], event["bolt"]) for event in lock.events if "bolt" in event]
        # drawn at once, not dropped by a gap of 5 ms, home 15 ms after the end
        assert [level for _, level in bolt] == [1, 0] and not lock.bolt_drawn
        off_ms = [ms for ms, name, level in lock.pin_trace if name == "STRIKE" and not level][-1]
        assert bolt[1][0] == pytest.approx(off_ms + 15)
        lock.pick_bolt()
        await lock.advance(20)
        assert lock.bolt_drawn and seen()[0] == 1 and lock.pull_door()
        lock.pick_bolt(False)
        assert not lock.bolt_drawn


async def test_rtc_and_its_memory(tmp_path):
    """They survive a reset; a power cut only with a battery."""
    source = """
import board, machine, time
rtc = machine.RTC()
board.trace({"memory": rtc.memory(), "year": rtc.datetime()[0], "time": time.time()})
rtc.memory(b"mark")
rtc.datetime((2031, 5, 6, 1, 7, 8, 9, 0))
"""
    for has_battery in (False, True):
        folder = tmp_path / str(has_battery)
        folder.mkdir()
        async with board(folder, source + STAY, battery=has_battery) as lock:
            await lock.advance(60_000)
            assert int(lock.rtc_s) == 1_935_817_689 + 60
            await lock.reset()
            await lock.power_cut()
            await lock.advance(1000)
            await lock.start()
            first, second, third = lock.events
            assert (first["memory"], first["year"], first["time"]) == (b"", 2000, 0)
            assert (second["memory"], second["time"]) == (b"mark", 1_935_817_689 - 946_684_800 + 60)
            expected = (b"mark", second["time"] - 59) if has_battery else (b"", 0)
            assert (third["memory"], third["time"]) == expected


async def test_the_chip_knows_itself(tmp_path):
    source = "import board, machine\nboard.trace({'id': machine.unique_id(), 'hz': machine.freq()})"
    first, second = await run(tmp_path, source), await run(tmp_path, source)
    assert first == second
    assert len(first[0]["id"]) == 6
    assert first[0]["hz"] == 160_000_000
