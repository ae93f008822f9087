"""The table above the progress of a long job."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from bdd100k_zoo.display.table import TableProgress


def test_the_table_is_above_the_open_task_and_gone_at_the_end() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    with TableProgress(console) as progress:
        progress.show(Text("two models"))
        with progress.task("Predicting", 10, "images") as task:
            task.advance(3)
            progress.show(Text("one model"))
            shown = file.getvalue().rsplit("two models")[-1]
            assert shown.index("one model") < shown.index("Predicting: 3 of 10 images")
        progress.warn("a warning")
        progress.note("a note")
        during = file.getvalue()
    assert "warning: a warning" in during
    assert "a note" not in during
    assert file.getvalue()[len(during) :].count("\x1b[2K") >= 1  # the lines are erased
