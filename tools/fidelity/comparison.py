"""Compare the boxes that two stacks found, image by image and box by box."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import structs

from bdd100k_zoo.errors import InvalidFileError
from tools.fidelity.results import FROZEN, read_frozen, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tools.fidelity.results import Frozen, Rows

SCORE_TOLERANCE = 1e-4
CORNER_TOLERANCE = 0.01
"""Pixels."""

TIE = 1e-5
"""Scores that differ by less may be sorted either way: two stacks' scores differ in their last bits."""
REPLACEMENT_OVERLAP = 0.5
"""Smallest overlap (intersection over union) of boxes of which suppression keeps one: no model has a lower limit."""
APART = 1.0
"""Smallest difference of a corner between two such boxes, in pixels. With a smaller one it is one box, displaced."""
MAX_REPLACEMENTS = 2
"""In one image. More are not caused by chance."""


class Agreement(NamedTuple):
    """The differences between the boxes found in an image and the expected ones."""

    expected: int
    """Boxes."""
    found: int
    same: int
    """Expected boxes that were found: class, score and corners within the tolerances, at the same place in order."""
    moved: tuple[str, ...]
    """Boxes that were found at another place, among scores that tie."""
    swapped: tuple[str, ...]
    """Boxes in whose place suppression kept an overlapping box of the same score: either one may be kept."""
    failures: tuple[str, ...]
    """Unexplained differences."""
    score: float
    """Largest difference of a score, among boxes that were found."""
    corner: float
    """Largest difference of a corner, in pixels, among boxes that were found."""
    rounded: tuple[str, ...] = ()
    """Boxes that differ only because of rounding: with the layers that mmdet builds, they do not."""


class Comparison(NamedTuple):
    """The boxes that two stacks found with the same weights in the same images."""

    expected: Frozen
    found: Frozen
    models: Mapping[str, Mapping[str, Agreement]]
    """By model, by image."""

    @property
    def failed(self) -> list[str]:
        """The models with a difference that no tie of scores explains."""
        return [name for name, images in self.models.items() if any(each.failures for each in images.values())]

    @property
    def different(self) -> tuple[int, int]:
        """The numbers of expected boxes, and of those among them that are not the same."""
        found = [each for images in self.models.values() for each in images.values()]
        expected = sum(each.expected for each in found)
        return expected, expected - sum(each.same for each in found)

    @property
    def rounded(self) -> list[str]:
        """The models with boxes that differ only because of rounding."""
        return [name for name, images in self.models.items() if any(each.rounded for each in images.values())]


def compare_folders(expected: Path, found: Path, as_built: Path | None = None) -> Comparison:
    """Compare the boxes that two stacks found with the same weights in the same images.

    Args:
        expected: a folder that ``freeze`` wrote.
        found: another one.
        as_built: the boxes of the second stack and some of the models, with the layers that mmdet builds. An image with
            the expected boxes there does not fail: optimised layers round differently, and candidates tie.

    Raises:
        StorageError: a file cannot be read.
        InvalidFileError: a folder holds no frozen results, or those of other models, weights or images than the other;
            or ``as_built`` is of another stack than ``found``, or of optimised models.
    """
    first, second = read_frozen(expected), read_frozen(found)
    for what in ("images", "weights"):
        _check_same(what, getattr(first, what), getattr(second, what), found)
    models = {model: _compare_images(expected, found, model, first) for model in first.weights}
    if as_built is not None:
        models |= _without_rounding(models, expected, as_built, first, second)
    return Comparison(first, second, models)


def _without_rounding(
    models: Mapping[str, dict[str, Agreement]], expected: Path, as_built: Path, first: Frozen, second: Frozen
) -> dict[str, dict[str, Agreement]]:
    """Compare the models of a third folder, and explain differences by rounding where its boxes are the same."""
    third = read_frozen(as_built)
    if third.stack != structs.replace(second.stack, optimised=False):
        raise InvalidFileError(
            as_built / FROZEN, "expected results of the compared stack with the layers that mmdet builds"
        )
    _check_same("images", first.images, third.images, as_built)
    _check_same("weights", {model: first.weights.get(model) for model in third.weights}, third.weights, as_built)
    plain = {model: _compare_images(expected, as_built, model, first) for model in third.weights}
    return {
        model: {image: _rounded(each, plain[model][image]) for image, each in models[model].items()} for model in plain
    }


def _rounded(agreement: Agreement, plain: Agreement) -> Agreement:
    return agreement if plain.failures else agreement._replace(failures=(), rounded=agreement.failures)


def _check_same(what: str, expected: Mapping[str, object], found: Mapping[str, object], folder: Path) -> None:
    differing = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if differing:
        raise InvalidFileError(
            folder / FROZEN, f"expected the same {what} as in the compared folder, which differ: {', '.join(differing)}"
        )


def _compare_images(expected: Path, found: Path, model: str, frozen: Frozen) -> dict[str, Agreement]:
    one, other = (_rows(folder, model, frozen) for folder in (expected, found))
    return {image: compare(one[image], other[image]) for image in frozen.images}


def _rows(folder: Path, model: str, frozen: Frozen) -> dict[str, Rows]:
    rows = read_rows(folder, model)
    if rows.keys() != frozen.images.keys():
        raise InvalidFileError(folder / f"{model}.npz", f"expected the images {', '.join(frozen.images)}")
    return rows


def compare(expected: Rows, found: Rows) -> Agreement:
    """Compare two lists of boxes that are sorted by class, then by descending score.

    Each expected box is assigned the nearest remaining box within the tolerances.
    """
    pairs = _pairs(expected, found)
    moved = list(_moved(expected, pairs))
    lost = [place for place in range(len(expected)) if place not in pairs]
    more = [place for place in range(len(found)) if place not in pairs.values()]
    replaced = _find_replacements(expected, found, lost, more)
    differences = np.array([np.abs(expected[one] - found[other]) for one, other in pairs.items()]).reshape(-1, 6)
    return Agreement(
        expected=len(expected),
        found=len(found),
        same=len(pairs) - len(moved),
        moved=tuple(text for text, tied in moved if tied),
        swapped=tuple(
            f"{_describe(found[other])} in place of {_describe(expected[one])}" for one, other in replaced.items()
        ),
        failures=(
            *(text for text, tied in moved if not tied),
            *(f"lost {_describe(expected[place])}" for place in lost if place not in replaced),
            *(f"additional {_describe(found[place])}" for place in more if place not in replaced.values()),
        ),
        score=float(differences[:, 4].max(initial=0)),
        corner=float(differences[:, :4].max(initial=0)),
    )


def _pairs(expected: Rows, found: Rows) -> dict[int, int]:
    """Assign found boxes to expected ones, both by their indices."""
    left = np.ones(len(found), bool)
    pairs = {}
    for place, row in enumerate(expected):
        distances = _distances(row, found)
        near = np.flatnonzero(left & (distances <= 1))
        if len(near):
            pairs[place] = int(near[distances[near].argmin()])
            left[pairs[place]] = False
    return pairs


def _distances(row: Rows, others: Rows) -> npt.NDArray[np.float64]:
    """Return the distances of boxes from one box, in tolerances; infinite for another class."""
    difference = np.abs(others.astype(np.float64) - row)
    corner, score = difference[:, :4].max(1) / CORNER_TOLERANCE, difference[:, 4] / SCORE_TOLERANCE
    return np.where(difference[:, 5] == 0, np.maximum(corner, score), np.inf)


def _moved(expected: Rows, pairs: dict[int, int]) -> Iterator[tuple[str, bool]]:
    """Yield the boxes that took another's place among the pairs, and whether the scores of the two tie."""
    places = list(pairs)
    for one, rank in zip(places, np.argsort(np.argsort(list(pairs.values()))), strict=True):
        other = places[int(rank)]
        if other != one:
            gap = abs(float(expected[one, 4]) - float(expected[other, 4]))
            yield f"{_describe(expected[one])} at the place of a box whose score differs by {gap:.1e}", gap < TIE


def _find_replacements(expected: Rows, found: Rows, lost: list[int], more: list[int]) -> dict[int, int]:
    """Assign additional boxes to lost ones that they overlap, with the same class and score, unless there are many."""
    left, replaced = list(more), {}
    for place in lost:
        tied = (other for other in left if _is_tied(expected[place], found[other]))
        if (other := next(tied, None)) is not None:
            replaced[place] = other
            left.remove(other)
    return replaced if len(replaced) <= MAX_REPLACEMENTS else {}


def _is_tied(one: Rows, other: Rows) -> bool:
    difference = np.abs(one.astype(np.float64) - other)
    same_but_corners = difference[5] == 0 and difference[4] < TIE
    return bool(same_but_corners and difference[:4].max() >= APART and _overlap(one, other) >= REPLACEMENT_OVERLAP)


def _overlap(one: Rows, other: Rows) -> float:
    sides = np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(sides.clip(min=0)))
    areas = float(np.prod(one[2:4] - one[:2]) + np.prod(other[2:4] - other[:2]))
    return common / (areas - common) if areas > common else 0.0


def _describe(row: Rows) -> str:
    corners = ", ".join(f"{corner:.2f}" for corner in row[:4])
    return f"class {int(row[5])}, score {row[4]:.6f}, corners {corners}"
