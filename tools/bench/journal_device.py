"""The device's part of the journal's benchmark, on MicroPython: the journal and littlefs on the same simulated flash.

Prints one JSON line. Both write records of 64 bytes to 512 KiB, durably one by one, for more than a round of the ring;
then the journal is taken up again as at a start.
"""

import gc
import json
import os
import sys
import time

import vfs
from powercut.life import ACKNOWLEDGE_KEY, EPOCH, FIRST_KEY, Store

from support.nor_flash import NorFlash
from vitrine.audit import record as r
from vitrine.audit.journal import Journal, provision

SECTORS = 128
RECORD = 64
ROTATE = 1024  # littlefs keeps two files of 64 KiB, as a log in files does


class Clock:
    def reading(self):
        return EPOCH, 1

    def ticks_ms(self):
        return time.ticks_ms()


def event(n):
    """A kept record of 64 bytes."""
    return {
        r.KIND: r.LOCK_OPERATION,
        r.TIME: EPOCH + n,
        r.TIME_STATE: 1,
        r.REASON: 0,
        r.OPERATION: 1,
        r.SOURCE: 7,
        r.SUB: bytes(15),
        r.CTI: bytes(12),
        r.KID: bytes(8),
        r.AUTHENTIC: True,
        r.LOCK_STATE: 2,
        r.LINK: 1,
    }


def cost(name, flash, number, took_us):
    wear = sorted(flash.erases)
    return {
        "name": name,
        "programmed per record, bytes": flash.bytes_programmed / number,
        "erases per record": sum(flash.erases) / number,
        "programs per record": flash.programs / number,
        "erases of a sector, least": wear[0],
        "erases of a sector, most": wear[-1],
        "device time per record, ms (estimate)": flash.device_us / number / 1000,
        "this machine, us": took_us / number,
    }


def journal(number):
    flash = NorFlash(SECTORS)
    store = Store()
    provision(flash, store, EPOCH, FIRST_KEY, ACKNOWLEDGE_KEY)
    book = Journal(flash, store, Clock())
    size = len(r.encode(event(0)))
    for n in range(2 * number // 3):  # once round
        book.append(event(n))
        while book.tend():
            pass
    flash.zero_counters()
    took_us = 0
    waited_us = []
    for n in range(number):
        record = event(n)
        before_us = flash.device_us
        begin = time.ticks_us()
        book.append(record)
        took_us += time.ticks_diff(time.ticks_us(), begin)
        waited_us.append(flash.device_us - before_us)
        while book.tend():
            pass
    row = cost("journal, append", flash, number, took_us)
    waited_us.sort()
    gc.collect()
    flash.bytes_read = 0
    begin = time.ticks_us()
    book = Journal(flash, store, Clock())
    mount = {
        "mount, this machine, ms": time.ticks_diff(time.ticks_us(), begin) / 1000,
        "mount reads, bytes": flash.bytes_read,
        "mount reads, percent of the ring": 100 * flash.bytes_read / len(flash.image),
        "record, bytes of CBOR": size,
        "flash time of an append, median, ms (estimate)": waited_us[number // 2] / 1000,
        "flash time of an append, longest, ms (estimate)": waited_us[-1] / 1000,
    }
    book = None
    gc.collect()
    before = gc.mem_alloc()
    book = Journal(flash, store, Clock())
    gc.collect()
    mount["heap of the journal beside its flash, bytes"] = gc.mem_alloc() - before
    return row, mount


def littlefs(number):
    flash = NorFlash(SECTORS)
    vfs.VfsLfs2.mkfs(flash)
    vfs.mount(vfs.VfsLfs2(flash), "/journal")
    flash.zero_counters()
    record = bytes(RECORD)
    begin = time.ticks_us()
    for n in range(number):
        if n % ROTATE == 0 and n:
            if n > ROTATE:
                os.remove("/journal/old")
            os.rename("/journal/log", "/journal/old")
        with open("/journal/log", "ab") as log:
            log.write(record)
    row = cost("littlefs, append and close", flash, number, time.ticks_diff(time.ticks_us(), begin))
    vfs.umount("/journal")
    return row


def main(number):
    row, mount = journal(number)
    gc.collect()
    print(json.dumps({"cost": [row, littlefs(number)], "mount": mount}))


main(int(sys.argv[1]))
