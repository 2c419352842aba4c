"""The last third of main.py: what most locks have loaded only now and then. Updates, the room, the wire's programs."""

import os

import board
import machine

from vitrine.app.identity import Identity
from vitrine.app.supervisor import RESTART
from vitrine.app.updates import Updates
from vitrine.drivers.nvs import Blob, Integer
from vitrine.links.console import Console


def go_on_wiping(space, watchdog) -> None:
    """End a deprovisioning that was begun, if there is one: nothing else comes before that."""
    if {".wipe", ".wiped"}.intersection(os.listdir("/")):
        from vitrine.drivers.wipe import go_on

        go_on(space, watchdog.feed, lambda: _is_unreadable(space))
        machine.reset()


def _is_unreadable(space) -> bool:
    """Read the record again, and tell whether it is there and cannot be used."""
    return bool(Identity(Blob(space, "provision")).trouble)


def add_doctor(dispatch, space, **parts) -> None:
    """Let app.doctor look at `parts`, and last at what the chip and the image say."""

    def about():
        from vitrine.doctor_parts import about

        return about(space)

    dispatch.parts.update(parts, about=about)


def add_updates(supervisor, blob, space, dispatch, ble) -> None:
    """Let updates in; their code is loaded with the first."""

    def load():
        from vitrine.update_parts import make_update

        return make_update(space, dispatch, ble, board.NAME)

    dispatch.updates = Updates(blob("slots"), load, dispatch.evidence.record)
    supervisor.add("update", dispatch.updates.run, RESTART)


def add_room(supervisor, room, configuration, events, door, clock) -> None:
    """Mind camera, relay and trigger, on a board that has them."""
    if room:
        from vitrine.app.local_rules import LocalRules

        rules = LocalRules(room, configuration, events, door, clock)
        events.add_sink(rules.note)
        supervisor.add("room", rules.run, RESTART)


def add_console(supervisor, space, identity, events, dispatch, watchdog, door) -> None:
    """Serve the wire; what runs programs is loaded when it opens."""

    def load_programs():
        from vitrine.field_parts import make_programs

        return make_programs(space, identity, events, dispatch, supervisor.excuse, watchdog.feed, door.check_strike)

    def wipe():
        from vitrine.drivers.wipe import begin

        begin(space, lambda: _is_unreadable(space))
        machine.reset()

    def restart():
        try:
            Integer(space, "starts").save(0)  # it was no brown-out
        finally:
            machine.reset()

    # a lock that cannot read who it is opens its console to nobody: all that it can still be told is to forget
    console = Console(dispatch, identity.lock_id, load_programs, restart, wipe if identity.trouble else None)
    supervisor.add("console", console.run, RESTART)
