"""What app.update needs of the chip and of the lock, put together: the part of main.py that only an update loads."""

from hashlib import sha1  # pyright: ignore[reportAttributeAccessIssue]

import machine
from micropython import const

from vitrine.app.health import examine
from vitrine.app.update import Update
from vitrine.drivers import slots
from vitrine.drivers.components import Application, Image, Stage
from vitrine.drivers.nvs import Blob, Integer
from vitrine.version import SEQUENCE

# UUIDv5 of the DNS name vitrine.example (RFC 9124 section 3.3, RFC 9562 section 5.5)
VENDOR = const(b"\x28\xbd\x6f\xfc\xac\x1e\x50\x1e\x91\x96\x24\x5c\x78\x30\xed\xa3")


class Parts:
    """As app.update.Update names them."""

    image = Image
    end_trial = staticmethod(slots.end_trial)
    reset = staticmethod(machine.reset)
    vendor = VENDOR
    sequence = SEQUENCE

    def __init__(self, space: str, dispatch, ble, board_name: str) -> None:
        self.slots = slots.Slots(Blob(space, "slots"))
        self.floor = Integer(space, "upd_floor")
        self.stage = Stage()
        self.number, self.image_sequence = slots.running()
        if not self.number:
            self.image_sequence = SEQUENCE
        self.of_class = class_of(board_name)
        self.dispatch = dispatch
        self.provision = dispatch.parts["identity"].provision
        self.verify_issuer = dispatch.parts["judgement"].verify_issuer
        self._sensors = dispatch.parts["hardware"].sensors
        self._supervisor = dispatch.parts["supervisor"]
        self._ble = ble

    def application(self) -> Application:
        """Return the way into the slot that neither runs nor was confirmed."""
        return Application(self.slots.active)

    def battery_mv(self) -> "int | None":
        """Return the supply's voltage, or None where it is not measured."""
        return self._sensors.battery_mv

    async def gate(self, vote) -> str:
        """Return what is wrong with this start, or nothing."""
        return await examine(self.dispatch, self.provision, self._ble, self._supervisor.votes, vote)


def class_of(name: str) -> bytes:
    """Return the UUIDv5 of a board's name under our vendor (RFC 9124 section 3.4)."""
    digest = bytearray(sha1(VENDOR + name.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest)


def make_update(space: str, dispatch, ble, board_name: str) -> Update:
    """Return the update of a lock whose parts are in `dispatch.parts`, by name. space: the NVS namespace."""
    return Update(Parts(space, dispatch, ble, board_name))
