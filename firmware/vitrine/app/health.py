"""Is this start on trial well? What it must show before it is confirmed (SPEC.md 20.3).

Each check is one that an update can break and nobody else would notice in time: the arithmetic that lets people in, the
decision, the radio, the record of it all. Wi-Fi and broker are none of them: a network that is away must not bring an
old fault back.
"""

import asyncio
from binascii import unhexlify

from micropython import const

from vitrine.access import reasons
from vitrine.access.session import Session, VerifiedTokens
from vitrine.codec import cbor
from vitrine.crypto.ed25519 import GRANT, verdict
from vitrine.door.ticks import ticks_diff

_LIMIT_MS = const(55_000)  # with the start before it, 60 s
_LOOK_MS = const(250)

# RFC 8032 section 7.1, test 2
_KEY = const(b"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
_MESSAGE = const(b"\x72")
_SIGNATURE = const(
    b"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    b"085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


async def examine(dispatch, provision, ble, votes, vote) -> str:
    """Return what is wrong in a word, or "" when all is well; in 55 s at most.

    provision: access.provision.Provision, or None. ble: links.ble.BleLink. votes: of the supervisor. vote: of the task
    that asks.
    """
    begin_ms = dispatch.clock.ticks_ms()
    evidence = dispatch.evidence
    count, missed = evidence.count, evidence.missed
    if not _verifies():
        return "crypto"
    await asyncio.sleep_ms(0)
    if not _refuses(dispatch, provision):
        return "decision"
    while True:
        vote()
        if not evidence.is_sound or evidence.missed != missed or evidence.count < count:
            return "journal"
        for each in votes:
            # what the watchdog asks for must not have died, nor be overdue
            if each.is_vital and (each.restarts or each.is_missed):
                return "task:" + each.name
        if ble.is_on_air:
            return ""
        if ticks_diff(dispatch.clock.ticks_ms(), begin_ms) >= _LIMIT_MS:
            return "ble"
        await asyncio.sleep_ms(_LOOK_MS)


def _verifies() -> bool:
    """Whether a known signature is good, and no other message has it."""
    key, signature = unhexlify(_KEY), unhexlify(_SIGNATURE)
    return verdict(key, _MESSAGE, signature) == GRANT and verdict(key, _MESSAGE + b"\0", signature) != GRANT


def _refuses(dispatch, provision) -> bool:
    """Whether a token that is right in all but its signature is refused for that."""
    token = _forged(provision) if provision else b""
    if not token:
        return True  # who has no issuers decides nothing
    clock = dispatch.clock
    session = Session(dispatch.policy, dispatch.keys.verify_holder, dispatch.random_bytes, VerifiedTokens())
    return session.present(token, clock.instant(), clock.ticks_ms()).reason == reasons.TOKEN_FORGED


def _forged(provision) -> bytes:
    """Return a token of a pinned issuer that nobody signed, good for a second whatever the time is."""
    for issuer in provision.issuers:
        for audience in [provision.lock_id] + provision.groups:
            if audience in issuer.audiences:
                key = {1: {1: 1, -1: 6, -2: bytes(32)}}
                claims = {3: audience, 7: bytes(8), 8: key, 9: _scope(issuer.scopes), 39: bytes(16), 40: 1}
                return cbor.encode([cbor.encode({1: -19, 4: issuer.kid}), {}, cbor.encode(claims), bytes(64)])
    return b""


def _scope(mask: int) -> str:
    for bit, word in ((1, "unlock"), (2, "hold"), (4, "courier"), (8, "service"), (16, "admin")):
        if mask & bit:
            return word
    return "update"
