"""The TLS connection under umqtt.simple: one write for each packet, and no wait without an end (SPEC.md 10.1).

umqtt writes a packet in many small pieces, which costs 40 ms each where Nagle's algorithm meets delayed
acknowledgements, and sets its socket back to blocking whenever it likes. Here pieces are gathered until the next read,
the socket never blocks, and the broker, which nobody trusts, gets so much time and so many bytes and no more.
"""

import errno
import select
import socket
import time

from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

READ_MAX = const(1088)  # a piece of an update: nothing that we hear is longer
_SKIP_MAX = const(1 << 20)  # of what is longer, so much is read past; then the connection ends
_RETAIN = const(1)  # bit of a PUBLISH's first byte (MQTT 3.1.1 section 3.3.1.3)
_PIECES_MAX = const(16)  # single bytes in a row: an endless length field
_PIECE = const(256)
_POLL_MS = const(50)  # sleep no longer than this: whoever closes is not kept waiting


class WireError(Exception):
    """The broker did not keep to MQTT, or to its bounds."""


class Wire:
    """What umqtt takes for its socket. `open`, then `begin` before each packet that is sent or awaited."""

    def __init__(self) -> None:
        self._socket: "Any" = None
        self._raw: "Any" = None
        self._poller = select.poll()
        self._pending = bytearray()
        self._deadline_ms = 0
        self._pieces = 0
        self._last = _RETAIN
        self._first = _RETAIN
        self.spoken_ms = 0
        self.heard_ms = 0

    def open(self, host: str, port: int, context, limit_ms: int) -> None:
        """Connect and wrap the socket; the handshake itself is done by the first packet. OSError, ValueError."""
        self.begin(limit_ms)
        address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
        self._raw = raw = socket.socket(address[0], address[1], address[2])
        raw.setblocking(False)
        try:
            raw.connect(address[-1])
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                raise
        self._poller.register(raw, select.POLLOUT)
        while True:
            ready = self._poller.poll(_POLL_MS)
            if ready:
                break
            self._check_time()
        self._poller.unregister(raw)
        if ready[0][1] & (select.POLLERR | select.POLLHUP):
            raw.readinto(bytearray(1))  # raises what went wrong
            raise OSError(errno.ECONNREFUSED)
        self._socket = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
        self._poller.register(self._socket, select.POLLIN)

    @property
    def is_wrapped(self) -> bool:
        """Whether TCP is there and TLS has begun."""
        return self._socket is not None

    def begin(self, limit_ms: int) -> None:
        """A packet begins: all that belongs to it must be over in `limit_ms`."""
        self._deadline_ms = time.ticks_add(time.ticks_ms(), limit_ms)
        self._pieces = 0

    def wait(self, timeout_ms: int) -> bool:
        """Return whether there is something to read within `timeout_ms`."""
        self._poller.modify(self._socket, select.POLLIN)
        return bool(self._poller.poll(timeout_ms))

    def write(self, data, size: "int | None" = None) -> None:
        """Take `size` bytes of `data` (all if None) for the next packet."""
        self._pending.extend(data if size is None else memoryview(data)[:size])

    def flush(self) -> None:
        """Send what was written, in one piece."""
        if not self._pending:
            return
        left = memoryview(self._pending)
        while left:
            count = self._socket.write(left)
            if count:
                left = left[count:]
            else:
                self._wait_for(select.POLLOUT)
        self._pending = bytearray()
        self.spoken_ms = time.ticks_ms()

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes; nothing, having read past them, if they are more than ever makes sense."""
        self.flush()
        self._pieces = self._pieces + 1 if size == 1 else 0
        if self._pieces > _PIECES_MAX or not 0 <= size <= _SKIP_MAX:
            raise WireError
        if size > READ_MAX:
            rubbish = bytearray(_PIECE)
            while size:
                size -= self._read_some(memoryview(rubbish)[: min(size, _PIECE)])
            return b""
        data = bytearray(size)
        left = memoryview(data)
        while left:
            left = left[self._read_some(left) :]
        self.heard_ms = time.ticks_ms()
        if size == 1:
            self._last = data[0]
        return bytes(data)

    def setblocking(self, is_blocking: bool) -> None:
        """Note where a packet begins: umqtt calls this between its first byte and the rest. Time limits are ours."""
        self._first = self._last

    def take_retained(self) -> bool:
        """Tell, once, whether the PUBLISH just read was retained, or may have been: umqtt does not hand that on."""
        first, self._first = self._first, _RETAIN
        return bool(first & _RETAIN)

    def close(self) -> None:
        """End the connection, whatever state it is in."""
        for each in (self._socket, self._raw):
            if each is not None:
                try:
                    each.close()
                except OSError:
                    pass  # it is gone: all we wanted
        self._socket = self._raw = None

    def _read_some(self, into) -> int:
        while True:
            count = self._socket.readinto(into)
            if count:
                return count
            if count == 0:
                raise OSError(errno.ECONNRESET)
            self._wait_for(select.POLLIN)

    def _wait_for(self, direction: int) -> None:
        self._check_time()
        self._poller.modify(self._socket, direction)
        self._poller.poll(_POLL_MS)

    def _check_time(self) -> None:
        if time.ticks_diff(self._deadline_ms, time.ticks_ms()) <= 0:
            raise OSError(errno.ETIMEDOUT)
