"""A lock that takes operations by command: the firmware's commands, operations and policy, and a door that remembers.

Signatures as in command_lab, rules as in access_lab; portable.
"""

from vitrine.access.decision import is_grant
from vitrine.access.lockout import Lockouts
from vitrine.access.lockout import empty as no_lockouts
from vitrine.access.persons import Persons
from vitrine.access.policy import Policy
from vitrine.access.provision import Issuer
from vitrine.access.receipts import Receipts, empty
from vitrine.access.rules import Rules
from vitrine.access.scopes import parse_scopes
from vitrine.app.commands import Commands
from vitrine.app.operations import Operations
from vitrine.codec import cbor

from . import access_lab
from .command_lab import ADMIN, GROUP, LOCK, STORE, Lab, Memory, kid_of

OPERATE, IDENTIFY, AUDIT = 5, 6, 7


class Door:
    """Stands for the controller: does what is granted, if it `works`; `lost` of its records are not kept."""

    def __init__(self, lab):
        self._lab = lab
        self.moved = []
        self.works = True
        self.lost = 0
        self.withdrawn = 0

    def operate(self, operation, decision, link):
        if not is_grant(decision) or not self.works:
            return False
        # what was spent for it is durable before it moves
        assert decision.sequence == dict(cbor.decode(self._lab.operations_blob.blob, 256))[decision.token.kid]
        self.moved.append((operation, decision.token.kid, decision.token.ref, decision.command, link))
        self._lab.missed += self.lost
        return True

    def withdraw(self):
        self.withdrawn += 1


class OperationLab(Lab):
    """ADMIN may do everything, STORE only unlock this very lock."""

    def __init__(self):
        super().__init__()
        admin, store = self.provision.issuers
        admin.scopes = parse_scopes("unlock hold courier admin")
        self.missed = 0
        self.door = Door(self)
        self.operations_blob = Memory(cbor.encode([[kid_of(ADMIN), 5], [kid_of(STORE), 5]]))
        self.rules_configuration = access_lab.FakeConfiguration()
        self.rules_scenario = access_lab.FakeScenario()
        self.risk = access_lab.FakeRisk()
        self.persons = Persons()
        self.active_alarms = 0
        self.rules = Rules(
            None,
            self.revocations,
            Receipts(Memory(empty()), None),
            Lockouts(Memory(no_lockouts()), lambda: self.rules_configuration.settings, self.fault),
            self.persons,
            self.rules_configuration,
            self.rules_scenario,
            self.risk,
            lambda: self.active_alarms,
            lambda: self.is_sound,
        )
        self.policy = Policy(self.provision, None, self.rules)
        self.restart()

    def restart(self):
        """The power comes back: what was not durable is gone."""
        self.operations = Operations(self.operations_blob, self.provision.issuers, self.policy, self.door, self, self)
        self.commands = Commands(
            self.provision,
            lambda issuer, message, signature: self.verify(issuer, message, signature),
            self,
            self,
            self,
            self.revocations,
            self.configuration,
            self.scenario,
            self,
            self.operations,
        )

    def fault(self, detail):
        raise AssertionError(detail)

    def state(self):
        return super().state() + repr((self.door.moved, self.operations_blob.blob))


__all__ = ["ADMIN", "GROUP", "LOCK", "STORE", "Issuer", "OperationLab"]
