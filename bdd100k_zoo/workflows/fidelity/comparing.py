"""Two folders of frozen results, box by box."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.evaluation.agreement import compare_boxes
from bdd100k_zoo.evaluation.agreements import StackComparison
from bdd100k_zoo.evaluation.frozen import PARITY_FILE, read_box_rows, read_parity_results

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bdd100k_zoo.evaluation.agreements import ImageComparison
    from bdd100k_zoo.evaluation.frozen import BoxRows, ParityResults


def compare_folders(expected: Path, found: Path, as_built: Path | None = None) -> StackComparison:
    """Compare what two stacks found with the same weights in the same images.

    Args:
        expected: a folder that ``freeze`` wrote.
        found: another.
        as_built: what the second stack finds, with some of the models, by the layers that mmdet builds. An image in
            which these are the expected boxes does not fail: faster layers round otherwise, and candidates tied.

    Raises:
        StorageError: a file cannot be read.
        RecordError: a folder holds no frozen results, or those of other models, weights or images than the other; or
            ``as_built`` is of another stack than ``found``, or of one that was made faster.
    """
    first, second = read_parity_results(expected), read_parity_results(found)
    for what in ("images", "weights"):
        _check_same(what, getattr(first, what), getattr(second, what), found)
    models = {model: _compare(expected, found, model, first) for model in first.weights}
    if as_built is not None:
        models |= _without_rounding(models, expected, as_built, first, second)
    return StackComparison(first, second, models)


def _without_rounding(
    models: Mapping[str, dict[str, ImageComparison]],
    expected: Path,
    as_built: Path,
    first: ParityResults,
    second: ParityResults,
) -> dict[str, dict[str, ImageComparison]]:
    """Compare the models of a third folder, and take its word where it is that the boxes are the same."""
    third = read_parity_results(as_built)
    if third.stack != structs.replace(second.stack, optimised=False):
        raise RecordError(as_built / PARITY_FILE, "is not of the stack compared with, its layers as mmdet builds them")
    _check_same("images", first.images, third.images, as_built)
    _check_same("weights", {model: first.weights.get(model) for model in third.weights}, third.weights, as_built)
    plain = {model: _compare(expected, as_built, model, first) for model in third.weights}
    return {
        model: {image: _rounded(each, plain[model][image]) for image, each in models[model].items()} for model in plain
    }


def _rounded(agreement: ImageComparison, plain: ImageComparison) -> ImageComparison:
    return agreement if plain.failures else agreement._replace(failures=(), rounded=agreement.failures)


def _check_same(what: str, expected: Mapping[str, object], found: Mapping[str, object], folder: Path) -> None:
    differing = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if differing:
        raise RecordError(folder / PARITY_FILE, f"other {what} than those compared with: {', '.join(differing)}")


def _compare(expected: Path, found: Path, model: str, frozen: ParityResults) -> dict[str, ImageComparison]:
    one, other = (_rows(folder, model, frozen) for folder in (expected, found))
    return {image: compare_boxes(one[image], other[image]) for image in frozen.images}


def _rows(folder: Path, model: str, frozen: ParityResults) -> dict[str, BoxRows]:
    rows = read_box_rows(folder, model)
    if rows.keys() != frozen.images.keys():
        raise RecordError(folder / f"{model}.npz", f"expected the images {', '.join(frozen.images)}")
    return rows
