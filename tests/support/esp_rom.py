"""An ESP32 chip in its serial bootloader, on a PTY: what Espressif's esptool talks to when told not to load a stub.

The protocol is that of Espressif's "Serial Protocol" page: SLIP frames of a command each, answered with the value of a
register and a status. The flash behind it is a bytearray that only an erase sets to ones.
"""

import contextlib
import hashlib
import os
import pty
import select
import struct
import threading
import tty
import zlib

SECTOR = 4096
_END, _ESC = 0xC0, 0xDB
_MAGIC_REGISTER = 0x4000_1000  # tells an ESP32 from the others; later chips say their number when asked
_INVALID, _BAD_CHECKSUM = 0x05, 0x07
# chip: (number, SPI controller, its USR2 and W0, eFuse words with the encryption counter and the secure boot bits)
_CHIPS = {
    "esp32": (0, 0x3FF4_2000, 0x24, 0x80, 0x3FF5_A000, 0x3FF5_A018),
    "esp32c3": (5, 0x6000_2000, 0x20, 0x58, 0x6000_8834, 0x6000_8838),
    "esp32s3": (9, 0x6000_2000, 0x20, 0x58, 0x6000_7034, 0x6000_7038),
}
_SIZE_BITS = {mib: 0x13 + mib.bit_length() for mib in (1, 2, 4, 8, 16)}  # of two to the power of it


class EspRom:
    """Use as a context manager; `port` is what to give to esptool. Faults are set before it runs:

    cut_after: bytes that still arrive before the cable is pulled. is_deaf: powered off. worn: an address whose byte
    does not take a zero. is_encrypting, is_signing: the eFuses say flash encryption, secure boot.
    """

    def __init__(
        self,
        chip="esp32",
        mib=4,
        cut_after=None,
        is_deaf=False,
        worn=None,
        is_encrypting=False,
        is_signing=False,
        flash=None,
    ):
        self.number, spi, usr2, word0, crypt, boot = _CHIPS[chip]
        self.flash = flash or bytearray(b"\xa5" * (mib << 20))  # of another life: nothing is blank by itself
        self.received = 0
        self.begun = []  # (offset, size) of each write
        self._spi, self._usr2, self._word0 = spi, spi + usr2, spi + word0
        self._registers = {_MAGIC_REGISTER: 0x00F0_1D83 if self.number == 0 else 0}
        self._registers[crypt] = (1 << 20 if self.number == 0 else 1 << 18) if is_encrypting else 0
        # of an ESP32 the first bit is version 1, the second version 2, which needs revision 3
        self._registers[boot] = (1 << 5 if self.number == 0 else 1 << 20) if is_signing else 0
        self._flash_id = 0x40EF | _SIZE_BITS[mib] << 16
        self._cut_after, self._is_deaf, self._worn = cut_after, is_deaf, worn
        self._write_at = 0
        self._inflater = None
        self._ended = threading.Event()

    def __enter__(self):
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        for descriptor in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _run(self):
        frame, is_open, is_escaped = bytearray(), False, False
        while not self._ended.is_set():
            if not select.select([self._master], [], [], 0.02)[0]:
                continue
            try:
                data = os.read(self._master, 4096)
            except OSError:
                return
            if self._cut_after is not None and self.received + len(data) > self._cut_after:
                self._pull()
                return
            self.received += len(data)
            if self._is_deaf:
                continue
            for byte in data:
                if byte == _END:
                    if is_open and frame:
                        self._command(bytes(frame))
                        is_open = False
                    else:
                        is_open = True
                    frame.clear()
                elif is_escaped:
                    frame.append({0xDC: _END, 0xDD: _ESC}[byte])
                    is_escaped = False
                elif byte == _ESC:
                    is_escaped = True
                elif is_open:
                    frame.append(byte)

    def _pull(self):
        """The adapter goes: whoever reads or writes gets an error at once."""
        os.close(self._slave)
        os.close(self._master)

    def _command(self, frame):
        direction, op, size, checksum = struct.unpack_from("<BBHI", frame)
        body = frame[8:]
        if direction != 0 or size != len(body):
            return
        handler = _COMMANDS.get(op)
        if handler is None or (op == 0x14 and self.number == 0):
            self._answer(op, 0, b"", _INVALID)
        elif op in (0x03, 0x11) and checksum != _xor(body[16:]):
            self._answer(op, 0, b"", _BAD_CHECKSUM)
        else:
            value, data = handler(self, body)
            for _ in range(8 if op == 0x08 else 1):
                self._answer(op, value, data, 0)

    def _answer(self, op, value, data, problem):
        status = bytes((1, problem, 0, 0)) if problem else bytes(4)
        frame = struct.pack("<BBHI", 1, op, len(data) + 4, value) + data + status
        frame = frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        with contextlib.suppress(OSError):
            os.write(self._master, b"\xc0" + frame + b"\xc0")

    def _sync(self, _body):
        return 0x2012_0707, b""

    def _read_register(self, body):
        return self._registers.get(int.from_bytes(body[:4], "little"), 0), b""

    def _write_register(self, body):
        address, value, mask, _ = struct.unpack("<IIII", body)
        self._registers[address] = self._registers.get(address, 0) & ~mask | value & mask
        if address == self._spi and value & 1 << 18:  # a command of the user's to the flash: done at once
            if self._registers.get(self._usr2, 0) & 0xFF == 0x9F:
                self._registers[self._word0] = self._flash_id
            self._registers[self._spi] = 0
        return 0, b""

    def _security_info(self, _body):
        return 0, struct.pack("<IB7sII", 0, 0, bytes(7), self.number, 0)

    def _done(self, _body):
        return 0, b""

    def _begin(self, body):
        size, _, _, self._write_at = struct.unpack_from("<IIII", body)
        self.begun.append((self._write_at, size))
        end = -(-(self._write_at + size) // SECTOR) * SECTOR
        start = self._write_at // SECTOR * SECTOR
        if size:
            self.flash[start:end] = b"\xff" * (end - start)
        self._inflater = None
        return 0, b""

    def _begin_deflated(self, body):
        answer = self._begin(body)
        self._inflater = zlib.decompressobj()
        return answer

    def _data(self, body):
        data = body[16:] if self._inflater is None else self._inflater.decompress(body[16:])
        for byte in data:
            if self._write_at < len(self.flash) and self._write_at != self._worn:
                self.flash[self._write_at] &= byte
            self._write_at += 1
        return 0, b""

    def _md5(self, body):
        at, size, _, _ = struct.unpack("<IIII", body)
        return 0, hashlib.md5(self.flash[at : at + size]).hexdigest().encode()


def _xor(data):
    checksum = 0xEF
    for byte in data:
        checksum ^= byte
    return checksum


_COMMANDS = {
    0x02: EspRom._begin,
    0x03: EspRom._data,
    0x04: EspRom._done,
    0x08: EspRom._sync,
    0x09: EspRom._write_register,
    0x0A: EspRom._read_register,
    0x0B: EspRom._done,
    0x0D: EspRom._done,
    0x0F: EspRom._done,
    0x10: EspRom._begin_deflated,
    0x11: EspRom._data,
    0x12: EspRom._done,
    0x13: EspRom._md5,
    0x14: EspRom._security_info,
}
