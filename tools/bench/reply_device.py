"""Runs on MicroPython: the way from a whole challenge reply to the coil, and one verification under any key, in turn.

The lock's judgement is the real one, over a ledger that is full. Input, in hex, a line: provisioning record, token,
act request for the nonce of zeros, a token with a number of uses. Output: times in microseconds, each the shortest of
ROUNDS, after which nothing is left to warm up: reply to coil, one verification, one decision, one that spends a use;
and the bytes that such a decision programs.
"""

import gc
import sys
import time

from support.door_states import SWITCH_CLOSED
from support.ledger_flash import DAY, NOW_S, REVOKED, SPENT, digest, fresh, tend
from vitrine.access import lockout, receipts, revocation
from vitrine.access.freshness import Freshness
from vitrine.access.provision import parse_provision
from vitrine.access.session import Session, VerifiedTokens
from vitrine.access.token import Token
from vitrine.app import configuration, scenario
from vitrine.app.controller import Controller
from vitrine.app.event_log import EventLog
from vitrine.app.judgement import Judgement
from vitrine.app.key_tables import KeyTables
from vitrine.codec import cbor
from vitrine.crypto import ed25519
from vitrine.door.settings import Settings

ROUNDS = 200
REVOKED_MOST, SPENT_MOST = 2000, 3700


class Door:
    """Strike, inputs and clock of a closed door; `moved_us`: when the coil was energised last."""

    deadline_ms = None
    door_closed = True
    rex_pressed = False
    switch = SWITCH_CLOSED
    is_sound = True
    moved_us = 0
    alarm_mask = staticmethod(lambda: 0)
    record = staticmethod(lambda kind, fields=None: print(fields, file=sys.stderr))
    ticks_ms = staticmethod(time.ticks_ms)

    def __init__(self, provision):
        self.provision = provision
        self.now_s = provision.provisioned_at

    def reading(self):
        return self.now_s, 1

    def instant(self):
        return self.now_s, 1, 0

    def energise(self, on_ms):
        self.moved_us = time.ticks_us()

    def release(self):
        pass

    service = wake = poll = release


class Store:
    def __init__(self, blob):
        self.blob = blob

    def load(self):
        return self.blob

    def save(self, blob):
        self.blob = blob


class Tables:
    """Key tables that have no tables."""

    pin = staticmethod(ed25519.PublicKey)


def full_ledger():
    flash, ledger = fresh()
    for kind, most in ((REVOKED, REVOKED_MOST), (SPENT, SPENT_MOST)):
        for number in range(most):
            ledger.add(kind, digest(number), NOW_S + 300 * DAY)
            tend(ledger)
    return flash


def shortest(act):
    times = []
    for _ in range(ROUNDS):
        gc.collect()
        start_us = time.ticks_us()
        act()
        times.append(time.ticks_diff(time.ticks_us(), start_us))
    return min(times)


def main():
    provision_blob, token, request, used = [bytes.fromhex(sys.stdin.readline()) for _ in range(4)]
    provision = parse_provision(provision_blob)
    door = Door(provision)
    blobs = {
        "lockout": lockout.empty(),
        "receipts": receipts.empty(),
        "revocations": revocation.empty([issuer.kid for issuer in provision.issuers]),
    }
    flash = full_ledger()
    judgement = Judgement(
        door,
        lambda key: Store(blobs.get(key)),
        lambda label: flash,
        Tables,
        configuration.Configuration(Store(configuration.empty()), provision),
        scenario.Scenario(Store(scenario.empty())),
        door,
        None,
        Freshness(bytes),
        door,
        door,
    )

    def verify_holder(public_key, message, signature):
        """Noted, so that exactly what the reply costs can be compared with what it contains."""
        seen.append((public_key, message, signature))
        return tables[0].verify_holder(public_key, message, signature)

    policy = judgement.policy
    session = Session(policy, verify_holder, bytes, VerifiedTokens())
    seen = []
    tables = [None]
    session.hello(0)
    holder_key = session.present(token, door.instant(), 0).token.holder_key
    reply_us = []
    verify_us = []
    for _ in range(ROUNDS):
        seen.clear()
        controller = Controller(door, door, Settings(), EventLog(door), time.ticks_ms)  # a coil that is off
        # a holder who was never here before; app.dispatch does this while he is still confirming
        tables[0] = KeyTables(None, print, None, bytes)
        tables[0].expect(holder_key)
        gc.collect()
        start_us = time.ticks_us()
        body = cbor.decode(request, 768)[2]
        decision = session.act(body[1], body[2], body[3], 0, door.instant())
        if not controller.operate(body[1], decision, 1):
            raise RuntimeError(f"refused: {decision.reason}")
        reply_us.append(time.ticks_diff(door.moved_us, start_us))
        gc.collect()
        start_us = time.ticks_us()
        ed25519.verify(*seen[0])
        verify_us.append(time.ticks_diff(time.ticks_us(), start_us))
    plain, counted = Token(token), Token(used)
    decide_us = shortest(lambda: policy.decide(plain, 1, False, door.instant(), 0))
    flash.zero_counters()
    spend_us = shortest(lambda: policy.decide(counted, 1, False, door.instant(), 0))
    print(min(reply_us), min(verify_us), decide_us, spend_us, flash.bytes_programmed // ROUNDS)


main()
