"""The event loop's waiting place: hardware events, sockets and, in virtual mode, the harness's time.

asyncio's IOQueue is replaced by one that also listens to the harness. In virtual mode asyncio's clock is the board's,
moved ahead of the real one: the interpreter's task queue stamps new tasks with the real clock, and those must never
lie in the virtual future. ThreadSafeFlags are looked at here: in the interpreter's own poller, an object without a
file descriptor makes every poll take a millisecond.
"""

import _thread
import asyncio
import asyncio.core as core
import select
from asyncio import ThreadSafeFlag

import utime
from _clock import clock

_AHEAD_MS = 1 << 28


def install(link):
    """Put the board's clock and IO queue under asyncio. Call before the firmware is imported."""
    if clock.is_virtual:
        base_ms = utime.ticks_ms() + _AHEAD_MS - clock.now_us() // 1000
        core.ticks = lambda: clock.now_us() // 1000 + base_ms
    main_thread = _thread.get_ident()

    def set_flag(flag):
        flag.state = 1
        if _thread.get_ident() != main_thread:
            link.send("wake")  # the harness answers, and that ends the main thread's wait

    ThreadSafeFlag.set = set_flag
    asyncio.start_server = start_server
    BoardQueue.link = link
    core.IOQueue = BoardQueue
    core.new_event_loop()


def start_server(*arguments, **options):
    """As asyncio's; who connects is known as the chip knows it, by a tuple. The interpreter below has a sockaddr_in."""
    import asyncio.stream as library  # only now, as asyncio itself does

    class Stream(library.StreamReader):
        def __init__(self, s, e):
            packed = e["peername"]
            super().__init__(
                s, {"peername": (".".join([str(part) for part in packed[4:8]]), packed[2] << 8 | packed[3])}
            )

    library.Stream = Stream
    return library.start_server(*arguments, **options)


class BoardQueue(core.IOQueue):
    link = None

    def __init__(self):
        super().__init__()
        self.poller.register(self.link.stream, select.POLLIN)
        # The hardware may always wake the loop: without this entry it would look every 3 ms when no task can run.
        self.map[0] = [None, None, None]

    def wait_io_event(self, dt):
        """Wait at most dt milliseconds (-1: until there is a task) for a stream or the hardware; push what it wakes."""
        if dt >= 0:
            self._wait(dt)
        else:
            while core._task_queue.peek() is None:
                self._wait(dt)

    def _wait(self, dt):
        if self.link.pump():
            return  # a callback may have made a task ready: let the loop look again
        if not clock.is_virtual:
            self._poll(dt)
        elif not self._poll(0) and dt != 0:
            due_us = None if dt < 0 else (clock.now_us() // 1000 + dt) * 1000
            if due_us is None or not clock.step_to(due_us):
                clock.idle(due_us)
                if self._poll(-1):
                    self.link.send("busy")  # woken by a socket: the harness cannot know

    def _enqueue(self, stream, index):
        if isinstance(stream, ThreadSafeFlag):
            self.map[id(stream)] = [core.cur_task, None, stream]
            core.cur_task.data = self
        else:
            super()._enqueue(stream, index)

    def _dequeue(self, stream):
        if isinstance(stream, ThreadSafeFlag):
            del self.map[id(stream)]
        else:
            super()._dequeue(stream)

    def _poll(self, timeout_ms):
        """Push the tasks whose flag is set or whose stream is ready; return how many."""
        count = 0
        for entry in list(self.map.values()):
            flag = entry[2]
            if isinstance(flag, ThreadSafeFlag) and flag.state:
                self._dequeue(flag)
                core._task_queue.push(entry[0])
                count += 1
        if count:
            timeout_ms = 0
        for stream, event in self.poller.ipoll(timeout_ms):
            if stream is self.link.stream:
                continue  # the next round's pump reads it
            count += 1
            entry = self.map[id(stream)]
            if event & ~select.POLLOUT and entry[0] is not None:
                core._task_queue.push(entry[0])
                entry[0] = None
            if event & ~select.POLLIN and entry[1] is not None:
                core._task_queue.push(entry[1])
                entry[1] = None
            if entry[0] is None and entry[1] is None:
                self._dequeue(stream)
            else:
                self.poller.modify(stream, select.POLLIN if entry[1] is None else select.POLLOUT)
        return count
