"""Hardware time: alarms in order, none twice, none lost."""

import asyncio

from vitrine_tools.emulator.clock import HardwareClock


def test_alarms_run_in_order_of_time_and_then_of_setting():
    clock = HardwareClock(is_virtual=True)
    done = []
    for name, due_us in (("late", 30), ("first", 10), ("second", 10), ("never", 40)):
        clock.at(due_us, lambda name=name: done.append((name, clock.now_us)))
    clock.step_to(30)
    assert clock.run_due()
    assert [name for name, _ in done] == ["first", "second", "late"]
    assert clock.next_us == 40
    assert not clock.run_due()


def test_a_cancelled_alarm_is_as_if_it_had_never_been():
    clock = HardwareClock(is_virtual=True)
    alarm = clock.after(5, lambda: 1 / 0)
    clock.after(9, lambda: None)
    alarm.cancel()
    assert clock.next_us == 9
    clock.step_to(9)
    assert clock.run_due()
    assert clock.next_us is None


def test_an_alarm_set_by_an_alarm_for_now_runs_at_once():
    clock = HardwareClock(is_virtual=True)
    done = []
    clock.after(5, lambda: clock.after(0, lambda: done.append(clock.now_us)))
    clock.step_to(5)
    clock.run_due()
    assert done == [5]


def test_time_never_goes_back():
    clock = HardwareClock(is_virtual=True)
    clock.step_to(100)
    clock.step_to(50)
    assert clock.now_us == 100


def test_the_horizon_leaves_out_what_the_firmware_minds_itself():
    clock = HardwareClock(is_virtual=True)
    clock.at(10, lambda: None, is_shared=True)
    clock.at(20, lambda: None)
    assert (clock.next_us, clock.horizon_us) == (10, 20)


async def test_real_time_alarms():
    clock = HardwareClock(is_virtual=False)
    done = []
    all_done = asyncio.Event()
    clock.after(20_000, lambda: (done.append("second"), all_done.set()))
    clock.after(5_000, lambda: done.append("first"))
    clock.after(6_000, lambda: done.append("never")).cancel()
    await asyncio.wait_for(all_done.wait(), 5)
    assert done == ["first", "second"]
    assert clock.now_us >= 20_000
    clock.after(5_000, lambda: done.append("too late"))
    clock.stop()
    await asyncio.sleep(0.01)
    assert done == ["first", "second"]
