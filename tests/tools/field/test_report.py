"""How far field work has come, and where it was interrupted."""

import pytest

from vitrine_tools.field.report import Report


def test_lines_in_a_pipe(capsys):
    with Report(3).shown() as report:
        report.step("journal")
        report.skip(1)
        report.step("commit")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "[1/3] journal\n[3/3] commit\n")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_who_interrupts_it_is_told_where_and_what_to_do(capsys, monkeypatch, is_terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    with pytest.raises(KeyboardInterrupt), Report(3).shown() as report:
        report.step("record")
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith("vitrine: interrupted (record); the same command goes on from there\n")
