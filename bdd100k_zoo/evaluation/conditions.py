"""How the AP depends on the conditions of the frames: weather, scene, time of day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from bdd100k_zoo.evaluation.bootstrap import Interval, Support, percentile_interval
from bdd100k_zoo.evaluation.matching import select_frames
from bdd100k_zoo.evaluation.scores import OVERALL, Scores
from bdd100k_zoo.evaluation.scoring import score_matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.evaluation.bootstrap import Samples
    from bdd100k_zoo.evaluation.matching import Matches

Attribute = Literal["weather", "scene", "timeofday"]
ATTRIBUTES: tuple[Attribute, ...] = ("weather", "scene", "timeofday")
UNKNOWN = "unknown"
"""Value for the frames whose labels do not give the attribute."""
MAX_ATTRIBUTE_VALUES = 12
"""Of one attribute; frames with rarer values are grouped together."""
RARE = "all others"

ConditionKey = tuple[str, str]
"""An attribute and its value, or ALL_FRAMES."""
ALL_FRAMES: ConditionKey = ("", OVERALL)


class ConditionScores(msgspec.Struct, frozen=True):
    """The frames that have one value of an attribute, scored as if there were no others."""

    attribute: str
    value: str
    support: Support
    scores: Scores
    interval: Interval | None
    """Of the overall AP; None where none was asked for or there is not enough for one."""


def group_frames(labels: LabelTable, attribute: Attribute) -> dict[str, list[int]]:
    """Group the frames by an attribute, the most frequent value first; ``UNKNOWN`` where the labels do not give it."""
    groups: dict[str, list[int]] = {}
    for index, attributes in enumerate(labels.attributes):
        value = getattr(attributes, attribute) if attributes else None
        groups.setdefault(value or UNKNOWN, []).append(index)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def group_by_conditions(labels: LabelTable) -> dict[ConditionKey, Sequence[int]]:
    """Group the frames by each attribute that the labels give; ALL_FRAMES comes first."""
    groups: dict[ConditionKey, list[int]] = {}
    for attribute in ATTRIBUTES:
        by_value = group_frames(labels, attribute)
        if set(by_value) == {UNKNOWN}:
            continue
        for place, (value, frames) in enumerate(by_value.items()):
            groups.setdefault((attribute, value if place < MAX_ATTRIBUTE_VALUES else RARE), []).extend(frames)
    return {ALL_FRAMES: range(len(labels.frames)), **{key: sorted(frames) for key, frames in groups.items()}}


def score_frames(matches: Matches, frames: Sequence[int]) -> Scores:
    """Score some frames alone, as if labels and predictions held no others; ``frames`` are indices, in order.

    Where none of them has a prediction, a class counts as labelled if it has an object that is not ignored.
    """
    return score_matches(select_frames(matches, frames))


def score_conditions(
    matches: Matches,
    groups: Mapping[ConditionKey, Sequence[int]],
    support: Mapping[ConditionKey, Support],
    samples: Mapping[ConditionKey, Samples],
) -> tuple[ConditionScores, ...]:
    """Score the frames of each condition.

    Args:
        matches: those of all frames.
        groups: indices of frames, as of ``group_by_conditions``.
        support: of the overall AP of each group.
        samples: APs on resampled frames, of the groups that get an interval.
    """
    return tuple(
        ConditionScores(
            attribute=key[0],
            value=key[1],
            support=support[key],
            scores=score_frames(matches, frames),
            interval=percentile_interval(samples[key][:, -1]) if key in samples else None,
        )
        for key, frames in groups.items()
        if key != ALL_FRAMES
    )
