"""Deprovisioning: the lock erases all that made it one of a site (firmware/SPEC.md section 21)."""

from typing import Final

from .authority import Authority
from .board_link import BoardError, BoardLink, ClosedError
from .lock_state import LockState
from .report import Report
from .verify import WIPE_S, open_board, wait_for

STEPS: Final = 4
_SILENCE_S: Final = 2.0  # a lock that cannot begin says so at once


def deprovision(port: str, lock_id: str, report: Report, authority: Authority | None = None) -> None:
    """Wipe the lock `lock_id` at `port`, and see that nothing is left; BoardError if it is another lock."""
    report.step(f"connecting to {port}")
    with open_board(port, lock_id, authority) as link:
        state = LockState.read(link.call("state"))
        if state.lock not in ("", lock_id):
            raise BoardError(f"this is {state.lock}, not {lock_id}: nothing was done")
        report.step("wiping")
        link.run_last(f"lock.wipe({state.lock!r})", _SILENCE_S)
    report.step("waiting for the lock")
    wait_for(port, "", WIPE_S)
    report.step("checking")
    try:
        with BoardLink(port) as link:
            state = LockState.read(link.call("state"))
    except ClosedError:
        raise BoardError("the lock says that it is unprovisioned, but its console is closed") from None
    if state.lock or state.trouble or state.epoch or state.records or set(state.blobs) - {"lockout"}:
        raise BoardError("the lock has not forgotten everything: run the same command again")
