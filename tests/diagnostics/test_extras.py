"""The jobs that doctor tries: each returns a short result, and a wrong answer is an error."""

from __future__ import annotations

import sys

import pytest

from bdd100k_zoo.diagnostics import extras
from bdd100k_zoo.errors import InvalidFileError, MissingPackageError
from bdd100k_zoo.evaluation.scoring import score_without_predictions
from bdd100k_zoo.reporting import official_viewer


def test_our_evaluation_is_right():
    assert extras.try_scores() == "AP 100 on one box"


def test_a_wrong_score_is_an_error(tmp_path, monkeypatch):
    scores = score_without_predictions([True] * 10)
    monkeypatch.setattr(extras, "_score", lambda *_: scores)
    with pytest.raises(InvalidFileError, match="expected 100"):
        extras.try_scores()


def test_a_video_is_written_and_read():
    pytest.importorskip("av")
    assert extras.try_video() == "reads a frame"


def test_a_plot_is_drawn_and_errors_are_computed():
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    assert extras.try_pages() == "draws a plot, breaks down errors"


def test_pages_without_hotcoco_name_it_and_their_extra(monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(MissingPackageError) as caught:
        extras.try_pages()
    assert (caught.value.package, caught.value.extra) == ("hotcoco", "report")


def test_the_client_of_hugging_face_imports():
    pytest.importorskip("huggingface_hub")
    assert extras.try_hub() == "imports"


def official_or_skip(job):
    try:
        return job()
    except MissingPackageError as error:
        pytest.skip(f"NOT TRIED with the official packages: {error}")


def test_the_official_evaluator_agrees_with_ours():
    assert official_or_skip(extras.try_evaluator) == "AP 100 on one box, all 132 numbers equal ours"


def test_the_official_viewer_draws():
    assert official_or_skip(extras.try_viewer) == "draws a box"


def test_a_viewer_that_draws_nothing_is_an_error(monkeypatch):
    monkeypatch.setattr(official_viewer, "draw_with_official_viewer", lambda image, _: image)
    with pytest.raises(InvalidFileError, match="shows no box"):
        extras.try_viewer()
