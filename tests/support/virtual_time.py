"""asyncio on MicroPython in virtual time: sleeping costs nothing, and time passes only while every task sleeps.

    time = VirtualTime()
    time.run(main())        # a fresh event loop; `time.ticks_ms` is the clock to hand to the code under test

asyncio's task queue is C and stamps new tasks with the real clock, so virtual time starts ahead of it.
"""

import asyncio
from time import ticks_ms as real_ticks_ms

_AHEAD_MS = 1 << 28


class Stuck(Exception):
    """Every task waits for something that no time will bring."""


class VirtualTime:
    def __init__(self):
        self.now_ms = (real_ticks_ms() & (2**30 - 1)) + _AHEAD_MS
        self.ticks_ms = lambda: self.now_ms

    def run(self, coroutine):
        asyncio.new_event_loop()
        queue = asyncio.core._io_queue
        poll = queue.wait_io_event

        def wait(dt):
            before = len(queue.map)
            poll(0)
            if len(queue.map) == before:
                if dt < 0:
                    raise Stuck
                self.now_ms += dt

        queue.wait_io_event = wait
        real = asyncio.core.ticks
        asyncio.core.ticks = self.ticks_ms
        try:
            return asyncio.run(coroutine)
        finally:
            asyncio.core.ticks = real
