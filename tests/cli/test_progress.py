"""How far a job is, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bdd100k_zoo.cli import progress
from bdd100k_zoo.cli.progress import TerminalProgress, rate


@pytest.mark.parametrize(
    ("speed", "unit", "written"),
    [
        (None, "images", "– images/s"),
        (0.25, "images", "4.0 s/image"),
        (12.34, "images", "12.3 images/s"),
        (2_500_000, "bytes", "2.5 MB/s"),
        (50.0, "resamples", "50.0 resamples/s"),
    ],
)
def test_speeds_read_well(speed, unit, written):
    assert rate(speed, unit) == written


def test_a_terminal_shows_amount_and_speed_in_80_columns():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with TerminalProgress(console).task("Predicting", 4, "images") as task:
        for _ in range(4):
            task.advance(1)
    assert "4/4" in screen.getvalue()
    assert "images/s" in screen.getvalue()


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.0)
    with TerminalProgress(Console(file=io.StringIO())).task("Predicting", 2, "images") as task:
        task.advance(1)
        task.advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "Predicting: 1 of 2 images",
        "Predicting: 2 of 2 images",
    ]
    assert "s left" in lines[0]


def test_a_short_job_gets_one_line_at_its_end(capsys):
    with TerminalProgress(Console(file=io.StringIO())).task("Fetching", None, "bytes") as task:
        task.advance(5_000_000)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Fetching: 5 MB, ")


def test_quiet_leaves_out_all_but_warnings(capsys):
    quiet = TerminalProgress(Console(file=io.StringIO()), quiet=True)
    with quiet.task("Predicting", 1, "images") as task:
        task.advance(1)
    quiet.note("a note")
    quiet.warn("mind this")
    assert capsys.readouterr().err == "warning: mind this\n"
