"""The wire under umqtt: what it reads, what it reads past, and which message was retained. Runs on MicroPython."""

import errno
import struct
import sys

from support import raises
from vitrine.links.mqtt_wire import READ_MAX, Wire, WireError

# of the board's modules umqtt alone: its clock is not wanted here
sys.path.append(__file__.rpartition("/")[0] + "/../../boards/unix/modules")
from umqtt.simple import MQTTClient

sys.path.pop()


class Socket:
    """Gives what the test puts in, some bytes at a time."""

    def __init__(self, data):
        self.data = data
        self.written = b""

    def readinto(self, buffer):
        size = min(len(buffer), len(self.data), 7)
        buffer[:size] = self.data[:size]
        self.data = self.data[size:]
        return size

    def write(self, data):
        self.written += bytes(data)
        return len(data)


def wire_of(data):
    wire = Wire()
    wire._socket = Socket(data)
    wire.begin(1000)
    return wire


def message(topic, payload, first=0x32):
    body = struct.pack("!H", len(topic)) + topic + (b"\x00\x07" if first & 6 else b"") + payload
    size = len(body)
    length = b""
    while True:
        length += bytes((size & 0x7F | (0x80 if size > 0x7F else 0),))
        size >>= 7
        if not size:
            return bytes((first,)) + length + body


def heard(data, count):
    """Return (topic, payload, is_retained) of `count` messages as umqtt hands them on."""
    wire = wire_of(data)
    client = MQTTClient(b"id", "")
    client.sock = wire
    messages = []
    client.set_callback(lambda topic, payload: messages.append((topic, payload, wire.take_retained())))
    for _ in range(count):
        client.wait_msg()
    return messages


def test_which_message_was_retained_is_known_whatever_it_holds():
    kinds = ((0x30, False), (0x31, True), (0x32, False), (0x33, True), (0x3A, False), (0x3B, True))
    data = b""
    expected = []
    for first, is_retained in kinds:
        for payload in (b"", b"\x01", b"\x00", bytes(700)):
            data += message(b"t", payload, first) + b"\xd0\x00"  # a PINGRESP in between
            expected.append((b"t", payload, is_retained))
    assert heard(data, 2 * len(expected)) == expected


def test_in_doubt_a_message_was_retained():
    wire = wire_of(b"\x30\x01")
    assert wire.take_retained()
    wire.read(1)
    wire.setblocking(True)
    assert not wire.take_retained()
    assert wire.take_retained(), "each packet is asked about once"


def test_a_piece_of_an_update_is_read_whole_and_what_is_longer_is_read_past():
    long = bytes(range(256)) * 4 + bytes(range(64))
    assert len(long) == READ_MAX == 1088
    assert heard(message(b"t", long) + message(b"u", long + b"\0") + message(b"v", b"after"), 3) == [
        (b"t", long, False),
        (b"u", b"", False),
        (b"v", b"after", False),
    ]


def test_lengths_without_an_end_or_beyond_sense_end_the_connection():
    with raises(WireError):
        wire_of(b"").read((1 << 20) + 1)
    with raises(WireError):
        wire_of(b"").read(-1)
    wire = wire_of(bytes(50))
    with raises(WireError):
        for _ in range(50):
            wire.read(1)
    with raises(OSError) as closed:
        wire_of(b"\x30").read(2)
    assert closed.value.errno == errno.ECONNRESET
