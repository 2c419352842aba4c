"""Who may begin a TLS handshake with the lock, and when (SPEC.md section 15).

A handshake keeps an ESP32 from everything else for *some tenths of a second*, and a stranger asks for one with a few
bytes. So each address has so many in a time, and one that comes to no request costs as much as four. It is a generic
cell rate algorithm (ITU-T I.371): one number for each address, the time at which all it has used is paid back.
"""

from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .http import Guest

_ONE_MS = const(1_000)
_FAILED_MS = const(4_000)
_MOST_MS = const(8_000)
_DEBT_MAX_MS = const(12_000)
_ADDRESSES_MAX = const(8)  # beyond these whoever owes least is forgotten


class TlsGate:
    """TlsGate(context, clock): `context` is an ssl.SSLContext with the lock's certificate."""

    def __init__(self, context, clock) -> None:
        self._context = context
        self._clock = clock
        self._debts: "dict[bytes, tuple[int, int]]" = {}  # by address: milliseconds owed, and since when

    def admits(self, guest: "Guest") -> bool:
        """Whether the guest's address may begin a handshake now; who owes for a failed one has the weaker claim."""
        owed_ms = self._owed_ms(guest.peer)
        guest.standing = -(owed_ms // _FAILED_MS)
        if owed_ms > _MOST_MS - _ONE_MS:
            return False
        self._charge(guest.peer, owed_ms + _ONE_MS)
        return True

    def failed(self, guest: "Guest") -> None:
        """What the guest began became no request."""
        self._charge(guest.peer, min(self._owed_ms(guest.peer) + _FAILED_MS - _ONE_MS, _DEBT_MAX_MS))

    def tend(self) -> None:
        """Forget who has paid all. To be called often: nothing may be kept until the ticks wrap around."""
        for peer in [peer for peer in self._debts if not self._owed_ms(peer)]:
            del self._debts[peer]

    def wrap(self, stream) -> None:
        """Have the stream speak TLS; the handshake comes with what is read. Raises OSError.

        To close the stream is not enough then: MicroPython lets go of the socket below when a handshake fails, without
        closing it, and an ESP32 has ten. So it is kept at hand.
        """
        stream.e["socket"] = stream.s
        stream.s = self._context.wrap_socket(stream.s, server_side=True, do_handshake_on_connect=False)
        stream.s.setblocking(False)

    def _owed_ms(self, peer: bytes) -> int:
        owed_ms, since_ms = self._debts.get(peer, (0, 0))
        return max(0, owed_ms - self._clock.ticks_diff(self._clock.ticks_ms(), since_ms)) if owed_ms else 0

    def _charge(self, peer: bytes, owed_ms: int) -> None:
        debts = self._debts
        if peer not in debts and len(debts) >= _ADDRESSES_MAX:
            del debts[min(debts, key=self._owed_ms)]
        debts[peer] = (owed_ms, self._clock.ticks_ms())
