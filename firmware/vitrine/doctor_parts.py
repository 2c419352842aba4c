"""Composition root of the doctor's report: what the chip, the image and the slots say of themselves."""

import board
import machine

from vitrine.codec import cbor
from vitrine.drivers import slots
from vitrine.drivers.nvs import Blob
from vitrine.drivers.posture import image_digest, is_flash_encrypted, is_secure_boot
from vitrine.version import SEQUENCE, VERSION

_STORE_MAX = 64  # bytes of blob `journal`


def about(space: str):
    """Return what app.doctor.report calls `about`. space: the NVS namespace."""
    key = b""
    store = Blob(space, "journal").load()
    if store:
        key = cbor.decode(store, _STORE_MAX)[1]
    slot, image_sequence = slots.running()
    digest = None
    if slot:
        digest = slots.Slots(Blob(space, "slots")).rows[slot - 1][2]
    software = [VERSION, SEQUENCE, board.NAME, slot, digest, image_sequence or SEQUENCE, image_digest()]
    secure_boot = is_secure_boot(getattr(board, "SECURE_BOOT", None))
    return key, software, machine.reset_cause(), secure_boot, is_flash_encrypted()
