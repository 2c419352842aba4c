"""The board and the libraries as the firmware uses them, and nothing of ours: what system.py's heap figure leaves out.

Every module that the firmware imports and does not own, each device opened once, a BLE service like ours on the air.
"""

import _thread  # noqa: F401
import asyncio
import binascii  # noqa: F401
import collections  # noqa: F401
import errno  # noqa: F401
import hashlib  # noqa: F401
import os  # noqa: F401
import select  # noqa: F401
import socket  # noqa: F401
import ssl  # noqa: F401
import struct  # noqa: F401
import time  # noqa: F401

import aioble
import bluetooth
import board
import esp32
import machine


def devices() -> None:
    """Open each device as the drivers do, so that what its stand-in allocates once is there."""
    machine.WDT(timeout=8_000)
    machine.RTC().memory()
    esp32.NVS("vitrine").get_blob("provision", bytearray(1984))
    machine.Pin(board.DPS, machine.Pin.IN).irq(handler=None, trigger=machine.Pin.IRQ_FALLING)
    strike = machine.Pin(board.STRIKE)
    esp32.RMT(pin=strike, resolution_hz=312_500, idle_level=False, tx_carrier=(20_000, 40, True)).deinit()
    machine.PWM(machine.Pin(board.BUZZER), freq=2_000, duty_u16=0).deinit()


async def main() -> None:
    """Advertise for ever."""
    asyncio.ThreadSafeFlag()
    aioble.config(mtu=247, gap_name="bare")
    service = aioble.Service(bluetooth.UUID("b5a30001-7b1f-4e5d-9c41-76697472696e"))
    request = aioble.BufferedCharacteristic(
        service, bluetooth.UUID("b5a30002-7b1f-4e5d-9c41-76697472696e"), write=True, capture=True, max_len=244
    )
    aioble.Characteristic(service, bluetooth.UUID("b5a30003-7b1f-4e5d-9c41-76697472696e"), notify=True)
    aioble.register_services(service)
    receiver = asyncio.create_task(request.written())
    while not receiver.done():
        try:
            await aioble.advertise(20_000, adv_data=b"\x02\x01\x06", resp_data=b"", timeout_ms=1_000)
        except asyncio.TimeoutError:  # noqa: UP041 (not the same on MicroPython)
            await asyncio.sleep_ms(0)


devices()
asyncio.run(main())
