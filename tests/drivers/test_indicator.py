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
FORCED = {1: 0, 11: 6}


def play(scenario):
    """Run an indicator beside `scenario(shown, watch)`; `watch(ms)` returns [(light, tone)] for each 10 ms."""
    time = VirtualTime()
    chip = Chip()

    async def main():
        shown = indicator.Indicator(Pin(LED), Pin(BUZZER))
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


def test_every_pattern_ends():
    for name in ("UNLOCKED", "LOCKED", "REFUSED", "NOT_NOW", "IDENTIFY", "FAULT", "AJAR", "FORCED"):
        rank, times, steps = getattr(indicator, name)
        assert rank > 0 and 0 < times * sum(ms for _, _, ms in steps) <= 15000
        assert all(light in (0, 1) and (tone == 0 or 100 <= tone <= 5000) and ms > 0 for light, tone, ms in steps)


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


def test_a_stranger_gets_no_answer():
    assert indicator.pattern_of({1: 3, 4: 9}) is None
    assert indicator.pattern_of({1: 3, 4: 5, 16: False}) is None
    assert indicator.pattern_of({1: 3, 4: 5, 16: True}) == indicator.NOT_NOW
    assert indicator.pattern_of({1: 3, 4: 7, 16: True}) == indicator.REFUSED


def test_what_is_shown():
    assert indicator.pattern_of(FORCED) == indicator.FORCED
    assert indicator.pattern_of({1: 0, 11: 7}) == indicator.AJAR
    assert indicator.pattern_of({1: 2, 5: 0}) == indicator.LOCKED
    assert indicator.pattern_of({1: 2, 5: 128}) == indicator.UNLOCKED
    assert indicator.pattern_of({1: 129}) == indicator.FAULT
    for record in ({}, {1: 0}, {1: 0, 11: 99}, {1: 1, 10: 0}, {1: 128}, {1: 132}):
        assert indicator.pattern_of(record) is None
