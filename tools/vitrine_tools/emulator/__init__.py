"""Locks, phones and the air between them, without hardware. What is emulated and how: boards/unix/README.md."""

from vitrine_tools.emulator.board import EmulatorError, aioble_in_use
from vitrine_tools.emulator.bumble_link import BumblePhone, LockAdvertisement, PhoneError
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.emulator.lock import EmulatedLock
from vitrine_tools.emulator.radio import VirtualRadio

__all__ = [
    "BumblePhone",
    "EmulatedLock",
    "EmulatorError",
    "FlashImage",
    "LockAdvertisement",
    "PhoneError",
    "VirtualRadio",
    "aioble_in_use",
]
