"""`vitrine update` and `vitrine rollout`: what they make, print and end with; locks are fakes, the broker is real."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time

import pytest

from support.fake_lock import MemoryTransport
from support.mosquitto import needs_mosquitto
from support.update_lock import BOARD, ISSUER, UpdateLock
from vitrine_tools import bundle, cli, keys
from vitrine_tools.ble import bleak_link
from vitrine_tools.demo.brokers import Mosquitto
from vitrine_tools.updates import manifest as manifests
from vitrine_tools.updates import push
from vitrine_tools.updates.push import Patience, State
from vitrine_tools.updates.rollout import targets

from .test_links import at_broker
from .test_manifest import MPY, esp_image

LOCK = "case-12"
FAST = {"pause_s": 0.05, "poll_s": 0.05, "quiet_s": 0.05}


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run `vitrine ...` in a folder with a bundle, an image and the issuer's key; return (status, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for module in (push, targets):
        monkeypatch.setattr(module, "Patience", lambda **how: Patience(**how | FAST))
    ISSUER.save(tmp_path / "issuer.pem")
    keys.write_new(tmp_path / "issuer.pub.pem", ISSUER.public.to_pem(), mode=0o644)
    (tmp_path / "app.bundle").write_bytes(bundle.pack({"main.mpy": MPY}, 7, "1.2.3"))
    (tmp_path / "fw.image").write_bytes(esp_image())

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vitrine", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


MAKE = ["update", "manifest", "--key", "issuer.pem", "--board", BOARD]


@pytest.fixture
def made(run):
    assert run(*MAKE, "--bundle", "app.bundle", "--out", "app.manifest")[0] == 0
    return run


def test_a_manifest_is_made_and_shown(run, tmp_path):
    words = ["--precondition", "battery=5600", "--precondition", "sequence=3", "--aud", "group:shoes", "--out", "m"]
    status, out, _ = run(*MAKE, "--bundle", "app.bundle", *words)
    assert (status, out) == (0, f"application 1.2.3 (sequence 7) for {BOARD} in m.\n")
    signed = manifests.parse((tmp_path / "m").read_bytes())
    assert signed.is_signed_by(ISSUER.public) and signed.manifest.audiences == ("group:shoes",)
    assert signed.manifest.preconditions == manifests.Preconditions(sequence=3, battery_mv=5600)
    status, out, _ = run(
        "update", "inspect", "m", "--file", "app.bundle", "--issuer", "issuer.pub.pem", "--board", BOARD
    )
    assert status == 0 and "ok  signature" in out and "ok  board" in out and "ok  file" in out
    assert "sequence 3, battery_mv 5600" in out and "group:shoes" in out
    status, out, _ = run("update", "inspect", "m", "--file", "fw.image", "--board", "OTHER")
    assert status == 1 and "--  signature" in out and "NO  board" in out and "NO  file" in out
    status, out, _ = run("update", "inspect", "m", "--json")
    told = json.loads(out)
    assert (told["component"], told["sequence"], told["version"], told["checks"]) == ("application", 7, "1.2.3", {})


def test_an_image_needs_more_words(run):
    assert "give --sequence" in run(*MAKE, "--image", "fw.image", "--out", "m")[2]
    assert run(*MAKE, "--image", "fw.image", "--out", "m", "--sequence", 9, "--version", "2.0")[0] == 0
    assert "already there" in run(*MAKE, "--image", "fw.image", "--out", "m", "--sequence", 9, "--version", "2.0")[2]
    status, out, _ = run(
        *MAKE, "--image", "fw.image", "--out", "m", "--sequence", 9, "--version", "2.0", "--force", "--json"
    )
    assert status == 0 and json.loads(out)["component"] == "image"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "give --bundle or --image"),
        (["--bundle", "app.bundle", "--image", "fw.image"], "give --bundle or --image"),
        (["--image", "app.bundle"], "give it as --bundle"),
        (["--bundle", "fw.image"], "give it as --image"),
        (["--bundle", "issuer.pem"], "not an image"),
        (["--bundle", "nothing"], "cannot read"),
        (["--bundle", "app.bundle", "--sequence", 8], "the bundle's sequence is 7"),
        (["--bundle", "app.bundle", "--precondition", "moon=1"], "not a precondition"),
        (["--bundle", "app.bundle", "--precondition", "battery=x"], "not a precondition"),
        (["--bundle", "app.bundle", "--precondition", "image=1", "--precondition", "image=2"], "each once"),
        (["--bundle", "app.bundle", "--precondition", "battery=99999"], "precondition must be"),
        (["--bundle", "app.bundle", "--aud", "Shoes"], "not a lock id"),
        (["--bundle", "app.bundle", "--board", "VITRINE_ESP99"], "no board VITRINE_ESP99"),
        (["--image", "fw.image", "--board", "VITRINE_ESP32S3"], "it is for ESP32,"),
    ],
)
def test_what_cannot_be_signed(run, words, what):
    status, _, err = run(*MAKE, *words, "--out", "m")
    assert status == 2 and what in err


@pytest.fixture
def lock(monkeypatch):
    """A lock within reach of Bluetooth, where connections break now and then."""
    lock = UpdateLock(LOCK)
    lock.visits = 0

    class Link(MemoryTransport):
        async def __aenter__(self):
            lock.visits += 1
            self.left = 40
            return self

        async def __aexit__(self, *_):
            pass

        async def write_chunk(self, chunk):
            self.left -= 1
            if not self.left:
                from vitrine_tools.errors import LinkError

                raise LinkError("15 s are over")
            await super().write_chunk(chunk)

    async def find_lock(lock_id, timeout_s):
        if lock_id != LOCK:
            raise bleak_link.OutOfReachError(f"lock {lock_id} is not in reach")
        return lock

    async def connect(device, timeout_s):
        return Link(device, 247)

    monkeypatch.setattr(bleak_link, "find_lock", find_lock)
    monkeypatch.setattr(bleak_link.BleakLink, "connect", connect)
    return lock


PUSH = ["update", "push", "app.manifest", "app.bundle", "--lock", LOCK]


def test_push_over_bluetooth(made, lock, tmp_path):
    status, out, err = made(*PUSH, "--ble")
    assert (status, err) == (0, f"{LOCK}: receiving, 0 %\n{LOCK}: staged\n"), err
    assert out.startswith(f"{LOCK}: 1.2.3 is there, whole and good; it switches when")
    assert lock.installed == [(tmp_path / "app.bundle").read_bytes()]
    status, out, _ = made(*PUSH, "--wait", "--json")
    told = json.loads(out)
    assert (status, told["outcome"], told["running"]) == (0, "confirmed", 7)
    assert made("update", "status", "--lock", LOCK)[1] == f"{LOCK}: idle; sequence 7 runs\n"
    assert json.loads(made("update", "status", "--lock", LOCK, "--json")[1])["state"] == "idle"


def test_push_in_shadow(made, lock):
    status, out, _ = made(*PUSH, "--shadow")
    assert (status, out) == (0, f"{LOCK}: 1.2.3 is there, whole and good, and is not switched to\n")
    assert lock.is_shadow and made("update", "status", "--lock", LOCK)[1].startswith(f"{LOCK}: staged; sequence 1 runs")
    assert "leave out --wait" in made(*PUSH, "--shadow", "--wait")[2]


def test_a_lock_that_returns_or_refuses(made, lock):
    lock.is_good = False
    status, out, _ = made(*PUSH, "--wait")
    assert (status, out) == (1, f"{LOCK}: 1.2.3 did not pass: what ran before runs again\n")
    assert (
        made("update", "status", "--lock", LOCK)[1] == f"{LOCK}: returned; sequence 1 runs; sequence 7 did not pass\n"
    )
    lock.state, lock.running = State.IDLE, 8
    status, out, err = made(*PUSH)
    assert (status, out) == (1, "") and "case-12 refused: SequenceStale" in err
    assert json.loads(made(*PUSH, "--json")[1])["reason"] == "SequenceStale"
    lock.handle = UpdateLock("case-12", groups=()).handle
    other = ["--key", "issuer.pem", "--board", "VITRINE_ESP32C3", "--bundle", "app.bundle", "--out", "o"]
    assert made("update", "manifest", *other)[0] == 0
    assert "NotForThisBoard" in made("update", "push", "o", "app.bundle", "--lock", LOCK)[2]


def test_ways_that_lead_nowhere(made, lock):
    for words, what in (
        (["--lock", LOCK, "--ble", "--http", "http://x"], "give one way"),
        (["--lock", "CASE"], "not a lock id"),
        (["--lock", LOCK, "--http", "ftp://x"], "not a lock's address"),
        (["--lock", LOCK, "--broker", "what://x"], "not a broker's address"),
        (["--lock", LOCK, "--broker", "mqtt://127.0.0.1:9"], "127.0.0.1:9"),
        (["--lock", LOCK, "--port", "/dev/nothing"], "/dev/nothing"),
    ):
        status, _, err = made("update", "push", "app.manifest", "app.bundle", *words, "--patience", "1s")
        assert status == 2 and what in err, words
    status, _, err = made("update", "push", "app.manifest", "app.bundle", "--lock", "case-99", "--patience", "1s")
    assert status == 2 and "goes on where it stopped" in err and "case-99 is not in reach" in err
    assert "is for an application" in made("update", "push", "app.manifest", "fw.image", "--lock", LOCK)[2]
    assert "not a manifest" in made("update", "push", "app.bundle", "app.bundle", "--lock", LOCK)[2]


# ---------- rollouts ----------

PLAN = """
manifest = "app.manifest"
component = "app.bundle"
fleet = ["case-1", "case-2", "case-3"]
silent = "15s"
[[ring]]
name = "canary"
locks = ["case-1"]
soak = "1s"
[[ring]]
percent = 100
"""


class Site:
    """Mosquitto and three fake locks in a thread of their own, so that the command line can have this one."""

    def __init__(self, folder):
        self.locks = {f"case-{n}": UpdateLock(f"case-{n}", piece=1024) for n in (1, 2, 3)}
        self._folder = folder
        self._ready, self._ends = threading.Event(), None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(30)

    async def _serve(self):
        self._loop, self._ends = asyncio.get_running_loop(), asyncio.Event()
        self._folder.mkdir()
        broker = Mosquitto(self._folder)
        await broker.start()
        async with contextlib.AsyncExitStack() as stack:
            for lock in self.locks.values():
                await stack.enter_async_context(at_broker(broker, lock))
            broker.client("commander")
            certificate, key = (str(self._folder / f"commander.{ending}") for ending in ("crt", "key"))
            self.words = ["--broker", f"mqtts://localhost:{broker.port}", "--broker-ca", str(broker.ca)]
            self.words += ["--broker-cert", certificate, "--broker-key", key]
            self._ready.set()
            await self._ends.wait()
        await broker.stop()

    def end(self):
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join(30)


@pytest.fixture
def site(made, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    site = Site(tmp_path / "broker")
    yield site
    site.end()


@needs_mosquitto
def test_push_over_a_broker(made, site):
    words = ["--lock", "case-1", *site.words]
    status, out, err = made("update", "push", "app.manifest", "app.bundle", *words, "--wait")
    assert (status, out) == (0, "case-1: 1.2.3 runs, confirmed\n")
    assert err == "case-1: receiving, 0 %\ncase-1: staged\ncase-1: switched\n"
    assert made("update", "status", *words)[1] == "case-1: idle; sequence 7 runs\n"
    status, _, err = made("update", "status", "--lock", "case-9", *site.words, "--timeout", "0.3")
    assert status == 2 and "is case-9 connected to the broker?" in err


@needs_mosquitto
def test_a_push_that_is_interrupted_says_what_is_left(made, site):
    site.locks["case-1"].busy = 10**9
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    words = ("--lock", "case-1", *site.words)
    status, out, err = made("update", "push", "app.manifest", "app.bundle", *words)
    assert (status, out) == (130, "") and "interrupted: case-1 keeps what it has; the same command goes on" in err


@needs_mosquitto
def test_a_rollout(made, site):
    status, out, _ = made("rollout", "plan", "plan.toml")
    assert status == 0 and out.startswith("canary: 1 lock\n  case-1\nring 2: 2 locks\n")
    assert [len(ring["locks"]) for ring in json.loads(made("rollout", "plan", "plan.toml", "--json")[1])["rings"]] == [
        1,
        2,
    ]
    status, out, err = made("rollout", "start", "plan.toml", *site.words)
    assert (status, err) == (0, "") and "case-1: done" in out and out.rstrip().endswith("finished")
    assert {lock.running for lock in site.locks.values()} == {7}
    told = json.loads(made("rollout", "status", "plan.toml.rollout", "--json")[1])
    assert told["course"] == "finished" and {each["state"] for each in told["rings"][1]["locks"].values()} == {"done"}
    assert "finished" in made("rollout", "status", "plan.toml.rollout")[1]
    assert "there already" in made("rollout", "start", "plan.toml", *site.words)[2]
    assert "does not go on" in made("rollout", "abort", "plan.toml.rollout")[2]


@needs_mosquitto
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_rollout_on_a_terminal(made, site, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    status, out, err = made("rollout", "start", "plan.toml", *site.words)
    assert (status, err) == (0, "") and "case-1: done" in out
    for row in (["canary", "1", "", "", "1", "", "", ""], ["ring 2", "2", "", "", "2", "", "", ""]):
        assert row in [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()], out


@needs_mosquitto
def test_a_bad_build_stops_at_the_canary(made, site):
    site.locks["case-1"].is_good = False
    status, out, _ = made("rollout", "start", "plan.toml", "--state", "state", *site.words)
    assert status == 1 and "stopped: canary: 1 of 1 failed (case-1 returned)" in out
    assert [lock.running for lock in site.locks.values()] == [1, 1, 1] and not site.locks["case-2"].asked
    status, out, _ = made("rollout", "resume", "state", "--retry", *site.words)
    assert status == 1 and "0 locks once more" in out and not site.locks["case-2"].asked
    assert "case-1: returned: runs 1 again" in made("rollout", "status", "state")[1]
    assert made("rollout", "abort", "state")[:2] == (0, "state is aborted.\n")
    assert "aborted: it does not go on" in made("rollout", "resume", "state", *site.words)[2]


@needs_mosquitto
def test_interrupted_and_gone_on_with(made, site):
    site.locks["case-1"].busy = 10**9
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    status, _, err = made("rollout", "start", "plan.toml", *site.words)
    assert status == 130 and "rollout resume plan.toml.rollout" in err
    site.locks["case-1"].busy = 0
    begin_s = time.monotonic()
    assert made("rollout", "resume", "plan.toml.rollout", *site.words)[0] == 0 and time.monotonic() - begin_s < 30
    assert {lock.running for lock in site.locks.values()} == {7}


def test_a_plan_that_needs_a_database(made, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN.replace("[[ring]]", "[stop]\nalarms = 1\n[[ring]]", 1))
    assert "give --db" in made("rollout", "start", "plan.toml", "--broker", "mqtt://localhost")[2]
    assert made("rollout", "pause", "nothing")[0] == 2
