"""Runs on CPython and on the MicroPython unix port: the firmware's decision on cases of explain_cases.py.

Alone it answers cases read from stdin, one JSON object in a line, with one reason in a line; `w` lines are windows.
What the policy asks is the firmware's own but for the flash under it, the radio's nonces and the risk.
"""

import json
import sys

from vitrine.access.lockout import Lockouts
from vitrine.access.persons import Persons
from vitrine.access.policy import Policy
from vitrine.access.provision import parse_provision
from vitrine.access.receipts import Receipts
from vitrine.access.revocation import Revocations
from vitrine.access.rules import Rules
from vitrine.access.schedule import Calendar, Zone
from vitrine.access.session import Session, VerifiedTokens
from vitrine.access.token import Token, TokenError
from vitrine.access.uses import Uses
from vitrine.codec import cbor
from vitrine.crypto.ed25519 import DENY, GRANT
from vitrine.door.settings import Settings

PROOF = cbor.encode([cbor.encode({1: -19}), {}, None, bytes(64)])
NOW_MS = 400_000_000

_provisions = {}
_zones = {}


class Store:
    def __init__(self, blob):
        self.blob = blob

    def load(self):
        return self.blob

    def save(self, data):
        self.blob = data


class Book:
    """The ledger: a set of digests for each class, 0 revoked and 1 spent."""

    def __init__(self, revoked, spent):
        self.entries = ({bytes.fromhex(each) for each in revoked}, {bytes.fromhex(each) for each in spent})

    def has(self, of_class, digest, until_s=0):
        return digest in self.entries[of_class]

    def add(self, of_class, digest, until_s):
        self.entries[of_class].add(digest)
        return True


class Nonces:
    def __init__(self, ages_ms):
        self.ages_ms = ages_ms

    def age_ms(self, cnonce, now_ms):
        return self.ages_ms.get(cnonce.hex())


class Configuration:
    def __init__(self, settings, zone, holidays, is_sound):
        # JSON has no keys that are numbers
        self.settings = Settings({int(key): settings[key] for key in settings})
        self.calendar = Calendar(zone, holidays)
        self.is_sound = is_sound


class Scenario:
    is_shadow = False

    def __init__(self, is_lockdown, is_sound):
        self.is_lockdown = is_lockdown
        self.is_sound = is_sound


class Risk:
    def __init__(self, score):
        self.score = score

    def assess(self, token, action, instant, now_ms):
        return self.score, "burst"


def zone_of(text):
    if text not in _zones:
        _zones[text] = Zone(text)
    return _zones[text]


def provision_of(text):
    if text not in _provisions:
        _provisions[text] = parse_provision(bytes.fromhex(text))
    return _provisions[text]


def decide(case):
    """Return the reason that the lock of `case` gives to the authentic holder of its token."""
    book = Book(case["revoked"], case["spent"])
    broken = case["broken"]
    configuration = Configuration(
        case["settings"], zone_of(case["zone"]), case["holidays"], "configuration" not in broken
    )
    rules = Rules(
        Uses(book),
        Revocations(Store(bytes.fromhex(case["revocations"])), book),
        Receipts(Store(None if "receipts" in broken else bytes.fromhex(case["receipts"])), Nonces(case["nonces"])),
        Lockouts(Store(bytes.fromhex(case["lockout"])), lambda: configuration.settings, fail),
        Persons(),
        configuration,
        Scenario(case["lockdown"], "scenario" not in broken),
        Risk(case["score"]),
        lambda: case["alarms"],
    )
    is_signed = case["signed"]
    policy = Policy(
        provision_of(case["provision"]), lambda issuer, message, signature: GRANT if is_signed else DENY, rules
    )
    rules.lockouts.key_wait_s(bytes(32), NOW_MS)  # lets the time that was left run from now on
    for token, action, ago_ms in case["noted"]:
        rules.persons.note(Token(bytes.fromhex(token)), action, NOW_MS - ago_ms, True)
    data = bytes.fromhex(case["token"])
    if case["received_ms_ago"] is not None:
        receive(policy, rules, data, case["received_ms_ago"], case["used"])
    session = Session(policy, lambda key, message, signature: GRANT, bytes, VerifiedTokens())
    session.hello(NOW_MS)
    instant = tuple(case["instant"])
    session.present(data, instant, NOW_MS)
    return session.act(case["action"], case["uv"], PROOF, NOW_MS, instant).reason


def receive(policy, rules, data, ago_ms, used):
    """Let the lock have received a token before, and granted with it."""
    try:
        token = Token(data)
    except TokenError:
        return
    policy.admit(token, NOW_MS - ago_ms)
    for _ in range(used):
        rules.receipts.spend(token)


def fail(detail):
    raise ValueError(detail)


def is_open(case):
    """Return whether the windows of `case` are open, as 0 or 1."""
    return int(Calendar(zone_of(case["zone"]), case["holidays"]).is_open(case["w"], case["at"]))


def main():
    while True:
        line = sys.stdin.readline()
        if not line:
            break
        case = json.loads(line)
        print(is_open(case) if "w" in case else decide(case))


if __name__ == "__main__":
    main()
