"""Deprovisioning: the lock erases all that made it one of a site (firmware/SPEC.md section 21)."""

from typing import Final

from .authority import Authority
from .board_link import BoardError, BoardLink, ClosedError, DamagedError
from .console_link import Wire
from .lock_state import LockState
from .report import Report
from .verify import WIPE_S, open_board, wait_for

STEPS: Final = 4
_SILENCE_S: Final = 2.0  # a lock that cannot begin says so at once
_WIPE_LINE: Final = b"\r>wipe\r"  # what a lock hears that cannot read who it is (SPEC.md section 18)


def deprovision(port: str, lock_id: str, report: Report, authority: Authority | None = None) -> None:
    """Wipe the lock `lock_id` at `port`, and see that nothing is left; BoardError if it is another lock.

    A lock whose record is damaged does not know which it is: whichever it was, it is wiped.
    """
    report.step(f"connecting to {port}")
    try:
        with open_board(port, lock_id, authority) as link:
            state = LockState.read(link.call("state"))
            if state.lock not in ("", lock_id):
                raise BoardError(f"this is {state.lock}, not {lock_id}: nothing was done")
            report.step("wiping")
            link.run_last(f"lock.wipe({state.lock!r})", _SILENCE_S)
    except DamagedError:
        report.step("wiping")
        wire = Wire(port)
        try:
            wire.write(_WIPE_LINE)
        finally:
            wire.close()
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
