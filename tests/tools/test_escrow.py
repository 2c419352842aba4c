"""The escrow of root keys, encrypted and not: who has the passphrase reads them, and nobody else."""

import json

import pytest

from vitrine_tools.collector import escrow
from vitrine_tools.collector.escrow import Escrow, EscrowError, ask_passphrase, save
from vitrine_tools.errors import KeyFileError

ROOT = bytes(range(32))
PASSPHRASE = b"correct horse battery staple"


def opened(folder, passphrase=PASSPHRASE):
    return Escrow(folder, lambda: passphrase)


def test_an_encrypted_key_comes_back(tmp_path):
    path = save(tmp_path / "keys", "case-12", 7, ROOT, PASSPHRASE)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert ROOT.hex() not in path.read_text() and PASSPHRASE.decode() not in path.read_text()
    assert opened(path.parent).of("case-12", 7).secrets == escrow.Keys(ROOT, "case-12", 7).secrets
    again = save(tmp_path / "other", "case-12", 7, ROOT, PASSPHRASE)
    assert json.loads(again.read_text())["sealed"] != json.loads(path.read_text())["sealed"]


def test_plain_keys_need_no_passphrase(tmp_path):
    def never():
        raise AssertionError("asked")

    save(tmp_path, "case-12", 7, ROOT)
    kept = Escrow(tmp_path, never)
    assert kept.of("case-12", 7) and kept.of("case-12", 8) is None and len(kept.all()) == 1


def test_one_question_for_all_files(tmp_path):
    asked = []
    for epoch in range(3):
        save(tmp_path, "case-12", epoch, ROOT, PASSPHRASE)
    kept = Escrow(tmp_path, lambda: asked.append(1) or PASSPHRASE)
    assert len(kept.all()) == 3 and kept.check_passphrase() == PASSPHRASE and asked == [1]


def test_a_wrong_passphrase_is_one_line(tmp_path):
    path = save(tmp_path, "case-12", 7, ROOT, PASSPHRASE)
    for wrong in (b"", b"Correct horse battery staple", PASSPHRASE + b" "):
        with pytest.raises(EscrowError, match="does not open with this passphrase") as caught:
            opened(tmp_path, wrong).of("case-12", 7)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(EscrowError):
            opened(tmp_path, wrong).check_passphrase()


def test_a_key_under_another_name_is_none(tmp_path):
    path = save(tmp_path, "case-12", 7, ROOT, PASSPHRASE)
    entry = json.loads(path.read_text())
    for change in ({"lock": "case-13"}, {"epoch": 8}):
        changed = entry | change
        other = tmp_path / f"{changed['lock']}-{changed['epoch']}{escrow.SUFFIX}"
        other.write_text(json.dumps(changed))
        with pytest.raises(EscrowError, match="does not open"):
            opened(tmp_path).of(changed["lock"], changed["epoch"])


@pytest.mark.parametrize(
    "change",
    [
        {"sealed": ""},
        {"sealed": "00" * 75},
        {"sealed": "zz" * 76},
        {"sealed": 5},
        {"kdf": "scrypt-1-1-1"},
        {"kdf": None},
        {"epoch": True},
        {"epoch": -1},
        {"lock": 5},
        {"sealed": None},
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, change):
    path = save(tmp_path, "case-12", 7, ROOT, PASSPHRASE)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EscrowError) as caught:
        opened(tmp_path).of("case-12", 7)
    assert "\n" not in str(caught.value)


def test_a_flipped_digit_is_found(tmp_path):
    path = save(tmp_path, "case-12", 7, ROOT, PASSPHRASE)
    entry = json.loads(path.read_text())
    for at in (0, 33, 60, 150):
        digits = list(entry["sealed"])
        digits[at] = "0" if digits[at] != "0" else "1"
        path.write_text(json.dumps(entry | {"sealed": "".join(digits)}))
        with pytest.raises(EscrowError):
            opened(tmp_path).of("case-12", 7)


def test_what_is_there_is_never_overwritten(tmp_path):
    save(tmp_path, "case-12", 7, ROOT, PASSPHRASE)
    with pytest.raises(EscrowError, match="already there"):
        save(tmp_path, "case-12", 7, bytes(32), PASSPHRASE)
    assert opened(tmp_path).of("case-12", 7).secrets == escrow.Keys(ROOT, "case-12", 7).secrets


def test_the_last_epoch(tmp_path):
    kept = Escrow(tmp_path)
    assert kept.last_epoch("case-1") == -1
    for lock_id, epoch in (("case-1", 9), ("case-1", 100), ("case-1-5", 7000), ("case-12", 9999)):
        save(tmp_path, lock_id, epoch, ROOT)
    (tmp_path / f"case-1-x{escrow.SUFFIX}").write_text("")
    assert kept.last_epoch("case-1") == 100


def test_where_a_passphrase_comes_from(tmp_path, monkeypatch):
    file = tmp_path / "passphrase"
    file.write_bytes(PASSPHRASE + b"\r\nanother line")
    monkeypatch.setenv(escrow.PASSPHRASE_ENV, "of the environment")
    assert ask_passphrase(file) == PASSPHRASE
    assert ask_passphrase() == b"of the environment"
    monkeypatch.delenv(escrow.PASSPHRASE_ENV)
    with pytest.raises(EscrowError, match="needs a passphrase"):
        ask_passphrase()
    file.write_bytes(b"short")
    with pytest.raises(EscrowError, match="at least 12"):
        ask_passphrase(file, is_new=True)
    with pytest.raises(KeyFileError, match="cannot read"):
        ask_passphrase(tmp_path / "nothing")
