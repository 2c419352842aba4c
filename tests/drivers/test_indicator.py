"""The light and the buzzer."""

import asyncio

import fake_chip

fake_chip.install()

from fake_chip import Chip, Pin  # noqa: E402

from support import raises  # noqa: E402
from support.virtual_time import VirtualTime  # noqa: E402
from vitrine.drivers import indicator  # noqa: E402

LED, BUZZER = 25, 27

UNLOCKED = {1: 2, 5: 1}
FORCED = {1: 0, 11: 6, 14: 1}
FORCED_OVER = {1: 0, 11: 6, 14: 0}


def play(scenario, is_loud=lambda: True):
    """Run an indicator beside `scenario(shown, watch)`; `watch(ms)` returns [(light, tone)] for each 10 ms."""
    time = VirtualTime()
    chip = Chip()

    async def main():
        shown = indicator.Indicator(Pin(LED), Pin(BUZZER), is_loud)
        task = asyncio.create_task(shown.run(None))

        async def watch(ms):
            seen = []
            for _ in range(ms // 10):
                await asyncio.sleep_ms(10)
                seen.append((chip.driver[LED], chip.tones.get(BUZZER, 0)))
            return seen

        await scenario(shown, watch)
        task.cancel()
        with raises(asyncio.CancelledError):
            await task
        assert chip.driver[LED] == 0 and chip.driver[BUZZER] == 0 and not chip.tones

    time.run(main())


def patterns():
    """Return {key: (rank, rounds, steps)} of the table; a step: (light, tone in Hz, ms)."""
    table, at, found = indicator.PATTERNS, 0, {}
    while at < len(table):
        key, rank, rounds, count = table[at : at + 4]
        steps = [tuple(table[i : i + 3]) for i in range(at + 4, at + 4 + 3 * count, 3)]
        assert key not in found and len(steps) == count
        found[key] = rank, rounds, tuple((light, tone * 20, length * 20) for light, tone, length in steps)
        at += 4 + 3 * count
    return found


ALARMS = (0, 4, 5, 6, 7, 128, 129, 130, 131, 132, 133, 134)


def test_every_pattern_ends():
    for rank, rounds, steps in patterns().values():
        assert rank > 0 and 0 < rounds * sum(ms for _, _, ms in steps) <= 31000
        assert all(light in (0, 1) and (tone == 0 or 100 <= tone <= 5000) and ms > 0 for light, tone, ms in steps)
        assert any(light for light, _, _ in steps), "with the buzzer off there is still a light"


def test_everything_has_a_pattern_of_its_own():
    shown = [{1: 0, 11: code, 14: 1} for code in ALARMS] + [{1: 0, 11: 7, 14: 2}, {1: 0, 11: 7, 14: 3}]
    shown += [{1: 2, 5: operation, 6: source, 17: 1} for operation in (0, 1) for source in (6, 7)]
    shown += [{1: 3, 4: reason, 16: True} for reason in (5, 7, 13, 24, 25, 26)]
    shown += [{1: 129}]
    keys = [indicator.key_of(record) for record in shown]
    table = patterns()
    assert None not in keys and len(set(keys)) == len(shown) == len(table) - 1  # and identify
    assert len(set((rounds, steps) for _, rounds, steps in table.values())) == len(table)
    for worse, better in ((201, 200), (200, 7), (6, 201)):
        assert table[worse][0] > table[better][0]
    for less, more in ((7, 200), (200, 201)):
        length = [table[key][1] * sum(ms for _, tone, ms in table[key][2] if tone) for key in (less, more)]
        assert length[0] < length[1], "each step is louder than the one before"


def test_locked_is_shown_of_a_lock_that_is():
    locked = indicator.key_of({1: 2, 5: 0, 6: 7, 17: 1})
    assert locked == indicator.key_of({1: 2, 5: 0, 6: 4, 17: 1}) is not None
    for state in (0, 2, None):  # the door settles, is open or in passage
        assert indicator.key_of({1: 2, 5: 0, 6: 7, 17: state}) is None
    assert indicator.key_of({1: 2, 5: 0, 6: 6, 17: 0}) not in (None, locked), "passage is over all the same"


def test_a_courier_unlocks_nothing():
    assert indicator.key_of({1: 2, 5: 129, 6: 7}) is None
    assert indicator.key_of({1: 2, 5: 128, 6: 7}) == indicator.key_of(UNLOCKED) is not None


def test_an_unlock_is_shown_and_over():
    async def scenario(shown, watch):
        assert set(await watch(100)) == {(0, 0)}
        shown.show(UNLOCKED)
        seen = await watch(3000)
        assert seen[1] == (1, 2700) and seen[20] == (1, 0) and set(seen[210:]) == {(0, 0)}

    play(scenario)


def test_an_alarm_is_not_talked_over():
    async def scenario(shown, watch):
        shown.show(UNLOCKED)
        await watch(50)
        shown.show(FORCED)
        assert (await watch(20))[1] == (1, 3200)
        shown.show(UNLOCKED)
        shown.identify()
        assert {tone for _, tone in await watch(1000)} == {0, 3200}
        await watch(10000)
        shown.identify()
        assert {tone for _, tone in await watch(400)} == {0, 2000}

    play(scenario)


def test_an_end_in_the_middle_of_a_tone_is_silent():
    async def scenario(shown, watch):
        shown.show(FORCED)
        assert (await watch(20))[1] == (1, 3200)  # play() checks the rest

    play(scenario)


def test_an_alarm_is_loud_at_first_then_reminds_until_it_is_over():
    async def scenario(shown, watch):
        shown.show(FORCED)
        loud = await watch(9700)
        assert {tone for _, tone in loud} == {0, 3200} and loud[-1] == (0, 0)
        for _ in range(3):
            assert 8 <= (await watch(30000)).count((1, 3200)) <= 12
        # another, lesser one begins, and both are over
        shown.show({1: 0, 11: 133, 14: 1})
        assert (1, 1000) in await watch(100)
        shown.show(FORCED_OVER)
        await watch(40000)
        shown.show({1: 0, 11: 133, 14: 0})
        await watch(2000)
        assert set(await watch(100000)) == {(0, 0)}

    play(scenario)


def test_a_busy_door_puts_no_reminder_off():
    async def scenario(shown, watch):
        shown.show(FORCED)
        await watch(15000)
        reminded = 0
        for _ in range(45):
            shown.show(UNLOCKED)
            reminded += (1, 3200) in await watch(2000)
        assert reminded == 3

    play(scenario)


def test_an_alarm_that_is_over_is_silent_at_once():
    async def scenario(shown, watch):
        shown.show(FORCED)
        await watch(500)
        shown.show(FORCED_OVER)
        assert set((await watch(1000))[1:]) == {(0, 0)}
        # and leaves its place to what comes with it
        shown.show(FORCED)
        await watch(500)
        shown.show(FORCED_OVER)
        shown.show(UNLOCKED)
        assert (await watch(50))[-1] == (1, 2700)
        # another alarm's end ends nothing
        shown.show(FORCED)
        await watch(100)
        shown.show({1: 0, 11: 7, 14: 0})
        assert (1, 3200) in await watch(500)

    play(scenario)


def test_the_steps_of_ajar_replace_each_other():
    async def scenario(shown, watch):
        for step, tone in ((1, 2000), (2, 2400), (3, 2700)):
            shown.show({1: 0, 11: 7, 14: step})
            assert (await watch(50))[-1] == (1, tone)
        await watch(40000)
        assert {tone for _, tone in await watch(31000)} == {0, 2700}
        shown.show({1: 0, 11: 7, 14: 0})
        assert set((await watch(60000))[1:]) == {(0, 0)}

    play(scenario)


def test_light_only():
    loud = [False]

    async def scenario(shown, watch):
        shown.show(FORCED)
        assert set(await watch(1000)) == {(0, 0), (1, 0)}
        loud[0] = True
        assert (1, 3200) in await watch(1000)
        shown.show(FORCED_OVER)

    play(scenario, lambda: loud[0])


def test_a_lock_out_by_strangers_is_light_only_and_has_no_end():
    async def scenario(shown, watch):
        shown.show({1: 0, 11: 4, 14: 9})
        assert set(await watch(5000)) == {(0, 0), (1, 0)}
        assert set(await watch(100000)) == {(0, 0)}

    play(scenario)


def test_nothing_shows_who_opens_under_duress_or_in_shadow():
    for record in ({1: 0, 11: 8, 14: 1}, {1: 2, 5: 1, 6: 7, 23: True}, {1: 2, 5: 0, 6: 6, 23: True}):
        assert indicator.key_of(record) is None

    async def scenario(shown, watch):
        shown.show({1: 0, 11: 8, 14: 1})
        shown.show({1: 0, 11: 8, 14: 0})
        assert set(await watch(40000)) == {(0, 0)}

    play(scenario)


def test_a_stranger_gets_no_answer():
    assert indicator.key_of({1: 3, 4: 9}) is None
    for reason in range(40):
        for authentic in (False, 1, None):
            assert indicator.key_of({1: 3, 4: reason, 16: authentic}) is None or authentic is True
    assert indicator.key_of({1: 3, 4: 5, 16: True}) != indicator.key_of({1: 3, 4: 7, 16: True})


def test_what_is_not_shown():
    for record in ({}, {1: 0}, {1: 0, 11: 99, 14: 1}, {1: 0, 11: 210, 14: 1}, {1: 1, 10: 0}, {1: 128}, {1: 132}):
        assert indicator.key_of(record) is None
