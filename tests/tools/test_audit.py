"""`vitrine audit`: what people and programs get out of a store, and that it tells when the evidence is not whole."""

import csv
import json
import re
import sqlite3
from html.parser import HTMLParser

import pytest

from support.sim_lock import SimLock
from vitrine_tools import cbor, cli, courier
from vitrine_tools.audit import figures, query, sealed
from vitrine_tools.audit.report import page
from vitrine_tools.audit.verdict import JournalVerdict
from vitrine_tools.collector import escrow
from vitrine_tools.collector.intake import Intake, Message
from vitrine_tools.collector.store import Store

T0 = 1_800_000_000
TOKEN = {8: b"identity", 13: b"issuer-7", 16: True, 18: 1}
UNLOCK = {1: 2, 4: 0, 5: 1, 6: 7, 17: 2} | TOKEN
LIVES = {
    "case-12": [
        ({1: 128, 14: 1}, 0),
        (UNLOCK | {7: b"mira-k"}, 10),
        ({1: 1, 10: 0, 17: 2}, 12),
        ({1: 1, 10: 1, 17: 2}, 37),
        ({1: 3, 4: 5, 6: 7, 12: 3, 18: 1}, 60),
        ({1: 3, 4: 5, 6: 7, 12: 3, 18: 1, 14: 32, 19: T0 + 61}, 90),
        ({1: 0, 11: 6}, 100),
    ],
    "case-13": [
        (UNLOCK | {7: b"\x00\xff<b>", 5: 128}, 20),
        (UNLOCK | {7: b"=cmd()"}, 7200),
        ({1: 2, 5: 1, 6: 5, 17: 2}, 7300),
        ({1: 129, 15: "<script>alert(1)</script>"}, 7400),
    ],
}


@pytest.fixture
def folder(tmp_path):
    """A folder with a store and keys of two locks."""
    store = Store(str(tmp_path / "vitrine.db"))
    for lock_id, life in LIVES.items():
        lock = SimLock(lock_id)
        escrow.save(tmp_path / "keys", lock_id, lock.keys.epoch, lock.root)
        rows = []
        head = bytes(32)
        for n, (record, after_s) in enumerate(life):
            body = cbor.encode(record | {2: T0 + after_s, 3: 1})
            rows.append((n, body))
            head = sealed.next_head(head, n, lock.keys.record_tag(n, body))
        batch = sealed.make_batch(lock.keys, first=0, to=len(rows), count=len(rows), head=head, records=rows)
        intake = Intake(escrow.Escrow(tmp_path / "keys"), store)
        intake.store([intake.judge(Message(lock_id, batch))])
    store.close()
    return tmp_path


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Run the command line in the folder; returns (exit status, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["vitrine", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return (caught.value.code or 0, *capsys.readouterr())

    return run


def test_list_shows_who_did_what_when(run):
    status, out, _ = run("audit", "list")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 11
    assert lines[1].startswith("2027-01-15T08:00:10Z case-12 #1  UNLOCKED (phone, over BLE, holder proved, sub mira-k")
    assert "00ff3c62" in out and "\x00" not in out


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--lock", "case-13"), [0, 1, 2, 3]),
        (("--type", "lockoperationerror"), [4, 5]),
        (("--type", "Start", "--type", "Fault"), [0, 3]),
        (("--person", "mira-k"), [1]),
        (("--person", "hex:00ff3c623e"), [0]),
        (("--since", "2027-01-15T10:00:00Z", "--until", "2027-01-15T10:02:00Z"), [1, 2]),
        (("--last", "2"), [2, 3]),
        (("--person", "nobody"), []),
    ],
)
def test_filters(run, options, numbers):
    status, out, _ = run("audit", "list", "--json", *options)
    assert status == 0
    assert [int(event["sequence"]) for event in json.loads(out)] == numbers


def test_show_tells_all_of_one_record(run):
    status, out, _ = run("audit", "show", "case-12", "1")
    assert status == 0
    for text in ("mira-k", "Unlock", "Granted", b"identity".hex(), "BLE"):
        assert text in out
    status, _, err = run("audit", "show", "case-12", "99")
    assert status == 2 and "no record 99" in err


def test_cloud_events_have_what_the_standard_wants(run):
    status, out, _ = run("audit", "export")
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and len(events) == 11
    assert len({(event["source"], event["id"]) for event in events}) == 11
    for event in events:
        assert event["specversion"] == "1.0" and event["datacontenttype"] == "application/json"
        assert re.fullmatch(r"vitrine\.audit\.[A-Za-z]+", event["type"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])
        assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in event)  # CloudEvents 1.0, section 3.1
    assert events[1]["data"]["operation"] == "Unlock" and events[1]["subject"] == "mira-k"


def test_csv_is_read_back_and_runs_no_formula(run, folder):
    status, out, _ = run("audit", "export", "--format", "csv", "--out", "trail.csv")
    assert status == 0 and "trail.csv" in out
    assert (folder / "trail.csv").stat().st_mode & 0o777 == 0o600
    with (folder / "trail.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11
    assert rows[1]["person"] == "mira-k" and rows[1]["operation"] == "Unlock"
    assert [row["person"] for row in rows if "cmd" in row["person"]] == ["'=cmd()"]
    assert run("audit", "export", "--out", "trail.csv")[0] == 2, "not overwritten without --force"


def test_verify_is_content_until_somebody_touches_the_store(run, folder):
    status, out, _ = run("audit", "verify", "--keys", "keys")
    assert status == 0 and out.count("  ok  ") == 2
    with sqlite3.connect(folder / "vitrine.db") as connection:
        connection.execute("UPDATE records SET body = replace(body, 'mira', 'mara') WHERE sequence = 1")
        connection.execute("DELETE FROM records WHERE sequence = 2 AND journal = 2")
    connection.close()
    status, out, err = run("audit", "verify", "--keys", "keys", "--json")
    assert err == ""
    found = {(each["lock"], f["kind"], f["first"]) for each in json.loads(out) for f in each["findings"]}
    assert status == 1
    assert found == {("case-12", "altered", 1), ("case-13", "missing", 2)}
    status, out, _ = run("audit", "verify", "--keys", "keys", "--lock", "case-12")
    assert status == 1 and "record 1" in out and "case-13" not in out


def test_a_couriers_bag_is_emptied_into_the_store(run, folder):
    lock = SimLock("case-14")
    escrow.save(folder / "keys", "case-14", lock.keys.epoch, lock.root)
    lock.live(7)
    batch, _ = lock.batch(0)
    courier.save(folder / "bag", [courier.Item("case-14", batch), courier.Item("case-14", batch[:-1] + b"x")])
    status, out, err = run("collect", "--from", "bag", "--keys", "keys")
    assert status == 1, "something was refused"
    assert "7 new records stored" in out and "case-14" in out
    assert err.count("\n") == 1 and "refused, and left in the file" in err
    kept, answer = courier.load(folder / "bag")
    assert kept.message == batch[:-1] + b"x"
    assert sealed.is_authentic(sealed.read(answer.message), lock.keys)
    status, out, _ = run("collect", "--from", "bag", "--keys", "keys", "--json")
    assert json.loads(out)["stored"] == 0 and len(json.loads(out)["refused"]) == 1
    assert run("audit", "verify", "--keys", "keys", "--lock", "case-14")[0] == 0


def test_mistakes_get_one_line_and_a_way_out(run, folder):
    (folder / "empty").mkdir()
    for arguments, words in (
        (("audit", "list", "--db", "none.db"), "vitrine collect"),
        (("audit", "list", "--type", "Nonsense"), "LockOperation"),
        (("audit", "list", "--lock", "UPPER"), "not a lock id"),
        (("audit", "list", "--since", "yesterday"), "not a time"),
        (("audit", "verify", "--keys", "nowhere"), "not a folder"),
        (("audit", "verify", "--keys", "keys", "--lock", "case-99"), "no such journals"),
        (("audit", "verify", "--keys", "empty", "--image", "vitrine.db", "--lock", "case-12"), "--lock"),
        (("collect",), "--broker"),
        (("collect", "--from", "nothing", "--keys", "keys"), "nothing in"),
        (("collect", "--broker", "mqtts://x", "--ca", "none.pem", "--keys", "keys"), "CA certificate"),
    ):
        status, _, err = run(*arguments)
        assert status == 2 and words in err and err.count("\n") == 1, (arguments, err)
    assert run("audit", "verify", "--keys", "empty")[0] == 1, "without keys nothing is proved"


def test_the_figures_count_events_not_records(folder):
    store = Store(str(folder / "vitrine.db"))
    counted = figures.count(list(query.select(store, query.Filter())))
    store.close()
    assert counted.refusals == {"Expired": 33}
    assert [(stay.lock_id, stay.open_s) for stay in counted.stays] == [("case-12", 25)]
    assert sum(counted.steps) == 1 and counted.steps[3] == 1
    assert [opening.person for opening in counted.openings] == [
        "mira-k",
        "hex:00ff3c623e",
        "=cmd()",
        figures.BUTTON,
    ]
    assert len(counted.alarms) == 1


class Page(HTMLParser):
    """What a browser would make of the page, as far as a test cares."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.open = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "th", "tr", "td"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("th", "tr", "td"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def test_the_report_stands_alone_and_says_what_is_there(run, folder):
    status, out, _ = run("audit", "report", "--keys", "keys")
    assert status == 0 and "audit-report.html" in out
    html = (folder / "audit-report.html").read_text()
    read = Page(html)
    assert read.open == []
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "img", "link", "iframe", "b>"})
    assert not re.search(r"https?://|url\(", html), "it would ask the network"
    for text in ("mira-k", "Expired", "33", "case-12", "✓ yes", "forced open", "hex:00ff3c623e"):
        assert text in read.text, text
    assert "<script" not in html
    assert "prefers-color-scheme: dark" in html and "width=device-width" in html
    assert sum(tag == "rect" for tag, _ in read.tags) == 4, "one for each opening: they are far apart"


def test_a_report_about_nothing_is_still_a_page():
    read = Page(page([], []))
    assert "Nobody opened anything" in read.text and "✗ no" in read.text
    verdict = JournalVerdict("case-12", 1, 0, 0, 0, 0, T0, ())
    assert "case-12" in Page(page([], [verdict])).text
