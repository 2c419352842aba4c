"""The judge of trails and images: whatever is done to a trail is found and named; what was not done is not."""

import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from powercut import life

from support.nor_flash import NorFlash
from vitrine.audit import outbox
from vitrine.audit import record as r
from vitrine.audit.journal import Journal, provision
from vitrine_tools.audit import image, seal, sealed
from vitrine_tools.audit.seal import Kind, Witness
from vitrine_tools.audit.sealed import Keys, Record

ROOT = bytes(range(32))
SECTOR = 4096


def derived(label, length):
    info = label + life.EPOCH.to_bytes(4, "big") + life.LOCK_ID.encode()
    return HKDF(SHA256(), length, b"vitrine/journal", info).derive(ROOT)


class Lock:
    """The firmware's journal on a simulated flash, provisioned from ROOT."""

    def __init__(self):
        self.flash = NorFlash(16)
        self.store = life.Store()
        self.clock = life.Clock()
        provision(self.flash, self.store, life.EPOCH, derived(b"seal", 24), derived(b"acknowledge", 32))
        self.random = life.Random(4)
        self.start()

    def start(self):
        self.journal = Journal(self.flash, self.store, self.clock)

    def write(self, number, of_class=None):
        for n in range(number):
            self.clock.now_ms += 60_000
            of = n % 3 if of_class is None else of_class
            self.journal.append(life.event(self.random, life.EPOCH, of))

    def trail(self, start=0):
        found = []
        walk = self.journal.unsent(start)
        while walk.step():
            found.append(Record(walk.sequence, walk.body, walk.tag))
        return found

    def witness(self):
        return Witness(self.journal.count, self.journal.head)

    def acknowledge(self, count):
        box = outbox.Outbox(self.journal, life.LOCK_ID)
        assert box.acknowledge(sealed.acknowledge(Keys(ROOT, life.LOCK_ID, life.EPOCH), count).to_bytes()) == 0


@pytest.fixture
def keys():
    return Keys(ROOT, life.LOCK_ID, life.EPOCH)


@pytest.fixture
def lock():
    return Lock()


def kinds(verdict):
    return [(finding.kind, finding.first, finding.last) for finding in verdict.findings]


def test_an_untouched_trail_is_whole(lock, keys):
    witnesses = [lock.witness()]
    for _ in range(5):
        lock.write(20)
        witnesses.append(lock.witness())
        lock.start()
    verdict = seal.verify(keys, lock.trail(), count=100, witnesses=witnesses)
    assert verdict.findings == []
    assert verdict.is_whole
    assert sorted(verdict.records) == list(range(100))


def test_every_altered_byte_of_a_record_is_found(lock, keys):
    lock.write(3)
    trail = lock.trail()
    victim = trail[1]
    for place in range(len(victim.body) + 16):
        body, tag = bytearray(victim.body), bytearray(victim.tag)
        (body if place < len(body) else tag)[place - (0 if place < len(body) else len(body))] ^= 0x40
        altered = [trail[0], Record(1, bytes(body), bytes(tag)), trail[2]]
        assert kinds(seal.verify(keys, altered, count=3)) == [(Kind.ALTERED, 1, 1)]


def test_what_is_done_to_a_trail_is_named(lock, keys):
    lock.write(12)
    trail = lock.trail()

    def found(changed, **more):
        verdict = seal.verify(keys, changed, count=12, **more)
        assert not verdict.is_whole
        return kinds(verdict)

    assert found(trail[:4] + trail[5:]) == [(Kind.MISSING, 4, 4)]
    assert found(trail[:2] + trail[5:9] + trail[10:]) == [(Kind.MISSING, 2, 4), (Kind.MISSING, 9, 9)]
    assert found(trail[:9]) == [(Kind.TRUNCATED, 9, 11)]
    assert found([]) == [(Kind.TRUNCATED, 0, 11)]
    assert found(trail[:3] + [trail[4], trail[3]] + trail[5:]) == [(Kind.REORDERED, 3, 3)]
    swapped = [replace(trail[3], sequence=4), replace(trail[4], sequence=3)]
    assert found(trail[:3] + swapped + trail[5:]) == [(Kind.ALTERED, 3, 3), (Kind.ALTERED, 4, 4)]
    extra = Record(5, trail[6].body, trail[6].tag)
    assert found([*trail[:6], extra, *trail[6:]]) == [(Kind.INSERTED, 5, 5)]
    assert found([*trail, Record(12, trail[0].body, trail[0].tag)]) == [(Kind.INSERTED, 12, 12)]
    assert found([replace(each, tag=bytes(16)) if each.sequence == 7 else each for each in trail]) == [
        (Kind.UNSEALED, 7, 7)
    ]


def test_a_record_that_comes_again_is_no_harm(lock, keys):
    lock.write(4)
    trail = lock.trail()
    verdict = seal.verify(keys, trail + trail[1:3], count=4)
    assert kinds(verdict) == [(Kind.REPEATED, 1, 1), (Kind.REPEATED, 2, 2)]
    assert verdict.is_whole


def test_a_sealed_record_behind_the_count_was_put_in(lock, keys):
    lock.write(6)
    assert kinds(seal.verify(keys, lock.trail(), count=5)) == [(Kind.INSERTED, 5, 5)]


def test_another_root_proves_nothing(lock):
    lock.write(3)
    for other in (
        Keys(bytes(32), life.LOCK_ID, life.EPOCH),
        Keys(ROOT, "case-13", life.EPOCH),
        Keys(ROOT, life.LOCK_ID, life.EPOCH + 1),
    ):
        verdict = seal.verify(other, lock.trail())
        assert verdict.records == {}
        assert {finding.kind for finding in verdict.findings} == {Kind.ALTERED}


def test_a_lock_set_back_to_an_old_image_is_found(lock, keys):
    lock.write(10)
    image_before = bytes(lock.flash.image)
    lock.write(10)
    before, witness = lock.trail(), lock.witness()
    lock.flash = NorFlash(16, image=image_before)
    lock.start()
    assert kinds(seal.verify(keys, lock.trail(), count=10, witnesses=[witness])) == [(Kind.HEAD, 20, 20)]
    lock.write(25, r.ROUTINE)
    after = lock.trail()
    assert kinds(seal.verify(keys, after, count=35, witnesses=[witness])) == [(Kind.HEAD, 20, 20)]
    both = seal.verify(keys, before + after[10:], count=35)
    assert {finding.kind for finding in both.findings} >= {Kind.FORKED}
    assert not both.is_whole


def test_what_a_full_lock_gave_up_is_accounted_for(lock, keys):
    lock.write(3000)
    trail = lock.trail()
    assert len(trail) < 1500
    verdict = seal.verify(keys, trail, count=lock.journal.count, witnesses=[lock.witness()])
    assert verdict.is_whole
    assert {finding.kind for finding in verdict.findings} == {Kind.LOST}
    # and a removal among what was given up does not hide there
    lost = next(finding for finding in verdict.findings)
    assert lost.first < trail[40].sequence
    without = [each for each in trail if each.sequence != trail[40].sequence]
    worse = seal.verify(keys, without, count=lock.journal.count)
    assert not worse.is_whole
    assert any(f.kind is Kind.MISSING and f.first <= trail[40].sequence <= f.last for f in worse.findings)


def test_what_the_collector_had_before_it_was_given_up_is_no_loss(lock, keys):
    lock.write(1500)
    early = lock.trail()
    lock.write(1500)
    both = {each.sequence: each for each in early + lock.trail()}
    verdict = seal.verify(keys, [both[n] for n in sorted(both)], count=lock.journal.count)
    assert verdict.is_whole


def test_what_was_missing_at_a_start_is_said(lock, keys):
    lock.write(20, r.KEPT)
    tail = lock.journal._tails[r.KEPT]
    end = tail.sector * SECTOR + tail.end
    lock.flash.image[end - 100 : end] = b"\xff" * 100
    lock.start()
    verdict = seal.verify(keys, lock.trail(), count=lock.journal.count)
    assert [each[0] for each in kinds(verdict)] == [Kind.DAMAGED]
    assert not verdict.is_whole
    assert verdict.findings[0].last == 19


def test_a_body_that_is_no_record_is_judged_all_the_same(keys):
    trail = [Record(0, b"\xff\xff", keys.record_tag(0, b"\xff\xff")), Record(1, b"\x01", bytes(16))]
    assert kinds(seal.verify(keys, trail)) == [(Kind.UNSEALED, 1, 1)]


# --- images of the flash ---


def damaged(flash, address, mask=0x20):
    data = bytearray(flash.image)
    data[address] ^= mask
    return bytes(data)


def test_the_image_of_an_honest_lock_is_whole(lock, keys):
    lock.write(3000)
    lock.acknowledge(2500)
    lock.write(300)
    for _ in range(2):
        verdict = image.verify(bytes(lock.flash.image), keys, [lock.witness()])
        assert verdict.is_whole, verdict.findings
        assert max(verdict.records) == lock.journal.count - 1
        lock.start()


def test_one_altered_byte_of_an_image_names_the_record(lock, keys):
    lock.write(90)
    chance = random.Random(1)
    places = image.read(bytes(lock.flash.image), keys).places
    for place in chance.sample(places, 60):
        number = place.record.sequence
        at = place.sector * SECTOR + place.offset + 6 + chance.randrange(1, len(place.record.body) + 16)
        verdict = image.verify(damaged(lock.flash, at, chance.randrange(1, 256)), keys)
        assert kinds(verdict) == [(Kind.ALTERED, number, number)]
        assert f"record {number}" in verdict.findings[0].text
        assert f"sector {place.sector}" in verdict.findings[0].text


def test_an_altered_record_whose_checksum_was_put_right_is_named(lock, keys):
    lock.write(30)
    place = image.read(bytes(lock.flash.image), keys).places[7]
    number = place.record.sequence
    body = bytearray(place.record.body)
    body[-1] ^= 1
    from vitrine.audit.walk import frame

    seed = lock.journal._sectors.seed(place.sector)
    data = bytearray(lock.flash.image)
    at = place.sector * SECTOR + place.offset
    forged = frame(number, bytes(body), place.record.tag, seed)
    data[at : at + len(forged)] = forged
    assert kinds(image.verify(bytes(data), keys)) == [(Kind.ALTERED, number, number)]


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4, 5])
def test_an_altered_length_or_number_is_found(lock, keys, place):
    lock.write(60)
    lock.acknowledge(50)
    for which in image.read(bytes(lock.flash.image), keys).places[::7]:
        at = which.sector * SECTOR + which.offset + place
        for mask in (0x01, 0x80, 0xFF):
            verdict = image.verify(damaged(lock.flash, at, mask), keys)
            assert not verdict.is_whole


def test_an_altered_checksum_or_padding_is_found(lock, keys):
    lock.write(20)
    place = image.read(bytes(lock.flash.image), keys).places[5]
    number = place.record.sequence
    end = place.sector * SECTOR + place.offset + (len(place.record.body) + 26 + 15) // 16 * 16
    for at in range(end - 4, end):
        assert kinds(image.verify(damaged(lock.flash, at), keys)) == [(Kind.ALTERED, number, number)]


def test_removed_and_cut_off_records_of_an_image_are_named(lock, keys):
    lock.write(40, r.KEPT)
    places = image.read(bytes(lock.flash.image), keys).places
    for first, last, kind in ((10, 12, Kind.MISSING), (37, 39, Kind.TRUNCATED), (0, 39, Kind.TRUNCATED)):
        data = bytearray(lock.flash.image)
        for place in places[first : last + 1]:
            at = place.sector * SECTOR + place.offset
            size = (len(place.record.body) + 26 + 15) // 16 * 16
            data[at : at + size] = b"\xff" * size
        assert kinds(image.verify(bytes(data), keys)) == [(kind, first, last)]


def test_a_wiped_sector_header_does_not_hide_records(lock, keys):
    lock.write(30)
    place = image.read(bytes(lock.flash.image), keys).places[0]
    data = bytearray(lock.flash.image)
    data[place.sector * SECTOR + 16 : place.sector * SECTOR + 32] = bytes(16)
    assert sorted(image.verify(bytes(data), keys).records) == list(range(30))


def test_an_image_without_its_key_proves_no_end(lock, keys):
    lock.write(30)
    sector, offset = lock.journal._state._place
    data = bytearray(lock.flash.image)
    data[sector * SECTOR + offset : sector * SECTOR + offset + 24] = bytes(24)
    assert kinds(image.verify(bytes(data), keys)) == [(Kind.KEY, 0, 0)]


def test_a_spent_key_in_an_image_is_named(lock, keys):
    lock.write(3)
    sector, offset = lock.journal._state._place
    cell = bytes(lock.flash.image[sector * SECTOR + offset : sector * SECTOR + offset + 32])
    lock.write(7)
    data = bytearray(lock.flash.image)
    data[sector * SECTOR + offset : sector * SECTOR + offset + 32] = cell
    assert kinds(image.verify(bytes(data), keys)) == [(Kind.KEY, 3, 3)]


def test_a_wiped_set_back_or_foreign_image(lock, keys, tmp_path):
    lock.write(10)
    old = bytes(lock.flash.image)
    lock.write(10)
    assert kinds(image.verify(old, keys, [lock.witness()])) == [(Kind.HEAD, 20, 20)]
    for data in (b"\xff" * SECTOR * 16, bytes(SECTOR * 16)):
        with pytest.raises(image.ImageError, match="wiped"):
            image.verify(data, keys)
    other = Keys(ROOT, life.LOCK_ID, life.EPOCH + 1)
    with pytest.raises(image.ImageError):
        image.verify(old, other)
    file = tmp_path / "flash"
    for content in (b"", b"x" * 5000):
        file.write_bytes(content)
        with pytest.raises(image.ImageError):
            image.load(file)
    with pytest.raises(image.ImageError):
        image.load(tmp_path / "none")
    file.write_bytes(old)
    assert image.load(file) == old


def test_forged_numbers_do_not_send_the_judge_through_billions_of_keys(lock, keys):
    lock.write(5)
    from vitrine.audit.walk import frame
    from vitrine.codec import checksum

    tail = lock.journal._tails[r.KEPT]
    seed = lock.journal._sectors.seed(tail.sector)
    data = bytearray(lock.flash.image)
    forged = frame(0xFFFFFFF0, b"\xa1\x01\x02", bytes(16), seed)
    data[tail.sector * SECTOR + tail.end : tail.sector * SECTOR + tail.end + len(forged)] = forged
    state, offset = lock.journal._state._place
    cell = bytearray(b"k" * 24 + b"\xff\xff\xff\xf0" + bytes(4))
    checksum.close(cell, lock.journal._sectors.seed(state))
    data[state * SECTOR + offset + 32 : state * SECTOR + offset + 64] = cell
    verdict = image.verify(bytes(data), keys)
    assert sorted(verdict.records) == list(range(5))


def test_random_damage_never_crashes_the_judge(lock, keys):
    lock.write(400)
    chance = random.Random(7)
    for _ in range(60):
        data = bytearray(lock.flash.image)
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        image.verify(bytes(data), keys)
