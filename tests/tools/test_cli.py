"""The command line: what it does, and that every mistake is told in one line with the right exit status."""

import json
import os
import re
import stat
import subprocess
import sys
import time
import tomllib

import pytest

from vitrine_tools import cli, control, keys, tokens
from vitrine_tools.ble.private_bus import ADDRESS_VARIABLE
from vitrine_tools.field import site
from vitrine_tools.provisioning import Issuer, Provision
from vitrine_tools.updates.rollout import plan as plans

VITRINE = [sys.executable, "-c", "from vitrine_tools.cli import main; main()"]


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run the command line in a folder of its own; return (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vitrine", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def store(run, tmp_path):
    """A folder with an issuer, a holder and a token for case-12."""
    assert run("keygen", "issuer")[0] == 0
    assert run("keygen", "holder")[0] == 0
    assert run(*["token", "issue", "--key", "issuer.pem", "--holder", "holder.pub.pem", "--lock", "case-12"])[0] == 0
    return tmp_path


def test_examples_are_what_the_commands_read(run, tmp_path):
    status, text, err = run("provision", "--example")
    assert (status, err) == (0, "") and site.SiteTable.model_validate(tomllib.loads(text)).wifi is not None
    status, text, err = run("rollout", "plan", "--example")
    assert (status, err) == (0, "") and len(plans.parse(text, tmp_path).ring) == 3


def test_help_and_version(run):
    assert run("--version") == (0, f"vitrine {cli.__version__}\n", "")
    status, out, err = run("--help")
    assert (status, err) == (0, "") and all(name in out for name in ("keygen", "token", "emulate", "unlock"))
    assert run()[:1] == (0,)
    for command in ("keygen", "token issue", "token inspect", "token verify", "emulate", "unlock"):
        status, out, err = run(*command.split(), "--help")
        assert (status, err) == (0, "") and "Usage" in out


def test_the_version_is_the_projects():
    import tomllib

    from support.paths import ROOT

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == cli.__version__


def test_help_does_not_load_what_is_slow():
    script = (
        "import sys; sys.argv = ['vitrine', '--help']\n"
        "try:\n from vitrine_tools.cli import main; main()\n"
        "except SystemExit: pass\n"
        "slow = ('bleak', 'bumble', 'cryptography', 'cbor2', 'dbus_fast')\n"
        "print([name for name in slow if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60).stdout
    assert out.splitlines()[-1] == "[]"


def test_completion_works():
    environment = {**os.environ, "_VITRINE_COMPLETE": "complete_bash", "COMP_WORDS": "vitrine tok", "COMP_CWORD": "1"}
    done = subprocess.run(["vitrine"], env=environment, capture_output=True, text=True, timeout=60, executable=script())
    assert done.stdout.split() == ["token"]


def script():
    return os.path.join(os.path.dirname(sys.executable), "vitrine")


def test_keygen(run, tmp_path):
    status, out, _ = run("keygen", "holder", "--json")
    made = json.loads(out)
    assert (status, made["private_key_file"], made["public_key_file"]) == (0, "holder.pem", "holder.pub.pem")
    assert stat.S_IMODE((tmp_path / "holder.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "holder.pub.pem").stat().st_mode) & 0o444
    assert keys.load_public(tmp_path / "holder.pub.pem").raw.hex() == made["public_key"]
    secret = keys.load_private(tmp_path / "holder.pem")
    before = (tmp_path / "holder.pem").read_bytes()
    status, _, err = run("keygen", "holder")
    assert status == 2 and "--force" in err and (tmp_path / "holder.pem").read_bytes() == before
    assert run("keygen", "holder", "--force")[0] == 0
    assert keys.load_private(tmp_path / "holder.pem").public != secret.public
    status, out, _ = run("keygen", "issuer", "--out", "a/b", "--format", "cose")
    assert status == 2
    status, out, _ = run("keygen", "issuer", "--out", "store-key", "--format", "cose")
    assert status == 0 and "store-key.pub.cose" in out
    assert keys.load_public(tmp_path / "store-key.pub.cose") == keys.load_private(tmp_path / "store-key").public


def test_keygen_keeps_a_public_key_that_is_in_the_way(run, tmp_path):
    (tmp_path / "issuer.pub.pem").write_text("precious")
    assert run("keygen", "issuer")[0] == 2
    assert (tmp_path / "issuer.pub.pem").read_text() == "precious" and not (tmp_path / "issuer.pem").exists()


def test_no_output_has_a_private_key(run, tmp_path):
    texts = "".join(run("keygen", kind, *extra)[1] for kind, *extra in (["issuer", "--json"], ["holder"]))
    for name in ("issuer.pem", "holder.pem"):
        body = (tmp_path / name).read_text().splitlines()[1]
        assert body not in texts
        from cryptography.hazmat.primitives import serialization as s

        raw = s.load_pem_private_key((tmp_path / name).read_bytes(), None).private_bytes_raw()
        assert raw.hex() not in texts


def test_issue_says_everything_it_was_told(run, store):
    words = ISSUE.replace("--force", "--lock case-1 --lock case-2 --group jewellery --uv --uses 3 --persons 2").split()
    words += ["--from", "2026-03-01T08:00Z", "--until", "2036-03-01T18:00+01:00", "--scope", "unlock,hold", "--tagged"]
    words += ["--ref", "hex:0a0b", "--sub", "abc", "--issuer-name", "store", "--out", "t.cbor", "--json"]
    status, out, err = run(*words, "--window", "Mon-Fri 09:00-17:30", "--window", "Sat 22:00-02:00")
    assert (status, err) == (0, "")
    shown = json.loads(out)
    claims = tokens.parse((store / "t.cbor").read_bytes()).claims
    assert claims.audiences == ("case-1", "case-2", "group:jewellery") == tuple(shown["aud"])
    assert (claims.nbf_s, claims.exp_s) == (1772352000, 2088003600) == (shown["nbf"], shown["exp"])
    assert claims.scopes == ("unlock", "hold") and shown["scope"] == "unlock hold"
    assert claims.windows == ((62, 540, 1050), (64, 1320, 120))
    assert shown["windows"] == ["Mon-Fri 09:00-17:30", "Sat 22:00-02:00"]
    assert (claims.needs_uv, claims.uses, claims.persons) == (True, 3, 2)
    assert (claims.ref, claims.sub, claims.issuer) == (b"\x0a\x0b", b"abc", "store")
    assert claims.holder == keys.load_public(store / "holder.pub.pem")
    status, out, _ = run("token", "inspect", "t.cbor", "--json")
    assert {**json.loads(out), "file": "t.cbor"} == shown
    status, out, _ = run("token", "inspect", "t.cbor")
    assert status == 0 and "not checked" in out and "Mon-Fri 09:00-17:30; Sat 22:00-02:00" in out


def test_issue_begins_a_minute_ago(run, store):
    now_s = int(time.time())
    claims = tokens.parse((store / "token.cbor").read_bytes()).claims
    assert now_s - 120 < claims.nbf_s <= now_s - 59 and claims.exp_s - claims.nbf_s == 8 * 3600


def test_a_token_for_a_lock_without_a_time(store, run):
    from vitrine_tools.revocations import Book, Entry

    issuer = keys.load_private(store / "issuer.pem").public
    Book(store / "lists.json", issuer.kid).add([Entry("cti", "11" * 8, 0)], 7)
    arguments = ["--lock", "case-12", "--exi", "120", "--cnonce", "ab" * 16, "--duress", "--revoke", "lists.json"]
    issue = ["token", "issue", "--key", "issuer.pem", "--holder", "holder.pub.pem", "--out", "exi.cbor", *arguments]
    status, out, _ = run(*issue, "--window", "Holidays 10:00-14:00")
    assert status == 0 and "120 s" not in out and "2m from when the lock first sees it" in out
    assert "raises a silent alarm" in out and "1 entries, list 7" in out and "Holidays 10:00-14:00" in out
    claims = tokens.parse((store / "exi.cbor").read_bytes()).claims
    assert (claims.exi_s, claims.exp_s, claims.nbf_s, claims.cnonce) == (120, None, None, b"\xab" * 16)
    assert claims.revoke == (0, 7, ((1, b"\x11" * 8, 0),)) and claims.is_duress and claims.windows == ((128, 600, 840),)
    status, out, _ = run("token", "inspect", "exi.cbor", "--json")
    shown = json.loads(out)
    assert status == 0 and shown["exi"] == 120 and shown["cnonce"] == "ab" * 16 and shown["duress"] is True
    assert shown["revoke"] == {"previous": 0, "sequence": 7, "entries": [[1, "11" * 8, 0]]}
    status, out, _ = run("token", "verify", "exi.cbor", "--issuer", "issuer.pub.pem", "--lock", "case-12")
    assert status == 0 and "cnonce" in out


def test_verify(run, store):
    verify = ["token", "verify", "token.cbor"]
    status, out, _ = run(*verify, "--issuer", "issuer.pub.pem", "--lock", "case-12")
    assert status == 0 and "would grant" in out
    windowed = ["token", "issue", "--key", "issuer.pem", "--holder", "holder.pub.pem", "--lock", "case-12"]
    run(*windowed, "--window", "Mon-Fri 09:00-17:30", "--out", "windowed.cbor")
    status, out, _ = run("token", "verify", "windowed.cbor", "--issuer", "issuer.pub.pem", "--lock", "case-12")
    assert status == 0 and "would grant" not in out and "were not checked: windows" in out
    status, out, _ = run(*verify, "--issuer", "issuer.pub.pem", "--lock", "case-13")
    assert status == 1 and "AudienceMismatch" in out and "NO  aud" in out
    status, out, _ = run(*verify, "--issuer", "issuer.pub.pem", "--at", "2036-01-01", "--json")
    shown = json.loads(out)
    assert (status, shown["reason"]) == (1, "Expired")
    assert [check["rule"] for check in shown["checks"] if check["met"] is False] == ["exp"]
    issuer = Issuer(
        public_key=keys.load_public(store / "issuer.pub.pem"),
        name="s",
        scopes=("unlock",),
        audiences=("case-12",),
        max_lifetime_s=3600,
    )
    (store / "p.cbor").write_bytes(Provision(lock_id="case-12", issuers=(issuer,), provisioned_at_s=0).to_bytes())
    status, out, _ = run(*verify, "--provisioning", "p.cbor", "--action", "hold")
    assert status == 1 and "LifetimeExceeded" in out and out.count("NO") == 2
    (store / "junk").write_bytes(b"\x1b[2Jjunk")
    status, out, _ = run("token", "verify", "junk", "--issuer", "issuer.pub.pem")
    assert status == 1 and "TokenMalformed" in out and "\x1b" not in out


ISSUE = "token issue --key issuer.pem --holder holder.pub.pem --force"
UNLOCK = "unlock --token token.cbor --key holder.pem --timeout 0.3"
GROUPS = " ".join(f"--group {'g' * 25}{n}" for n in range(7))
WINDOWS = " ".join(f"--window daily_{n:02}:00-{n:02}:30" for n in range(20))
MISTAKES = [
    ("nonsense", "No such command"),
    ("--nonsense", "No such option"),
    ("token", "Missing command"),
    ("keygen", "Missing argument"),
    ("keygen robot", "'robot' is not one of 'issuer', 'holder'"),
    ("keygen issuer --out nowhere/k.pem", "cannot write nowhere/k.pem"),
    ("token issue --key issuer.pem", "Missing option '--holder'"),
    (ISSUE, "say what the token opens"),
    (ISSUE + " --lock a --exi 60", "--exi needs the lock's nonce"),
    (ISSUE + " --lock a --exi 60 --for 1h", "either --exi or an end"),
    (ISSUE + " --lock a --exi 60 --cnonce 00", "is not a nonce of a lock"),
    (ISSUE + " --lock a --exi 86401 --cnonce " + "00" * 16, "exi must be"),
    (ISSUE + " --lock a --revoke missing.json", "holds no revocations"),
    (f"{ISSUE} --lock Case_12", "'Case_12' is not a lock id"),
    (f"{ISSUE} --group ÄÖ", "is not a group"),
    (f"{ISSUE} --lock a --for ever", "'ever' is not a duration"),
    (f"{ISSUE} --lock a --for 1h --until 2036-01-01", "not both"),
    (f"{ISSUE} --lock a --until yesterday", "'yesterday' is not a time"),
    (f"{ISSUE} --lock a --from 2026-02-30", "'2026-02-30' is not a time"),
    (f"{ISSUE} --lock a --until 2020-01-01", "would have ended"),
    (f"{ISSUE} --lock a --from 2035-01-01 --until 2034-01-01", "end before it begins"),
    (f"{ISSUE} --lock a --window Mon", "'Mon' is not a window"),
    (f"{ISSUE} --lock a --scope everything", "scope must be"),
    (f"{ISSUE} --lock a --uses many", "Invalid value for '--uses'"),
    (f"{ISSUE} --lock a --uses 0", "uses"),
    (f"{ISSUE} --lock a --persons 4", "persons"),
    (f"{ISSUE} --lock a --sub hex:xyz", "not hexadecimal"),
    (f"{ISSUE} --lock a --sub 12345678901234567", "1 to 16 bytes, not 17"),
    (f"{ISSUE} --lock a --ref hex:", "1 to 32 bytes, not 0"),
    (f"{ISSUE} --lock a --issuer-name {'x' * 33}", "iss must be"),
    (f"{ISSUE} --lock a " + " ".join(f"--group {'g' * 25}{n}" for n in range(9)), "aud must name 1 to 8"),
    (f"{ISSUE} --lock a {GROUPS} {WINDOWS}", "at most 512"),
    ("token issue --key issuer.pem --holder holder.pub.pem --lock a", "token.cbor is already there"),
    ("token issue --key missing.pem --holder holder.pub.pem --lock a", "cannot read the private key missing.pem"),
    ("token issue --key issuer.pub.pem --holder holder.pub.pem --lock a", "is a public key"),
    ("token issue --key encrypted.pem --holder holder.pub.pem --lock a", "encrypted.pem is encrypted"),
    ("token issue --key p256.pem --holder holder.pub.pem --lock a", "p256.pem is not an Ed25519 key"),
    ("token issue --key junk --holder holder.pub.pem --lock a", "junk is not a private key"),
    ("token issue --key issuer.pem --holder junk --lock a --force", "junk is not an Ed25519 public key"),
    ("token issue --key . --holder holder.pub.pem --lock a --force", "Is a directory"),
    ("token inspect missing", "cannot read the token missing: No such file"),
    ("token inspect junk", "not a token"),
    ("token inspect issuer.pem", "not a token"),
    ("token inspect huge", "too large"),
    ("token verify token.cbor", "give the issuer's public key"),
    ("token verify token.cbor --issuer issuer.pub.pem --provisioning p", "give the issuer's public key"),
    ("token verify token.cbor --issuer junk", "not an Ed25519 public key"),
    ("token verify token.cbor --provisioning junk", "not a provisioning record"),
    ("token verify token.cbor --issuer issuer.pub.pem --at noon", "'noon' is not a time"),
    ("token verify token.cbor --issuer issuer.pub.pem --time-zone Mars/Base", "not a time zone"),
    ("token verify token.cbor --issuer issuer.pub.pem --action explode", "not one of"),
    (f"{UNLOCK}", "Missing option '--lock'"),
    (f"{UNLOCK} --lock CASE", "not a lock id"),
    (f"{UNLOCK} --lock case-12", "Bluetooth cannot be used"),
    (f"{UNLOCK} --lock case-12 --emulator nowhere", "no emulator runs in nowhere"),
    (f"{UNLOCK} --lock case-12 --action explode", "not one of"),
    ("unlock --lock case-12 --token junk --key holder.pem", "not a token"),
    ("unlock --lock case-12 --token token.cbor --key issuer.pem", "is not the key that token.cbor was issued for"),
    ("unlock --lock case-12 --token token.cbor --key holder.pub.pem", "is a public key"),
    ("emulate emu --lock CASE", "not a lock id"),
    ("emulate emu --time-zone Mars", "not a time zone"),
    ("emulate emu --provisioning junk", "not a provisioning record"),
    ("emulate junk", "cannot make the folder junk"),
    ("emulate emu --send open", "no emulator runs in emu"),
    ("emulate emu --send explode", "not one of"),
    ("emulate emu --bare", "--bare goes with --console"),
]


@pytest.mark.parametrize(
    ("words", "says"), MISTAKES, ids=[f"{number}: {words[:40]}" for number, (words, _) in enumerate(MISTAKES)]
)
def test_a_mistake_is_told_in_one_line(run, store, monkeypatch, words, says):
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    def pem(key, encryption):
        return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, encryption)

    (store / "junk").write_bytes(b"\x1b[2Jjunk\n" * 5)
    (store / "huge").write_bytes(bytes(10_000))
    encrypted = pem(ed25519.Ed25519PrivateKey.generate(), s.BestAvailableEncryption(b"x"))
    (store / "encrypted.pem").write_bytes(encrypted)
    (store / "p256.pem").write_bytes(pem(ec.generate_private_key(ec.SECP256R1()), s.NoEncryption()))
    monkeypatch.setenv(ADDRESS_VARIABLE, "unix:path=/nowhere/bus")
    status, out, err = run(*(word.replace("_", " ") if word[:5] == "daily" else word for word in words.split()))
    assert status == 2, (out, err)
    assert out == ""
    assert re.fullmatch(r"vitrine: [^\x00-\x1f\x7f]+\n", err), err
    assert says in err


def test_a_mistake_leaves_the_old_token(run, store):
    before = (store / "token.cbor").read_bytes()
    assert run(*ISSUE.split(), "--lock", "a", "--persons", "4")[0] == 2
    assert (store / "token.cbor").read_bytes() == before
    assert sorted(path.name for path in store.iterdir()) == [
        "holder.pem",
        "holder.pub.pem",
        "issuer.pem",
        "issuer.pub.pem",
        "token.cbor",
    ]


def test_what_nobody_thought_of_is_one_line_too(run, store, monkeypatch):
    def burst(*_, **__):
        raise RuntimeError("two\nlines \x1b[2J")

    monkeypatch.setattr(tokens, "parse", burst)
    status, out, err = run("token", "inspect", "token.cbor")
    assert (status, out) == (70, "")
    assert re.fullmatch(r"vitrine: unexpected RuntimeError: two lines \?\[2J .*VITRINE_DEBUG=1.*\n", err)
    monkeypatch.setenv("VITRINE_DEBUG", "1")
    assert "Traceback" in run("token", "inspect", "token.cbor")[2]


def test_a_reader_that_has_had_enough(store):
    for words in (["token", "inspect", "token.cbor"], ["--help"]):
        process = subprocess.Popen(
            [*VITRINE, *words], cwd=store, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        assert process.wait(60) in (0, 1) and err == ""


def test_ctrl_c(store):
    """Interrupted while it looks for a lock: no traceback, exit status 130."""
    script = (
        "import sys, signal, os, threading\n"
        "import vitrine_tools.ble.bleak_link as link, asyncio\n"
        "async def find(*_):\n os.kill(os.getpid(), signal.SIGINT); await asyncio.Event().wait()\n"
        "link.find_lock = find\n"
        f"sys.argv = ['vitrine', *{UNLOCK.split()!r}, '--lock', 'case-12']\n"
        "from vitrine_tools.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=store, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_send_knows_the_commands_of_the_socket():
    import typing

    from vitrine_tools.commands.emulate import emulate

    hints = typing.get_type_hints(emulate)
    assert set(typing.get_args(typing.get_args(hints["send"])[0])) == set(control.COMMANDS)
