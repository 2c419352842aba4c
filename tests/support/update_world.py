"""A lock's chip as far as updates go, in one process: flash, NVS, otadata, bootloader, file system, and who updates it.

Everything below the firmware is boards/unix's own (partitions, NVS, otadata, bootloader), over support.nor_flash; the
firmware's drivers and app.update run on it unchanged. Runs on MicroPython alone. A start raises Reset when the firmware
resets the chip, and PowerCut when the supply fails.
"""

import asyncio
import binascii
import gc
import struct
import sys
from hashlib import sha256

import vfs

from support.nor_flash import NorFlash
from support.virtual_time import VirtualTime

_MODULES = __file__.rpartition("/")[0] + "/../../boards/unix/modules"
SECTOR = 4096
FIRST = 16  # sector of the flash where the simulated part begins: the table lies before
# label, type, subtype, sectors
_LAYOUT = (
    ("nvs", 1, 2, 4),
    ("otadata", 1, 0, 2),
    ("ota_0", 0, 0x10, 6),
    ("ota_1", 0, 0x11, 6),
    ("vfs", 1, 0x83, 20),
)
SECTORS = FIRST + sum([row[3] for row in _LAYOUT])
ROOT = "/simulated"
KID = b"\x11" * 8
LOCK_ID = "case-12"
VENDOR = b"\x22" * 16
CLASS = b"\x33" * 16
ORIGINAL = 5  # sequence of what the factory has flashed


class Reset(BaseException):
    """The firmware has reset the chip."""


class Stub:
    """Stands for a module or an object: what is set is there."""

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)


class Timer:
    ONE_SHOT = 0
    period = 0  # of the one that runs

    def __init__(self, number):
        pass

    def init(self, period, **settings):
        Timer.period = period

    def deinit(self):
        Timer.period = 0


def _reset():
    raise Reset


def rows():
    """The partition table's rows, as the chip's driver has them."""
    found = []
    sector = FIRST
    for label, type_, subtype, sectors in _LAYOUT:
        found.append((type_, subtype, sector * SECTOR, sectors * SECTOR, label, False))
        sector += sectors
    return found


class Chip:
    """The flash as boards/unix's stand-ins use it: by address. `nor` has the cuts, the tears and the trace."""

    def __init__(self, nor):
        self.nor = nor

    def read_into(self, address, buffer):
        view = memoryview(buffer)
        image = memoryview(self.nor.image)
        view[:] = image[address : address + len(buffer)]

    def program(self, address, data):
        view = memoryview(data)
        while view:
            offset = address % SECTOR
            count = min(len(view), SECTOR - offset)
            self.nor.writeblocks(address // SECTOR, view[:count], offset)
            address += count
            view = view[count:]

    def erase(self, address):
        self.nor.ioctl(6, address // SECTOR)


class Device:
    """The partition vfs under littlefs. Without power it fails without a word: the collector still calls it."""

    def __init__(self, partition):
        self.partition = partition
        self.is_dead = False

    def readblocks(self, block, buffer, offset=0):
        if self.is_dead:
            return -5
        return self.partition.readblocks(block, buffer, offset)

    def writeblocks(self, block, buffer, offset=None):
        if self.is_dead:
            return -5
        return self.partition.writeblocks(block, buffer, offset)

    def ioctl(self, operation, argument):
        if self.is_dead and operation == 6:
            return -5
        return self.partition.ioctl(operation, argument)


_chip_link = Stub(link=None, setup={}, flash=None, partitions=rows(), running=None)
sys.modules["_board_link"] = _chip_link
sys.modules["_clock"] = Stub(clock=None)
sys.modules["_pin"] = Stub(gpio=None, _INPUT_ONLY_FROM=34)
sys.modules["machine"] = Stub(Timer=Timer, reset=_reset)
sys.path.append(_MODULES)
import _bootloader  # noqa: E402
import esp32  # noqa: E402

sys.path.pop()
from vitrine.app.update import Update  # noqa: E402
from vitrine.codec import cbor  # noqa: E402
from vitrine.crypto.ed25519 import DENY, GRANT  # noqa: E402
from vitrine.drivers import components, slots  # noqa: E402
from vitrine.drivers.nvs import Blob, Integer  # noqa: E402

components.PREFIX = slots.PREFIX = ROOT + "/slot-"
slots.APP = ROOT + "-app"


class Component:
    """What an update brings. kind: 0 application, 1 image. is_good: whether it passes its trial."""

    def __init__(self, kind, sequence, is_good=True, size=9000):
        self.kind = kind
        self.sequence = sequence
        self.is_good = is_good
        content = bytes([(sequence * 7 + i * i) & 0xFF for i in range(256)]) * (size // 256)
        self.data = _image(sequence, content) if kind else bundle(sequence, content)
        self.digest = sha256(self.data).digest()
        self.table = b""
        for start in range(0, len(self.data), SECTOR):
            self.table += sha256(self.data[start : start + SECTOR]).digest()[:16]
        self.manifest = manifest(self)


def bundle(sequence, content, names=("", "a"), **changes):
    """Return a bundle (SPEC.md 20.5) of files that are stored as they are. changes: of fields of the first row."""
    mpy = sys.implementation._mpy
    body = b""
    covered = b""
    for name in names:
        data = b"M" + bytes((mpy & 0xFF, 0)) + name.encode() + content[: len(content) // len(names)]
        stored = changes.get("stored", len(data)) if not body else len(data)
        size = changes.get("size", len(data)) if not body else len(data)
        row = struct.pack(">BHH", len(name), stored, size) + name.encode()
        covered += row + data
        body += row + data
    size = 64 + len(body)
    head = struct.pack(">4sIIHBB32s", b"vtb1", sequence, size, len(names), mpy & 0xFF, 0, b"sim") + bytes(12)
    return head + binascii.crc32(covered, binascii.crc32(head)).to_bytes(4, "big") + body


def _image(sequence, content):
    segment = struct.pack("<II", 0xABCD5432, sequence) + bytes(248) + content
    image = struct.pack("<BBBBI4xHBHH4xB", 0xE9, 1, 2, 0x20, 0, 0, 0, 0, 0xFFFF, 1)
    image += struct.pack("<II", 0, len(segment)) + segment
    checksum = 0xEF
    for byte in segment:
        checksum ^= byte
    image += bytes(15 - len(image) % 16) + bytes((checksum,))
    return image + sha256(image).digest()


def manifest(component, **changes):
    """Return the manifest of a component; changes: of its payload, by "k" and the key."""
    payload = {
        1: 1,
        2: component.sequence,
        3: VENDOR,
        4: CLASS,
        5: component.kind,
        6: len(component.data),
        7: component.digest,
        8: sha256(component.table).digest(),
        9: "sim",
    }
    for key, value in changes.items():
        payload[int(key[1:])] = value
    return signed(payload)


def signed(payload, kid=KID, header=None):
    """Return a COSE_Sign1 that verify_issuer() takes for signed."""
    protected = cbor.encode(header or {1: -19, 3: "vitrine/manifest", 4: kid})
    data = cbor.encode(payload)
    message = cbor.encode(["Signature1", protected, b"", data])
    return cbor.encode([protected, {}, data, sha256(message).digest() * 2])


def verify_issuer(issuer, message, signature):
    """In place of Ed25519, which is tested elsewhere."""
    return GRANT if signature == sha256(message).digest() * 2 else DENY


class Running:
    """What a start came to: component (0 slot, 1 image, -1 the factory's), sequence, digest."""

    def __init__(self, kind, sequence, digest):
        self.kind = kind
        self.sequence = sequence
        self.digest = digest


class Lock:
    """One start of the lock, up to where its tasks would run. There is one lock: the next start ends the one before."""

    _now = None

    def __init__(self, nor, time=None):
        self.nor = nor
        self.time = time or VirtualTime()
        self.records = []
        self.is_quiet = True
        self.sessions = 0
        self.battery = None
        self.gate_raises = 0  # so often
        self.is_deaf = False  # the journal takes nothing, and says nothing
        self.verifications = 0
        self.bad = ()  # sequences that do not pass
        self.device = None
        self.update = None

    def start(self):
        """Do what the chip and boot.py do."""
        if Lock._now is not None:
            Lock._now.end()
        Lock._now = self
        chip = Chip(self.nor)
        esp32.flash = chip
        esp32.NVS._store = None
        esp32.NVS._pending = {}
        row, code = _bootloader.boot(chip, _chip_link.partitions)
        _chip_link.running = row
        image_sequence = ORIGINAL if code is None else struct.unpack("<I", _description(chip, row))[0]
        self.device = Device(esp32.Partition("vfs"))
        try:
            filesystem = vfs.VfsLfs2(self.device)
        except OSError:
            vfs.VfsLfs2.mkfs(self.device)
            filesystem = vfs.VfsLfs2(self.device)
        vfs.mount(filesystem, ROOT)
        floor = Integer("vitrine", "upd_floor").load() or 0
        Timer.period = 0
        is_slot = slots.mount(Blob("vitrine", "slots"), floor, image_sequence)
        self.parts = parts = Stub(
            image=components.Image,
            end_trial=slots.end_trial,
            reset=_reset,
            vendor=VENDOR,
            of_class=CLASS,
            slots=slots.Slots(Blob("vitrine", "slots")),
            floor=Integer("vitrine", "upd_floor"),
            stage=components.Stage(),
            provision=Stub(lock_id=LOCK_ID, groups=[], issuers=[Stub(kid=KID, scopes=32, audiences=[LOCK_ID])]),
            verify_issuer=self._verify,
            dispatch=self,
            battery_mv=lambda: self.battery,
            gate=self._gate,
        )
        parts.application = lambda: components.Application(parts.slots.active)
        parts.number, parts.image_sequence = slots.running() if is_slot else (0, image_sequence)
        if is_slot:
            with open(slots.path_of(parts.number), "rb") as file:
                data = file.read()
            parts.sequence = struct.unpack(">I", data[4:8])[0]
            self.running = Running(0, parts.sequence, sha256(data).digest())
        else:
            parts.sequence = image_sequence
            self.running = Running(-1 if code is None else 1, image_sequence, _digest(chip, row, code))
        self.update = Update(parts)
        return self

    # what the firmware sees of the lock: dispatch, door, evidence

    lock_state = door_state = 1

    @property
    def lock(self):
        return self

    @property
    def clock(self):
        return self

    @property
    def evidence(self):
        return self

    def ticks_ms(self):
        return self.time.ticks_ms() & (2**30 - 1)

    def is_busy(self):
        return self.sessions > 0 or not self.is_quiet

    def is_in_service(self):
        return False

    @property
    def count(self):
        return 0 if self.is_deaf else len(self.records)

    def record(self, kind, fields):
        self.records.append((fields.get(15), fields.get(27), fields.get(4)))

    def _verify(self, issuer, message, signature):
        self.verifications += 1
        return verify_issuer(issuer, message, signature)

    async def _gate(self, vote):
        if self.gate_raises:
            self.gate_raises -= 1
            raise MemoryError
        return "bad" if self.running.sequence in self.bad else ""

    # what a sender does

    def ask(self, body):
        return self.update.answer(body, 1, 0)

    async def push(self, component, piece=1024):
        """Bring a component, from wherever the lock is; return its last answer."""
        status, answer = self.ask({1: component.manifest})
        while status == 0 and answer[1] == 1 and answer.get(4) == component.sequence:
            stream = component.table + component.data
            at = answer[2]
            if at >= len(stream):
                return answer
            status, answer = self.ask({2: at, 3: stream[at : at + piece]})
        return answer

    def live(self, component=None, ms=3000):
        """Let the task run for so long, with a sender who brings `component`; return how it ended: "" or "reset"."""

        ends = []

        async def work():
            try:
                await self.update.run(lambda: None)
            except BaseException as error:  # the power, the chip, or the end of the test
                ends.append(error)

        async def main():
            task = asyncio.create_task(work())
            await asyncio.sleep_ms(10)
            if component is not None:
                await self.push(component)
            end_ms = self.time.now_ms + ms
            while self.time.now_ms < end_ms:
                if ends:
                    raise ends[0]
                await asyncio.sleep_ms(50)
            task.cancel()

        try:
            self.time.run(main())
        except Reset:
            return "reset"
        finally:
            self.end()
        return ""

    def end(self):
        """The power is gone, or the chip starts again."""
        if self.device is None:
            return
        self.device.is_dead = True
        self.device = None
        for place in (ROOT, slots.APP):
            try:
                vfs.umount(place)
            except (OSError, AttributeError):
                continue
        gc.collect()


def _description(chip, row):
    buffer = bytearray(4)
    chip.read_into(row[2] + 36, buffer)
    return buffer


def _digest(chip, row, code):
    """The digest of the image that runs; of the factory's, which is none, nothing."""
    if code is None:
        return b""
    size = 24 + 8 + 256 + len(code)
    size += 16 - size % 16 + 32
    data = bytearray(size)
    chip.read_into(row[2], data)
    return sha256(data).digest()


def factory():
    """Return the flash as it leaves the factory."""
    return NorFlash(SECTORS)
