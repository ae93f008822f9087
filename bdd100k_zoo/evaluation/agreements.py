"""What comparing the frozen results of two stacks tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bdd100k_zoo.evaluation.frozen import ParityResults


class ImageComparison(NamedTuple):
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


class StackComparison(NamedTuple):
    """What two stacks found with the same weights in the same images."""

    expected: ParityResults
    found: ParityResults
    models: Mapping[str, Mapping[str, ImageComparison]]
    """By model, by image."""

    @property
    def failed(self) -> list[str]:
        """The models with a difference that no tie of scores explains."""
        return [name for name, images in self.models.items() if any(each.failures for each in images.values())]

    @property
    def rounded(self) -> list[str]:
        """The models with boxes that differ because of rounding alone."""
        return [name for name, images in self.models.items() if any(each.rounded for each in images.values())]
