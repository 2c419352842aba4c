"""Messages to BLE chunks and back. Source: SPEC.md section 4.

A chunk is one header byte and at least one byte of the message. Header: bit 7 = last, bits 0 to 6 = counter from 0.
"""

from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Iterator

_ATT_HEADER_SIZE = const(3)  # opcode and handle, in every write and notification
_MIN_ATT_MTU = const(23)

_LAST = const(0x80)
_COUNTER = const(0x7F)
_MAX_CHUNKS = const(128)


class ChunkError(ValueError):
    """A message that does not fit, or chunks that are not one message."""


def split(message: bytes, att_mtu: int) -> "Iterator[bytes]":
    """Return the chunks of `message`, in order, for an ATT_MTU of `att_mtu` bytes.

    Raises ChunkError at once for an empty message, one that needs more than 128 chunks, or an ATT_MTU under 23.
    """
    if att_mtu < _MIN_ATT_MTU:
        raise ChunkError("ATT_MTU under 23")
    size = att_mtu - _ATT_HEADER_SIZE - 1
    if not 0 < len(message) <= size * _MAX_CHUNKS:
        raise ChunkError("message is empty or too long")
    return _chunks(message, size)


def _chunks(message: bytes, size: int) -> "Iterator[bytes]":
    for counter in range((len(message) + size - 1) // size):
        part = message[counter * size : (counter + 1) * size]
        last = _LAST if (counter + 1) * size >= len(message) else 0
        yield bytes((counter | last,)) + part


class Assembler:
    """The receiving end of one connection. Its buffer of `bound` bytes is allocated once."""

    def __init__(self, bound: int) -> None:
        self._buffer = bytearray(bound)
        self._size = 0
        self._expected = 0
        self._is_broken = False

    def feed(self, chunk: bytes) -> "bytes | None":
        """Take the next chunk, of any bytes; return the whole message with its last chunk, else None.

        Raises ChunkError once for a broken message, and then ignores its remains up to the next counter 0.
        """
        counter = chunk[0] & _COUNTER if len(chunk) else -1
        if counter == 0:
            self._size = 0
            self._expected = 0
            self._is_broken = False
        if self._is_broken:
            return None
        part = len(chunk) - 1
        if counter != self._expected or part < 1 or part > len(self._buffer) - self._size:
            self._is_broken = True
            raise ChunkError("broken message")
        end = self._size + part
        self._buffer[self._size : end] = memoryview(chunk)[1:]
        self._size = end
        self._expected += 1
        if not chunk[0] & _LAST:
            return None
        self._expected = 0
        self._size = 0
        return bytes(memoryview(self._buffer)[:end])
