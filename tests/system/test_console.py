"""The console over time and against mistakes: how long service and programs last, and what programs get of the chip.

In virtual time, byte by byte over the wire.
"""

import asyncio
import contextlib

import pytest

from support.console_lab import BANNER, COUNT, DETAIL, LINK_CONSOLE, SERVICE, Bytes, StillPhone
from support.store import ALARM, FAULT, LOCK_ID, LOCK_OPERATION, OPERATION, of_kind, strike_changes
from vitrine_tools.protocol import Action, Op, Status

RAW = b"\r\x03\r\x01"
RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
STRIKE_STUCK = 131


@contextlib.asynccontextmanager
async def wired(store, *, is_served: bool = True, **options):
    """A provisioned lock in virtual time, and a technician at its wire, served unless told otherwise."""
    port = store.folder / "wire"
    async with store.lock(console=port, **options) as lock:
        wire = Bytes(port)
        try:
            phone = StillPhone(lock, wire)
            if is_served:
                outcome = await phone.open(store.token(scopes=("service",)), store.holder, action=Action.SERVICE)
                assert outcome.is_granted, outcome
                await phone.say(RAW, RAW_BANNER)
            yield lock, phone
        finally:
            wire.close()


async def run(phone, program: str) -> tuple[str, str]:
    """Run a program in raw mode that needs no time; return its output and its error."""
    answer = await phone.say(program.encode() + b"\x04", b"\x04>")
    assert answer.startswith(b"OK"), answer
    out, error, _ = answer[2:].split(b"\x04")
    return out.decode(), error.decode()


def details(lock) -> list[str]:
    return [event[DETAIL] for event in of_kind(lock, SERVICE) if event[DETAIL] != "run"]


async def test_service_ends_after_300_s_without_a_byte(store):
    async with wired(store) as (lock, phone):
        await lock.advance(299_000)
        assert await run(phone, "print(1)") == ("1\r\n", "")
        await lock.advance(299_000)
        assert details(lock) == ["begin"]
        await lock.advance(2_000)
        assert details(lock) == ["begin", "idle"]
        assert await phone.say(b"print(2)\x04\r\n", BANNER) == BANNER


async def test_service_ends_after_900_s_however_busy(store):
    async with wired(store) as (lock, phone):
        for _ in range(8):
            await lock.advance(110_000)
            assert await run(phone, "print(1)") == ("1\r\n", "")
        await lock.advance(21_000)
        assert details(lock) == ["begin", "limit"] and of_kind(lock, SERVICE)[-1][COUNT] == 8
        assert await phone.say(b"\r\n", BANNER) == BANNER


async def test_nothing_opens_without_a_token_for_it(store):
    async with wired(store, is_served=False) as (lock, phone):
        outcome = await phone.open(store.token(scopes=("unlock",)), store.holder, action=Action.SERVICE)
        assert not outcome.is_granted
        assert await phone.say(RAW + b"print(1)\x04", BANNER) == BANNER
        # over another link it lets the doctor be asked, and opens no console
        assert (await store.open(lock, store.token(scopes=("service",)), action=Action.SERVICE)).is_granted
        await lock.advance(1_000)
        assert await phone.say(RAW + b"print(1)\x04\r\n", BANNER) == BANNER


async def test_a_lock_whose_record_is_damaged_gives_nothing_away_until_it_is_wiped(store):
    async with wired(store, is_served=False) as (lock, phone):
        await lock.power_cut()
        lock.flash.nvs_put("vitrine", "provision", b"damaged")
        lock.flash.nvs_put("vitrine", "network", b"the passphrase")
        await lock.start()
        closed = b"Vitrine (damaged): service is closed\r\n"
        assert await phone.say(RAW + b"print(1)\x04\r\n", closed) == closed
        await phone.say(b">wipe\r", b"")
        for _ in range(40):
            await asyncio.sleep(0.01)
            await lock.advance(1_000)
        assert lock.flash.nvs_get("vitrine", "network") is None
        await phone.say(RAW, RAW_BANNER)
        assert await run(phone, "print(lock.state()['trouble'] == '')") == ("True\r\n", "")


async def test_a_phone_at_the_wire_opens_as_over_the_air_and_is_ended_as_there(store):
    async with wired(store, is_served=False) as (lock, phone):
        assert (await phone.open(store.token(), store.holder)).is_granted and lock.strike_energised
        assert of_kind(lock, LOCK_OPERATION)[-1][18] == LINK_CONSOLE
        assert (await phone.status()).lock_id == LOCK_ID
        await lock.advance(5_300)
        status, _ = await phone.ask(Op.STATUS)
        assert status == Status.REFUSED, "another connection, which has proved nothing"


async def test_lock_over_the_wire_ends_service(store):
    async with wired(store) as (lock, phone):
        await phone.say(b"\x02\x03", b">>> \r\n>>> ")
        token = store.token(scopes=("service", "unlock"))
        assert (await phone.open(token, store.holder, action=Action.LOCK)).is_granted
        assert details(lock) == ["begin", "closed"]
        assert (await phone.say(b"print(2)\r\n", BANNER)).endswith(BANNER)


async def test_the_strike_moves_by_a_recorded_test_alone(store):
    async with wired(store) as (lock, phone):
        await phone.say(b"\x02\x03", b">>> \r\n>>> ")
        token = store.token(scopes=("service",))
        assert (await phone.open(token, store.holder, action=Action.TEST)).is_granted
        assert lock.strike_energised
        await lock.advance(450)
        assert lock.strike_energised
        await lock.advance(100)
        assert not lock.strike_energised
        (operation,) = [event for event in of_kind(lock, LOCK_OPERATION) if event[OPERATION] == 1]
        assert operation[DETAIL] == "test"


REFUSED = (
    "machine.Pin(26)",
    "machine.Pin(26, machine.Pin.OUT, value=1)",
    "machine.PWM(26)",
    "machine.PWM(machine.Pin(pin), freq=100)",
    "machine.ADC(26)",
    "machine.mem32[0x3ff44008]",
    "machine.WDT(timeout=100000)",
    "machine.Timer(0)",
    "machine.Pin.board",
    "machine.RTC().datetime((2030, 1, 1, 0, 0, 0, 0, 0))",
    "machine.RTC().memory(b'')",
    "machine.deepsleep()",
    "esp32.RMT(pin=26, resolution_hz=1000000)",
    "esp32.NVS('vitrine')",
    "esp32.Partition('nvs')",
    "esp32.Partition('access')",
    "esp32.Partition('journal')",
    "esp32.Partition('otadata')",
    "esp32.Partition('ota_1')",
    "esp32.Partition(esp32.Partition.RUNNING)",
    "esp32.Partition.find(esp32.Partition.TYPE_DATA)",
    "esp32.Partition.set_boot(None)",
    "esp32.Partition.mark_app_valid_cancel_rollback()",
)
ALLOWED = (
    "machine.Pin(25).value()",
    "machine.Pin(25, machine.Pin.OUT)",
    "machine.unique_id()",
    "machine.reset_cause()",
    "machine.RTC().datetime()",
    "esp32.NVS('technician')",
    "esp32.Partition('vfs').info()",
    "lock.state()",
)


async def test_programs_get_the_chip_without_what_the_lock_stands_on(store):
    async with wired(store) as (lock, phone):
        head = "import machine, esp32\npin = 26\n"
        for each in REFUSED:
            _, error = await run(phone, head + each)
            assert "OSError: [Errno 1] EPERM" in error or "AttributeError" in error, (each, error)
        for each in ALLOWED:
            assert await run(phone, head + "x = " + each) == ("", ""), each
        await lock.advance(60_000)
        assert strike_changes(lock) == [] and lock.restarts == 0 and not of_kind(lock, FAULT)
        assert (await store.open(lock)).is_granted, "the firmware has its own"


DRIVEN = """
import machine
pin = type(machine.Pin(25))(26)
pin.init(pin.OUT, value=1)
"""


@pytest.mark.parametrize("rest", ["", "import time\ntime.sleep(5)\n"])
async def test_a_strike_driven_past_the_firmware_is_off_within_200_ms(store, rest):
    """By what the guard does not see, and with the program that did it still running or not."""
    async with wired(store) as (lock, phone):
        await phone.say(DRIVEN.encode() + rest.encode() + b"\x04", b"OK")
        await lock.advance(6_000)
        (on_ms, _), (off_ms, _) = strike_changes(lock)
        assert 0 <= off_ms - on_ms <= 200
        alarms = [(event[COUNT], event[DETAIL]) for event in of_kind(lock, 0) if event[ALARM] == STRIKE_STUCK]
        assert alarms == [(1, "driven"), (0, "driven")]


async def test_a_program_may_take_a_minute_and_then_is_interrupted(store):
    async with wired(store) as (lock, phone):
        await phone.say(b"import time\ntime.sleep(55)\nprint('done')\x04", b"OK")
        await lock.advance(55_500)
        assert await phone.hear(b">") == b"done\r\n\x04\x04>"
        await phone.say(b"import time\nwhile True: time.sleep(1)\x04", b"OK")
        await lock.advance(61_000)
        answer = await phone.hear(b"\x04>")
        assert answer.startswith(b"\x04Traceback") and b"KeyboardInterrupt" in answer
        assert [event[DETAIL] for event in of_kind(lock, FAULT)] == ["console:KeyboardInterrupt"]
        await lock.advance(30_000)
        assert lock.restarts == 0 and await run(phone, "print(3)") == ("3\r\n", "")


async def test_a_program_that_does_not_end_by_it_is_ended_by_the_watchdog(store):
    async with wired(store) as (lock, phone):
        program = "import time\nwhile True:\n try:\n  while True: time.sleep(1)\n except KeyboardInterrupt: pass"
        await phone.say(program.encode() + b"\x04", b"OK")
        await lock.advance(60_500)
        assert lock.restarts == 0
        await lock.advance(12_000)
        assert lock.resets == [3], "by the watchdog"
        assert await phone.say(b"\r\n", BANNER) == BANNER
        assert (await store.open(lock)).is_granted


SECRETS = (
    "from vitrine.drivers.nvs import Blob; Blob('vitrine', 'network').load()",
    "from vitrine.drivers.nvs import Blob; Blob('vitrine', 'slots').save(b'')",
    "from vitrine.drivers.partition import data_partition; data_partition('access')",
    "from vitrine.field_parts import Chip; Chip('vitrine')",
    "from vitrine.drivers.strike import Strike; Strike(26)",
    "lock._blob('network')",
    "lock._chip",
    "lock.state.__self__",
    "import main",
    "import sys; sys.modules['main']",
    "import sys; sys.modules['vitrine.drivers.nvs']",
    "import umachine; umachine.Pin(26)",
    "import umachine; umachine.mem32",
    "import uctypes; uctypes.bytearray_at(4096, 16)",
)


async def test_what_lies_behind_lock_is_not_to_be_had_by_name(store):
    """Neither by an attribute nor by an import of the firmware's own modules: those are others, on the guards."""
    async with wired(store) as (lock, phone):
        for each in SECRETS:
            _, error = await run(phone, each)
            assert error.strip(), each
        assert not lock.strike_energised and not of_kind(lock, FAULT)
        assert (await store.open(lock)).is_granted


PATCH = """
import builtins, sys
sys.path.insert(0, "/left")
sys.modules["asyncio"] = sys.modules["os"] = sys.modules["time"] = None
for name in ("any", "all", "sorted"):  # not what the emulated chip itself needs
    setattr(builtins, name, None)
for name in list(sys.modules):
    if name.startswith("vitrine"):
        raise ValueError(name)
import vitrine.access.decision as decision
decision.is_grant = lambda decision: True
import vitrine.access.policy as policy
policy.Policy.decide = None
"""


async def test_the_firmware_is_not_changed_by_what_programs_change(store):
    async with wired(store) as (lock, phone):
        assert await run(phone, PATCH) == ("", "")
        assert await run(phone, "import sys; print('/left' in sys.path)") == ("True\r\n", "")
        assert await run(phone, "import time; print(any([time, 1]))") == ("True\r\n", "")
        assert not (await store.open(lock, store.token(scopes=("courier",)))).is_granted
        assert not (await store.open(lock, store.token(), holder=store.thief)).is_granted
        assert (await store.open(lock)).is_granted
        await phone.say(b"\x04", RAW_BANNER)
        assert await run(phone, "import sys; print('/left' in sys.path)") == ("False\r\n", "")


LEFT, SHADOW = 998, 999  # no kinds of records
LEFT_BEHIND = f"""
import asyncio, board, machine
async def go_on():
    while True:
        board.trace({{1: {LEFT}}})
        await asyncio.sleep_ms(100)
asyncio.get_event_loop().create_task(go_on())
machine.Pin(25, machine.Pin.IN).irq(lambda pin: None)
"""


async def test_what_programs_leave_behind_ends_by_a_restart_when_nobody_is_there(store):
    async with wired(store) as (lock, phone):
        assert await run(phone, LEFT_BEHIND) == ("", "")
        await phone.say(b"\x02\x03", b">>> \r\n>>> ")
        await lock.advance(2_000)
        assert of_kind(lock, LEFT), "it runs while the technician is there"
        async with store.phone(lock) as (_, session):
            await session.hello()
            phone.write(b"\x04")
            await lock.advance(2_000)
            assert details(lock) == ["begin", "closed"] and lock.resets == []
            assert (await session.open(store.token(), store.holder)).is_granted, "not under somebody's hands"
            assert lock.strike_energised
        await lock.advance(20_000)
        assert lock.resets == [2] and not lock.strike_energised
        count = len(of_kind(lock, LEFT))
        await lock.advance(2_000)
        assert len(of_kind(lock, LEFT)) == count
        assert not of_kind(lock, FAULT) and (await store.open(lock)).is_granted
        await lock.advance(700_000)
        assert lock.resets == [2], "once"


async def test_nobody_puts_the_restart_off_for_ever(store):
    async with wired(store) as (lock, phone):
        assert await run(phone, "x = 1") == ("", "")
        lock.set_door(False)
        await phone.say(b"\x02\x03", b">>> \r\n>>> ")
        phone.write(b"\x04")
        await lock.advance(290_000)
        assert lock.resets == []
        await lock.advance(20_000)
        assert lock.resets == [2]


async def test_service_without_a_program_needs_no_restart(store):
    async with wired(store, is_served=False) as (lock, phone):
        assert (await phone.open(store.token(scopes=("service",)), store.holder, action=Action.SERVICE)).is_granted
        await lock.advance(1_000_000)
        assert details(lock) == ["begin", "idle"] and lock.resets == []


SHADOWS = (
    "binascii",
    "machine",
    "deflate",
    "random",
    "select",
    "hashlib",
    "ssl",
    "vitrine",
    "main",
    "asyncio",
    "errno",
)


async def test_no_file_takes_the_place_of_a_module_of_the_firmware(store):
    """Whoever may copy files must not have them run by the next start."""
    async with wired(store) as (lock, phone):
        text = "import board\nboard.trace({1: 999})\nraise SystemExit\n"
        program = f"import os\nos.mkdir('/lib')\nfor name in {SHADOWS}:\n for folder in ('/', '/lib/'):\n"
        program += f"  with open(folder + name + '.py', 'w') as file: file.write({text!r})\n"
        program += f"for name in ('boot', '_boot', 'app'):\n with open('/' + name + '.py', 'w') as f: f.write({text!r})"
        assert await run(phone, program) == ("", "")
        await lock.reset()
        assert (await store.open(lock)).is_granted
        assert (await phone.open(store.token(scopes=("service",)), store.holder, action=Action.SERVICE)).is_granted
        await phone.say(RAW, RAW_BANNER)
        assert await run(phone, "print(6 * 7)") == ("42\r\n", "")
        await lock.advance(60_000)
        assert not of_kind(lock, SHADOW) and lock.ended is None


async def test_a_program_that_takes_the_firmwares_tasks_away_is_ended_by_the_watchdog(store):
    async with wired(store) as (lock, phone):
        assert await run(phone, "import asyncio; asyncio.new_event_loop()") == ("", "")
        await lock.advance(20_000)
        assert lock.resets == [3] and not lock.strike_energised
        assert (await store.open(lock)).is_granted


async def test_service_leaves_nothing_on_the_heap(store):
    async with wired(store) as (lock, phone):
        used = []
        for turn in range(60):
            await phone.say(b"\x04", RAW_BANNER)
            assert (await run(phone, "import errno\nx = bytes(3000)\nprint(len(x))"))[0] == "3000\r\n"
            await phone.say(b"\x05A\x01" + b"y = [n for n in range(20)]" + b"\x04", b"\x04\x04\x04>")
            if turn % 20 == 19:
                await phone.say(b"\x04", RAW_BANNER)
                used.append((await lock.memory())["used"])
            await lock.advance(1_000)
        assert used[2] - used[1] < 1024, used


async def test_fifty_services_leave_nothing_on_the_heap(store):
    """One after the other, so that no restart comes between: each begun, with programs and files, and closed."""
    async with wired(store, is_served=False) as (lock, phone):
        used = []
        token = store.token(scopes=("service",))
        for turn in range(50):
            assert (await phone.open(token, store.holder, action=Action.SERVICE)).is_granted
            await phone.say(RAW, RAW_BANNER)
            program = (
                f"import errno\nx = bytes(2000)\nwith open('/{turn % 3}', 'wb') as file: file.write(x)\nlock.state()"
            )
            assert await run(phone, program) == ("", "")
            await phone.say(b"\x02\x03", b">>> \r\n>>> ")
            await phone.say(b"\x04", BANNER)
            if turn in (9, 29, 49):
                used.append((await lock.memory())["used"])
        assert details(lock) == ["begin", "closed"] * 50 and lock.resets == []
        assert used[2] - used[1] < 1024, used
        await lock.advance(10_000)
        assert lock.resets == [2]
