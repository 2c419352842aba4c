"""Who a lock is, by its record: read, missing, damaged, and missed by one read."""

from support.store import LOCK_ID, Store
from vitrine.app.identity import Identity


class Reads:
    """A store that gives one answer after the other, the last for ever."""

    def __init__(self, *answers):
        self._answers = list(answers)

    def load(self):
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


def test_a_record_says_who_it_is(tmp_path):
    identity = Identity(Reads(Store(tmp_path).provision()))
    assert (identity.lock_id, identity.trouble) == (LOCK_ID, "")


def test_without_one_it_is_nobodys():
    identity = Identity(Reads(None))
    assert (identity.lock_id, identity.trouble, identity.provision) == ("", "", None)


def test_one_that_cannot_be_used_is_a_trouble(tmp_path):
    for answer in (b"", b"\xff", Store(tmp_path).provision()[:-1], OSError(5)):
        identity = Identity(Reads(answer))
        assert identity.lock_id == "" and identity.trouble


def test_a_record_that_is_missed_once_makes_no_lock_nobodys(tmp_path):
    """Then its console would be open: who glitches one read must not have that."""
    record = Store(tmp_path).provision()
    for answers in ((None, record), (None, None, record), (None, OSError(5)), (None, b"")):
        identity = Identity(Reads(*answers))
        assert identity.trouble == "identity:again" and identity.provision is None
