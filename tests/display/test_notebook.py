"""Progress in the output of a notebook's cell."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bdd100k_zoo.display import notebook, resolve_progress
from bdd100k_zoo.display.notebook import NotebookProgress, in_notebook


class Output:
    """What the cell shows: the last content of each output."""

    def __init__(self) -> None:
        self.contents: list[dict[str, str]] = []

    def display(self, content: dict[str, str], **_: Any) -> SimpleNamespace:
        place = len(self.contents)
        self.contents.append(content)

        def update(changed: dict[str, str], **_: Any) -> None:
            self.contents[place] = changed

        return SimpleNamespace(update=update)


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    shown = Output()
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.display = shown.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebook, "REFRESH_INTERVAL", 0.0)
    return shown


def test_a_process_without_ipython_is_no_notebook() -> None:
    assert not in_notebook()


def test_a_shell_of_ipython_is_no_notebook(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_notebook()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace())
    assert not in_notebook()


def test_one_output_shows_all_tasks_and_keeps_a_line_of_each(output: Output) -> None:
    progress = NotebookProgress()
    with progress.task("Drawing <b>", 4, "images") as outer, progress.task("Fetching", None, "bytes") as inner:
        outer.advance(1)
        inner.advance(500)
        (content,) = output.contents
        assert '<progress value="1" max="4">' in content["text/html"]
        assert "<progress></progress>" in content["text/html"]
        assert "Drawing &lt;b&gt;: 1 of 4 images" in content["text/html"]
        assert "Fetching: 0 kB" in content["text/plain"] or "Fetching: 500" in content["text/plain"]
        outer.restart(2, 4)
        outer.advance(2)
    (content,) = output.contents
    assert "<progress" not in content["text/html"]
    assert "Drawing <b>: 4 of 4 images" in content["text/plain"]
    progress.note("so")
    progress.warn("careful")
    (content,) = output.contents
    assert content["text/plain"].endswith("so\nwarning: careful")


def test_a_task_that_fails_leaves_no_line(output: Output) -> None:
    with pytest.raises(ValueError, match="x"), NotebookProgress().task("Drawing", 4, "images"):
        raise ValueError("x")
    assert output.contents == [{"text/plain": "", "text/html": output.contents[0]["text/html"]}]
    assert "Drawing" not in output.contents[0]["text/html"]


def test_an_interrupt_closes_the_display(output: Output) -> None:
    progress = NotebookProgress()
    with pytest.raises(KeyboardInterrupt), progress.task("Drawing", 4, "images"):
        raise KeyboardInterrupt
    progress.warn("late")
    assert output.contents[0]["text/plain"] == ""


def test_true_shows_bars_and_warnings_in_the_cell(output: Output) -> None:
    progress = resolve_progress(True)
    progress.note("so")
    progress.warn("careful")
    with progress.task("Drawing", 1, "images") as task:
        task.advance(1)
    (content,) = output.contents
    assert content["text/plain"].splitlines()[0] == "warning: careful"
    assert content["text/plain"].splitlines()[1].startswith("Drawing: 1 of 1 images")
