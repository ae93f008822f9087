"""What became of each detection and object, and what each frame costs the AP."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.records.matches import (
    ANY_SIZE,
    AREAS,
    FALSE_POSITIVE,
    IGNORED,
    IOU_THRESHOLDS,
    RECALL_POINTS,
    TRUE_POSITIVE,
)
from bdd100k_zoo.records.verdicts import (
    FOUND,
    MISSED,
    REGION,
    FrameLoss,
    JudgedDetections,
    JudgedObjects,
    Verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from bdd100k_zoo.evaluation.pairing import Paired
    from bdd100k_zoo.records.matches import ClassMatches, Matches
    from bdd100k_zoo.records.tables import LabelTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def verdicts_of(paired: Paired, matches: Matches) -> Verdicts:
    """Tell what became of each detection and of each labelled object, at the threshold ``matches.iou``.

    Args:
        paired: labels and predictions.
        matches: ``matching.match(paired, iou)``.
    """
    outcomes, took = np.full(len(paired.rows), IGNORED, np.int8), np.full(len(paired.rows), -1)
    threshold = int(np.flatnonzero(matches.iou == IOU_THRESHOLDS)[0])
    for found in matches.classes:
        places = _places(found, paired)
        outcomes[places] = found.outcomes[ANY_SIZE, threshold]
        took[places] = found.took
    detections = JudgedDetections(paired.classes, paired.scores, paired.boxes, outcomes, took)
    objects = _judged_objects(paired.labels, detections)
    return Verdicts(matches.frames, matches.iou, detections, paired.starts, objects, paired.labels.starts)


def _places(found: ClassMatches, paired: Paired) -> Ints:
    """Give the places of a class's detections among the paired ones: rows of a frame follow one another."""
    begins = paired.starts[found.frames]
    return begins + (found.rows - paired.rows[begins])


def _judged_objects(labels: LabelTable, detections: JudgedDetections) -> JudgedObjects:
    found_by = np.full(len(labels.classes), -1)
    hits = np.flatnonzero(detections.outcomes == TRUE_POSITIVE)
    found_by[detections.took[hits]] = hits
    states = np.where(found_by >= 0, np.int8(FOUND), np.int8(MISSED))
    states[_uncounted(labels)] = REGION
    return JudgedObjects(labels.classes, labels.boxes, states, found_by)


def _uncounted(labels: LabelTable) -> npt.NDArray[np.bool_]:
    _, low, high = AREAS[ANY_SIZE]
    with np.errstate(over="ignore", invalid="ignore"):  # lenient reading keeps corners of any size
        areas = labels.boxes[:, 2] * labels.boxes[:, 3]
    uncounted: npt.NDArray[np.bool_] = labels.crowd | (areas < low) | (areas > high)
    return uncounted


class LostAP(NamedTuple):
    """Points of AP that each frame costs. All together they are 100 less the AP."""

    to_false: Floats
    """[frames]: by false positives."""
    to_missed: Floats
    """[frames]: by objects that no detection finds."""


def lost_ap(matches: Matches, classes: Collection[int] | None = None) -> LostAP:
    """Share out what the AP lacks to 100 among the frames.

    At each of the 101 recall points of a class and threshold, precision p lacks 1 - p to 1. Where p comes from a
    detection, the false positives ranked before it cause that, in equal parts; where the point is never reached, the
    objects that nothing finds do, in equal parts. The mean over points, thresholds and classes is the AP's own.

    Args:
        matches: those of all frames.
        classes: indices of the classes whose AP is meant, those without objects aside; None for all.
    """
    lost = LostAP(np.zeros(len(matches.frames)), np.zeros(len(matches.frames)))
    chosen = [found for index, found in enumerate(matches.classes) if classes is None or index in classes]
    counted = [found for found in chosen if found.objects[ANY_SIZE].any()]
    for found in counted:
        for threshold in range(len(IOU_THRESHOLDS)):
            _share_out(found, found.outcomes[ANY_SIZE, threshold], lost)
    points = 100 / max(len(counted) * len(IOU_THRESHOLDS) * len(RECALL_POINTS), 1)
    return LostAP(lost.to_false * points, lost.to_missed * points)


def worst_frames(matches: Matches, number: int, classes: Collection[int] | None = None) -> tuple[FrameLoss, ...]:
    """Give the frames that cost the most AP, the worst first, of equals the first by name; none that costs nothing.

    Args:
        matches: those of all frames.
        number: how many frames at most.
        classes: as in ``lost_ap``.
    """
    to_false, to_missed = lost_ap(matches, classes)
    lost = to_false + to_missed
    worst = np.argsort(-lost, kind="stable")[:number]
    return tuple(
        FrameLoss(frame, matches.frames[frame], float(lost[frame]), float(to_false[frame]), float(to_missed[frame]))
        for frame in worst[lost[worst] > 0].tolist()
    )


def _share_out(found: ClassMatches, outcomes: npt.NDArray[np.int8], lost: LostAP) -> None:
    """Add what one class loses at one threshold, in recall points of precision 1."""
    objects = found.objects[ANY_SIZE]
    hits, false = np.flatnonzero(outcomes == TRUE_POSITIVE), np.flatnonzero(outcomes == FALSE_POSITIVE)
    recall = np.arange(1, len(hits) + 1) / objects.sum()
    places = np.searchsorted(recall, RECALL_POINTS, side="left")
    reached = places[places < len(hits)]
    costs = _costs_of_false(hits, false, reached)
    lost.to_false[:] += np.bincount(found.frames[false], costs, minlength=len(objects))
    missed = objects - np.bincount(found.frames[hits], minlength=len(objects))
    lost.to_missed[:] += missed * ((len(places) - len(reached)) / max(missed.sum(), 1))


def _costs_of_false(hits: Ints, false: Ints, reached: Ints) -> Floats:
    """Share out the lack of precision at the recall points that are reached; [false positives].

    Args:
        hits: true positives, by their places among the detections.
        false: false positives, likewise.
        reached: [points]: the place among the hits of the one that reaches each point.
    """
    before = np.searchsorted(false, hits)
    precision = np.arange(1, len(hits) + 1) / (np.arange(1, len(hits) + 1) + before)
    tops = np.flatnonzero(precision == np.maximum.accumulate(precision[::-1])[::-1])
    sources = tops[np.searchsorted(tops, reached)]
    share = 1 / (sources + 1 + before[sources])
    by_rank = np.bincount(before[sources], share, minlength=len(false) + 1)
    costs: Floats = np.cumsum(by_rank[::-1], dtype=np.float64)[::-1][1:]
    return costs
