"""Runs on MicroPython: the way from a whole challenge reply to the coil, and one verification under any key, in turn.

Input, in hex, a line: provisioning record, token, act request for the nonce of zeros. Output: two times in
microseconds, each the shortest of ROUNDS, after which nothing is left to warm up.
"""

import gc
import sys
import time

from vitrine.access.policy import Policy
from vitrine.access.provision import parse_provision
from vitrine.access.session import Session, VerifiedTokens
from vitrine.access.uses import Uses
from vitrine.app.controller import Controller
from vitrine.app.event_log import EventLog
from vitrine.app.key_tables import KeyTables
from vitrine.codec import cbor
from vitrine.crypto import ed25519
from vitrine.door.settings import Settings

ROUNDS = 200


class Door:
    """Strike, inputs and clock of a closed door; `moved_us`: when the coil was energised last."""

    deadline_ms = None
    door_closed = True
    rex_pressed = False
    moved_us = 0

    def __init__(self, now_s):
        self._reading = (now_s, 1)

    def reading(self):
        return self._reading

    def energise(self, on_ms):
        self.moved_us = time.ticks_us()

    def release(self):
        pass

    service = wake = poll = release


def main():
    provision_blob, token, request = [bytes.fromhex(sys.stdin.readline()) for _ in range(3)]
    provision = parse_provision(provision_blob)
    door = Door(provision.provisioned_at)
    verify_us = []

    def verify_issuer(issuer, message, signature):
        return ed25519.verdict(issuer.public_key, message, signature)

    def verify_holder(public_key, message, signature):
        """Noted, so that exactly what the reply costs can be compared with what it contains."""
        seen.append((public_key, message, signature))
        return tables[0].verify_holder(public_key, message, signature)

    session = Session(Policy(provision, verify_issuer, Uses(None)), verify_holder, bytes, VerifiedTokens())
    seen = []
    tables = [None]
    session.hello(0)
    holder_key = session.present(token, door.reading()).token.holder_key
    reply_us = []
    for _ in range(ROUNDS):
        seen.clear()
        controller = Controller(door, door, Settings(), EventLog(door), time.ticks_ms)  # a coil that is off
        # a holder who was never here before; app.dispatch does this while he is still confirming
        tables[0] = KeyTables(None, print)
        tables[0].expect(holder_key)
        gc.collect()
        start_us = time.ticks_us()
        body = cbor.decode(request, 768)[2]
        decision = session.act(body[1], body[2], body[3], 0, door.reading())
        if not controller.operate(body[1], decision, 1):
            raise RuntimeError(f"refused: {decision.reason}")
        reply_us.append(time.ticks_diff(door.moved_us, start_us))
        gc.collect()
        start_us = time.ticks_us()
        ed25519.verify(*seen[0])
        verify_us.append(time.ticks_diff(time.ticks_us(), start_us))
    print(min(reply_us), min(verify_us))


main()
