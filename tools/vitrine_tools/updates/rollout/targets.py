"""What a rollout does to one lock at a broker: bring the update and wait for what comes of it; look again later."""

from typing import Final

from ...errors import LinkError
from ...protocol import ProtocolError, Reason
from ..component import Component
from ..links import Exchange
from ..manifest import Signed
from ..push import Patience, Refused, Report, Sender, State
from . import rings
from .runner import Outcome

_ANSWER_S: Final = 20.0


class Targets:
    """Targets(exchange, signed, component, silent_s): `push` and `check` for a runner."""

    def __init__(
        self,
        exchange: Exchange,
        signed: Signed,
        component: Component,
        silent_s: float,
        patience: Patience | None = None,
    ) -> None:
        self._exchange = exchange
        self._signed = signed
        self._component = component
        self._patience = patience or Patience(silent_s=silent_s, wait_s=silent_s, quiet_s=2.0)

    async def push(self, lock_id: str, is_shadow: bool) -> Outcome:
        """Bring the update to a lock, and wait until it has confirmed it or gone back (in shadow: until it has it)."""
        sender = self._sender(lock_id, is_shadow)
        try:
            report = await sender.push()
            if not is_shadow and report.state in (State.STAGED, State.TRIAL):
                report = await sender.wait()
            return self._outcome(report, is_shadow)
        except Refused as refusal:
            if refusal.reason == Reason.SequenceStale:
                return await self.check(lock_id, is_shadow, str(refusal))
            return Outcome(rings.State.REFUSED, str(refusal))
        except (LinkError, ProtocolError) as error:
            return Outcome(rings.State.SILENT, str(error))

    async def check(self, lock_id: str, is_shadow: bool, refused: str = "") -> Outcome:
        """See whether a lock still runs the update, or has it; one that runs something newer needs it no more."""
        sender = self._sender(lock_id, is_shadow)
        try:
            report = await sender.look()
        except Refused as refusal:
            return Outcome(rings.State.REFUSED, str(refusal))
        except (LinkError, ProtocolError) as error:
            return Outcome(rings.State.SILENT, str(error))
        outcome = self._outcome(report, is_shadow)
        if refused and outcome.state is not rings.State.DONE:
            return Outcome(rings.State.REFUSED, refused)
        return outcome

    def _sender(self, lock_id: str, is_shadow: bool) -> Sender:
        way = self._exchange.way(lock_id, _ANSWER_S)
        return Sender(way, self._signed, self._component, is_shadow=is_shadow, patience=self._patience)

    def _outcome(self, report: Report, is_shadow: bool) -> Outcome:
        ours = self._signed.manifest.sequence
        is_ours = report.running == ours and report.state is not State.TRIAL
        if is_ours or (is_shadow and report.state is State.STAGED and report.coming == ours):
            return Outcome(rings.State.DONE)
        if report.running is not None and report.running > ours:
            return Outcome(rings.State.DONE, f"runs {report.running} already")
        if report.state is State.RETURNED:
            return Outcome(rings.State.RETURNED, f"runs {report.running} again")
        return Outcome(rings.State.SILENT, f"it is {report.state.name.lower()} for long")
