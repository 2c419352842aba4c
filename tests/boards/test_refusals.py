"""The stand-ins refuse what the chip refuses, and take what it takes."""

import asyncio

import pytest

from support.board import run

SETUP = """
import bluetooth, board, esp32, machine, network, time
from machine import ADC, PWM, RTC, Pin, Timer, WDT
ble = bluetooth.BLE()
ble.active(True)
part = esp32.Partition("journal")
nvs = esp32.NVS("test")
uuid = bluetooth.UUID(0x180A)

def services(*rows):
    return ble.gatts_register_services(((uuid, rows),))

def rmt(**options):
    channel = esp32.RMT(**dict({"pin": Pin(4)}, **options))
    channel.deinit()
    return channel

def pulses(*args):
    channel = esp32.RMT(pin=Pin(4), resolution_hz=312_500)
    try:
        channel.write_pulses(*args)
        channel.active(0)
    finally:
        channel.deinit()

def advertise(*args, **options):
    ble.gap_advertise(*args, **options)
    ble.gap_advertise(None)
"""

# (what the firmware does, what it gets: "" accepted, or "exception" or "exception:first argument")
CASES = [
    ("Pin(26, Pin.OUT, value=0)", ""),
    ("Pin(34, Pin.IN)", ""),
    ("Pin(34, Pin.OUT)", "ValueError:pin can only be input"),
    ("Pin(39).init(Pin.OPEN_DRAIN)", "ValueError:pin can only be input"),
    ("Pin(36, Pin.IN, Pin.PULL_UP)", "ValueError:pin has no pull resistor"),
    ("Pin(20)", "ValueError:invalid pin"),
    ("Pin(40)", "ValueError:invalid pin"),
    ("Pin(-1)", "ValueError:invalid pin"),
    ("Pin(True)", "ValueError:invalid pin"),
    ("Pin('GPIO4')", "ValueError:invalid pin"),
    ("Pin(6, Pin.OUT)", "ValueError:invalid pin: wired to the flash"),
    ("Pin(4, 2)", "ValueError:invalid pin mode"),
    ("Pin(4, Pin.IN, 9)", "ValueError:invalid pull"),
    ("Pin(4, Pin.OUT, hold=True)", "NotImplementedError"),
    ("Pin(4).value(1, 2)", "TypeError"),
    ("Pin(4).irq(3)", "TypeError"),
    ("Pin(4).irq(lambda pin: None, 8)", "ValueError:invalid trigger"),
    ("Pin(4) is Pin(4)", ""),
    ("PWM(Pin(34))", "OSError:-258"),
    ("PWM(Pin(27), freq=0)", "ValueError"),
    ("PWM(Pin(27), freq=1000, duty_u16=65536)", "ValueError"),
    ("PWM(Pin(27), duty=1, duty_u16=1)", "ValueError"),
    ("PWM(Pin(27), freq=2700, duty_u16=32768)", ""),
    ("ADC(Pin(33)).read_u16()", ""),
    ("ADC(Pin(5))", "ValueError:invalid pin"),
    ("ADC(Pin(33)).width(13)", "ValueError:invalid bits"),
    ("network.WLAN().active(True) and ADC(Pin(4)).read_uv()", "OSError:116"),
    ("network.WLAN().active(False) or ADC(Pin(4)).read_uv()", ""),
    ("network.WLAN(7)", "ValueError"),
    ("network.WLAN().connect('net', 'key')", "OSError"),
    ("Timer(4)", "ValueError"),
    ("Timer(0, period=0)", "ValueError"),
    ("Timer(0, mode=7, period=10)", "ValueError"),
    ("Timer(0, period=10, hard=True)", "ValueError"),
    ("Timer(1) is Timer(1)", ""),
    ("WDT(timeout=0)", "ValueError:WDT timeout too short"),
    ("WDT(1)", "ValueError"),
    ("RTC().memory(bytes(2049))", "ValueError:buffer too long"),
    ("RTC().memory(bytes(2048))", ""),
    ("RTC().datetime((2026, 1, 1))", "ValueError"),
    ("machine.freq(123)", "ValueError"),
    ("machine.freq(240_000_000)", ""),
    ("time.ticks_add(0, 1 << 29)", "OverflowError"),
    ("rmt(resolution_hz=312_500)", ""),
    ("rmt(resolution_hz=80_000_000)", ""),
    ("rmt(resolution_hz=300_000)", "OSError:-258"),
    ("rmt(resolution_hz=0)", "ValueError:resolution_hz must be positive"),
    ("rmt(resolution_hz=1_000_000, clock_div=80)", "ValueError"),
    ("rmt(clock_div=256)", "ValueError"),
    ("rmt(num_symbols=63)", "ValueError"),
    ("rmt(num_symbols=1024)", "OSError:-261"),
    ("rmt(pin=Pin(35))", "OSError:-258"),
    ("rmt(tx_carrier=(0, 50, 1))", "ValueError"),
    ("rmt(tx_carrier=(20_000, 101, 1))", "ValueError"),
    ("rmt(tx_carrier=(20_000, 100, 1))", "OSError:-258"),
    ("rmt(tx_carrier=(500, 50, 1))", "OSError:-258"),
    ("rmt(tx_carrier=(20_000, 40, 1))", ""),
    ("esp32.RMT(0, clock_div=8)", "TypeError"),
    ("rmt().write_pulses((1,))", "OSError:already deinitialized"),
    ("[esp32.RMT(pin=Pin(4)) for _ in range(9)]", "OSError:-261"),
    ("pulses((32767, 1))", "OSError:-261"),  # the eight above were never given up
    ("part.readblocks(128, bytearray(1))", "OSError:-260"),
    ("part.readblocks(129, bytearray(1))", "OSError:-258"),
    ("part.writeblocks(127, bytes(4097), 0)", "OSError:-260"),
    ("part.writeblocks(0, bytes(100))", "OSError:-260"),
    ("esp32.Partition('nowhere')", "OSError:2"),
    ("esp32.Partition('journal', 512).ioctl(6, 0) == -22 or 1 / 0", ""),
    ("nvs.set_i32('a' * 16, 1)", "OSError:-4361"),
    ("nvs.set_i32('a' * 15, 1)", ""),
    ("nvs.set_i32('', 1)", "OSError:-4358"),
    ("nvs.set_i32(b'key', 1)", "TypeError"),
    ("nvs.set_i32('key', 1 << 31)", "OverflowError"),
    ("nvs.get_i32('none')", "OSError:-4354"),
    ("nvs.get_blob('none', bytearray(9))", "OSError:-4354"),
    ("nvs.set_blob('b', b'12345')", ""),
    ("nvs.get_blob('b', bytearray(4))", "OSError:-4364"),
    ("nvs.get_i32('b')", "OSError:-4354"),
    ("nvs.set_blob('big', bytes(20_000))", "OSError:-4366"),
    ("nvs.erase_key('none')", "OSError:-4354"),
    ("esp32.NVS('n' * 16)", "OSError:-4358"),
    ("bluetooth.UUID('180A')", "ValueError"),
    ("bluetooth.UUID(0x10000)", "ValueError"),
    ("ble.config(mtu=22)", "OSError:22"),
    ("ble.config(mtu=528)", "OSError:22"),
    ("ble.config('nothing')", "ValueError"),
    ("ble.config('mtu', mtu=100)", "TypeError"),
    ("ble.config(bond=True)", "OSError:22"),
    ("ble.irq(5)", "ValueError:invalid handler"),
    ("advertise(20_000, bytes(31), resp_data=bytes(31))", ""),
    ("advertise(20_000, bytes(32))", "OSError:22"),
    ("advertise(20_000, b'', resp_data=bytes(32))", "OSError:22"),
    ("advertise(19_999, b'')", "OSError:22"),
    ("advertise(10_250_000, b'')", "OSError:22"),
    ("advertise('fast')", "TypeError"),
    ("services((uuid,))", "ValueError:invalid characteristic tuple"),
    ("services((0x180A, 2))", "ValueError:invalid characteristic UUID"),
    ("services((uuid, 2))", ""),
    ("ble.gatts_notify(0, 9, b'')", "OSError:128"),
    ("ble.gatts_notify(None, 9, b'')", "TypeError"),
    ("ble.gatts_write(999, b'')", "OSError:22"),
    ("ble.gattc_exchange_mtu(3)", "OSError:128"),
    ("ble.gap_disconnect(3) and 1 / 0", ""),
    ("ble.gap_advertise(20_000) or services((uuid, 2))", "OSError:16"),
    ("ble.active(False) or ble.gap_advertise(20_000)", "OSError:19"),
    ("ble.gatts_register_services(())", "OSError:19"),
    ("ble.config('mac')", "OSError:19"),
]

MAIN = (
    SETUP
    + f"""
for case in {[case for case, _ in CASES]!r}:
    try:
        eval(case)
        raised = ""
    except Exception as error:
        raised = type(error).__name__ + ":" + str(error.args[0] if error.args else "")
    board.trace({{"case": case, "raised": raised}})
"""
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Every case, run in order on one board: what it raised."""
    events = asyncio.run(run(tmp_path_factory.mktemp("board"), MAIN))
    return {event["case"]: event["raised"] for event in events}


@pytest.mark.parametrize(("case", "expected"), CASES, ids=[case for case, _ in CASES])
def test_as_the_chip(outcomes, case, expected):
    raised = outcomes[case]
    if ":" in expected or not expected:
        assert raised == expected
    else:
        assert raised.partition(":")[0] == expected


async def test_firmware_cannot_write_its_own_code(tmp_path):
    """The code is in the image: read-only, wherever it is imported from."""
    source = """
import board, os
actions = (
    lambda: open("/rom/main.py", "w"),
    lambda: open("/rom/main.py", "r+"),
    lambda: open("/rom/new", "a"),
    lambda: os.remove("/rom/main.py"),
    lambda: os.mkdir("/rom/x"),
    lambda: os.rename("/rom/main.py", "/rom/x"),
)
for action in actions:
    try:
        action()
        board.trace({"errno": 0})
    except OSError as error:
        board.trace({"errno": error.errno})
board.trace({"code": open("/rom/main.py").read()[:1]})
"""
    assert await run(tmp_path, source) == [{"errno": 30}] * 6 + [{"code": "\n"}]
