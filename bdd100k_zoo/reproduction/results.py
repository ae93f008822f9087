"""reproduction.json: what was measured of each model, how it compares with the published AP, and the exit status."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import (
    ArtifactError,
    DeviceError,
    InvalidFileError,
    MissingPackageError,
    RunMismatchError,
    SettingsError,
    StorageError,
    ZooError,
)
from bdd100k_zoo.prediction.run import read_json_record, write_json_record
from bdd100k_zoo.registry.models import format_ap, to_json_values

if TYPE_CHECKING:
    from pathlib import Path

RESULTS_FILE = "reproduction.json"
TABLE_FILE = "reproduction.md"
REPORT_FILE = "report.html"

TOLERANCE = Decimal("0.05")
"""Points of AP, compared with the difference of the two APs as tables show them: with two decimals."""

Verdict = Literal["reproduced", "differs", "weights not available", "predictions not available", "failed", "not run"]
SUCCESS_STATUS, FAILURE_STATUS, UNAVAILABLE_STATUS = 0, 1, 3


class ModelResult(Struct, frozen=True, kw_only=True):
    """What is known of one model so far."""

    model: str
    published_ap: float | None
    """On the split, in percent; None if none is published."""
    verdict: Verdict | None = "not run"
    """None where a model was measured on some of the images only."""
    reason: str = ""
    """Why it was not measured, or what to know of the measurement."""
    hint: str = ""
    """What to do next."""
    measured_ap: float | None = None
    """In percent, with all its digits; None if it was not measured."""
    difference: float | None = None
    """Measured minus published AP, both rounded to two decimals first."""
    interval: tuple[float, float] | None = None
    """95 % interval of the measured AP, in percent; None without ``limit``, and for fewer than 30 images or objects."""
    images: int | None = None
    images_per_second: float | None = None
    """Of one process: images by the seconds that its device was at work; None for published predictions."""
    device: str | None = None
    """The name of the device, or else its kind."""
    precision: str | None = None
    predictions: str | None = None
    """The predictions file; ``run.json`` and ``scores.json`` of a run are beside it."""
    predictions_sha256: str | None = None
    weights_sha256: str | None = None
    verified_by: str | None = None
    """Whose digest the weights, or the published predictions, match; None if they are unverified."""


class Reproduction(Struct, frozen=True, kw_only=True):
    """The result of ``reproduce``: one row a model, in the order in which they are run."""

    version: str
    """Of this package."""
    split: str
    limit: int | None
    """The number of images that were asked for; None for all."""
    published_predictions: bool
    """Whether the published predictions were scored, instead of predicting."""
    labels: str
    models: tuple[ModelResult, ...]
    reported: tuple[str, ...] = ()
    """SHA-256 of the predictions that the report page shows; empty without a page."""
    finished: bool = False
    """Whether every model has been tried since the command was last started."""

    def __getitem__(self, model: str) -> ModelResult:
        """Return the result of a model by its name; raises KeyError."""
        for each in self.models:
            if each.model == model:
                return each
        raise KeyError(model)

    def with_result(self, result: ModelResult) -> Reproduction:
        """Return these results with another one for its model."""
        return replace(self, models=tuple(result if each.model == result.model else each for each in self.models))

    @property
    def is_complete(self) -> bool:
        """Whether there is a result for every model that has a published AP."""
        return all(each.verdict != "not run" or each.published_ap is None for each in self.models)

    @property
    def counts(self) -> dict[str, int]:
        """How many models there are of each verdict, in the order of the words; without those of which there is none.

        Models that were measured without a verdict count as ``measured``.
        """
        words = ("reproduced", "differs", "measured", *NOT_AVAILABLE, "failed", "not run")
        found = [each.verdict or "measured" for each in self.models]
        return {word: found.count(word) for word in words if word in found}

    @property
    def exit_status(self) -> int:
        """The exit status of the command: 1 if a model differs or failed, 3 if files of one were not available.

        Else 0 if at least one was measured, and 3 if none was.
        """
        counts = self.counts
        if "differs" in counts or "failed" in counts:
            return FAILURE_STATUS
        if any(word in counts for word in NOT_AVAILABLE) or not counts.keys() & {"reproduced", "measured"}:
            return UNAVAILABLE_STATUS
        return SUCCESS_STATUS

    def __repr__(self) -> str:
        return f"Reproduction({', '.join(f'{number} {word}' for word, number in self.counts.items())})"


NOT_AVAILABLE = ("weights not available", "predictions not available")


def compare_ap(measured: float, published: float) -> tuple[float, Verdict]:
    """Return by how much a measured AP differs from the published one, and the verdict.

    Both are first rounded to the two decimals of the tables, so that the verdict follows from the numbers that are
    shown: 31.0549 is 31.05, and reproduces 31.00; 31.0551 is 31.06, and differs. The computation is exact, in decimals.

    Args:
        measured: overall AP in percent; finite.
        published: the same.

    Returns:
        The difference in points of AP, with two decimals, and ``reproduced`` where it is at most ``TOLERANCE``.
    """
    difference = Decimal(format_ap(measured)) - Decimal(format_ap(published))
    return float(difference), "reproduced" if abs(difference) <= TOLERANCE else "differs"


def describe_failure(
    model: str, published_ap: float | None, error: Exception, *, is_published: bool = False
) -> ModelResult:
    """Return the result of a model that could not be measured.

    Args:
        model: its name.
        published_ap: in percent.
        error: what was raised. One that every other model would meet as well is raised again.
        is_published: its published predictions were to be scored.
    """
    if isinstance(error, (MissingPackageError, SettingsError)):
        raise error
    if isinstance(error, DeviceError) and not error.out_of_memory:
        raise error
    verdict: Verdict = "failed"
    if isinstance(error, ArtifactError):
        verdict = "predictions not available" if is_published else "weights not available"
    if not isinstance(error, ZooError):
        command = "eval --published" if is_published else "predict"
        reason = f"unexpected {type(error).__name__}: {error}"
        hint = f"this is a bug: BDD100K_ZOO_DEBUG=1 shows where, with `bdd100k-zoo {command} {model}`; please report it"
    elif isinstance(error, RunMismatchError):
        reason, hint = str(error), "choose another folder with --runs, or move that run away"
    else:
        reason, hint = str(error), error.hint
    return ModelResult(model=model, published_ap=published_ap, verdict=verdict, reason=reason, hint=hint)


def write_results(folder: Path, found: Reproduction) -> None:
    """Write reproduction.json; raises StorageError."""
    write_json_record(folder / RESULTS_FILE, to_json_values(found))


def read_results(folder: Path) -> Reproduction | None:
    """Return the results in a folder; None if there are none that this version can read."""
    try:
        return read_json_record(
            folder / RESULTS_FILE, lambda fields: msgspec.convert(fields, Reproduction), "a record of a reproduction"
        )
    except (StorageError, InvalidFileError):
        return None
