"""`make demo`: every step comes out, and it says so when one does not."""

import json
import subprocess
import sys
from dataclasses import replace

from vitrine_tools.demo import __main__ as demo
from vitrine_tools.demo import attacks, cast
from vitrine_tools.demo.stage import Stage
from vitrine_tools.protocol import Reason


def test_the_demo_comes_out_and_tells_machines_so():
    run = subprocess.run(
        [sys.executable, "-m", "vitrine_tools.demo", "--json"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    *lines, balance = map(json.loads, run.stdout.splitlines())
    assert balance["failed"] == 0 and balance["steps"] == sum(line["is_ok"] is not None for line in lines)
    refused = [line["what"] for line in lines if line["what"].startswith("refused")]
    wanted = ["Expired", "AudienceMismatch", "TokenForged", "ProofForged", "ProofForged"]
    wanted += ["PersonsRequired", "Revoked", "LockedDown", "TimeUntrusted"]
    assert refused[: len(wanted)] == [f"refused: {reason}" for reason in wanted]


async def nothing(*_):
    pass


def leave_out_later_acts(monkeypatch):
    for act, name in ((demo.judgement_act, "play"), (demo.sync_act, "play_sync"), (demo.sale_act, "play")):
        monkeypatch.setattr(act, name, nothing)
    monkeypatch.setattr(demo.field_act, "play", nothing)


async def test_a_lock_that_trusts_another_issuer_fails_the_demo(monkeypatch, capsys):
    provision = cast.Cast.provision

    def of_another_store(self, **settings):
        return provision(replace(self, issuer=self.thief), **settings)

    monkeypatch.setattr(cast.Cast, "provision", of_another_store)
    assert await demo.play(Stage(is_json=True)) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"] >= 1


async def test_an_attack_that_is_refused_for_another_reason_fails_the_demo(monkeypatch, capsys):
    leave_out_later_acts(monkeypatch)
    wrong = replace(attacks.ATTACKS[0], told=Reason.NotYetValid)
    monkeypatch.setattr(attacks, "ATTACKS", (wrong,))
    assert await demo.play(Stage(is_json=True)) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"] == 1


def test_a_wrong_option_is_one_line_and_status_2():
    run = subprocess.run([sys.executable, "-m", "vitrine_tools.demo", "--fast"], capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.count("\n") == 1 and not run.stdout
