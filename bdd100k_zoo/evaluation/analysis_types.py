"""What is known of one predictions file beyond its scores, as plain numbers: all that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from bdd100k_zoo.evaluation.scores import Scores

MIN_FRAMES = MIN_OBJECTS = 30
"""Of fewer, resampling cannot tell how much an AP varies: no interval is computed and no verdict given."""


class Support(NamedTuple):
    """What an AP is computed from."""

    frames: int
    """Of a class: those that hold an object of it."""
    objects: int
    """Labelled objects to be found; crowds and ignored regions are none."""

    @property
    def enough(self) -> bool:
        """Whether there is enough for an interval."""
        return self.frames >= MIN_FRAMES and self.objects >= MIN_OBJECTS


class Interval(NamedTuple):
    """A 95 % interval, in percent."""

    low: float
    high: float


Intervals = Mapping[str, Interval | None]
"""Of the AP of each class and OVERALL; None where there is not enough for one."""


class Curves(msgspec.Struct, frozen=True):
    """Precision at 101 points of recall, 0 to 1, as the official AP averages it."""

    ious: tuple[float, ...]
    precision: tuple[tuple[tuple[float, ...] | None, ...], ...]
    """[ious][classes][101], 0 to 1; None for a class without objects."""


class ErrorBreakdown(msgspec.Struct, frozen=True):
    """What kinds of error cost how much AP50, by TIDE (Bolya and others, ECCV 2020)."""

    lost: Mapping[str, float]
    """By kind of error: points of AP50 that would be won without it, in percent. The kinds overlap."""
    counts: Mapping[str, int]
    ap50: float
    """In percent."""


class Confusion(msgspec.Struct, frozen=True):
    """Which class is taken for which."""

    counts: tuple[tuple[int, ...], ...]
    """[classes + 1][classes + 1]: labelled as, detected as; the last row is background, the last column is missed."""
    min_score: float
    """Detections of a lower score are left out."""
    iou: float


class ScoreBin(NamedTuple):
    """Detections whose scores lie between two bounds."""

    low: float
    high: float
    """Exclusive, but for the last bin."""
    detections: int
    score: float
    """Their mean score; NaN where there are none."""
    precision: float
    """Share of them that are right, 0 to 1; NaN where there are none."""


class Calibration(msgspec.Struct, frozen=True):
    """Whether scores are the shares of detections that are right."""

    bins: tuple[ScoreBin, ...]
    """Of all classes together."""
    error: float
    """Expected calibration error of all classes together, 0 to 1; NaN without detections."""
    by_class: tuple[float, ...]
    """The same of each class."""
    iou: float
    """A detection is right that finds an object at this IoU."""


class ConditionScores(msgspec.Struct, frozen=True):
    """The frames that have one value of an attribute, scored as if there were no others."""

    attribute: str
    value: str
    support: Support
    scores: Scores
    interval: Interval | None
    """Of the overall AP; None where none was asked for or there is not enough for one."""


class Analysis(msgspec.Struct, frozen=True):
    """All that is known of one predictions file."""

    scores: Scores
    support: Mapping[str, Support]
    """Of each class and OVERALL."""
    objects_by_size: tuple[tuple[int, ...], ...]
    """[classes][small, medium, large]."""
    detections: tuple[int, ...]
    """By class: the 100 best of each frame."""
    intervals: Intervals
    """Empty where none were asked for."""
    curves: Curves
    conditions: tuple[ConditionScores, ...]
    calibration: Calibration
    errors: ErrorBreakdown | None
    """None where scores are not finite, or there are no predictions."""
    confusion: Confusion | None
    """None likewise."""


class APDifference(NamedTuple):
    """By how much one predictions file is better than another, somewhere."""

    where: str
    """``class``, or an attribute of the frames."""
    name: str
    """The class, OVERALL, or the attribute's value."""
    points: float
    """First minus second in AP, in percent."""
    support: Support
    interval: Interval | None
    """Of that difference, on the same resampled frames; None where none was asked for or there is not enough for one.
    Of OVERALL on its own; of all others simultaneous, see ``evaluation.analysis.simultaneous_intervals``."""

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval is not None and (self.interval.low > 0 or self.interval.high < 0)
