"""The official evaluator, where its packages are installed: ``bdd100k`` 1.0.1 with ``scalabel`` 0.3.1."""

from __future__ import annotations

import importlib
import io
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.errors import InvalidFileError, MissingPackageError
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.scores import Scores, parse_official_scores
from bdd100k_zoo.quiet import silence_libraries

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

OFFICIAL_EXTRA = "official"
"""The extra that installs the packages."""


def score_with_official_tool(labels: Path, predictions: Path) -> Scores:
    """Score with the official packages, in this process; their output is discarded.

    They accept much that ``score_predictions`` refuses, and so does this function.

    Raises:
        MissingPackageError: the packages are not installed, or their import fails.
        StorageError: a file cannot be read.
        InputsError: the cause of their failure, where our readers find it: their errors name neither file nor label.
        InvalidFileError: they failed for another reason.
    """
    with silence_libraries(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        runner, evaluator = _import("bdd100k", "bdd100k.eval.run"), _import("scalabel", "scalabel.eval.detect")
        try:
            config = runner.load_bdd100k_config("det")
            frames = runner._load_frames(str(labels), str(predictions), config, 1)
            return parse_official_scores(dict(evaluator.evaluate_det(*frames, config.scalabel, nproc=1)))
        except Exception as error:  # they fail with assertions, pydantic's errors and more
            tables = read_label_table(labels, lenient=True), read_prediction_table(predictions, lenient=True)
            pair_frames(*tables, lenient=True)
            problem = f"the official evaluator failed: {type(error).__name__}: {error}"
            raise InvalidFileError(predictions, problem) from error


def _import(package: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # with pydantic 2 the import fails with errors of pydantic
        raise MissingPackageError(package, OFFICIAL_EXTRA, f"{type(error).__name__}: {error}") from error
