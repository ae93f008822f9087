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
"""Scores this close may be sorted either way: two stacks' scores differ in their last bits."""
STAND_IN = 0.5
"""Smallest overlap (intersection over union) of boxes of which suppression keeps one: no model has a lower limit."""
APART = 1.0
"""Smallest difference of a corner between two such boxes, in pixels. With a smaller one it is one box, displaced."""
MOST_STAND_INS = 2
"""In one image. More are no chance."""


class Agreement(NamedTuple):
    """How the boxes that were found in an image differ from the expected ones."""

    expected: int
    """Boxes."""
    found: int
    same: int
    """Expected boxes that were found: class, score and corners within the tolerances, at the same place in order."""
    moved: tuple[str, ...]
    """Boxes that were found at another place, among scores that tie."""
    swapped: tuple[str, ...]
    """Boxes in whose place an overlapping one of the same score was kept: suppression keeps one, ties may choose it."""
    failures: tuple[str, ...]
    """What nothing explains."""
    score: float
    """Largest difference of a score, among boxes that were found."""
    corner: float
    """Largest difference of a corner, in pixels, among boxes that were found."""
    rounded: tuple[str, ...] = ()
    """Boxes that differ because of rounding alone: computed by the layers that mmdet builds, they do not."""


class Comparison(NamedTuple):
    """What two stacks found with the same weights in the same images."""

    expected: Frozen
    found: Frozen
    models: Mapping[str, Mapping[str, Agreement]]
    """By model, by image."""

    @property
    def failed(self) -> list[str]:
        """The models with a difference that no tie of scores explains."""
        return [name for name, images in self.models.items() if any(each.failures for each in images.values())]

    @property
    def rounded(self) -> list[str]:
        """The models with boxes that differ because of rounding alone."""
        return [name for name, images in self.models.items() if any(each.rounded for each in images.values())]


def compare_folders(expected: Path, found: Path, as_built: Path | None = None) -> Comparison:
    """Compare what two stacks found with the same weights in the same images.

    Args:
        expected: a folder that ``freeze`` wrote.
        found: another.
        as_built: what the second stack finds, with some of the models, by the layers that mmdet builds. An image in
            which these are the expected boxes does not fail: faster layers round otherwise, and candidates tied.

    Raises:
        StorageError: a file cannot be read.
        InvalidFileError: a folder holds no frozen results, or those of other models, weights or images than the other;
            or ``as_built`` is of another stack than ``found``, or of one that was made faster.
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
    """Compare the models of a third folder, and take its word where it is that the boxes are the same."""
    third = read_frozen(as_built)
    if third.stack != structs.replace(second.stack, optimised=False):
        raise InvalidFileError(as_built / FROZEN, "is not of the stack compared with, its layers as mmdet builds them")
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
        raise InvalidFileError(folder / FROZEN, f"other {what} than those compared with: {', '.join(differing)}")


def _compare_images(expected: Path, found: Path, model: str, frozen: Frozen) -> dict[str, Agreement]:
    one, other = (_rows(folder, model, frozen) for folder in (expected, found))
    return {image: compare(one[image], other[image]) for image in frozen.images}


def _rows(folder: Path, model: str, frozen: Frozen) -> dict[str, Rows]:
    rows = read_rows(folder, model)
    if rows.keys() != frozen.images.keys():
        raise InvalidFileError(folder / f"{model}.npz", f"expected the images {', '.join(frozen.images)}")
    return rows


def compare(expected: Rows, found: Rows) -> Agreement:
    """Compare two lists of boxes that are in order: by class, then by descending score.

    Each expected box is assigned the nearest of those found that is left and within the tolerances.
    """
    pairs = _pairs(expected, found)
    moved = list(_moved(expected, pairs))
    lost = [place for place in range(len(expected)) if place not in pairs]
    more = [place for place in range(len(found)) if place not in pairs.values()]
    stands = _stand_ins(expected, found, lost, more)
    differences = np.array([np.abs(expected[one] - found[other]) for one, other in pairs.items()]).reshape(-1, 6)
    return Agreement(
        expected=len(expected),
        found=len(found),
        same=len(pairs) - len(moved),
        moved=tuple(text for text, tied in moved if tied),
        swapped=tuple(f"{_told(found[other])} in place of {_told(expected[one])}" for one, other in stands.items()),
        failures=(
            *(text for text, tied in moved if not tied),
            *(f"lost {_told(expected[place])}" for place in lost if place not in stands),
            *(f"found besides {_told(found[place])}" for place in more if place not in stands.values()),
        ),
        score=float(differences[:, 4].max(initial=0)),
        corner=float(differences[:, :4].max(initial=0)),
    )


def _pairs(expected: Rows, found: Rows) -> dict[int, int]:
    """Assign expected boxes found ones, both by their places."""
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
    """How far boxes are from one, in tolerances; infinite for another class."""
    difference = np.abs(others.astype(np.float64) - row)
    corner, score = difference[:, :4].max(1) / CORNER_TOLERANCE, difference[:, 4] / SCORE_TOLERANCE
    return np.where(difference[:, 5] == 0, np.maximum(corner, score), np.inf)


def _moved(expected: Rows, pairs: dict[int, int]) -> Iterator[tuple[str, bool]]:
    """Tell which boxes took another's place among the pairs, and whether the scores of the two tie."""
    places = list(pairs)
    for one, rank in zip(places, np.argsort(np.argsort(list(pairs.values()))), strict=True):
        other = places[int(rank)]
        if other != one:
            gap = abs(float(expected[one, 4]) - float(expected[other, 4]))
            yield f"{_told(expected[one])} at the place of a box whose score differs by {gap:.1e}", gap < TIE


def _stand_ins(expected: Rows, found: Rows, lost: list[int], more: list[int]) -> dict[int, int]:
    """Assign lost boxes overlapping ones of their class and score that were found besides, unless that is too often."""
    left, stands = list(more), {}
    for place in lost:
        tied = (other for other in left if _is_tied(expected[place], found[other]))
        if (other := next(tied, None)) is not None:
            stands[place] = other
            left.remove(other)
    return stands if len(stands) <= MOST_STAND_INS else {}


def _is_tied(one: Rows, other: Rows) -> bool:
    difference = np.abs(one.astype(np.float64) - other)
    same_but_corners = difference[5] == 0 and difference[4] < TIE
    return bool(same_but_corners and difference[:4].max() >= APART and _overlap(one, other) >= STAND_IN)


def _overlap(one: Rows, other: Rows) -> float:
    sides = np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(sides.clip(min=0)))
    areas = float(np.prod(one[2:4] - one[:2]) + np.prod(other[2:4] - other[:2]))
    return common / (areas - common) if areas > common else 0.0


def _told(row: Rows) -> str:
    corners = ", ".join(f"{corner:.2f}" for corner in row[:4])
    return f"class {int(row[5])}, score {row[4]:.6f}, corners {corners}"
