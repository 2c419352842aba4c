"""What loads app.update, and when. Runs on MicroPython."""

import asyncio
import struct

from support.virtual_time import VirtualTime
from vitrine.app.updates import Updates
from vitrine.version import SEQUENCE


class Store:
    def __init__(self, data):
        self.data = data

    def load(self):
        return self.data


class Update:
    def __init__(self):
        self.ran = 0

    def answer(self, body, link, own):
        return 0, {1: 0}

    async def run(self, vote):
        self.ran += 1
        await asyncio.sleep_ms(1_000_000)


def slots(active=0, trial=0, sequences=(0, 0)):
    rows = b"".join([struct.pack(">II32s", 1, each, b"") for each in sequences + (0,)])
    return struct.pack(">BBBBI", 1, active, trial, 0, 0) + rows + bytes(4)


def live(data, is_asked=False):
    """Return (how often update ran, what was recorded) in a minute."""
    made, records = [], []

    def load():
        made.append(Update())
        return made[-1]

    updates = Updates(Store(data), load, lambda kind, fields: records.append((kind, fields)))

    async def main():
        task = asyncio.create_task(updates.run(lambda: None))
        await asyncio.sleep_ms(30_000)
        if is_asked:
            assert updates.answer({}, 1, 1) == (0, {1: 0})
        await asyncio.sleep_ms(30_000)
        task.cancel()

    VirtualTime().run(main())
    assert len(made) <= 1
    return sum([each.ran for each in made]), records


def test_nothing_is_loaded_until_somebody_asks():
    assert live(None) == (0, [])
    assert live(slots()) == (0, [])
    assert live(slots(), is_asked=True) == (1, [])


def test_a_trial_goes_on_at_once():
    for trial in (1, 2, 3):
        assert live(slots(trial=trial)) == (1, [])


def test_a_confirmed_application_that_does_not_run_is_on_record():
    lost = [(129, {15: "slots:lost"})]
    assert live(slots(1, 0, (SEQUENCE + 1, 0))) == (0, lost)
    assert live(slots(2, 0, (0, SEQUENCE + 1))) == (0, lost)
    for data in (slots(1, 0, (SEQUENCE, 0)), slots(2, 0, (SEQUENCE + 9, SEQUENCE)), slots(0, 0, (SEQUENCE + 1, 0))):
        assert live(data) == (0, [])
    assert live(slots(1, 0, (SEQUENCE + 1, 0))[:-1]) == (0, [])


def test_what_cannot_be_loaded_is_busy_and_may_come_another_time():
    trouble = [MemoryError, OSError]
    records = []

    def load():
        if trouble:
            raise trouble.pop()
        return Update()

    updates = Updates(Store(None), load, lambda kind, fields: records.append(fields[15]))
    assert updates.answer({}, 1, 1) == (2, None) and updates.answer({}, 1, 1) == (2, None)
    assert records == ["update:OSError"]
    assert updates.answer({}, 1, 1) == (0, {1: 0})
