"""What was painted → labels as BDD100K's.

A box is what BDD100K's labels mean by it: the smallest rectangle around all of an object that lies in the image, also
where something else stands before it; ``occluded`` tells that. An object of which more than 80 % is hidden, or that
covers no pixel by half, has no label; what is ridden is not hidden by its rider. ``truncated`` tells that an object
goes on beyond the image's border.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bdd100k_zoo.data.scalabel import Box2D, Label

if TYPE_CHECKING:
    from bdd100k_zoo.demo.painting import Drawn, Painter

HIDDEN = 0.8
"""Part of an object's pixels that must be hidden for it to have no label."""
OCCLUDED = 0.03
"""Part that must be hidden for it to count as occluded."""


def labels_of(painter: Painter) -> tuple[Label, ...]:
    """Give the labels of what was painted, far things first."""
    labels: list[Label] = []
    for number, drawn in enumerate(painter.drawn, start=1):
        covered = int(np.count_nonzero(drawn.mask))
        seen = _seen(painter, number, drawn)
        if covered and covered - seen <= HIDDEN * covered:
            labels.append(_label(len(labels), drawn, occluded=covered - seen > OCCLUDED * covered))
    return tuple(labels)


def _seen(painter: Painter, number: int, drawn: Drawn) -> int:
    """Count the pixels of a thing that nothing else hides; its own rider does not count as something else."""
    owners = painter.owners[drawn.thing.window.slices]
    own = owners == number
    following = painter.drawn[number].actor if number < len(painter.drawn) else drawn.actor
    if following.category == "rider" and following.place is drawn.actor.place:
        own |= drawn.mask & (owners == number + 1)
    return int(np.count_nonzero(own))


def _label(number: int, drawn: Drawn, *, occluded: bool) -> Label:
    window = drawn.thing.window
    rows = np.flatnonzero(drawn.mask.any(1)) + window.top
    columns = np.flatnonzero(drawn.mask.any(0)) + window.left
    attributes = {"occluded": occluded, "truncated": drawn.thing.beyond, "trafficLightColor": drawn.actor.light}
    box = Box2D(float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
    return Label(str(number), drawn.actor.category, box, attributes)
