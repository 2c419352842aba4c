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
        self._answer = {}
        self._head = self._body = b""  # of the message being read
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
        while self._answer.get("a") != asked:
            self._receive()
        answer = self._answer
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
            count += 1
            handler = self._handlers.get(self._inbox[0]["e"], _ignore)
            try:
                handler(self._inbox.pop(0))
            except Exception as error:  # as the chip's scheduler does: print it and go on
                print("Unhandled exception in callback")
                sys.print_exception(error)

    def receive_all(self):
        """Read what has come; levels and time are up to date then, callbacks have not run."""
        while self.has_message():
            self._receive()

    def _receive(self):
        """Read one message to where it belongs. A Ctrl-C that comes meanwhile is raised when that is done."""
        interrupt = None
        while True:
            try:
                self._read()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _read(self):
        """Begin a message, or go on with one: a Ctrl-C can end this between any two statements but the last."""
        if not self._head:
            self._head = self.stream.read(4)
        if not self._head or len(self._head) < 4:
            raise HarnessGone
        if not self._body:
            self._body = self.stream.read(struct.unpack("<I", self._head)[0])
        message = json.loads(self._body)
        self.clock.hear(message)
        kind = message.get("e")
        if kind is None:
            self._answer = message
            inbox = []
        else:
            self._handlers.get("early:" + kind, _ignore)(message)  # a level is true even before its callback runs
            inbox = self._inbox
        self._head, self._body, self.received, _ = b"", b"", self.received + 1, inbox.append(message)


def _ignore(message):
    pass
