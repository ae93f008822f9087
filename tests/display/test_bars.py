"""How far jobs are, on a terminal and in a log."""

from __future__ import annotations

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from bdd100k_zoo.display import bars
from bdd100k_zoo.display.bars import TerminalProgress, format_duration, format_rate

CONTROL = re.compile(r"\x1b\[(?P<number>[\d;]*)(?P<verb>[AKm])|\x1b\[\?25[lh]|(?P<move>[\r\n])|(?P<text>[^\x1b\r\n]+)")


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, highlight=False)


def log() -> Console:
    return Console(file=io.StringIO(), width=80, highlight=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def screen(console: Console) -> list[str]:
    """The lines that a terminal shows after all that was written: carriage return, line up, clear line."""
    lines, row, column = [""], 0, 0
    for match in CONTROL.finditer(written(console)):
        if match["verb"] == "A":
            row -= int(match["number"] or 1)
        elif match["verb"] == "K":
            lines[row] = ""
        elif match["move"] == "\r":
            column = 0
        elif match["move"] == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif text := match["text"]:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
        assert row >= 0
    return "\n".join(line.rstrip() for line in lines).rstrip("\n").splitlines()


@pytest.mark.parametrize(
    ("speed", "unit", "told"),
    [
        (None, "images", "– images/s"),
        (0.25, "images", "4.0 s/image"),
        (12.34, "images", "12.3 images/s"),
        (2_500_000, "bytes", "2.5 MB/s"),
        (31_000, "bytes", "31.0 kB/s"),
        (0, "bytes", "– MB/s"),
        (0.125, "files", "8.0 s/file"),
        (50.0, "resamples", "50.0 resamples/s"),
    ],
)
def test_speeds_read_well(speed, unit, told):
    assert format_rate(speed, unit) == told


def test_a_terminal_shows_amount_and_speed_in_80_columns():
    console = terminal()
    with TerminalProgress(console).task("Predicting", 4, "images") as task:
        for _ in range(4):
            task.advance(1)
    (row,) = screen(console)
    assert re.fullmatch(r"Predicting ━+ 4/4 images [\d,.]+ images/s 00:00", row)


def test_the_row_of_the_longest_title_stays_whole_and_leaves_room_for_an_echoed_interrupt():
    console = terminal()
    title = "faster_rcnn_r101_fpn_deconv_3x scores-test"
    with TerminalProgress(console).task(title, 329_000_000, "bytes") as task:
        task.advance(329_000_000)
    (row,) = screen(console)
    assert re.fullmatch(title + r" ━+ 329/329 MB \S+ MB/s 00:00", row)
    assert len(row) <= 78


def test_tasks_of_several_units_share_one_display_and_give_way_to_lines_when_they_end(monkeypatch):
    monkeypatch.setattr(bars, "REFRESH_INTERVAL", 0.0)
    console = terminal()
    shown = TerminalProgress(console)
    with shown.task("Downloading", 25, "files") as overall:
        for number in range(3):
            with shown.task(f"weights {number}", 2_000_000, "bytes") as task:
                task.advance(2_000_000)
            overall.advance(1)
        shown.note("a note")
        with shown.task("weights 3", 9_000_000, "bytes") as task:
            task.advance(3_000_000)
            shown.note("another note")
            before = screen(console)
    assert [line.split(":")[0] for line in before[:5]] == [
        "weights 0",
        "weights 1",
        "weights 2",
        "a note",
        "another note",
    ]
    assert re.fullmatch(r"Downloading ━\S+ +3/25 files", before[5])
    assert re.fullmatch(r"weights 3 +━\S+ +3/9 MB +\S+ MB/s \S+", before[6])
    assert re.fullmatch(r"Downloading ━\S+ 3/25 files", screen(console)[-1])


@pytest.mark.parametrize("make", [terminal, log])
def test_a_task_that_fails_or_stops_short_leaves_no_line_behind(make):
    console = make()
    shown = TerminalProgress(console)
    with shown.task("Downloading", None, "files"):
        with pytest.raises(OSError, match="broken"), shown.task("weights", 10, "bytes"):
            raise OSError("broken")
        with shown.task("weights", 10, "bytes") as task:
            task.advance(9)
        shown.note("trying again")
    lines = screen(console)
    assert lines[0] == "trying again"
    assert not [line for line in lines if "weights" in line]


def test_what_many_threads_say_above_the_bars_is_whole_and_stands_once(monkeypatch):
    monkeypatch.setattr(bars, "REFRESH_INTERVAL", 0.001)
    console = terminal()
    shown = TerminalProgress(console)

    def work(number: int) -> None:
        for turn in range(5):
            with shown.task(f"task {number}.{turn}", 1000, "images") as task:
                for part in range(50):
                    task.advance(20)
                    if part == 25:
                        shown.note(f"note {number}.{turn}" + " of many words" * 12)

    with shown.task("Downloading", 40, "files") as overall, ThreadPoolExecutor(8) as pool:
        for _ in pool.map(work, range(8)):
            overall.advance(5)
    *lines, last = screen(console)
    wanted = [f"{number}.{turn}" for number in range(8) for turn in range(5)]
    notes = [line for line in lines if line.startswith("note")]
    assert sorted(notes) == sorted(f"note {each}" + " of many words" * 12 for each in wanted)
    ends = [line for line in lines if line.startswith("task")]
    assert sorted(line.split(":")[0] for line in ends) == sorted(f"task {each}" for each in wanted)
    assert len(lines) == len(notes) + len(ends)
    assert re.fullmatch(r"Downloading ━+ 40/40 files", last)


@pytest.mark.parametrize("total", [9_000_000, None])
def test_a_restart_forgets_speed_and_time_left(total):
    console = terminal()
    with TerminalProgress(console).task("weights", 5_000_000, "bytes") as task:
        for _ in range(3):
            task.advance(1_000_000)
        task.restart(0, total)
    (row,) = screen(console)
    told = r" +0/9 MB – MB/s --:--" if total else r" +0 MB – MB/s"
    assert re.fullmatch(r"weights ━+" + told, row)


def test_an_interrupt_ends_the_display_whatever_other_threads_still_say():
    console = terminal()
    shown = TerminalProgress(console)
    opened, interrupted = threading.Event(), threading.Event()

    def work() -> None:
        with shown.task("weights", 5_000_000, "bytes") as task:
            task.advance(1_000_000)
            opened.set()
            interrupted.wait()
            task.advance(4_000_000)
            shown.warn("too late")
        with shown.task("further weights", 1, "bytes"):
            pass

    def wait_for_an_interrupt() -> None:
        with shown.task("Downloading", 2, "files"):
            worker.start()
            opened.wait()
            raise KeyboardInterrupt

    worker = threading.Thread(target=work)
    with pytest.raises(KeyboardInterrupt):
        wait_for_an_interrupt()
    before = written(console)
    interrupted.set()
    worker.join()
    assert written(console) == before
    assert [line.split()[0] for line in screen(console)] == ["Downloading", "weights"]
    assert before.endswith("\x1b[?25h")  # the cursor is back


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(bars, "LOG_INTERVAL", 0.0)
    console = log()
    with TerminalProgress(console).task("Predicting", 2, "images") as task:
        task.advance(1)
        task.advance(1)
    lines = written(console).splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "Predicting: 1 of 2 images",
        "Predicting: 2 of 2 images",
    ]
    assert lines[0].endswith(" 00:00 left")


@pytest.mark.parametrize(("seconds", "written"), [(0.9, "00:00"), (75, "01:15"), (3466, "57:46"), (36123, "10:02:03")])
def test_times_are_written_as_clocks_show_them(seconds, written):
    assert format_duration(seconds) == written


def test_a_short_job_gets_one_line_at_its_end():
    console = log()
    with TerminalProgress(console).task("Fetching", None, "bytes") as task:
        task.advance(5_000_000)
    (line,) = written(console).splitlines()
    assert line.startswith("Fetching: 5 MB, ")


def test_small_files_are_counted_in_kilobytes():
    console = log()
    with TerminalProgress(console).task("Fetching", 12_300, "bytes") as task:
        task.advance(12_300)
    assert written(console).startswith("Fetching: 12 of 12 kB, ")


def test_a_log_counts_from_a_restart_anew(monkeypatch):
    now = 0.0
    monkeypatch.setattr(bars, "monotonic", lambda: now)
    console = log()
    with TerminalProgress(console).task("Fetching", 90_000_000, "bytes") as task:
        now = 10.0
        task.advance(50_000_000)
        task.restart(30_000_000, 90_000_000)
        now = 20.0
        task.advance(60_000_000)
    assert written(console) == "Fetching: 90 of 90 MB, 6.0 MB/s\n"


def test_lines_of_many_threads_are_never_broken(monkeypatch):
    monkeypatch.setattr(bars, "LOG_INTERVAL", 0.0)
    console = log()
    shown = TerminalProgress(console)

    def work(number: int) -> None:
        with shown.task(f"task-{number}", 50, "images") as task:
            for _ in range(50):
                task.advance(1)
            shown.warn(f"warning of {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    lines = written(console).splitlines()
    assert len(lines) == 8 * 51
    assert all(
        re.fullmatch(r"task-\d: \d+ of 50 images, .*(images/s|left)|warning: warning of \d", line) for line in lines
    )


def test_quiet_leaves_out_all_but_warnings():
    console = log()
    quiet = TerminalProgress(console, quiet=True)
    with quiet.task("Predicting", 1, "images") as task:
        task.advance(1)
    quiet.note("a note")
    quiet.warn("mind this")
    assert written(console) == "warning: mind this\n"


def test_a_command_that_tells_all_itself_leaves_out_notes_alone():
    console = log()
    shown = TerminalProgress(console, notes=False)
    with shown.task("Predicting", 1, "images") as task:
        task.advance(1)
    shown.note("a note")
    shown.warn("mind this")
    assert written(console).splitlines()[1:] == ["warning: mind this"]
