"""The room's outputs and inputs: low at the start, quiet where there are none, one event for each closing."""

import asyncio

import fake_chip

fake_chip.install()

from fake_chip import Chip  # noqa: E402

from support.virtual_time import VirtualTime  # noqa: E402
from vitrine.drivers.room import Room  # noqa: E402


class Board:
    CAMERA, RELAY, TRIGGER, MOTION = 22, 23, 13, 19


class Bare:
    RELAY = 23
    MOTION = None


def new(board=Board, trigger=1, motion=0):
    chip = Chip()
    chip.inputs = {13: trigger, 19: motion}
    return chip, Room(board)


def watch(chip, room, *acts):
    """Do `acts` ((ms, pin, level), in order of time); return what changed() said: (ms, triggered, moved)."""
    time = VirtualTime()
    said = []

    async def main():
        async def listen():
            while True:
                triggered, moved = await room.changed()
                if triggered or moved:
                    said.append((time.now_ms - start_ms, triggered, moved))

        start_ms = time.now_ms
        task = asyncio.create_task(listen())
        for ms, pin, level in acts:
            await asyncio.sleep_ms(ms - (time.now_ms - start_ms))
            chip.set_input(pin, level)
        await asyncio.sleep_ms(3_000)
        task.cancel()

    time.run(main())
    return said


def test_outputs_are_low_from_the_start():
    chip, _ = new()
    assert chip.driver == {22: 0, 23: 0}


def test_a_pulse_ends_by_itself_and_a_second_one_makes_it_longer():
    chip, room = new()
    room.film(500)
    assert chip.driver[22] == 1
    chip.pass_ms(400)
    room.film(500)
    chip.pass_ms(499)
    assert chip.driver[22] == 1
    chip.pass_ms(1)
    assert chip.driver[22] == 0


def test_the_relay_follows():
    chip, room = new()
    for is_on in (5, 0, True, False):
        room.alarm(is_on)
        assert bool(chip.driver[23]) == bool(is_on)


def test_a_board_without_them_is_quiet():
    chip, room = new(Bare)
    room.film(500)
    chip.pass_ms(1_000)
    assert chip.driver == {23: 0} and not chip.handlers
    assert watch(chip, room, (10, 13, 0), (20, 19, 1)) == []


def test_one_event_for_each_closing_and_each_motion():
    chip, room = new()
    said = watch(chip, room, (500, 13, 0), (700, 13, 1), (900, 13, 0), (1_500, 19, 1), (1_600, 19, 0))
    assert said == [(530, True, False), (930, True, False), (1_530, False, True)]


def test_what_stands_at_the_start_is_no_event():
    chip, room = new(trigger=0, motion=1)
    assert watch(chip, room) == []
    assert watch(chip, room, (100, 13, 1), (200, 13, 0)) == [(230, True, False)], "but the next one is"


def test_a_disturbance_is_nothing():
    chip, room = new()
    assert watch(chip, room, (100, 13, 0), (129, 13, 1), (400, 19, 1), (410, 19, 0)) == []


def test_a_lost_interrupt_is_made_good_within_a_second():
    chip, room = new()
    chip.handlers.clear()
    ((ms, triggered, _),) = watch(chip, room, (100, 13, 0))
    assert triggered and ms <= 1_000
