"""The wire between this process and the harness: framed JSON over an inherited socket.

The harness is the hardware. What the firmware does to a pin, a timer or the radio goes out as a message; what the
hardware does comes back as one. Frame: length (4 bytes, little-endian), then a JSON object. Every message carries
"t", the hardware's time in microseconds.

Messages are *received* in order and *dispatched* (callbacks run) at the places where the emulated chip lets its
scheduler in: when the event loop has nothing to do, in a sleep, and at a request that waits for its answer. Between
bytecodes of a busy loop nothing is dispatched, which is stricter than the chip: a hung firmware is really hung.
"""

import _thread
import json
import select
import struct
import sys


class HarnessGone(BaseException):
    """The harness closed the wire, and with it the hardware is gone. The firmware must not catch it."""


class Link:
    """One end of the wire. `clock` gets the time of each message; handlers get the message."""

    def __init__(self, descriptor, clock):
        self.stream = open(descriptor, "r+b")
        self.clock = clock
        self.received = 0  # messages read so far: the harness compares it with those it sent
        self._handlers = {}
        self._inbox = []
        self._poller = select.poll()
        self._poller.register(self.stream, select.POLLIN)
        self._asked = 0
        self._writing = _thread.allocate_lock()  # a thread of the firmware may trace or drive a pin

    def on(self, kind, handler):
        """Call handler(message) for each message of this kind when it is dispatched."""
        self._handlers[kind] = handler

    def send(self, op, message=None, is_passive=False):
        """Send one message. A passive one cannot make the hardware act earlier than it would have."""
        message = message or {}
        message["op"] = op
        message["t"] = self.clock.now_us()
        if self.clock.fed_us >= 0:
            message["fed"] = self.clock.fed_us
            self.clock.fed_us = -1
        if not is_passive:
            self.clock.forget_horizon()
        text = json.dumps(message).encode()
        with self._writing:
            self.stream.write(struct.pack("<I", len(text)) + text)

    def request(self, op, message=None):
        """Send, wait for the answer (a dict) and return it; an answer with "errno" is raised as OSError."""
        self._asked += 1
        asked = self._asked
        message = message or {}
        message["q"] = asked
        self.send(op, message)
        while True:
            answer = self._receive()
            if answer.get("a") == asked:
                break
            self._inbox.append(answer)
        if "errno" in answer:
            raise OSError(*answer["errno"])
        return answer

    def has_message(self):
        """True if a message can be read without waiting."""
        for _ in self._poller.ipoll(0):
            return True
        return False

    def wait(self, timeout_ms=-1):
        """Wait for a message at most so long (-1: for ever)."""
        for _ in self._poller.ipoll(timeout_ms):
            pass

    def pump(self):
        """Receive what has come and dispatch it; return how many messages were dispatched."""
        count = 0
        while True:
            self.receive_all()
            if not self._inbox:
                return count
            message = self._inbox.pop(0)
            count += 1
            handler = self._handlers.get(message["e"])
            if handler is not None:
                try:
                    handler(message)
                except Exception as error:  # as the chip's scheduler does: print it and go on
                    print("Unhandled exception in callback")
                    sys.print_exception(error)

    def receive_all(self):
        """Read what has come; levels and time are up to date then, callbacks have not run."""
        while self.has_message():
            self._inbox.append(self._receive())

    def _receive(self):
        head = self.stream.read(4)
        if not head or len(head) < 4:
            raise HarnessGone
        message = json.loads(self.stream.read(struct.unpack("<I", head)[0]))
        self.received += 1
        self.clock.hear(message)
        early = self._handlers.get("early:" + message.get("e", ""))
        if early is not None:
            early(message)  # a level or an offset is true from now on, even before its callback runs
        return message
