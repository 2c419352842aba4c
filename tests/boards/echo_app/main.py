"""A small app with the shape of the lock's firmware: GATT echo, inputs, pulses. It tests the board, not the lock."""

import asyncio
import struct
import time

import aioble
import bluetooth
import board
import esp32
import machine
from machine import Pin

SERVICE = bluetooth.UUID("b5a30001-7b1f-4e5d-9c41-76697472696e")
REQUEST = bluetooth.UUID("b5a30002-7b1f-4e5d-9c41-76697472696e")
ANSWER = bluetooth.UUID("b5a30003-7b1f-4e5d-9c41-76697472696e")

strike = esp32.RMT(pin=Pin(board.STRIKE), resolution_hz=312_500)
dps = Pin(board.DPS, Pin.IN, Pin.PULL_UP)
door_moved = asyncio.ThreadSafeFlag()
dps.irq(lambda pin: door_moved.set(), Pin.IRQ_FALLING | Pin.IRQ_RISING)


def energise(ms):
    ticks = ms * 312_500 // 1000
    pulses = []
    while ticks:
        pulses.append(min(ticks, 32767))
        ticks -= pulses[-1]
    strike.write_pulses(pulses, [1] * len(pulses))


async def answer(request, answers):
    while True:
        connection, data = await request.written()
        if data[:6] == b"strike":
            energise(int(data[6:]))
        elif data == b"bye":
            await connection.disconnect()
            continue
        elif data == b"indicate":
            await answers.indicate(connection, b"indicated")
            continue
        elif data == b"mtu":
            data = str(await connection.exchange_mtu(200))
        elif data == b"block":
            time.sleep_ms(100)  # as a signature check would: interrupts are served, tasks are not
        elif data == b"reset":
            machine.reset()
        elif data == b"count":
            nvs = esp32.NVS("echo")
            try:
                count = nvs.get_i32("count") + 1
            except OSError:
                count = 1
            nvs.set_i32("count", count)
            nvs.commit()
            data = str(count)
        try:
            answers.notify(connection, data)
        except (OSError, TypeError) as error:
            board.trace({"lost": type(error).__name__})


async def advertise():
    data = b"\x02\x01\x06" + struct.pack("BB", 25, 0x21) + bytes(SERVICE) + b"\x01\x03hint06"
    while True:
        connection = await aioble.advertise(20_000, adv_data=data, resp_data=b"\x05\x09echo")
        board.trace({"connected": connection.device.addr_hex()})


async def watch_door():
    while True:
        await door_moved.wait()
        board.trace({"door_closed": dps.value() == 0})


async def main():
    machine.freq(board.CPU_HZ)
    watchdog = machine.WDT(timeout=8000)
    aioble.config(mtu=247)
    service = aioble.Service(SERVICE)
    request = aioble.BufferedCharacteristic(
        service, REQUEST, write=True, write_no_response=True, capture=True, max_len=244
    )
    answers = aioble.Characteristic(service, ANSWER, notify=True, indicate=True, read=True, initial=b"start")
    aioble.register_services(service)
    tasks = [advertise(), answer(request, answers), watch_door()]
    tasks = [asyncio.create_task(task) for task in tasks]
    board.trace({"started": machine.reset_cause()})
    while True:
        watchdog.feed()
        await asyncio.sleep_ms(2000)


asyncio.run(main())
