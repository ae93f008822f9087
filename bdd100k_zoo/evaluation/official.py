"""The official evaluation itself, where its packages are installed: ``bdd100k`` 1.0.1 on ``scalabel`` 0.3.1."""

from __future__ import annotations

import importlib
import io
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.errors import MissingPackageError, RecordError
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.scores import Scores, parse_official_scores
from bdd100k_zoo.quiet import silence_libraries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

OFFICIAL_EXTRA = "official"
"""The extra that installs the packages."""


def score_with_official_tool(labels: Path, predictions: Path) -> Scores:
    """Score with the official packages, in this process; what they print goes nowhere.

    They let much through that ``bdd100k.score`` refuses: that is theirs to decide.

    Raises:
        MissingPackageError: the packages are missing, or refuse to be imported.
        StorageError: a file cannot be read.
        InputsError: what made them stop, where it is known; they name neither file nor label.
        RecordError: they stopped for another reason.
    """
    with _unheard():
        runner, evaluator = _import("bdd100k", "bdd100k.eval.run"), _import("scalabel", "scalabel.eval.detect")
        try:
            return parse_official_scores(dict(_evaluate(runner, evaluator, labels, predictions)))
        except Exception as error:  # they fail by assertions, by pydantic's errors and more
            _explain(labels, predictions)
            raise RecordError(predictions, f"the official tool failed: {type(error).__name__}: {error}") from error


def _evaluate(runner: ModuleType, evaluator: ModuleType, labels: Path, predictions: Path) -> Any:
    config = runner.load_bdd100k_config("det")
    frames = runner._load_frames(str(labels), str(predictions), config, 1)
    return evaluator.evaluate_det(*frames, config.scalabel, nproc=1)


def _explain(labels: Path, predictions: Path) -> None:
    """Raise the error that our own readers find, if any."""
    pair_frames(read_label_table(labels, lenient=True), read_prediction_table(predictions, lenient=True), lenient=True)


def _import(package: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # beside a newer pydantic they fail by errors of its own
        raise MissingPackageError(package, OFFICIAL_EXTRA, f"{type(error).__name__}: {error}") from error


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep prints, progress bars, log lines and warnings of the packages from the user."""
    with silence_libraries(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
