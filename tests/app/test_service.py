"""Service on the console: acts 130 and 131, how long it lasts, what is recorded (SPEC.md sections 3 and 18)."""

from hashlib import sha256

from support.session_lab import Lab, case
from vitrine.access import reasons

HELLO, PRESENT, ACT, COURIER, DOCTOR = 0, 1, 2, 5, 8
OK, REFUSED, MALFORMED = 0, 1, 3
LOCK, UNLOCK, SERVICE, TEST = 0, 1, 130, 131
BLE, HTTP, CONSOLE = 1, 2, 4
OPERATION, REFUSAL, SERVED = 2, 3, 136
COUNT, DETAIL, LINK, DIGEST, SUB, KID, CTI = 14, 15, 18, 31, 7, 13, 8
MINUTE_MS = 60_000


class Outbox:
    """Stands for audit.outbox: notes from where a batch was asked for, and whether it was a pull."""

    def __init__(self):
        self.asked = []

    def batch(self, start, limit, is_pull):
        self.asked.append((start, is_pull))
        return b"batch", 7

    def acknowledgement(self):
        return b"kept"


def lab_of(is_same_nonce=True):
    return Lab(is_same_nonce=is_same_nonce)


def act(lab, name, action, link=CONSOLE, channel=None):
    """Run a session up to `action` with a case of the vectors; return (status, body, channel)."""
    token, proof = case(name)
    channel = channel or lab.channel(b"", link)
    lab.ask(channel, HELLO)
    assert lab.ask(channel, PRESENT, token)[0] == OK
    return lab.ask(channel, ACT, {1: action, 2: False, 3: proof}) + (channel,)


def served(lab):
    """The Service of a lock whose console was opened just now."""
    assert act(lab, "service", SERVICE)[0] == OK
    return lab.dispatch.service


def details(lab):
    return [fields[DETAIL] for kind, fields in lab.events.records if kind == SERVED and fields[DETAIL] != "run"]


def test_it_opens_on_the_console_and_says_for_whom():
    lab = lab_of()
    assert not lab.dispatch.is_in_service()
    status, body, _ = act(lab, "service", SERVICE)
    assert status == OK and body[3] == 1 and len(body[2]) == 16
    assert lab.dispatch.is_in_service() and lab.door.moves == []
    ((kind, fields),) = lab.events.records
    assert (kind, fields[DETAIL], fields[LINK], fields[SUB]) == (SERVED, "begin", CONSOLE, b"engineer")
    assert fields[16] is True and len(fields[KID]) == 8 and len(fields[CTI]) == 8


def test_other_links_open_no_console():
    for link in (BLE, HTTP):
        lab = lab_of()
        assert act(lab, "service", SERVICE, link)[0] == OK
        assert not lab.dispatch.is_in_service() and lab.dispatch.service is None
        assert details(lab) == ["doctor"] and lab.events.records[0][1][LINK] == link


def test_it_needs_its_scope():
    for link in (BLE, CONSOLE):
        lab = lab_of()
        status, body, _ = act(lab, "no_service", SERVICE, link)
        assert (status, body[1]) == (REFUSED, reasons.SCOPE_MISSING)
        assert not lab.dispatch.is_in_service() and details(lab) == []
        assert lab.events.records[-1][0] == REFUSAL and lab.events.records[-1][1][5] == SERVICE


def test_a_replayed_act_opens_nothing():
    lab = lab_of(is_same_nonce=False)
    token, proof = case("service")
    first = act(lab, "service", SERVICE)[2]
    lab.dispatch.service.end("closed")
    for channel in (first, lab.channel(b"", CONSOLE)):
        lab.ask(channel, HELLO)
        lab.ask(channel, PRESENT, token)
        status, body = lab.ask(channel, ACT, {1: SERVICE, 2: False, 3: proof})
        assert status == REFUSED and list(body) == [2]
        assert not lab.dispatch.is_in_service()


def test_what_cannot_be_put_on_record_is_not_begun():
    lab = lab_of()
    record = lab.events.record

    def fails(kind, fields):
        lab.events.missed += 1

    lab.events.record = fails
    status, body, channel = act(lab, "service", SERVICE)
    assert (status, body[1]) == (REFUSED, reasons.FAULT) and not lab.dispatch.is_in_service()
    lab.events.record = record
    assert lab.ask(channel, DOCTOR, {1: bytes(16), 2: 0}) == (REFUSED, None)


def test_it_ends_after_300_s_without_a_byte():
    lab = lab_of()
    service = served(lab)
    for _ in range(2):
        lab.clock.now_ms += 299_999
        service.touch()
    assert service.is_open()
    lab.clock.now_ms += 5 * MINUTE_MS
    service.touch()  # too late
    assert not lab.dispatch.is_in_service() and details(lab) == ["begin", "idle"]


def test_it_ends_after_900_s_whatever_comes():
    lab = lab_of()
    service = served(lab)
    for _ in range(14):
        lab.clock.now_ms += MINUTE_MS
        service.touch()
    assert service.is_open()
    lab.clock.now_ms += MINUTE_MS
    service.touch()
    assert not service.is_open() and details(lab) == ["begin", "limit"]
    lab.clock.now_ms += MINUTE_MS
    assert not service.is_open() and details(lab) == ["begin", "limit"], "once"


def test_a_clock_that_wraps_opens_nothing_again():
    lab = lab_of()
    service = served(lab)
    lab.clock.now_ms += 1 << 29
    assert not service.is_open()
    lab.clock.now_ms += 1 << 29
    assert not service.is_open()


def test_its_end_says_what_was_run():
    lab = lab_of()
    service = served(lab)
    chain = bytes(32)
    for program in (b"lock.status()", b"", b"print(1)" * 500):
        service.ran(program)
        chain = sha256(chain + sha256(program).digest()).digest()
    service.end("closed")
    fields = lab.events.records[-1][1]
    assert (fields[DETAIL], fields[COUNT], fields[DIGEST], fields[SUB]) == ("closed", 3, chain, b"engineer")
    service.end("closed")
    assert details(lab) == ["begin", "closed"]


def test_programs_are_on_record_before_they_run():
    lab = lab_of()
    service = served(lab)
    chain = bytes(32)
    chains = []
    for number in range(1, 21):
        service.ran(b"program %d" % number)
        chain = sha256(chain + sha256(b"program %d" % number).digest()).digest()
        chains.append(chain)
    runs = [fields for kind, fields in lab.events.records if kind == SERVED and fields[DETAIL] == "run"]
    assert [fields[COUNT] for fields in runs] == [1, 2, 4, 8, 16]
    assert [fields[DIGEST] for fields in runs] == [chains[n - 1] for n in (1, 2, 4, 8, 16)]
    assert runs[0][SUB] == b"engineer" and runs[0][LINK] == CONSOLE


def test_another_one_begins_anew():
    lab = lab_of()
    service = served(lab)
    service.ran(b"x")
    assert served(lab) is service and service.number == 2
    assert details(lab) == ["begin", "replaced", "begin"]
    service.end("closed")
    assert lab.events.records[-1][1][COUNT] == 0 and lab.events.records[-1][1][DIGEST] == bytes(32)


def test_the_chip_starts_again_once_a_program_has_run_and_it_is_over():
    lab = lab_of()
    service = served(lab)
    assert not service.is_to_restart(True)
    service.end("closed")
    assert not service.is_to_restart(True), "nothing has run"
    served(lab)
    service.ran(b"x")
    assert not service.is_to_restart(True), "it goes on"
    service.end("closed")
    assert service.is_to_restart(True) and not service.is_to_restart(False)
    lab.clock.now_ms += 299_999
    assert not service.is_to_restart(False)
    lab.clock.now_ms += 1
    assert service.is_to_restart(False), "whoever is there"
    served(lab)
    assert not service.is_to_restart(True)
    service.end("closed")
    assert service.is_to_restart(True), "what ran in an earlier one is still there"


def test_when_it_is_quiet():
    lab = lab_of()
    lab.door.lock_state, lab.door.door_state = 1, 1
    assert lab.dispatch.is_quiet()
    channel = lab.channel()
    assert not lab.dispatch.is_quiet()
    channel.close()
    for lab.door.lock_state, lab.door.door_state in ((2, 1), (1, 0)):
        assert not lab.dispatch.is_quiet()


def test_lock_over_the_console_ends_it():
    for link, is_ended in ((BLE, False), (CONSOLE, True)):
        lab = lab_of()
        service = served(lab)
        assert act(lab, "lock", LOCK, link)[0] == OK
        assert service.is_open() is not is_ended
        assert lab.door.moves == [LOCK]


def test_the_strike_is_tested_over_the_open_console():
    lab = lab_of()
    served(lab)
    status, body, _ = act(lab, "test", TEST)
    assert status == OK and body[3] == 2 and lab.door.moves == [TEST]


def test_it_is_tested_nowhere_else():
    for prepare, link in (
        (lambda lab: None, CONSOLE),
        (lambda lab: None, BLE),
        (served, BLE),
        (served, HTTP),
        (lambda lab: served(lab).end("closed"), CONSOLE),
    ):
        lab = lab_of()
        prepare(lab)
        verifications = lab.verifications
        status, body, channel = act(lab, "test", TEST, link)
        assert status == REFUSED and list(body) == [2], "nothing is said to who has proved nothing"
        assert lab.door.moves == [] and not channel.has_proved
        kind, fields = lab.events.records[-1]
        assert (kind, fields[4], fields[5]) == (REFUSAL, reasons.ACTION_UNKNOWN, TEST)
        assert lab.verifications - verifications <= 1, "only that of the token"


def test_it_needs_the_scope_as_well():
    lab = lab_of()
    served(lab)
    status, body, _ = act(lab, "no_test", TEST)
    assert (status, body[1]) == (REFUSED, reasons.SCOPE_MISSING) and lab.door.moves == []


def test_a_refused_test_uses_up_the_nonce():
    lab = lab_of(is_same_nonce=False)
    token, proof = case("test")
    channel = lab.channel(b"", CONSOLE)
    lab.ask(channel, HELLO)
    lab.ask(channel, PRESENT, token)
    assert lab.ask(channel, ACT, {1: TEST, 2: False, 3: proof})[0] == REFUSED
    channel._may_test = lambda: True
    assert lab.ask(channel, ACT, {1: TEST, 2: False, 3: proof})[0] == REFUSED
    assert lab.events.reasons()[-1] == reasons.PROOF_FORGED and lab.door.moves == []


def test_who_is_a_stranger_learns_nothing_from_the_doctor():
    lab = lab_of()
    for prepare in (lambda channel: None, lambda channel: act(lab, "valid", UNLOCK, BLE, channel)):
        channel = lab.channel()
        prepare(channel)
        assert lab.ask(channel, DOCTOR, {1: bytes(16), 2: 0}) == (REFUSED, None)
    # what one connection may, another may not
    assert act(lab, "service", SERVICE, BLE)[0] == OK
    for link in (BLE, HTTP, CONSOLE):
        assert lab.ask(lab.channel(b"", link), DOCTOR, {1: bytes(16), 2: 0}) == (REFUSED, None)
        assert lab.ask(lab.channel(b"", link), COURIER, {3: 0}) == (REFUSED, None)


def test_the_wire_of_an_open_console_needs_no_act_of_its_own():
    lab = lab_of()
    lab.events.outbox = Outbox()
    service = served(lab)
    for link, status in ((CONSOLE, OK), (BLE, REFUSED), (HTTP, REFUSED)):
        assert lab.ask(lab.channel(b"", link), DOCTOR, {1: bytes(16), 2: 400})[0] == status
        assert lab.ask(lab.channel(b"", link), COURIER, {3: 5})[0] == status
    assert lab.events.outbox.asked == [(5, True)]
    assert lab.ask(lab.channel(b"", CONSOLE), COURIER, {1: None})[1] == {1: b"batch", 2: b"kept"}
    service.end("closed")
    assert lab.ask(lab.channel(b"", CONSOLE), COURIER, {3: 5}) == (REFUSED, None)


def test_what_is_no_request_for_the_doctor():
    lab = lab_of()
    for body in (None, {}, {1: bytes(16)}, {1: bytes(15), 2: 0}, {1: "x" * 16, 2: 0}, {1: bytes(16), 2: -1}, [1, 2]):
        assert lab.ask(lab.channel(), DOCTOR, body)[0] == MALFORMED
    assert lab.ask(lab.channel(), DOCTOR, {1: bytes(16), 2: True})[0] == MALFORMED
    assert lab.ask(lab.channel(), DOCTOR, {1: bytes(16), 2: 0, 3: 0})[0] == MALFORMED
