"""Any bytes into the request path: nothing opens, nothing is raised, every answer is one of SPEC.md section 3.

24,000 frames on each interpreter: raw noise, mutations of a whole unlock, and well-formed CBOR of the wrong shape.
"""

import random

from support.session_lab import Lab, case
from vitrine.codec import cbor, chunks

FRAMES = 8_000
SEED = 20261


def noise(size):
    return bytes(random.getrandbits(8) for _ in range(size))


def check(lab, channel, request):
    answer = cbor.decode(channel.handle(request), 512)
    assert type(answer) is list and len(answer) == 3 and answer[1] in (0, 1, 2, 3)
    assert lab.door.moves == [], request
    return channel if not channel.is_exhausted else lab.channel()


def test_noise_opens_nothing():
    random.seed(SEED)
    lab = Lab()
    channel = lab.channel()
    for number in range(FRAMES):
        channel = check(lab, channel, noise(number % 97))
        lab.events.records.clear()


def test_mutations_of_a_whole_unlock_open_nothing():
    """Change, drop, add or swap bytes of present and act, while the nonce that the proof is signed for is live."""
    random.seed(SEED + 1)
    token, proof = case("valid")
    lab = Lab(is_same_nonce=True)
    act = cbor.encode([2, 3, {1: 1, 2: False, 3: proof}])
    present = cbor.encode([1, 2, token])
    for number in range(FRAMES // 2):
        channel = lab.channel()
        message = bytearray((present, act)[number % 2])
        place = random.randrange(3, len(message))  # behind the request's id, which is the peer's to choose
        kind = number % 5
        if kind == 0:
            message[place] ^= 1 << random.getrandbits(3) % 8
        elif kind == 1:
            message = message[:place] + message[place + 1 :]
        elif kind == 2:
            message = message[:place] + noise(1) + message[place:]
        elif kind == 3:
            message = message[:place]
        else:
            message[place : place + 4] = noise(len(message[place : place + 4]))
        if bytes(message) in (present, act):
            continue
        channel.handle(cbor.encode([0, 1, None]))
        if number % 2:
            channel.handle(present)
        else:
            # the good proof does not fit a changed token
            channel.handle(bytes(message))
            message = act
        check(lab, channel, bytes(message))
        lab.events.records.clear()


def value(depth):
    kind = random.randrange(9 if depth else 6)
    if kind == 0:
        return random.choice((0, 1, 2, 3, 4, 5, 6, 23, 24, 128, 255, 65535, 2**32, 2**64 - 1, -1, -70001, -(2**63)))
    if kind == 1:
        return noise(random.randrange(80))
    if kind == 2:
        return random.choice(("", "unlock", "case-12", "vitrine/1", "group:jewellery"))
    if kind in (3, 4):
        return random.choice((None, True, False))
    if kind == 5:
        return random.choice(case("valid"))
    if kind in (6, 7):
        return [value(depth - 1) for _ in range(random.randrange(4))]
    return {random.choice((1, 2, 3, 4, -1, "a")): value(depth - 1) for _ in range(random.randrange(4))}


def test_well_formed_values_of_any_shape_open_nothing():
    random.seed(SEED + 2)
    lab = Lab()
    channel = lab.channel()
    for number in range(FRAMES):
        request = [random.randrange(8), random.randrange(65540), value(3)]
        if number % 4 == 0:
            request = value(4)
        try:
            data = cbor.encode(request)
        except cbor.CborError:
            continue
        channel = check(lab, channel, data[: random.choice((len(data), len(data), len(data), 40))])
        lab.events.records.clear()


def test_broken_chunks_open_nothing_and_give_no_message_over_the_bound():
    random.seed(SEED + 3)
    lab = Lab()
    channel = lab.channel()
    assembler = chunks.Assembler(768)
    for number in range(FRAMES // 2):
        counter = random.choice((0, 0, 1, 2, number & 127)) | random.choice((0, 0, 128))
        chunk = bytes((counter,)) + noise(random.randrange(60)) if number % 17 else b""
        try:
            message = assembler.feed(chunk)
        except chunks.ChunkError:
            continue
        if message is not None:
            assert 1 <= len(message) <= 768
            channel = check(lab, channel, message)
            lab.events.records.clear()


def test_the_unchanged_unlock_opens():
    """The control: without a mutation the same bytes do open."""
    token, proof = case("valid")
    lab = Lab(is_same_nonce=True)
    channel = lab.channel()
    for request in ([0, 1, None], [1, 2, token], [2, 3, {1: 1, 2: False, 3: proof}]):
        channel.handle(cbor.encode(request))
    assert lab.door.moves == [1]
