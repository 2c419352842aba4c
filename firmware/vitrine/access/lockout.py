"""Who has tried wrongly too often, by holder key and by peer, and how long that source must wait. Source: SPEC.md 3.5.

Owns the counts and NVS blob `lockout`; what a bad try is, the policy and dispatch say. Keys and peers have places of
their own, a fixed number each: a million strangers fill theirs over and over and touch no holder's.

Wear (*estimates*, 24 KB of NVS, 100,000 erases a page): a full blob takes 21 of a page's 126 entries, so the store
bears about 2.5 million of them: written every minute for strangers who never stop, almost 5 years. A key's bad try
costs one write before it is answered; only somebody whose token and proof are both genuine can cause one.
"""

from array import array
from binascii import crc32
from hashlib import sha256

from micropython import const

from .ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Store(Protocol):
        """Keeps one blob; both raise OSError if they cannot."""

        def load(self) -> "bytes | None": ...

        def save(self, data: bytes) -> None: ...

    class Settings(Protocol):
        @property
        def lockout_tries(self) -> int: ...
        @property
        def lockout_s(self) -> int: ...
        @property
        def lockout_max_s(self) -> int: ...


_KEYS = const(16)
_PLACES = const(48)  # keys first, then peers

_VERSION = const(1)
_HEADER = const(2)  # version, number of entries
_CRC = const(4)
_ENTRY = const(12)
_NAME = const(9)  # kind and digest; offset of the counts
_LEFT = const(10)
_KEY = const(1)
_PEER = const(2)
_MOST = const(15)  # of tries and of lock-outs: four bits each

_QUIET_MS = const(86_400_000)
_WRITE_MS = const(60_000)
_ALARM_MS = const(300_000)

_MASK = const(0x3FFFFFFF)  # of ticks: the shortest wrap of any target, and what fits an entry of _at


class Lockouts:
    """The lock-outs in force. now_ms: ticks in ms. tend() at least every minute: it keeps all ages far below the wrap.

    `settings()` returns the door.settings.Settings in force. `fault(detail)` is told `lockout:missing`,
    `lockout:damaged`, `lockout:read`, and once `lockout:write` each time that writing begins to fail: lock-outs then go
    on in RAM, and tend() tries again. Nothing here raises.
    """

    def __init__(self, store: "Store", settings: "Callable[[], Settings]", fault: "Callable[[str], None]") -> None:
        self._store = store
        self._settings = settings
        self._fault = fault
        self._entries = bytearray(_PLACES * _ENTRY)  # as in the blob; `left` as it was at its moment in _at
        self._at = array("I", bytes(4 * _PLACES))  # ticks of the last bad try, or of the first call after a start
        self._asked: "bytes | None" = None
        self._asked_name = bytearray()
        self._is_started = False
        self._is_dirty = False
        self._is_failing = False
        self._written_ms = 0
        self._untold = 0
        self._told_ms = -1
        self._load()

    def failed_key(self, public_key: bytes, now_ms: int) -> int:
        """Count a bad try of a holder who proved `public_key`; return the seconds of a lock-out that it began, or 0.

        Durable when it returns, unless the store fails. A try while locked out is none, and changes nothing.
        """
        if self.key_wait_s(public_key, now_ms):
            return 0  # nor is it a reason to write what strangers did
        began_s = self._failed(_KEY, public_key, now_ms)
        self._save(now_ms)
        return began_s

    def failed_peer(self, address: bytes, now_ms: int) -> int:
        """Count a bad try of the peer at `address`, in RAM; return the seconds of a lock-out that it began, or 0.

        An empty address is nobody's: whoever comes without one cannot be told from the others, and is never counted.
        """
        began_s = self._failed(_PEER, address, now_ms) if address else 0
        if began_s:
            self._untold += 1
        return began_s

    def key_wait_s(self, public_key: bytes, now_ms: int) -> int:
        """Return for how many seconds more, rounded up, this key is locked out; 0 if it is free."""
        return self._wait_s(_KEY, public_key, now_ms)

    def peer_wait_s(self, address: bytes, now_ms: int) -> int:
        """Return for how many seconds more, rounded up, this peer is locked out; 0 if it is free."""
        return self._wait_s(_PEER, address, now_ms)

    def succeeded(self, public_key: bytes, address: bytes, now_ms: int) -> None:
        """Forget the bad tries of both after a grant. tend() writes it: what a power cut brings back is only longer."""
        for kind, source in ((_KEY, public_key), (_PEER, address)):
            self._forget(self._find(kind, source, now_ms))

    def peer_alarm(self, now_ms: int) -> int:
        """Return how many lock-outs of peers the alarm is to tell of now, at most once in 5 minutes; else 0.

        To be asked after a lock-out of a peer began, and with tend(): what came too soon is told then.
        """
        if not self._untold or (self._told_ms >= 0 and _age_ms(self._told_ms, now_ms) < _ALARM_MS):
            return 0
        count, self._untold = self._untold, 0
        self._told_ms = now_ms & _MASK
        return count

    def tend(self, now_ms: int) -> None:
        """Forget what is over, and write what changed: at most once a minute, whatever strangers do."""
        self._start(now_ms)
        for entry in range(0, _PLACES * _ENTRY, _ENTRY):
            if self._entries[entry]:
                if self._age_ms(entry, now_ms) >= _QUIET_MS:
                    self._forget(entry)
                elif self._number(entry) and not self._left_s(entry, now_ms):
                    # on record as over, or a start months later would begin it again
                    self._put(entry, self._entries[entry + _NAME], 0)
        if self._told_ms >= 0 and _age_ms(self._told_ms, now_ms) >= _ALARM_MS:
            self._told_ms = -1
        if _age_ms(self._written_ms, now_ms) >= _WRITE_MS:
            if self._is_dirty:
                self._save(now_ms)
            else:
                self._written_ms = now_ms - _WRITE_MS & _MASK  # or ticks would wrap, and it would lie ahead

    def _failed(self, kind: int, source: bytes, now_ms: int) -> int:
        entry = self._find(kind, source, now_ms)
        if entry < 0:
            entry = self._room(kind, now_ms)
            self._entries[entry : entry + _NAME] = _name(kind, source)
            self._entries[entry + _NAME] = 0
        elif self._left_s(entry, now_ms):
            return 0
        settings = self._settings()
        tries = (self._entries[entry + _NAME] & _MOST) + 1
        lockouts = self._entries[entry + _NAME] >> 4
        left_s = 0
        if tries >= settings.lockout_tries:
            left_s = min(settings.lockout_s << lockouts, settings.lockout_max_s)
            lockouts = min(lockouts + 1, _MOST)
            tries = 0
        self._put(entry, lockouts << 4 | tries, left_s)
        self._at[entry // _ENTRY] = now_ms & _MASK
        return left_s

    def _wait_s(self, kind: int, source: bytes, now_ms: int) -> int:
        entry = self._find(kind, source, now_ms)
        return 0 if entry < 0 else self._left_s(entry, now_ms)

    def _find(self, kind: int, source: bytes, now_ms: int) -> int:
        """Return the offset of the entry of `source`, or -1 if there is none that still counts."""
        self._start(now_ms)
        if kind == _KEY and source == self._asked:
            name = self._asked_name  # the same holder, a moment later
        else:
            name = _name(kind, source)
            if kind == _KEY:
                self._asked, self._asked_name = source, name
        entries = self._entries
        for entry in _range(kind):
            # one byte first: a slice is garbage on the heap, and this is asked for every message of every peer
            if entries[entry + 1] == name[1] and entries[entry : entry + _NAME] == name:
                if self._age_ms(entry, now_ms) < _QUIET_MS:
                    return entry
                self._forget(entry)
                break
        return -1

    def _room(self, kind: int, now_ms: int) -> int:
        """Return the offset of a free entry, or of the one to give way: soonest free, or quiet for longest."""
        best = -1
        least_ms = 0
        for entry in _range(kind):
            if not self._entries[entry]:
                return entry
            rest_ms = self._number(entry) * 1000 - self._age_ms(entry, now_ms)
            if best < 0 or rest_ms < least_ms:
                best, least_ms = entry, rest_ms
        return best

    def _left_s(self, entry: int, now_ms: int) -> int:
        rest_ms = self._number(entry) * 1000 - self._age_ms(entry, now_ms)
        return (rest_ms + 999) // 1000 if rest_ms > 0 else 0

    def _age_ms(self, entry: int, now_ms: int) -> int:
        return _age_ms(self._at[entry // _ENTRY], now_ms)

    def _number(self, entry: int) -> int:
        return self._entries[entry + _LEFT] << 8 | self._entries[entry + _LEFT + 1]

    def _put(self, entry: int, counts: int, left_s: int) -> None:
        self._entries[entry + _NAME] = counts
        self._entries[entry + _LEFT] = left_s >> 8
        self._entries[entry + _LEFT + 1] = left_s & 0xFF
        self._is_dirty = True

    def _forget(self, entry: int) -> None:
        if entry >= 0:
            self._entries[entry] = 0
            self._put(entry, 0, 0)

    def _start(self, now_ms: int) -> None:
        """Let the time that was left run on from the first moment that this start knows of."""
        if not self._is_started:
            self._is_started = True
            self._written_ms = now_ms & _MASK
            for place in range(_PLACES):
                self._at[place] = now_ms & _MASK

    def _save(self, now_ms: int) -> None:
        body = bytearray((_VERSION, 0))
        for entry in range(0, _PLACES * _ENTRY, _ENTRY):
            if self._entries[entry]:
                body[1] += 1
                body.extend(self._entries[entry : entry + _LEFT])
                body.extend(self._left_s(entry, now_ms).to_bytes(2, "big"))
        self._written_ms = now_ms & _MASK
        try:
            self._store.save(_seal(body))
        except OSError:
            if not self._is_failing:
                self._is_failing = True
                self._fault("lockout:write")
            return
        self._is_failing = self._is_dirty = False

    def _load(self) -> None:
        try:
            blob = self._store.load()
        except OSError:
            self._fault("lockout:read")
            return
        if blob is None:
            self._fault("lockout:missing")
        elif not self._take(blob):
            self._entries = bytearray(_PLACES * _ENTRY)
            self._fault("lockout:damaged")

    def _take(self, blob: bytes) -> bool:
        """Put the entries of `blob` into their places; False if it is not one."""
        body = blob[:-_CRC]
        if len(body) < _HEADER or body[0] != _VERSION or len(body) != _HEADER + body[1] * _ENTRY or blob != _seal(body):
            return False
        for at in range(_HEADER, len(body), _ENTRY):
            for entry in _range(body[at]) if body[at] in (_KEY, _PEER) else ():
                if not self._entries[entry]:
                    self._entries[entry : entry + _ENTRY] = body[at : at + _ENTRY]
                    break
            else:
                return False
        return True


def empty() -> bytes:
    """Return the blob that provisioning writes: nobody has tried wrongly yet."""
    return _seal(bytes((_VERSION, 0)))


def _seal(body: "bytes | bytearray") -> bytes:
    return bytes(body) + crc32(body).to_bytes(_CRC, "big")


def _name(kind: int, source: bytes) -> bytearray:
    tag = bytearray((kind,))
    return tag + sha256(tag + source).digest()[: _NAME - 1]


def _range(kind: int) -> range:
    """Return the offsets of the entries of a kind."""
    if kind == _KEY:
        return range(0, _KEYS * _ENTRY, _ENTRY)
    return range(_KEYS * _ENTRY, _PLACES * _ENTRY, _ENTRY)


def _age_ms(then_ms: int, now_ms: int) -> int:
    """Return how long ago `then_ms` was; 0 if the caller has read the clock before: no reason to forget."""
    return max(0, ticks_diff(now_ms, then_ms))
