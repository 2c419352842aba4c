"""`vitrine audit risk`: one person at two locks faster than one can walk, and the scores that locks gave."""

import json

import pytest

from support.sim_lock import SimLock
from vitrine_tools import cbor, cli
from vitrine_tools.audit import query, risk, sealed
from vitrine_tools.audit.sealed import Seal
from vitrine_tools.collector import escrow
from vitrine_tools.collector.intake import Intake, Message
from vitrine_tools.collector.store import Store
from vitrine_tools.errors import ToolError

T0 = 1_800_000_000
UNLOCK = {1: 2, 3: 1, 4: 0, 5: 1, 6: 7, 8: b"identity", 13: b"issuer-7", 16: True, 17: 2, 18: 1}
REFUSED = {1: 3, 3: 1, 4: 11, 5: 1, 6: 7, 8: b"identity", 12: 3, 13: b"issuer-7", 16: True, 18: 1}
MIRA = {7: b"mira-k"}
SITE = '[[walk]]\nlocks = ["case-12", "case-13"]\nseconds = 90\n'


def entry(lock_id, after_s, record=UNLOCK | MIRA, sequence=0, seal=Seal.RIGHT):
    return query.Entry(lock_id, 1, sequence, seal, T0, cbor.encode({2: T0 + after_s} | record))


def site(walk_s=90.0, error_s=10.0):
    return risk.Site({frozenset(("case-12", "case-13")): walk_s}, error_s)


def gaps(*entries, place=None):
    return [travel.gap_s for travel in risk.find(entries, place or site(), 50).travels]


def test_faster_than_one_can_walk():
    # 90 s to walk, two clocks that may be 10 s wrong each, and a second of rounding
    assert gaps(entry("case-12", 0), entry("case-13", 68)) == [68]
    assert gaps(entry("case-12", 0), entry("case-13", 69)) == []
    assert gaps(entry("case-12", 0), entry("case-13", 0)) == [0]
    assert gaps(entry("case-12", 0), entry("case-13", 80), place=site(error_s=0)) == [80]


def test_only_the_same_person_of_the_same_issuer_at_another_lock():
    assert gaps(entry("case-12", 0), entry("case-12", 5)) == []
    assert gaps(entry("case-12", 0), entry("case-13", 5, UNLOCK | {7: b"jonas"})) == []
    assert gaps(entry("case-12", 0), entry("case-13", 5, UNLOCK | MIRA | {13: b"issuer-8"})) == []
    assert gaps(entry("case-12", 0, UNLOCK), entry("case-13", 5, UNLOCK)) == [], "nobody is not a person"


def test_a_proven_refusal_counts_and_a_stranger_with_the_token_does_not():
    assert gaps(entry("case-12", 0, REFUSED | MIRA), entry("case-13", 5)) == [5]
    shown = {key: value for key, value in (REFUSED | MIRA).items() if key != 16}
    assert gaps(entry("case-12", 0), entry("case-13", 5, shown)) == []
    assert gaps(entry("case-12", 0), entry("case-13", 5, {1: 1, 3: 1, 10: 0} | MIRA)) == []


def test_a_visit_is_told_once_and_each_way_of_one_who_is_at_both():
    there_and_there = [entry("case-12", 0), entry("case-13", 5), entry("case-13", 9), entry("case-13", 20)]
    assert gaps(*there_and_there) == [5]
    assert gaps(*there_and_there, entry("case-12", 25)) == [5, 5]
    # another lock in between hides nothing
    assert gaps(entry("case-12", 0), entry("case-14", 3), entry("case-13", 8)) == [8]


def test_what_cannot_be_judged_is_counted_and_named():
    found = risk.find([entry("case-12", 0, UNLOCK | MIRA | {3: 0}), entry("case-13", 5)], site(), 50)
    assert found.travels == [] and found.unjudged == 1
    found = risk.find([entry("case-12", 0), entry("case-14", 5), entry("case-12", 9)], site(), 50)
    assert found.travels == [] and found.unnamed == {("case-12", "case-14")}


def test_a_record_that_was_altered_accuses_nobody():
    assert gaps(entry("case-12", 0), entry("case-13", 5, seal=Seal.ALTERED)) == []


def test_the_scores():
    scored = [entry("case-12", n, UNLOCK | MIRA | {24: score, 25: "burst"}, n) for n, score in enumerate((49, 50, 100))]
    scored += [entry("case-12", 5, UNLOCK | MIRA), entry("case-12", 6, UNLOCK | {24: "high"})]
    found = risk.find(scored, None, 50)
    assert [(each.score, each.rule, each.entry.sequence) for each in found.scores] == [
        (50, "burst", 1),
        (100, "burst", 2),
    ]


def load(tmp_path, text):
    path = tmp_path / "site.toml"
    path.write_text(text)
    return risk.load_site(path)


def walk(one, other, **more):
    return f'[[walk]]\nlocks = ["{one}", "{other}"]\n' + "".join(f"{key} = {value}\n" for key, value in more.items())


def test_site_file(tmp_path):
    found = load(
        tmp_path, "clock_error_s = 3\nspeed_m_s = 1.5\n" + walk("a", "b", seconds=40) + walk("b", "c", metres=30)
    )
    assert found.walk("a", "b") == found.walk("b", "a") == 40 and found.walk("c", "b") == 20
    assert found.walk("a", "c") is None and found.clock_error_s == 3
    assert load(tmp_path, SITE).clock_error_s == 10


def test_a_way_over_another_lock_may_be_shorter(tmp_path):
    text = (
        walk("a", "d", seconds=100)
        + walk("a", "b", seconds=10)
        + walk("b", "c", seconds=20)
        + walk("c", "d", seconds=5)
    )
    assert load(tmp_path, text).walk("a", "d") == 35


@pytest.mark.parametrize(
    "text",
    [
        "",
        "walk = 5",
        "walk = [5]",
        "not toml",
        SITE + "unknown = 1\n",
        "other = 1\n" + SITE,
        SITE + SITE,
        walk("a", "a", seconds=5),
        walk("a", "B", seconds=5),
        walk("a", "b"),
        walk("a", "b", seconds=5, metres=5),
        walk("a", "b", seconds=-1),
        walk("a", "b", seconds="nan"),
        walk("a", "b", seconds="inf"),
        walk("a", "b", seconds="true"),
        walk("a", "b", seconds='"5"'),
        "speed_m_s = 0\n" + SITE,
        "clock_error_s = -1\n" + SITE,
        '[[walk]]\nlocks = ["a", 5]\nseconds = 1\n',
        '[[walk]]\nlocks = ["a", "b", "c"]\nseconds = 1\n',
    ],
)
def test_a_site_file_with_a_mistake_is_refused(tmp_path, text):
    with pytest.raises(ToolError):
        load(tmp_path, text)


def test_no_site_file(tmp_path):
    with pytest.raises(ToolError):
        risk.load_site(tmp_path / "none.toml")


LIVES = {
    "case-12": [(UNLOCK | MIRA, 0), (UNLOCK | MIRA | {24: 60, 25: "off-shift"}, 3000)],
    "case-13": [(UNLOCK | MIRA, 12), (UNLOCK | {7: b"\x1b[31m"}, 2000)],
    "case-14": [(UNLOCK | MIRA, 4000), (UNLOCK | MIRA | {3: 0}, 4001)],
}


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run the command line over a store of three locks; returns (exit status, standard output, standard error)."""
    store = Store(str(tmp_path / "vitrine.db"))
    for lock_id, life in LIVES.items():
        lock = SimLock(lock_id)
        escrow.save(tmp_path / "keys", lock_id, lock.keys.epoch, lock.root)
        rows, head = [], bytes(32)
        for n, (record, after_s) in enumerate(life):
            body = cbor.encode({2: T0 + after_s} | record)
            rows.append((n, body))
            head = sealed.next_head(head, n, lock.keys.record_tag(n, body))
        batch = sealed.make_batch(lock.keys, first=0, to=len(rows), count=len(rows), head=head, records=rows)
        intake = Intake(escrow.Escrow(tmp_path / "keys"), store)
        intake.store([intake.judge(Message(lock_id, batch))])
    store.close()
    (tmp_path / "site.toml").write_text(SITE)

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["vitrine", "audit", "risk", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return (caught.value.code or 0, *capsys.readouterr())

    return run


def test_one_readable_line_for_each_finding(run):
    status, out, _ = run("--site", "site.toml")
    assert status == 1
    lines = out.splitlines()
    assert lines[0] == (
        "  !!  2027-01-15T08:00:12Z mira-k: granted at case-12 #0, then granted at case-13 #0 12 s later: 90 s to walk"
    )
    assert lines[1] == "  --  2027-01-15T08:50:00Z mira-k: granted at case-12 #1: 60 off-shift"
    assert lines[2] == "Not judged: 1 at an unknown time."
    assert "case-12 and case-14" in lines[3] and "case-13 and case-14" in lines[4] and len(lines) == 5


def test_for_scripts(run):
    status, out, _ = run("--site", "site.toml", "--json")
    found = json.loads(out)
    assert (
        status == 1 and found["unjudged"] == 1 and found["unnamed"] == [["case-12", "case-14"], ["case-13", "case-14"]]
    )
    (travel,) = found["travels"]
    assert travel["person"] == "mira-k" and travel["gap_s"] == 12 and travel["walk_s"] == 90
    assert (travel["first"]["lock"], travel["then"]["lock"], travel["then"]["time"]) == ("case-12", "case-13", T0 + 12)
    assert [(each["lock"], each["sequence"], each["score"]) for each in found["scores"]] == [("case-12", 1, 60)]


def test_scores_alone_are_no_failure(run):
    status, out, _ = run()
    assert status == 0 and len(out.splitlines()) == 1 and "60 off-shift" in out
    assert run("--score", "61")[:2] == (0, "Nothing unusual.\n")
    assert run("--person", "nobody", "--site", "site.toml")[:2] == (0, "Nothing unusual.\n")
    assert run("--lock", "case-13", "--site", "site.toml")[0] == 0
    assert run("--since", "2027-01-15T08:00:05Z", "--site", "site.toml")[0] == 0


def test_what_is_wrong_is_said_with_status_2(run):
    status, _, err = run("--site", "none.toml")
    assert status == 2 and "none.toml" in err
    assert run("--db", "none.db")[0] == 2
