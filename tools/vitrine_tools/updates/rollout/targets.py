"""What a rollout does to one lock at a broker: bring the update and wait for what comes of it; look again later."""

from collections.abc import Awaitable, Callable
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
        self._answer_s = min(_ANSWER_S, silent_s / 3)

    async def push(self, lock_id: str, is_shadow: bool) -> Outcome:
        """Bring the update to a lock, and wait until it has confirmed it or gone back (in shadow: until it has it)."""
        return await self._while_connected(lambda: self._push(lock_id, is_shadow))

    async def check(self, lock_id: str, is_shadow: bool) -> Outcome:
        """See whether a lock still runs the update, or has it; one that runs something newer needs it no more."""
        return await self._while_connected(lambda: self._look(lock_id, is_shadow))

    async def _while_connected(self, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Do `work`, and again if the broker was gone meanwhile: no lock is to blame for that."""
        while True:
            connections = self._exchange.connections
            try:
                return await work()
            except ProtocolError as error:
                return Outcome(rings.State.SILENT, str(error))
            except LinkError as error:
                if self._exchange.is_connected.is_set() and self._exchange.connections == connections:
                    return Outcome(rings.State.SILENT, str(error))
                await self._exchange.is_connected.wait()

    async def _push(self, lock_id: str, is_shadow: bool) -> Outcome:
        sender = self._sender(lock_id, is_shadow)
        try:
            report = await sender.push()
            if not is_shadow and report.state in (State.STAGED, State.TRIAL):
                report = await sender.wait()
            return self._outcome(report, is_shadow)
        except Refused as refusal:
            if refusal.reason == Reason.SequenceStale:  # perhaps because it runs something newer
                outcome = await self._look(lock_id, is_shadow)
                if outcome.state is rings.State.DONE:
                    return outcome
            return Outcome(rings.State.REFUSED, str(refusal))

    async def _look(self, lock_id: str, is_shadow: bool) -> Outcome:
        try:
            return self._outcome(await self._sender(lock_id, is_shadow).look(), is_shadow)
        except Refused as refusal:
            return Outcome(rings.State.REFUSED, str(refusal))

    def _sender(self, lock_id: str, is_shadow: bool) -> Sender:
        way = self._exchange.way(lock_id, self._answer_s)
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
