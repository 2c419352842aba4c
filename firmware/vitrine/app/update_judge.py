"""May this manifest be taken, here and now? Source: SPEC.md 20.1, 20.4.

Owns the order of the checks: what costs a verification comes last, so that a flood of junk costs the lock little.
"""

from micropython import const

from vitrine.access import reasons
from vitrine.access.manifest import BATTERY, IMAGE, IMAGE_SEQUENCE, RUNNING
from vitrine.access.scopes import UPDATE
from vitrine.crypto.ed25519 import DENY, GRANT
from vitrine.door.ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from vitrine.access.manifest import Manifest

_ALL_BITS = const(0x3FFFFFFF)
_JUNK_MS = const(2_000)  # of manifests that are refused, one in this time is verified, so that its signer is told why


class Judge:
    """parts: as of app.update.Update."""

    def __init__(self, parts) -> None:
        self._parts = parts
        self._ticks_ms = parts.dispatch.clock.ticks_ms
        self._junk_ms: "int | None" = None

    def decide(self, manifest: "Manifest", above: int = 0) -> "tuple[int, bool]":
        """Return (GRANTED or why not, whether its signature is good). above: the sequence of what is on its way."""
        issuer = self._issuer(manifest.kid)
        if issuer is None:
            return reasons.ISSUER_UNKNOWN, False
        reason = self._judge(manifest, issuer, above)
        if reason not in (reasons.GRANTED, reasons.SEQUENCE_STALE, reasons.PRECONDITION_FAILED):
            return reason, False
        if reason != reasons.GRANTED and not self._may_verify():
            return reason, False
        verdict = self._parts.verify_issuer(issuer, manifest.message(), manifest.signature)
        # asked twice, by different operations, like that on a grant
        if verdict != GRANT or (verdict ^ DENY) != _ALL_BITS:
            return reason or reasons.COMMAND_FORGED, False
        return reason, True

    def has_space(self, manifest: "Manifest") -> bool:
        """Whether an application finds room: one that does not is not to wear the flash until it is full."""
        return manifest.component == IMAGE or manifest.size <= self._parts.application().room()

    def is_stale(self, sequence: int) -> bool:
        """Whether nothing of this sequence is taken: it, or a higher one, was confirmed, runs, or was tried."""
        slots = self._parts.slots
        floor = self._parts.floor.load() or 0
        return sequence <= max(floor, self._parts.sequence, slots.tried, slots.sequence(slots.active))

    def _judge(self, manifest: "Manifest", issuer, above: int) -> int:
        """Return GRANTED or why this lock does not take it now; its signature is not looked at."""
        parts = self._parts
        if not issuer.scopes & UPDATE:
            return reasons.SCOPE_NOT_ALLOWED
        provision = parts.provision
        ours = [each for each in [provision.lock_id] + provision.groups if each in issuer.audiences]
        if not ours or (manifest.audiences and not any([each in ours for each in manifest.audiences])):
            return reasons.AUDIENCE_MISMATCH
        if manifest.vendor != parts.vendor or manifest.of_class != parts.of_class or not self._has_room(manifest):
            return reasons.NOT_FOR_THIS_BOARD
        if manifest.sequence <= above or self.is_stale(manifest.sequence):
            return reasons.SEQUENCE_STALE
        battery_mv = parts.battery_mv()
        for key, least in manifest.preconditions.items():
            if key == RUNNING:
                is_met = parts.sequence >= least
            elif key == BATTERY:
                # a lock that measures no battery has none that could run down
                is_met = battery_mv is None or battery_mv >= least
            else:
                is_met = key == IMAGE_SEQUENCE and parts.image_sequence >= least
            if not is_met:
                return reasons.PRECONDITION_FAILED
        return reasons.GRANTED

    def _has_room(self, manifest: "Manifest") -> bool:
        """Whether there is a place for an image, and it is large enough."""
        if manifest.component != IMAGE:
            return True
        try:
            return manifest.size <= self._parts.image().size
        except OSError:
            return False

    def _may_verify(self) -> bool:
        now_ms = self._ticks_ms()
        if self._junk_ms is not None and 0 <= ticks_diff(now_ms, self._junk_ms) < _JUNK_MS:
            return False
        self._junk_ms = now_ms
        return True

    def _issuer(self, kid: bytes) -> "Any":
        provision = self._parts.provision
        for issuer in provision.issuers if provision else ():
            if issuer.kid == kid:
                return issuer
        return None
