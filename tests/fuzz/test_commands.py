"""Any bytes as a command: nothing is raised, nothing is changed, nobody is told anything, and all of it is on record.

20,000 envelopes on each interpreter: noise, well-formed CBOR of the wrong shape, mutations of good commands that are
signed again by somebody else, and bodies of any shape under the right signature.
"""

import random

from support.command_lab import ADMIN, AUD, BODY, CNONCE, FRESH, LOCK, STORE, STRANGER, Lab, envelope, kid_of, make
from vitrine.access import reasons
from vitrine.codec import cbor

ROUNDS = 5_000
SEED = 20267
GOOD = (
    (1, 1_800_000_000, {}),
    (2, {1: 0, 2: [[1, b"identity", 0], [4, 9, 0]]}, {}),
    (2, {1: 0, 2: [], 3: kid_of(STORE)}, {FRESH: CNONCE}),
    (3, {2: {4: 45000}, 3: [[20000, 2]], 4: None, 5: [[127, 0, 60]]}, {AUD: [LOCK, "group:jewellery"]}),
    (4, {2: True}, {}),
)


def noise(size):
    return bytes(random.getrandbits(8) for _ in range(size))


def value(depth):
    """Any value that CBOR here can have."""
    kind = random.getrandbits(3) if depth else random.getrandbits(3) % 6
    if kind == 0:
        return random.choice((None, True, False))
    if kind == 1:
        return random.choice((0, 1, 2, 3, 4, 5, 7, 8, 2**32 - 1, 2**32, 2**64 - 1, -1, 1_800_000_000))
    if kind == 2:
        return noise(random.choice((0, 7, 8, 9, 16, 17, 32)))
    if kind in (3, 4):
        return random.choice((kid_of(ADMIN), kid_of(STORE), CNONCE, b"identity", LOCK, "", "group:jewellery"))
    if kind == 5:
        return random.getrandbits(20)
    if kind == 6:
        return [value(depth - 1) for _ in range(random.getrandbits(2))]
    return {random.choice((0, 1, 2, 3, 4, 5, 6, 7, "x")): value(depth - 1) for _ in range(random.getrandbits(2))}


def changed(data):
    """Change, drop, add or repeat some bytes."""
    message = bytearray(data)
    for _ in range(1 + random.getrandbits(1)):
        place = random.getrandbits(16) % len(message)
        kind = random.getrandbits(2)
        if kind == 0:
            message[place] ^= 1 << random.getrandbits(3)
        elif kind == 1:
            message = message[:place] + message[place + 1 :]
        elif kind == 2:
            message = message[:place] + noise(1) + message[place:]
        else:
            message = message[: place + 3] + message[place:]
    return bytes(message)


def check(lab, data, before):
    assert lab.send(data)[0] != reasons.GRANTED and lab.result.body() is None, data
    assert lab.state() == before, data
    (record,) = lab.records
    assert record[0] == 134
    lab.records.clear()


def test_noise_is_no_command():
    random.seed(SEED)
    lab = Lab()
    before = lab.state()
    for number in range(ROUNDS):
        check(lab, noise(number % 120), before)
        check(lab, envelope(noise(number % 60)), before)


def test_mutations_of_good_commands_change_nothing():
    random.seed(SEED + 1)
    lab = Lab()
    before = lab.state()
    good = [make(*each) for each in GOOD]
    for number in range(ROUNDS):
        data = good[number % len(good)]
        mutant = changed(data)
        if mutant != data:
            check(lab, mutant, before)


def test_any_payload_that_somebody_else_signed_changes_nothing():
    random.seed(SEED + 2)
    lab = Lab()
    before = lab.state()
    header = {1: -19, 3: "vitrine/command", 4: kid_of(ADMIN)}
    for number in range(ROUNDS):
        kind, body, changes = GOOD[number % len(GOOD)]
        changes = dict(changes)
        changes[random.choice((1, 2, 3, 4, 5, 6, BODY))] = value(3)
        try:
            data = make(kind, body, changes, STRANGER, header)
        except cbor.CborError:
            continue
        check(lab, data, before)


def test_any_body_that_an_issuer_signed_is_done_whole_or_not_at_all():
    random.seed(SEED + 3)
    for number in range(ROUNDS):
        lab = Lab()
        before = lab.state()
        kind, body, changes = GOOD[number % 3]
        body = dict(body) if isinstance(body, dict) else body
        if isinstance(body, dict) and random.getrandbits(1):
            body[random.choice((1, 2, 3))] = value(3)
        else:
            body = value(3)
        reason, is_authentic = lab.send(make(kind, body, changes))
        assert is_authentic, body
        assert reason != reasons.FAULT, body
        assert (reason == reasons.GRANTED) or lab.state() == before, body
