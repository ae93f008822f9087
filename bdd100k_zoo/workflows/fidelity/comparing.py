"""Two folders of frozen results, box by box."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.evaluation.agreement import compare
from bdd100k_zoo.records.agreements import Comparison
from bdd100k_zoo.records.frozen import FROZEN, read_frozen, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bdd100k_zoo.records.agreements import Agreement
    from bdd100k_zoo.records.frozen import Frozen, Rows


def compare_folders(expected: Path, found: Path) -> Comparison:
    """Compare what two stacks found with the same weights in the same images.

    Raises:
        StorageError: a file cannot be read.
        RecordError: a folder holds no frozen results, or those of other models, weights or images than the other.
    """
    first, second = read_frozen(expected), read_frozen(found)
    for what in ("images", "weights"):
        _check_same(what, getattr(first, what), getattr(second, what), found)
    models = {model: _compare(expected, found, model, first) for model in first.weights}
    return Comparison(first, second, models)


def _check_same(what: str, expected: Mapping[str, object], found: Mapping[str, object], folder: Path) -> None:
    differing = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if differing:
        raise RecordError(folder / FROZEN, f"other {what} than those compared with: {', '.join(differing)}")


def _compare(expected: Path, found: Path, model: str, frozen: Frozen) -> dict[str, Agreement]:
    one, other = (_rows(folder, model, frozen) for folder in (expected, found))
    return {image: compare(one[image], other[image]) for image in frozen.images}


def _rows(folder: Path, model: str, frozen: Frozen) -> dict[str, Rows]:
    rows = read_rows(folder, model)
    if rows.keys() != frozen.images.keys():
        raise RecordError(folder / f"{model}.npz", f"expected the images {', '.join(frozen.images)}")
    return rows
