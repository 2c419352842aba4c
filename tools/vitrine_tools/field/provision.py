"""Provisioning a lock over its open console (firmware/SPEC.md section 21): each step only if it is not done yet.

The order is the lock's: the root key is in the escrow before anything goes to the lock, everything else is in the lock
before its record, and the record is the commit. So whoever is cut off at any byte runs the same command again.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..audit.sealed import MAX_NUMBER, Keys
from ..collector import escrow
from ..errors import ToolError
from .authority import Authority
from .board_link import RESTART, BoardError, BoardLink
from .lock_state import LockState
from .report import Report
from .site import Plan
from .verify import examine, open_board, wait_for

STEPS: Final = 8
_PIECE: Final = 256  # bytes of a blob in one program
_ERROR_MS: Final = 1000  # of this computer's clock, and the way to the lock
_SKEW_S: Final = 60  # a floor so far ahead of this computer's clock is a mistake, not a difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it. changed: what the lock did not have before; key_file: the escrowed root key of its journal.

    wrong: what the lock's own report, under that key, shows to be wrong; None: nobody with a right to it has asked.
    """

    lock_id: str
    board: str
    epoch: int
    key_file: Path
    changed: tuple[str, ...]
    wrong: tuple[str, ...] | None
    seconds: float


class Provisioner:
    """Brings one lock to what `plan` says. folder: of the escrow, whose passphrase() is asked for once.

    authority: opens the console of a lock that is provisioned already, and has the lock report on itself afterwards.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        passphrase: Callable[[], bytes],
        report: Report,
        authority: Authority | None = None,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._passphrase = passphrase
        self._report = report
        self._authority = authority
        self._changed: list[str] = []

    def run(self, port: str) -> Done:
        """Do whatever is missing, and see that the lock starts as what it then is."""
        begun_s = time.monotonic()
        self._report.step(f"connecting to {port}")
        with open_board(port, self._plan.lock_id, self._authority) as link:
            state = LockState.read(link.call("state"))
            self._check_ours(state)
            keys = self._bring_journal(link, state)
            state = LockState.read(link.call("state"))
            if not state.has_journal_of(keys):
                raise BoardError("the lock does not have the journal that it was given: run the same command again")
            for name, content in (("mqtt", self._plan.mqtt), ("network", self._plan.network)):
                self._bring(link, state, name, content, keys)
            self._bring_record(link, state, keys)
        self._report.step("waiting for the lock")
        if self._changed or not state.lock:
            wait_for(port, self._plan.lock_id)
        self._report.step("examining it")
        wrong = examine(port, self._plan.lock_id, self._authority, keys) if self._authority else None
        return Done(
            lock_id=self._plan.lock_id,
            board=state.board.name,
            epoch=keys.epoch,
            key_file=self._folder / f"{keys.lock_id}-{keys.epoch}{escrow.SUFFIX}",
            changed=tuple(self._changed),
            wrong=wrong,
            seconds=time.monotonic() - begun_s,
        )

    def _check_ours(self, state: LockState) -> None:
        """Nothing goes to a lock that is somebody else's."""
        if state.trouble:
            raise BoardError("the lock's record is damaged: `vitrine deprovision` it, then provision it")
        if state.lock and state.lock != self._plan.lock_id:
            raise BoardError(f"this is {state.lock}: `vitrine deprovision` it before it becomes {self._plan.lock_id}")
        kids = {issuer.public_key.kid.hex() for issuer in self._plan.provision.issuers}
        if state.lock and not kids & set(state.issuers):
            raise BoardError(f"{state.lock} belongs to another site: none of its issuers is in the site file")

    def _bring_journal(self, link: BoardLink, state: LockState) -> Keys:
        """Return the keys of the lock's journal; if it has none that works, of a new one, escrowed first."""
        self._report.step("journal")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = escrow.Escrow(self._folder, self._passphrase)
        passphrase = kept.check_passphrase()
        keys = kept.of(self._plan.lock_id, state.epoch) if state.epoch else None
        if keys is not None and state.has_journal_of(keys) and (state.is_journal_sound or not state.lock):
            return keys
        if state.is_journal_sound and state.lock:
            raise ToolError(f"the root key of {state.lock}'s journal (epoch {state.epoch}) is not in {self._folder}")
        epoch = max(int(time.time()), state.epoch + 1, kept.last_epoch(self._plan.lock_id) + 1)
        if epoch > MAX_NUMBER:
            raise ToolError("this computer's clock, or an epoch in the escrow, is far ahead: put it right")
        root = secrets.token_bytes(32)
        escrow.save(self._folder, self._plan.lock_id, epoch, root, passphrase)
        keys = Keys(root, self._plan.lock_id, epoch)
        first, acknowledge = keys.secrets
        link.call("journal", epoch, first.hex(), acknowledge.hex(), _check(first + acknowledge))
        self._changed.append("journal")
        return keys

    def _bring(self, link: BoardLink, state: LockState, name: str, content: bytes | None, keys: Keys) -> None:
        self._report.step(name)
        if state.has(name, content, keys):
            return
        if content is None:
            link.call("remove", name)
        else:
            self._send(link, name, content)
        self._changed.append(name)

    def _send(self, link: BoardLink, name: str, content: bytes) -> None:
        link.call("begin", name, len(content))
        for start in range(0, len(content), _PIECE):
            link.call("put", content[start : start + _PIECE].hex())
            self._report.part(start / len(content))
        link.call("commit", _check(content))

    def _bring_record(self, link: BoardLink, state: LockState, keys: Keys) -> None:
        """The commit, if the lock does not have just this record, and a floor in the past."""
        self._report.step("record")
        now_s = int(time.time())
        is_same = bool(state.lock) and state.has("provision", self._plan.record(state.provisioned_at), keys)
        is_stuck = max(state.floor, state.provisioned_at) > now_s + _SKEW_S
        if is_same and not is_stuck and state.is_ledger_sound:
            if not state.time[1]:
                link.call("set_time", *_now())
            if self._changed:
                link.run_last(RESTART)
            self._report.skip(1)
            return
        self._send(link, "provision", self._plan.record(now_s))
        self._changed.append("record")
        self._report.step("commit")
        unix_ms, error_ms = _now()
        is_done = link.run_last(f"lock.finish({unix_ms}, {error_ms})\n{RESTART}")
        if state.lock and not is_done:  # of a new lock its name will tell
            raise BoardError("the lock did not say that it has its new record: run the same command again")


def _now() -> tuple[int, int]:
    return int(time.time() * 1000), _ERROR_MS


def _check(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
