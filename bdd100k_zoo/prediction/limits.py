"""Which of a model's detections a detector returns, and a run keeps: by score, by class, and by their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bdd100k_zoo.data.classes import CLASSES, class_indices
from bdd100k_zoo.errors import ZooError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bdd100k_zoo.data.detections import Detections


class Limits(NamedTuple):
    """Limits beyond the model's own selection; None where there is none."""

    min_score: float | None = None
    """From 0 to 1."""
    classes: tuple[str, ...] | None = None
    """Names of ``CLASSES``, in their order."""
    max_per_image: int | None = None

    def apply(self, found: Detections) -> Detections:
        """Return the detections to keep, in their order; of equal scores, those that come first."""
        kept = found
        if self.min_score is not None or self.classes is not None:
            kept = found.filter(min_score=self.min_score, classes=self.classes)
        if self.max_per_image is None or len(kept) <= self.max_per_image:
            return kept
        best = np.argsort(-kept.scores, kind="stable")[: self.max_per_image]
        return kept[np.sort(best)]


NO_LIMITS = Limits()


def check_limits(min_score: float | None, classes: Iterable[str | int] | None, max_per_image: int | None) -> Limits:
    """Return limits; raises ZooError for a score outside 0 to 1, unknown or no classes, and a number below 1."""
    if min_score is not None and not 0 <= min_score <= 1:
        raise ZooError(f"expected a min_score from 0 to 1, found {min_score}", "scores are fractions, not percentages")
    if max_per_image is not None and max_per_image < 1:
        hint = "leave out max_per_image, or pass 1 or more"
        raise ZooError(f"expected max_per_image to be at least 1, found {max_per_image}", hint)
    if isinstance(classes, str):
        raise ZooError(f"expected a list of classes, found {classes!r}", f"pass classes=[{classes!r}]")
    if classes is None:
        return Limits(min_score, None, max_per_image)
    names = tuple(CLASSES[index] for index in sorted(set(class_indices(classes))))
    if not names:
        raise ZooError("expected at least one class, found none", f"the classes are {', '.join(CLASSES)}")
    return Limits(min_score, names, max_per_image)
