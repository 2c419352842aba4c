"""What may come as an update, from whom, and what becomes of it: on simulated flash. Runs on MicroPython."""

import binascii
import os
import struct
import sys
from hashlib import sha256

from support.update_world import (
    KID,
    ORIGINAL,
    ROOT,
    SECTOR,
    VENDOR,
    Component,
    Lock,
    Timer,
    bundle,
    factory,
    manifest,
    signed,
)
from vitrine.access import reasons
from vitrine.codec import cbor
from vitrine.drivers import components, slots

OK, REFUSED, BUSY = 0, 1, 2
IDLE, RECEIVING, STAGED, TRIAL, RETURNED = 0, 1, 2, 3, 4
# of a .mpy of 60,003 bytes, nearly all zeros: raw deflate, window 1 KiB
BOMB = "edc1310100000c02a05db65bff3ad6f0003e07" + "0" * 114 + "b0a6"


def lock_of(nor=None):
    """A lock that was just started; from the factory if nothing else is said."""
    nor = nor or factory()
    nor.is_strict = False
    return Lock(nor).start()


def again(lock):
    """The same lock after a start."""
    return lock_of(lock.nor)


def installed(lock, component):
    """Bring a component and let the lock come to what it makes of it; return it as it is after its last start."""
    for _ in range(10):
        if not lock.live(component):
            return lock_of(lock.nor)
        bad = lock.bad
        lock = Lock(lock.nor)
        lock.bad = bad
        lock.start()
    raise AssertionError("it starts again and again")


def refusal(lock, data):
    """Return (reason on record, reason told, verifications) of a manifest that is refused."""
    before = lock.verifications
    status, answer = lock.ask({1: data})
    assert status == REFUSED, (status, answer)
    what, _, reason = lock.records[-1]
    assert what == "refused"
    return reason, answer.get(5), lock.verifications - before


def test_an_update_from_its_manifest_to_its_confirmation():
    lock = lock_of()
    assert lock.ask({}) == (OK, {1: IDLE, 3: ORIGINAL})
    update = Component(0, 6)
    assert lock.ask({1: update.manifest}) == (OK, {1: RECEIVING, 2: 0, 3: ORIGINAL, 4: 6})
    stream = update.table + update.data
    assert lock.ask({2: 0, 3: stream[:20]}) == (OK, {1: RECEIVING, 2: 20, 3: ORIGINAL, 4: 6})
    assert lock.live(update) == "reset"
    assert lock.records == [("staged", 6, None)]
    lock = lock_of(lock.nor)
    assert lock.running.sequence == 6 and lock.parts.number == slots.A
    assert lock.ask({}) == (OK, {1: TRIAL, 3: 6})
    assert lock.live() == ""
    assert lock.records == [("installed", 6, None), ("confirmed", 6, None)]
    lock = lock_of(lock.nor)
    assert lock.ask({}) == (OK, {1: IDLE, 3: 6}) and lock.parts.floor.load() == 6
    assert lock.parts.slots.active == slots.A


def test_it_goes_on_where_it_stopped_over_starts_and_senders():
    lock = lock_of()
    update = Component(0, 6, size=14000)
    stream = update.table + update.data
    lock.ask({1: update.manifest})
    at = 0
    for piece in (1, 31, 17, 500, 1024):
        for _ in range(3):
            status, answer = lock.ask({2: at, 3: stream[at : at + piece]})
            assert status == OK and answer[2] == at + len(stream[at : at + piece])
            at = answer[2]
    # another sender does not know where it is, and is told; what is not wanted changes nothing
    assert lock.ask({1: update.manifest})[1][2] == at
    assert lock.ask({2: at + 1, 3: stream[at + 1 : at + 99]})[1][2] == at
    assert lock.ask({2: 0, 3: stream[:99]})[1][2] == at
    # after a start only whole blocks are there
    lock = again(lock)
    lock.live(None, 100)
    lock = Lock(lock.nor).start()
    assert lock.ask({1: update.manifest})[0] == BUSY
    assert lock.live(None, 100) == ""
    lock = Lock(lock.nor).start()
    assert lock.live(update) == "reset"


def test_only_whole_blocks_survive_a_start_and_each_is_looked_at():
    lock = lock_of()
    update = Component(0, 6, size=14000)
    stream = update.table + update.data
    lock.ask({1: update.manifest})
    for at in range(0, len(update.table) + 2 * SECTOR + 1000, 512):
        lock.ask({2: at, 3: stream[at : at + 512]})
    # of the last one the end is not there yet; its beginning is looked at when it comes again
    for damage, kept in ((None, SECTOR), (100, 0)):
        lock = again(lock)
        if damage is not None:
            path = components.PREFIX + "new"
            with open(path, "r+b") as file:
                file.seek(damage)
                file.write(b"\x55\xaa")
            lock = again(lock)
        seen = []
        record = lock.update._intake.take_up

        async def noted(manifest, record=record, seen=seen, lock=lock):
            await record(manifest)
            seen.append(lock.update._intake.wanted)

        lock.update._intake.take_up = noted
        lock.live(None, 100)
        assert seen == [len(update.table) + kept], (damage, seen)
        lock = lock_of(lock.nor)


def test_who_may_send_what_and_what_a_refusal_costs():
    component = Component(0, 6)

    def of(**changes):
        return manifest(component, **changes)

    cases = (
        (b"", reasons.COMMAND_MALFORMED),
        (b"\xff" * 200, reasons.COMMAND_MALFORMED),
        (of()[:-1], reasons.COMMAND_MALFORMED),
        (of(k1=2), reasons.COMMAND_MALFORMED),
        (of(k5=2), reasons.COMMAND_MALFORMED),
        (of(k6=0), reasons.COMMAND_MALFORMED),
        (of(k6=192 * 1024 + 1), reasons.COMMAND_MALFORMED),
        (of(k7=bytes(31)), reasons.COMMAND_MALFORMED),
        (of(k9="\n"), reasons.COMMAND_MALFORMED),
        (of(k12=1), reasons.COMMAND_MALFORMED),
        (of(k9="v" * 33), reasons.COMMAND_MALFORMED),
        (signed(_payload(component), header={1: -19, 3: "vitrine/command", 4: KID}), reasons.COMMAND_MALFORMED),
        (signed(_payload(component), b"somebody"), reasons.ISSUER_UNKNOWN),
        (of(k11="case-13"), reasons.AUDIENCE_MISMATCH),
        (of(k3=bytes(16)), reasons.NOT_FOR_THIS_BOARD),
        (of(k4=VENDOR), reasons.NOT_FOR_THIS_BOARD),
        (of(k5=1, k6=7 * SECTOR), reasons.NOT_FOR_THIS_BOARD),
    )
    for data, reason in cases:
        lock = lock_of()
        assert refusal(lock, data) == (reason, None, 0), (data, reason)
        assert lock.ask({}) == (OK, {1: IDLE, 3: ORIGINAL})
    lock = lock_of()
    lock.parts.provision.issuers[0].scopes = 31
    assert refusal(lock, of()) == (reasons.SCOPE_NOT_ALLOWED, None, 0)
    lock.parts.provision.issuers[0].scopes = 32
    lock.parts.provision.issuers[0].audiences = ["group:elsewhere"]
    assert refusal(lock, of()) == (reasons.AUDIENCE_MISMATCH, None, 0)
    lock.parts.provision = None
    assert refusal(lock, of()) == (reasons.ISSUER_UNKNOWN, None, 0)


def _payload(component):
    return cbor.decode(cbor.decode(component.manifest, 512)[2], 512)


def test_each_flipped_byte_of_a_manifest_is_a_refusal():
    data = Component(0, 6).manifest
    lock = lock_of()
    for place in range(len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 0x10
        status, answer = lock.ask({1: bytes(wrong)})
        assert status == REFUSED and answer == {}, place
        assert lock.ask({})[1][1] == IDLE


def test_nothing_old_is_taken_and_its_signer_is_told_now_and_then():
    lock = lock_of()
    for sequence in (1, ORIGINAL):
        lock.time.now_ms += 3000
        assert refusal(lock, Component(0, sequence).manifest) == (reasons.SEQUENCE_STALE, reasons.SEQUENCE_STALE, 1)
        # who repeats it gets no more verifications out of the lock
        assert refusal(lock, Component(0, sequence).manifest) == (reasons.SEQUENCE_STALE, None, 0)
    lock.parts.floor.save(20)
    lock.time.now_ms += 3000
    assert refusal(lock, Component(0, 20).manifest)[0] == reasons.SEQUENCE_STALE
    forged = bytearray(Component(0, 7).manifest)
    forged[-1] ^= 1
    lock.time.now_ms += 3000
    assert refusal(lock, bytes(forged)) == (reasons.SEQUENCE_STALE, None, 1)
    assert lock.ask({1: Component(0, 21).manifest})[0] == OK


def test_a_forged_signature_is_on_record_and_not_answered():
    forged = bytearray(Component(0, 7).manifest)
    forged[-1] ^= 1
    lock = lock_of()
    assert refusal(lock, bytes(forged)) == (reasons.COMMAND_FORGED, None, 1)


def test_a_floor_that_rose_meanwhile_stops_what_is_staged():
    lock = lock_of()
    lock.is_quiet = False
    lock.live(Component(0, 6), 2000)
    lock = lock_of(lock.nor)
    lock.parts.floor.save(6)
    assert lock.live() == ""
    lock = lock_of(lock.nor)
    assert lock.running.sequence == ORIGINAL and lock.ask({}) == (OK, {1: IDLE, 3: ORIGINAL})


def test_what_came_back_does_not_come_again():
    lock = lock_of()
    bad = Component(0, 6, is_good=False)
    lock.bad = (6,)
    lock = installed(lock, bad)
    assert lock.running.sequence == ORIGINAL and lock.ask({}) == (OK, {1: RETURNED, 3: ORIGINAL, 4: 6})
    assert refusal(lock, bad.manifest)[0] == reasons.SEQUENCE_STALE
    assert lock.ask({1: Component(0, 7).manifest})[1][1] == RECEIVING


def test_a_damaged_piece_is_asked_for_again():
    update = Component(0, 6)
    stream = update.table + update.data
    table = len(update.table)
    for place in (0, table - 1, table, table + SECTOR - 1, table + SECTOR, len(stream) - 1):
        lock = lock_of()
        wrong = bytearray(stream)
        wrong[place] ^= 1
        lock.ask({1: update.manifest})
        at = 0
        while True:
            _, answer = lock.ask({2: at, 3: bytes(wrong[at : at + 512])})
            if 5 in answer:
                break
            at = answer[2]
        begin = 0 if place < table else table + (place - table) // SECTOR * SECTOR
        assert answer == {1: RECEIVING, 2: begin, 3: ORIGINAL, 4: 6, 5: reasons.DIGEST_MISMATCH}, place
        assert lock.records[-1] == ("refused", 6, reasons.DIGEST_MISMATCH)
        assert lock.live(update) == "reset", place


def test_more_than_the_stream_is_not_looked_at():
    lock = lock_of()
    update = Component(0, 6)
    stream = update.table + update.data
    lock.ask({1: update.manifest})
    at = 0
    while at < len(stream):
        at = lock.ask({2: at, 3: (stream + bytes(900))[at : at + 1000]})[1].get(2, len(stream))
    assert at == len(stream)
    assert lock.ask({2: at, 3: b"more"})[1] == {1: RECEIVING, 2: at, 3: ORIGINAL, 4: 6}
    assert lock.live() == "reset"


def test_the_higher_of_two_wins_and_the_same_one_goes_on():
    lock = lock_of()
    first, second = Component(0, 6), Component(0, 8)
    lock.ask({1: first.manifest})
    lock.ask({2: 0, 3: (first.table + first.data)[:700]})
    assert lock.ask({1: first.manifest})[1][2] == 700
    assert lock.ask({1: second.manifest})[1] == {1: RECEIVING, 2: 0, 3: ORIGINAL, 4: 8}
    assert refusal(lock, first.manifest)[0] == reasons.SEQUENCE_STALE
    other = Component(0, 8, size=5000)
    assert refusal(lock, other.manifest)[0] == reasons.SEQUENCE_STALE
    # also one that is staged gives way
    lock.is_quiet = False
    assert lock.live(second, 2000) == ""
    lock = Lock(lock.nor)
    lock.is_quiet = False
    lock.start()
    third = Component(1, 9)
    lock.live(third, 2000)
    lock = lock_of(lock.nor)
    assert lock.live() == "reset"
    lock = lock_of(lock.nor)
    assert lock.running.sequence == 9 and lock.running.kind == 1
    assert lock.live() == ""


def test_shadow_fetches_and_never_switches():
    lock = lock_of()
    update = Component(0, 6)
    shadowed = {1: update.manifest, 4: True}
    assert lock.ask(shadowed)[0] == OK
    stream = update.table + update.data
    for at in range(0, len(stream), 1000):
        lock.ask({2: at, 3: stream[at : at + 1000]})
    assert lock.live(None, 5000) == ""
    assert lock.records == [("staged", 6, None)]
    # over a start as well, and on record once
    lock = lock_of(lock.nor)
    assert lock.live(None, 5000) == "" and lock.records == []
    lock = lock_of(lock.nor)
    assert lock.live(update) == "reset"
    lock = lock_of(lock.nor)
    assert lock.running.sequence == 6


def test_nobody_turns_an_update_into_a_shadow():
    lock = lock_of()
    update = Component(0, 6)
    lock.ask({1: update.manifest})
    lock.ask({1: update.manifest, 4: True})
    assert not lock.parts.stage.is_shadow
    assert lock.live(update) == "reset"


def test_who_is_in_session_comes_first_but_not_for_ever():
    lock = lock_of()
    update = Component(0, 6)
    lock.sessions = 1
    assert lock.update.answer({1: update.manifest}, 1, 1)[0] == OK, "the sender's own"
    assert lock.update.answer({1: update.manifest}, 3, 0)[0] == BUSY
    lock.sessions = 2
    piece = {2: 0, 3: (update.table + update.data)[:100]}
    assert lock.update.answer(piece, 1, 1) == (BUSY, None)
    assert lock.update.answer({}, 1, 1)[0] == OK
    lock.time.now_ms += 29_000
    assert lock.update.answer(piece, 1, 1)[0] == BUSY
    lock.time.now_ms += 1_000
    assert lock.update.answer(piece, 1, 1)[0] == OK
    lock.sessions = 0
    assert lock.update.answer({}, 1, 0)[1][2] == 100
    # nor does who comes again and again; a minute and a half later it is a person's turn again
    lock.time.now_ms += 1_000
    assert lock.update.answer(piece, 1, 0)[0] == OK
    lock.sessions = 1
    assert lock.update.answer(piece, 1, 0)[0] == OK
    lock.time.now_ms += 89_000
    assert lock.update.answer(piece, 1, 0)[0] == BUSY
    lock.time.now_ms += 2**29
    assert lock.update.answer(piece, 1, 0)[0] == BUSY
    lock.time.now_ms += 30_000
    assert lock.update.answer(piece, 1, 0)[0] == OK


def test_the_switch_waits_for_its_moment():
    update = Component(0, 6)
    for name, value in (("is_quiet", False), ("sessions", 1), ("lock_state", 2), ("door_state", 0)):
        lock = lock_of()
        setattr(lock, name, value)
        own = lock.sessions
        lock.ask = lambda body, lock=lock, own=own: lock.update.answer(body, 1, own)
        assert lock.live(update, 20_000) == "", name
        assert lock.records == [("staged", 6, None)]
        lock = lock_of(lock.nor)
        assert lock.live() == "reset", name
    lock = lock_of()
    lock.is_in_service = lambda: True
    assert lock.live(update, 20_000) == ""


def test_preconditions():
    component = Component(0, 6)
    for condition, battery, image, is_met in (
        ({1: ORIGINAL}, None, ORIGINAL, True),
        ({1: ORIGINAL + 1}, None, ORIGINAL, False),
        ({2: 3000}, None, ORIGINAL, True),
        ({2: 3000}, 3000, ORIGINAL, True),
        ({2: 3000}, 2999, ORIGINAL, False),
        ({3: 9}, None, 9, True),
        ({3: 9}, None, 8, False),
        ({4: 0}, None, ORIGINAL, False),
        ({1: 1, 2: 1, 3: 1}, 9000, ORIGINAL, True),
    ):
        lock = lock_of()
        lock.battery = battery
        lock.parts.image_sequence = image
        data = manifest(component, k10=condition)
        if is_met:
            assert lock.ask({1: data})[0] == OK, condition
        else:
            told = (reasons.PRECONDITION_FAILED, reasons.PRECONDITION_FAILED, 1)
            assert refusal(lock, data) == told, condition


def test_a_battery_that_is_low_when_the_moment_comes_holds_it_up():
    lock = lock_of()
    update = Component(0, 6)
    update.manifest = manifest(update, k10={2: 3000})
    lock.battery = 3100
    lock.ask({1: update.manifest})
    lock.live(None, 10)
    lock = Lock(lock.nor)
    lock.battery = 2900
    lock.start()
    assert lock.live(update, 20_000) == "" and ("staged", 6, None) in lock.records
    lock = Lock(lock.nor)
    lock.battery = 3100
    lock.start()
    assert lock.live() == "reset"


def outcome_of(data, sequence=6):
    """Bring bytes as an application; return (state, reason, records)."""
    update = Component(0, sequence)
    update.data = data
    update.digest = sha256(data).digest()
    update.table = b""
    for start in range(0, len(data), SECTOR):
        update.table += sha256(data[start : start + SECTOR]).digest()[:16]
    update.manifest = manifest(update)
    lock = lock_of()
    assert lock.live(update, 2000) == "", "it was switched to"
    records = lock.records
    lock = lock_of(lock.nor)
    files = os.listdir(ROOT)
    return lock.running.sequence, records, files


def test_what_is_no_bundle_is_never_mounted():
    content = bytes(range(256)) * 30
    good = bundle(6, content)
    evil = [
        bundle(6, content, ("..", "a")),
        bundle(6, content, ("", "/a")),
        bundle(6, content, ("", "../../boot")),
        bundle(6, content, ("", "a//b")),
        bundle(6, content, ("", "a/")),
        bundle(6, content, ("", "A")),
        bundle(6, content, ("", "a.b")),
        bundle(6, content, ("", "a" * 36)),
        bundle(6, content, ("", "")),
        bundle(6, content, ("", "a", "a")),
        bundle(6, content, ("", "b", "a")),
        bundle(6, content, ("a", "")),
        bundle(6, content, ("a", "b")),
        bundle(7, content),
        bundle(6, content, size=100),
        bundle(6, content, stored=100),
        bundle(6, content, size=65_535),
        good + bytes(4),
        good[:-4],
        b"vtb1",
        b"",
    ]
    for place in (0, 8, 12, 13, 48, 60, 64, 65, 66, 67, 68, 69, 200):
        wrong = bytearray(good)
        wrong[place] ^= 1
        evil.append(bytes(wrong))
    for data in evil:
        if not data:
            continue
        running, records, files = outcome_of(data)
        assert running == ORIGINAL
        assert records == [("refused", 6, reasons.COMMAND_MALFORMED)], (data[:140], records)
        assert files == [], files


def test_a_file_that_explodes_is_found_before_it_is_mounted():
    bomb = binascii.unhexlify(BOMB)
    mpy = sys.implementation._mpy & 0xFF

    def packed(size, content):
        row = struct.pack(">BHH", 0, len(bomb), size)
        whole = 64 + len(row) + len(bomb)
        head = struct.pack(">4sIIHBB32s", b"vtb1", 6, whole, 1, mpy, 0, b"sim") + bytes(12)
        check = binascii.crc32(content, binascii.crc32(row, binascii.crc32(head))).to_bytes(4, "big")
        return head + check + row + bomb

    right = b"M\x06\x00" + bytes(60_000)
    for size in (1000, 60_002, 65_000):
        running, records, files = outcome_of(packed(size, right[:size]))
        assert running == ORIGINAL and records == [("refused", 6, reasons.COMMAND_MALFORMED)], size
    # the same with its true size is a bundle, of which this one file is all
    lock = lock_of()
    update = Component(0, 6)
    update.data = packed(60_003, right)
    update.digest = sha256(update.data).digest()
    update.table = sha256(update.data).digest()[:16]
    update.manifest = manifest(update)
    assert lock.live(update) == "reset"


def test_a_bundle_for_another_interpreter_is_told_from_a_damaged_one():
    data = bytearray(bundle(6, bytes(2000)))
    count = 2
    data[14] ^= 1
    head = bytes(data[:60])
    index = bytes(data[64 : 64 + 64 * count])
    data[60:64] = binascii.crc32(index, binascii.crc32(head)).to_bytes(4, "big")
    _, records, _ = outcome_of(bytes(data))
    assert records == [("refused", 6, reasons.NOT_FOR_THIS_BOARD)]


def test_an_image_for_another_chip_is_not_written():
    lock = lock_of()
    lock = installed(lock, Component(1, 6))
    assert lock.running.kind == 1 and lock.running.sequence == 6
    for place, value in ((0, 0x00), (12, 9)):
        update = Component(1, 7)
        data = bytearray(update.data)
        data[place] = value
        update.data = bytes(data)
        update.digest = sha256(update.data).digest()
        update.table = sha256(update.data[:SECTOR]).digest()[:16] + update.table[16:]
        update.manifest = manifest(update)
        erased = lock.nor.erases[:]
        answer = lock.ask({1: update.manifest})[1]
        stream = update.table + update.data
        while 2 in answer:
            answer = lock.ask({2: answer[2], 3: stream[answer[2] : answer[2] + 1000]})[1]
        assert answer == {1: IDLE, 3: 6, 5: reasons.NOT_FOR_THIS_BOARD}
        ota = range(22, 34)
        assert [lock.nor.erases[n] for n in ota] == [erased[n] for n in ota]


def test_an_image_that_the_chip_does_not_take_is_let_go():
    lock = lock_of()
    update = Component(1, 6)
    update.data = update.data[:-1] + bytes((update.data[-1] ^ 1,))
    update.digest = sha256(update.data).digest()
    update.table = b""
    for start in range(0, len(update.data), SECTOR):
        update.table += sha256(update.data[start : start + SECTOR]).digest()[:16]
    update.manifest = manifest(update)
    lock.is_quiet = False
    lock.live(update, 1000)
    lock = lock_of(lock.nor)
    assert lock.live(None, 3000) == ""
    assert lock.records == [("refused", 6, reasons.DIGEST_MISMATCH)]
    lock = lock_of(lock.nor)
    assert lock.running.sequence == ORIGINAL and lock.parts.slots.trial == 0
    assert refusal(lock, update.manifest)[0] == reasons.SEQUENCE_STALE


def written_in_part(lock, update, size):
    """Bring so many bytes of the stream; return the last answer."""
    _, answer = lock.ask({1: update.manifest})
    stream = update.table + update.data
    while answer.get(2, size) < size:
        answer = lock.ask({2: answer[2], 3: stream[answer[2] : min(size, answer[2] + 1000)]})[1]
    return answer


def test_a_journal_that_takes_nothing_in_does_not_pass():
    lock = lock_of()
    update = Component(0, 6)
    assert lock.live(update) == "reset"
    lock = Lock(lock.nor)
    lock.is_deaf = True
    lock.start()
    assert lock.running.sequence == 6
    assert lock.live() == "reset"
    lock = lock_of(lock.nor)
    assert lock.running.sequence == ORIGINAL and lock.parts.floor.load() is None


def on_trial(kind):
    """The first start of an update on trial."""
    lock = lock_of()
    assert lock.live(Component(kind, 6)) == "reset"
    lock = lock_of(lock.nor)
    assert lock.running.sequence == 6
    return lock


def test_a_gate_that_breaks_does_not_let_through():
    for kind in (0, 1):
        lock = on_trial(kind)
        lock.gate_raises = 1
        assert lock.live() == "reset"
        lock = lock_of(lock.nor)
        assert lock.running.sequence == ORIGINAL and lock.parts.floor.load() is None, kind


def test_an_image_is_not_taken_for_kept_because_its_task_began_again():
    lock = on_trial(1)
    save = lock.parts.slots.save
    troubles = [OSError(5)]

    def fails():
        if troubles:
            raise troubles.pop()
        save()

    lock.parts.slots.save = fails
    asked = []
    gate = lock.parts.gate

    async def noted(vote):
        asked.append(vote)
        return await gate(vote)

    lock.parts.gate = noted
    try:
        lock.live()
        raise AssertionError("the flash failed")
    except OSError:
        pass
    # as the supervisor has it begin again, in the same start
    lock.device = None
    assert lock.live() == "" and len(asked) == 1 and lock.records[-1] == ("confirmed", 6, None)


def test_a_trial_that_nobody_minds_has_its_end():
    for kind in (0, 1):
        lock = on_trial(kind)
        assert Timer.period == 90_000, kind
        assert lock.live() == "" and Timer.period == 0
        lock = lock_of(lock.nor)
        assert Timer.period == 0
        lock.live()


def folder(slot, path):
    return [(name, size) for name, _, _, size in sorted(slot.ilistdir(path))]


def test_a_slot_can_be_looked_at():
    files = ("", "a", "access/a", "access/b/c", "access/b/d", "accessory", "b/a")
    content = bytes(range(64)) * 16
    with_slot = lock_of()
    path = ROOT + "/slot-a"
    data = bundle(6, content, files)
    with open(path, "wb") as file:
        file.write(data)
    slot = slots.Slot(path, 1, ORIGINAL)
    size = len(content) // len(files) + 3
    assert folder(slot, "/") == [("main.mpy", size), ("vitrine", 0)]
    rows = [("a.mpy", size + 1), ("access", 0), ("accessory.mpy", size + 9), ("b", 0)]
    assert folder(slot, "vitrine") == rows == folder(slot, "/vitrine/")
    assert folder(slot, "vitrine/access") == [("a.mpy", size + 8), ("b", 0)]
    assert folder(slot, "vitrine/access/b") == [("c.mpy", size + 10), ("d.mpy", size + 10)]
    for wrong in ("vitrine/acc", "main.mpy", "lib"):
        try:
            folder(slot, wrong)
        except OSError as error:
            assert error.errno == 2
        else:
            raise AssertionError(wrong)
    assert slot.statvfs("/")[:6] == (1, 1, len(data), 0, 0, len(files))
    with_slot.end()


def test_no_room_is_said_and_leaves_nothing():
    lock = lock_of()
    too_large = Component(0, 6, size=90_000)
    assert refusal(lock, too_large.manifest) == (reasons.STORE_FULL, reasons.STORE_FULL, 1)
    assert os.listdir(ROOT) == []
    # what is there when it begins can go meanwhile
    update = Component(0, 6, size=40_000)
    assert written_in_part(lock, update, 9_000)[1] == RECEIVING
    with open(ROOT + "/other", "wb") as file:
        file.write(bytes(40_000))
    answer = written_in_part(lock, update, len(update.table + update.data))
    assert answer == {1: IDLE, 3: ORIGINAL, 5: reasons.STORE_FULL}
    assert os.listdir(ROOT) == ["other"]
    os.remove(ROOT + "/other")


def test_an_application_costs_an_erase_for_each_block_and_junk_costs_none():
    lock = lock_of()
    update = Component(0, 6, size=40_000)
    lock.ask({1: update.manifest})
    before = sum(lock.nor.erases)
    for _ in range(3):
        for at in range(len(update.table)):  # the table, byte by byte: whoever is there may send that
            answer = lock.ask({2: at, 3: b"\x55"})[1]
        assert (answer[2], answer[5]) == (0, reasons.DIGEST_MISMATCH)
    assert sum(lock.nor.erases) == before
    at = lock.ask({2: 0, 3: update.table})[1][2]
    assert sum(lock.nor.erases) - before <= 2
    before = sum(lock.nor.erases)
    for _ in range(50):
        for start in range(at, at + SECTOR, 1024):
            answer = lock.ask({2: start, 3: bytes(1024)})[1]
        assert (answer[2], answer[5]) == (at, reasons.DIGEST_MISMATCH)
    assert sum(lock.nor.erases) == before
    lock.live(update, 100)
    blocks = len(update.table) // 16
    assert blocks == 10 and sum(lock.nor.erases) - before <= blocks + 3, sum(lock.nor.erases) - before


def test_a_beginning_that_is_not_what_it_was_is_not_added_to():
    lock = lock_of()
    update = Component(0, 6, size=14_000)
    written_in_part(lock, update, len(update.table) + 2 * SECTOR)
    lock = again(lock)
    with open(components.PREFIX + "new", "r+b") as file:
        file.seek(5000)
        file.write(b"\x55\xaa")
    lock = again(lock)
    lock.live(update, 1000)
    assert lock.records[-1] == ("refused", 6, reasons.FAULT)
    lock = again(lock)
    assert os.listdir(ROOT) == [] and lock.live(update) == "reset"


def test_what_cannot_be_read_after_a_start_is_fetched_again():
    lock = lock_of()
    update = Component(0, 6, size=14_000)
    written_in_part(lock, update, len(update.table) + 2 * SECTOR)
    read = components.Application.read

    def fails(self, number, size):
        raise OSError(5)

    components.Application.read = fails
    try:
        lock = again(lock)
        lock.live(None, 1000)
    finally:
        components.Application.read = read
    assert lock.records == [("refused", 6, reasons.FAULT)]
    lock = again(lock)
    assert os.listdir(ROOT) == []
    os.mkdir(components.PREFIX + "stage")  # open() fails, and not for want of it
    assert components.Stage().manifest is None
    os.rmdir(components.PREFIX + "stage")
    assert lock.live(update) == "reset"


def test_a_confirmed_application_survives_whatever_happens_to_the_next():
    lock = installed(lock_of(), Component(0, 6))
    assert lock.running.sequence == 6
    lock = again(lock)
    lock.bad = (7,)
    lock = installed(lock, Component(0, 7, is_good=False))
    assert lock.running.sequence == 6
    # a file that is not what it was is not run; what the chip has in it is
    with open(slots.path_of(slots.A), "r+b") as file:
        file.seek(700)
        file.write(b"\0\1\2\3")
    lock = again(lock)
    assert lock.running.sequence == ORIGINAL
    assert lock.ask({})[1][3] == ORIGINAL


def test_a_slot_below_the_image_is_not_used():
    lock = installed(lock_of(), Component(0, 6))
    lock = installed(lock, Component(1, 9))
    assert lock.running.kind == 1 and lock.parts.slots.active == 0
    lock.parts.slots.active = slots.A
    lock.parts.slots.save()
    lock = again(lock)
    assert lock.running.kind == 1 and lock.running.sequence == 9


def test_a_damaged_blob_is_none():
    lock = installed(lock_of(), Component(0, 6))
    store = slots.Slots(lock.parts.slots._store)._store
    data = store.load()
    for wrong in (data[:-1], b"\2" + data[1:], data[:9] + bytes((data[9] ^ 1,)) + data[10:], b"", data + b"\0"):
        store.save(wrong)
        lock = again(lock)
        assert lock.running.sequence == ORIGINAL
        store = lock.parts.slots._store
        # and nothing older than the floor comes of it
        assert refusal(lock, Component(0, 6).manifest)[0] == reasons.SEQUENCE_STALE
