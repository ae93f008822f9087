"""Which runs there are, the APs that were measured on them, and speeds that were recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.errors import NoRunsError, ZooError
from bdd100k_zoo.records.kept import read_kept
from bdd100k_zoo.records.run import PREDICTIONS, RUN, read_run
from bdd100k_zoo.records.speeds import read_rates

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.records.kept import KeptScores
    from bdd100k_zoo.records.run import RunRecord


class Run(NamedTuple):
    """A finished run on disk."""

    folder: Path
    record: RunRecord


def find_runs(root: Path) -> list[Run]:
    """Find the finished runs below a folder, sorted by path; what is no whole run is passed over."""
    found = []
    for path in sorted(root.rglob(RUN)):
        if not (path.parent / PREDICTIONS).is_file():
            continue
        try:
            found.append(Run(path.parent, read_run(path.parent)))
        except ZooError:
            continue
    return found


def measured_ap(root: Path, split: str = "val") -> dict[str, float]:
    """Give the kept overall AP of each model that was run on a split, in percent; else as ``measured_scores``."""
    return {model: _overall(kept) or 0.0 for model, kept in measured_scores(root, split).items()}


def measured_scores(root: Path, split: str = "val") -> dict[str, KeptScores]:
    """Give the kept scores of each model that was run on a split.

    Scores that are not those of the predictions file as it is now are left out, those without an overall AP, and those
    of weights that are known to be others than the published ones. Of several runs of one model, the last by path
    counts.

    Raises:
        NoRunsError: no run below the folder has scores.
    """
    measured = {}
    for run in find_runs(root):
        kept = read_kept(run.folder)
        on_split = run.record.split in (split, None)
        if run.record.weights.other:
            continue
        if kept and _overall(kept) is not None and on_split and kept.predictions.describes(run.folder / PREDICTIONS):
            measured[run.record.model] = kept
    if not measured:
        raise NoRunsError(root, "holds no run with scores of published weights", split)
    return measured


def _overall(kept: KeptScores) -> float | None:
    return kept.scores.get("AP", {}).get("OVERALL")


def measured_speeds(path: Path) -> dict[str, dict[str, float]]:
    """Give the recorded images per second by device with precision, and by model; of several records the last counts.

    Raises:
        StorageError, RecordError: there are none that can be read.
    """
    speeds: dict[str, dict[str, float]] = {}
    for rate in read_rates(path):
        named = "".join(character if character.isprintable() else " " for character in rate.device_name)
        speeds.setdefault(f"({named}, {rate.precision})", {})[rate.model] = rate.images_per_second
    return speeds
