"""Deterministic CBOR, bounded: bytes to values and back.

Source: RFC 8949 sections 3 and 4.2.1, narrowed by the preamble of SPEC.md. A value is None, a bool, an int of at most
64 bits and sign, bytes, str, a list, or a dict whose keys are int or str. Each value has exactly one encoding;
`decode` refuses every other one, and `encode` refuses every value that `decode` would.
"""

from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any, TypeGuard

MAX_DEPTH = const(8)  # arrays and maps in each other; more would let a peer choose how deep our stack goes
# One byte of input can cost an object of 32 bytes (an empty array), so a bound on the input alone would let a peer
# choose how much heap we take. A map entry counts as two. The largest record of SPEC.md has about 200.
MAX_ITEMS = const(256)

_UNSIGNED = const(0)
_NEGATIVE = const(1)
_BYTES = const(2)
_TEXT = const(3)
_ARRAY = const(4)
_MAP = const(5)
_SIMPLE = const(7)

_FALSE = const(0xF4)
_TRUE = const(0xF5)
_NULL = const(0xF6)


class CborError(ValueError):
    """Not deterministic CBOR within the bound, or a value that has no such encoding. The text never quotes input."""


def decode(data: "bytes | bytearray | memoryview", bound: int) -> "Any":
    """Return the one value that `data` encodes.

    Raises CborError, and nothing else, for any bytes that are not the deterministic encoding of exactly one value, or
    that are longer than `bound`. Allocates in proportion to `data`, never to a length that it declares.
    """
    if len(data) > bound:
        raise CborError("too long")
    reader = _Reader(bytes(data))
    value = reader.value(0)
    if reader.position != len(reader.data):
        raise CborError("trailing bytes")
    return value


def encode(value: "Any") -> bytes:
    """Return the deterministic encoding of `value`. Raises CborError for what `decode` would never return."""
    out = bytearray()
    _Writer(out).value(value, 0)
    return bytes(out)


def is_array(value: object) -> "TypeGuard[list[Any]]":
    """Tell whether a decoded value is an array."""
    return isinstance(value, list)


def is_map(value: object) -> "TypeGuard[dict[Any, Any]]":
    """Tell whether a decoded value is a map."""
    return isinstance(value, dict)


class _Reader:
    """One pass over `data`; `position` is the next byte to read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self._items = 0

    def value(self, depth: int) -> "Any":
        self._items += 1
        if self._items > MAX_ITEMS:
            raise CborError("too many items")
        start = self.position
        if start >= len(self.data):
            raise CborError("cut short")
        initial = self.data[start]
        self.position = start + 1
        major = initial >> 5
        if major == _SIMPLE:
            # before the argument is read: floats and one-byte simple values have other rules for it
            if initial == _FALSE:
                return False
            if initial == _TRUE:
                return True
            if initial == _NULL:
                return None
            raise CborError("float, break or simple value")
        argument = self._argument(initial & 0x1F)
        if major == _UNSIGNED:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        if major == _BYTES:
            return self._take(argument)
        if major == _TEXT:
            text = self._take(argument)
            if not _is_utf8(text):
                raise CborError("text is not UTF-8")
            return str(text, "utf-8")
        if depth >= MAX_DEPTH:
            raise CborError("nested too deep")
        if major == _ARRAY:
            return self._array(argument, depth + 1)
        if major == _MAP:
            return self._map(argument, depth + 1)
        raise CborError("tag")

    def _array(self, count: int, depth: int) -> "list[Any]":
        if count > len(self.data) - self.position:
            raise CborError("cut short")
        values: "list[Any]" = []
        for _ in range(count):
            values.append(self.value(depth))
        return values

    def _map(self, count: int, depth: int) -> "dict[Any, Any]":
        if 2 * count > len(self.data) - self.position:
            raise CborError("cut short")
        values: "dict[Any, Any]" = {}
        previous = b""
        for _ in range(count):
            start = self.position
            key = self.value(depth)
            if not _is_key(key):
                raise CborError("map key is no int or text")
            encoded = self.data[start : self.position]
            # RFC 8949 section 4.2.1; strictly ascending also means that no key comes twice
            if encoded <= previous:
                raise CborError("map keys out of order")
            previous = encoded
            values[key] = self.value(depth)
        return values

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise CborError("indefinite or reserved length")
        size = 1 << (info - 24)
        argument = int.from_bytes(self._take(size), "big")
        # the next smaller form holds 0 to 23, or half as many bits
        if argument < (24 if size == 1 else 1 << (4 * size)):
            raise CborError("not the shortest form")
        return argument

    def _take(self, size: int) -> bytes:
        start = self.position
        if size > len(self.data) - start:
            raise CborError("cut short")
        self.position = start + size
        return self.data[start : start + size]


class _Writer:
    def __init__(self, out: bytearray) -> None:
        self._out = out
        self._items = 0

    def value(self, value: "Any", depth: int) -> None:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise CborError("too many items")
        if value is None:
            self._out.append(_NULL)
        elif value is True:
            self._out.append(_TRUE)
        elif value is False:
            self._out.append(_FALSE)
        elif isinstance(value, (int, bytes, str)):
            self._out.extend(_scalar(value))
        elif depth >= MAX_DEPTH:
            raise CborError("nested too deep")
        elif is_map(value):
            self._map(value, depth + 1)
        elif is_array(value):
            self._array(value, depth + 1)
        else:
            raise CborError("no CBOR form for this type")

    def _array(self, value: "list[Any]", depth: int) -> None:
        self._out.extend(_head(_ARRAY, len(value)))
        for item in value:
            self.value(item, depth)

    def _map(self, value: "dict[Any, Any]", depth: int) -> None:
        self._out.extend(_head(_MAP, len(value)))
        encoded: "list[tuple[bytes, Any]]" = []
        for key in value:
            if not _is_key(key):
                raise CborError("map key is no int or text")
            encoded.append((_scalar(key), key))
        # no two are equal, so the keys themselves are never compared
        encoded.sort()
        for key_bytes, key in encoded:
            self._items += 1
            self._out.extend(key_bytes)
            self.value(value[key], depth)


def _is_key(value: "Any") -> bool:
    # In a Python dict True overwrites 1. And when bytes and text meet in one, MicroPython may print a warning, which
    # would give any peer a way to write to the console.
    return isinstance(value, (int, str)) and value is not True and value is not False


def _scalar(value: "int | bytes | str") -> bytes:
    if isinstance(value, int):
        return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    if not isinstance(value, str):
        return _head(_BYTES, len(value)) + value
    try:
        text = value.encode()
    except UnicodeError:
        raise CborError("text is not UTF-8")
    if not _is_utf8(text):
        raise CborError("text is not UTF-8")
    return _head(_TEXT, len(text)) + text


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    for info in (24, 25, 26, 27):
        size = 1 << (info - 24)
        if argument >> (8 * size) == 0:
            return bytes((major << 5 | info,)) + argument.to_bytes(size, "big")
    raise CborError("integer over 64 bits")


def _is_utf8(data: bytes) -> bool:
    """Tell whether `data` is UTF-8 by the table of RFC 3629 section 4.

    MicroPython's str() checks only how many continuation bytes follow: it lets overlong forms, surrogates and code
    points over U+10FFFF through, so that two different texts could print or compare alike elsewhere.
    """
    position = 0
    end = len(data)
    while position < end:
        lead = data[position]
        position += 1
        if lead < 0x80:
            continue
        low = 0x80
        high = 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return False
        if more > end - position:
            return False
        for _ in range(more):
            if not low <= data[position] <= high:
                return False
            low = 0x80
            high = 0xBF
            position += 1
    return True
