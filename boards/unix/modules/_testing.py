"""What only a test may ask of the board: a hang, a squeezed heap, its use of memory, how long the event loop is held
up, a power cut in the flash.

This file belongs to boards/unix alone; no image for a chip has it.
"""

import asyncio
import gc

import utime  # the interpreter's own clock; `time` is the stand-in

_GAP_MS = 5


def install(link, flash):
    held = []
    gaps = []

    def hang(message):
        link.send("hung")
        while True:  # nothing runs any more; only the end of the harness is noticed
            link.wait()
            link.receive_all()

    def memory(message):
        gc.collect()
        link.send("memory", {"i": message["i"], "used": gc.mem_alloc(), "free": gc.mem_free()})

    def squeeze(message):
        """Leave only so many bytes in pieces worth having, beside crumbs; 0 gives everything back."""
        held.clear()
        gc.collect()
        if not message["free"]:
            return
        piece = 4096
        while piece >= 64:
            try:
                held.append(bytearray(piece))
            except MemoryError:
                piece //= 2
        left = message["free"]
        while left > 0 and held:
            left -= len(held.pop(0))
        gc.collect()

    def gap(message):
        """Tell the longest time in which no task had its turn, since it was asked before; the first asks to begin."""
        link.send("memory", {"i": message["i"], "worst_us": gaps[0] if gaps else 0})
        if not gaps:
            asyncio.create_task(tick())
            gaps.append(0)
        gaps[0] = 0

    async def tick():
        while True:
            began_us = utime.ticks_us()
            await asyncio.sleep_ms(_GAP_MS)
            gaps[0] = max(gaps[0], utime.ticks_diff(utime.ticks_us(), began_us) - _GAP_MS * 1000)

    def flash_cut(message):
        flash.cut_after = message["after"]

    def flash_count(message):
        link.send("memory", {"i": message["i"], "programmed": flash.programmed, "erased": flash.erased})

    link.on("hang", hang)
    link.on("memory", memory)
    link.on("squeeze", squeeze)
    link.on("gap", gap)
    link.on("flash_cut", flash_cut)
    link.on("flash_count", flash_count)
