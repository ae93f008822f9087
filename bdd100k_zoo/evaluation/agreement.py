"""Whether two lists of boxes of one image are the same, box by box, and what became of those that are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bdd100k_zoo.evaluation.agreements import ImageComparison

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from bdd100k_zoo.evaluation.frozen import BoxRows

SCORE_TOLERANCE = 1e-4
CORNER_TOLERANCE = 0.01
"""Pixels."""

TIE = 1e-5
"""Scores this close may be sorted either way: two stacks' scores differ in their last bits."""
MIN_SWAP_IOU = 0.5
"""Smallest overlap (intersection over union) of boxes of which suppression keeps one: no model has a lower limit."""
MIN_SWAP_DISTANCE = 1.0
"""Smallest difference of a corner between two such boxes, in pixels. With a smaller one it is one box, displaced."""
MAX_SWAPS = 2
"""In one image. More are no chance."""


def compare_boxes(expected: BoxRows, found: BoxRows) -> ImageComparison:
    """Compare two lists of boxes that are in order: by class, then by descending score.

    Each expected box is assigned the nearest of those found that is left and within the tolerances.
    """
    pairs = _pairs(expected, found)
    moved = list(_moved(expected, pairs))
    lost = [place for place in range(len(expected)) if place not in pairs]
    more = [place for place in range(len(found)) if place not in pairs.values()]
    stands = _swapped_boxes(expected, found, lost, more)
    differences = np.array([np.abs(expected[one] - found[other]) for one, other in pairs.items()]).reshape(-1, 6)
    return ImageComparison(
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


def _pairs(expected: BoxRows, found: BoxRows) -> dict[int, int]:
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


def _distances(row: BoxRows, others: BoxRows) -> npt.NDArray[np.float64]:
    """How far boxes are from one, in tolerances; infinite for another class."""
    difference = np.abs(others.astype(np.float64) - row)
    corner, score = difference[:, :4].max(1) / CORNER_TOLERANCE, difference[:, 4] / SCORE_TOLERANCE
    return np.where(difference[:, 5] == 0, np.maximum(corner, score), np.inf)


def _moved(expected: BoxRows, pairs: dict[int, int]) -> Iterator[tuple[str, bool]]:
    """Tell which boxes took another's place among the pairs, and whether the scores of the two tie."""
    places = list(pairs)
    for one, rank in zip(places, np.argsort(np.argsort(list(pairs.values()))), strict=True):
        other = places[int(rank)]
        if other != one:
            gap = abs(float(expected[one, 4]) - float(expected[other, 4]))
            yield f"{_told(expected[one])} at the place of a box whose score differs by {gap:.1e}", gap < TIE


def _swapped_boxes(expected: BoxRows, found: BoxRows, lost: list[int], more: list[int]) -> dict[int, int]:
    """Assign lost boxes overlapping ones of their class and score that were found besides, unless that is too often."""
    left, stands = list(more), {}
    for place in lost:
        tied = (other for other in left if _is_tied(expected[place], found[other]))
        if (other := next(tied, None)) is not None:
            stands[place] = other
            left.remove(other)
    return stands if len(stands) <= MAX_SWAPS else {}


def _is_tied(one: BoxRows, other: BoxRows) -> bool:
    difference = np.abs(one.astype(np.float64) - other)
    same_but_corners = difference[5] == 0 and difference[4] < TIE
    return bool(same_but_corners and difference[:4].max() >= MIN_SWAP_DISTANCE and _overlap(one, other) >= MIN_SWAP_IOU)


def _overlap(one: BoxRows, other: BoxRows) -> float:
    sides = np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(sides.clip(min=0)))
    areas = float(np.prod(one[2:4] - one[:2]) + np.prod(other[2:4] - other[:2]))
    return common / (areas - common) if areas > common else 0.0


def _told(row: BoxRows) -> str:
    corners = ", ".join(f"{corner:.2f}" for corner in row[:4])
    return f"class {int(row[5])}, score {row[4]:.6f}, corners {corners}"
