"""Time on the emulated board: real, or stepped by the harness.

Hardware time is in microseconds since the harness was made. In virtual mode it stands still while the firmware runs
and moves only when the firmware waits: idle says when it wants to be woken, the harness answers with the new time.
The harness also names a *horizon*: until then no hardware event is due, so the firmware may step by itself.
"""

import _thread

import utime  # the interpreter's own clock; `time` is the stand-in

_STALL_READS = 20_000  # clock reads without a wait: somebody polls the clock in a loop


class Clock:
    def __init__(self):
        self.is_virtual = True  # until the harness says otherwise, time stands at 0
        self.boot_us = 0
        self.epoch_us = 0  # add to hardware time for microseconds since 2000-01-01
        self.fed_us = -1  # virtual mode: when the watchdog was fed, if the harness has not been told yet
        self._watchdog_us = 0
        self._watchdog_due_us = 0
        self._now_us = 0
        self._horizon_us = -1
        self._offset_us = 0
        self._reads = 0
        self._main_thread = _thread.get_ident()

    def start(self, is_virtual, now_us, uptime_us, epoch_us):
        """The harness's answer at boot. uptime_us is what the tick counters start from."""
        self.is_virtual = is_virtual
        self._now_us = now_us
        self._offset_us = now_us - utime.ticks_us()
        self.boot_us = now_us - uptime_us
        self.epoch_us = epoch_us
        link.on("early:rtc", self._on_rtc)

    def _on_rtc(self, message):
        self.epoch_us = message["epoch"]

    def now_us(self):
        if self.is_virtual:
            return self._now_us
        return utime.ticks_us() + self._offset_us

    def uptime_us(self):
        """Time since boot, as the tick counters show it."""
        if self.is_virtual:
            self._reads += 1
            if self._reads > _STALL_READS:
                self.sleep_until(self._now_us + 1000)
        return self.now_us() - self.boot_us

    def hear(self, message):
        if self.is_virtual:
            self._now_us = max(self._now_us, message["t"])
            self._horizon_us = message.get("horizon", -1)

    def forget_horizon(self):
        self._horizon_us = -1

    def feed(self, timeout_us=None):
        """The watchdog is fed (or started): in virtual mode the harness hears of it with the next message."""
        if timeout_us is not None:
            self._watchdog_us = timeout_us
        self.fed_us = self._now_us
        self._watchdog_due_us = self._now_us + self._watchdog_us

    def step_to(self, due_us):
        """Step to due_us without the harness, if nothing can happen before; return whether it was done."""
        self._reads = 0
        if due_us > self._horizon_us or (self._watchdog_us and due_us >= self._watchdog_due_us):
            return False
        self._now_us = max(self._now_us, due_us)
        return True

    def idle(self, due_us):
        """Tell the harness that the firmware waits until due_us (None: for an event)."""
        self._reads = 0
        link.send("idle", {"due": due_us, "n": link.received}, is_passive=True)

    def sleep_until(self, due_us):
        """Block, with callbacks served, until hardware time due_us."""
        if _thread.get_ident() != self._main_thread:
            utime.sleep_us(due_us - self.now_us())  # only the main thread may read the wire
            return
        while True:
            link.pump()
            left_us = due_us - self.now_us()
            if left_us <= 0:
                return
            if not self.is_virtual:
                if left_us < 1000:
                    utime.sleep_us(left_us)
                else:
                    link.wait(left_us // 1000)
            elif not self.step_to(due_us):
                self.idle(due_us)
                link.wait()


clock = Clock()
link = None  # set by the start-up code, before anything else runs
