"""The door's numbers are the same in each module that has some of them."""

import re

import pytest

from support import door_states
from support.paths import FIRMWARE

ROW = re.compile(r"^_([A-Z_]+) = const\((\d+)\)", re.M)


def numbers(module: str) -> dict[str, int]:
    """The private numbers of a module: on the device they are no names of it."""
    source = (FIRMWARE / "vitrine" / f"{module}.py").read_text()
    return {name: int(number) for name, number in ROW.findall(source)}


@pytest.mark.parametrize(("module", "least"), [("door/fsm", 43), ("app/controller", 27), ("drivers/contacts", 4)])
def test_the_numbers_are_those_of_the_table(module, least):
    known = {name: number for name, number in numbers(module).items() if hasattr(door_states, name)}
    assert len(known) >= least
    assert known == {name: getattr(door_states, name) for name in known}


def test_the_monitors_are_too():
    """It has alarms of the names that these have elsewhere."""
    of_it = numbers("door/monitor")
    for name, whose in (
        ("LINE_SHORTED", "SWITCH_SHORTED"),
        ("LINE_CLOSED", "SWITCH_CLOSED"),
        ("LINE_CUT", "SWITCH_CUT"),
        ("MODE_LOCKED", "LOCKED"),
    ):
        assert of_it[name] == getattr(door_states, whose), name
