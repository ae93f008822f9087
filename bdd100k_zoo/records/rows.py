"""The rows of one frame, as both readers of labels and predictions give them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.categories import ALIASES, CLASSES, IGNORED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.errors import BadLabelError

THIN = 1.0
"""How far x2 may lie below x1 in a prediction: it is the detector's border minus 1, and a box may be thin."""

REGION = 0x80
"""Added to the class index of a category that is a region to ignore."""

CATEGORY_CODES: Mapping[str, int] = MappingProxyType(
    {name: index for index, name in enumerate(CLASSES)}
    | {alias: CLASSES.index(name) for alias, name in ALIASES.items()}
    | {region: CLASSES.index(name) | REGION for region, name in IGNORED.items()}
)
"""Every category that files may use: the class index, regions marked by ``REGION``."""

BOXLESS_CATEGORIES = (
    *("lane", "drivable area", "area/alternative", "area/drivable", "area/unknown", "lane/crosswalk"),
    *("lane/double other", "lane/double white", "lane/double yellow", "lane/road curb"),
    *("lane/single other", "lane/single white", "lane/single yellow"),
)
"""Categories of BDD100K's labels of 2018 that have no box and are not scored."""


class FrameAttributes(msgspec.Struct, frozen=True, gc=False):
    """The conditions that BDD100K tells of a frame."""

    weather: str | None = None
    scene: str | None = None
    timeofday: str | None = None


class LabelRows(NamedTuple):
    """Labels of one frame that have a box."""

    name: str
    video: str | None
    attributes: FrameAttributes | None
    codes: bytes
    """Category codes."""
    crowd: bytes
    """1 where an attribute marks a crowd or a region to ignore."""
    corners: npt.NDArray[np.float64]
    """[4n]: x1, y1, x2, y2 of one label after the other."""
    unscored: bool
    """Whether a label has no score, as is right for labels."""
    boxless: int
    """Labels without a box: lanes, areas."""


class PredictionRows(NamedTuple):
    """Predictions of one frame that have a box."""

    name: str
    video: str | None
    codes: bytes
    scores: npt.NDArray[np.float64]
    corners: npt.NDArray[np.float64]
    """[4n]: x1, y1, x2, y2 of one prediction after the other."""
    fault: BadLabelError | None = None
    """A prediction without a score, which the official tool refuses where the frame is labelled."""
