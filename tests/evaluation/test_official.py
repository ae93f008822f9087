"""The official packages, installed or missing."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cases import Case, frame, label

from bdd100k_zoo.errors import InputsError, MissingPackageError, StorageError
from bdd100k_zoo.evaluation import official as engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores

    Engine = Callable[[Path, Path], Scores]


def test_the_official_engine_gives_frozen_official_scores(official: Engine, shared: Path) -> None:
    folder = shared / "official/scalabel_det"
    scores = official(folder / "labels.json", folder / "predictions.json")
    assert scores.official_json() == (folder / "scores.json").read_bytes()


def test_the_official_engine_prints_nothing(official: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    Case([frame("a", label()), frame("b")], [frame("a", label(score=1))]).within(official)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("anything").isEnabledFor(logging.CRITICAL)


def test_a_missing_file_is_a_storage_error(official: Engine, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        official(tmp_path / "none.json", tmp_path / "none.json")


def test_a_file_of_another_format_is_named(official: Engine) -> None:
    with pytest.raises(InputsError, match="COCO"):
        Case({"images": [], "annotations": []}, []).within(official)
    with pytest.raises(InputsError):
        Case([frame("a", label())], [frame("a", label())]).within(official)


def test_without_the_packages_the_error_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['bdd100k'] = None\n"
        "from pathlib import Path\n"
        "from bdd100k_zoo.errors import MissingPackageError\n"
        "from bdd100k_zoo.evaluation.official import score_with_official_tool\n"
        "try: score_with_official_tool(Path('a'), Path('b'))\n"
        "except MissingPackageError as error: print(error.package, error.extra)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["bdd100k", "official"]


def test_packages_whose_import_fails_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "refuses_import.py").write_text("raise TypeError('made for pydantic 1')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match="made for pydantic 1"):
        engine._import("refuses_import", "refuses_import")
