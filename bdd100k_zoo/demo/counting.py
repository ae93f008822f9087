"""What stands in labelled frames: objects by class and by size."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.classes import CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bdd100k_zoo.data.scalabel import Box2D, LabelFrame

BOUNDS = (8, 16, 32, 64, 96, 192)
"""Borders of the histogram's bins: the side of a square of a box's area, in pixels; 32 and 96 are COCO's."""


class Census(NamedTuple):
    """Counts of boxes."""

    frames: int
    by_class: dict[str, tuple[int, ...]]
    """For each class, the boxes in each bin of sizes: up to each of ``BOUNDS``, and above."""

    @property
    def total(self) -> int:
        """All boxes."""
        return sum(map(sum, self.by_class.values()))

    @property
    def small(self) -> float:
        """The part of boxes that COCO calls small, 0 to 1."""
        below = BOUNDS.index(32) + 1
        return sum(sum(counts[:below]) for counts in self.by_class.values()) / max(self.total, 1)


def count(frames: Iterable[LabelFrame]) -> Census:
    """Count the boxes of frames by class and size."""
    counts = {name: [0] * (len(BOUNDS) + 1) for name in CLASSES}
    number = 0
    for frame in frames:
        number += 1
        for label in frame.labels:
            if label.box2d is not None and label.category in counts:
                counts[label.category][_bin(label.box2d)] += 1
    return Census(number, {name: tuple(several) for name, several in counts.items()})


def area(box: Box2D) -> float:
    """Give a box's area in pixels, as the evaluation counts it: x2 and y2 belong to the box."""
    return (box.x2 - box.x1 + 1) * (box.y2 - box.y1 + 1)


def _bin(box: Box2D) -> int:
    return sum(area(box) >= bound * bound for bound in BOUNDS)


def report(frames: Sequence[LabelFrame]) -> str:
    """Give a table of the boxes of frames, by class and size."""
    census = count(frames)
    heads = [f"<{bound}" for bound in BOUNDS] + [f">={BOUNDS[-1]}"]
    lines = [f"{'side in px':14}" + "".join(f"{head:>7}" for head in heads) + f"{'all':>8}{'share':>8}"]
    rows = {**census.by_class, "all": tuple(map(sum, zip(*census.by_class.values(), strict=True)))}
    for name, counts in rows.items():
        share = 100 * sum(counts) / max(census.total, 1)
        lines.append(f"{name:14}" + "".join(f"{each:7,}" for each in counts) + f"{sum(counts):8,}{share:7.1f}%")
    per_frame = census.total / max(census.frames, 1)
    lines.append(
        f"{census.frames:,} frames, {per_frame:.1f} boxes a frame, {100 * census.small:.1f}% of them below 32 x 32"
    )
    return "\n".join(lines) + "\n"
