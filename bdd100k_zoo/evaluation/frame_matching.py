"""The outcome of each detection and object, and the frames that cost the most AP."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.evaluation.matching import (
    ANY_SIZE,
    AREAS,
    FALSE_POSITIVE,
    IGNORED,
    IOU_THRESHOLDS,
    RECALL_POINTS,
    TRUE_POSITIVE,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from bdd100k_zoo.evaluation.matching import ClassMatches, Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames

FOUND, MISSED, IGNORE_REGION = 1, 0, -1
"""States of a labelled object. An ignored region (or crowd) need not be found, and detections in it do not count."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class DetectionOutcomes(NamedTuple):
    """Detections of one frame or of all; by frame, then in the order of their file."""

    classes: npt.NDArray[np.uint8]
    """[n]: indices into ``CLASSES``."""
    scores: Floats
    """[n]."""
    boxes: Floats
    """[n, 4]: x, y, width, height in pixels."""
    outcomes: npt.NDArray[np.int8]
    """[n]: ``matching.TRUE_POSITIVE``, ``FALSE_POSITIVE`` or ``IGNORED``: it matched an ignored region, or is not among
    the 100 best of its class in the frame."""
    took: Ints
    """[n]: index of the object that it matched among the objects (of the same frame, or of all); -1 for none."""


class ObjectOutcomes(NamedTuple):
    """Labelled objects of one frame or of all; by frame, then in the order of their file."""

    classes: npt.NDArray[np.uint8]
    """[n]: indices into ``CLASSES``."""
    boxes: Floats
    """[n, 4]: x, y, width, height in pixels."""
    states: npt.NDArray[np.int8]
    """[n]: FOUND, MISSED or IGNORE_REGION."""
    found_by: Ints
    """[n]: index of the detection that found it among the detections (of the same frame, or of all); -1 for none."""


class FrameOutcomes(NamedTuple):
    """Outcomes of one frame."""

    name: str
    detections: DetectionOutcomes
    objects: ObjectOutcomes


class MatchOutcomes(NamedTuple):
    """Outcomes of all frames at one IoU threshold, exactly those of the evaluation."""

    frames: tuple[str, ...]
    """In the official order."""
    iou: float
    """The threshold, from 0.5 to 0.95."""
    detections: DetectionOutcomes
    detection_starts: Ints
    """[frames + 1]: the detections of frame i are ``detection_starts[i]:detection_starts[i + 1]``."""
    objects: ObjectOutcomes
    object_starts: Ints
    """[frames + 1]: the objects of frame i are ``object_starts[i]:object_starts[i + 1]``."""

    def of_frame(self, index: int) -> FrameOutcomes:
        """Return the outcomes of one frame; ``took`` and ``found_by`` count from its first object or detection."""
        detected = slice(*self.detection_starts[index : index + 2].tolist())
        labelled = slice(*self.object_starts[index : index + 2].tolist())
        detections = DetectionOutcomes._make(column[detected] for column in self.detections)
        objects = ObjectOutcomes._make(column[labelled] for column in self.objects)
        took = np.where(detections.took < 0, -1, detections.took - labelled.start)
        found_by = np.where(objects.found_by < 0, -1, objects.found_by - detected.start)
        return FrameOutcomes(self.frames[index], detections._replace(took=took), objects._replace(found_by=found_by))


class FrameAPLoss(NamedTuple):
    """One frame's share of the points that the AP lacks to 100; the shares of all frames add up to exactly that."""

    frame: int
    """Index into the frames in the official order."""
    name: str
    lost: float
    """Points of AP: ``to_false`` and ``to_missed`` together."""
    to_false: float
    """Points that false positives cost, over all IoU thresholds."""
    to_missed: float
    """Points that missed objects cost, over all IoU thresholds."""


def build_match_outcomes(paired: PairedFrames, matches: Matches) -> MatchOutcomes:
    """Return the outcome of each detection and of each labelled object, at the threshold ``matches.iou``.

    Args:
        paired: labels and predictions.
        matches: ``match_detections(paired, iou)``.
    """
    outcomes, took = np.full(len(paired.rows), IGNORED, np.int8), np.full(len(paired.rows), -1)
    threshold = int(np.flatnonzero(matches.iou == IOU_THRESHOLDS)[0])
    for found in matches.classes:
        begins = paired.starts[found.frames]
        places = begins + (found.rows - paired.rows[begins])  # rows of a frame are consecutive
        outcomes[places] = found.outcomes[ANY_SIZE, threshold]
        took[places] = found.took

    labels = paired.labels
    hits = np.flatnonzero(outcomes == TRUE_POSITIVE)
    found_by = np.full(len(labels.classes), -1)
    found_by[took[hits]] = hits
    states = np.where(found_by >= 0, np.int8(FOUND), np.int8(MISSED))
    _, low, high = AREAS[ANY_SIZE]
    with np.errstate(over="ignore", invalid="ignore"):  # lenient reading keeps corners of any size
        areas = labels.boxes[:, 2] * labels.boxes[:, 3]
    states[labels.crowd | (areas < low) | (areas > high)] = IGNORE_REGION
    return MatchOutcomes(
        frames=matches.frames,
        iou=matches.iou,
        detections=DetectionOutcomes(paired.classes, paired.scores, paired.boxes, outcomes, took),
        detection_starts=paired.starts,
        objects=ObjectOutcomes(labels.classes, labels.boxes, states, found_by),
        object_starts=labels.starts,
    )


def lost_ap(matches: Matches, classes: Collection[int] | None = None) -> tuple[Floats, Floats]:
    """Attribute the points that the AP lacks to 100 to the frames.

    At each of the 101 recall points of a class and threshold, precision p lacks 1 - p to 1. If p comes from a
    detection, the false positives ranked before it share that equally; if the point is never reached, the missed
    objects do. The mean over points, thresholds and classes is the AP's own.

    Args:
        matches: those of all frames.
        classes: indices of the classes whose AP is meant; None for all. Classes without objects have no AP.

    Returns:
        to_false: [frames]: points of AP that false positives cost.
        to_missed: [frames]: points of AP that missed objects cost. All points together are 100 minus the AP.
    """
    to_false, to_missed = np.zeros((2, len(matches.frames)))
    chosen = [found for index, found in enumerate(matches.classes) if classes is None or index in classes]
    counted = [found for found in chosen if found.objects[ANY_SIZE].any()]
    for found in counted:
        for threshold in range(len(IOU_THRESHOLDS)):
            _add_losses(found, threshold, to_false, to_missed)
    points = 100 / max(len(counted) * len(IOU_THRESHOLDS) * len(RECALL_POINTS), 1)
    return to_false * points, to_missed * points


def worst_frames(matches: Matches, number: int, classes: Collection[int] | None = None) -> tuple[FrameAPLoss, ...]:
    """Return the frames that cost the most AP, the worst first, ties by name; frames that cost nothing are left out.

    Args:
        matches: those of all frames.
        number: how many frames at most.
        classes: as in ``lost_ap``.
    """
    to_false, to_missed = lost_ap(matches, classes)
    lost = to_false + to_missed
    worst = np.argsort(-lost, kind="stable")[:number]
    return tuple(
        FrameAPLoss(frame, matches.frames[frame], float(lost[frame]), float(to_false[frame]), float(to_missed[frame]))
        for frame in worst[lost[worst] > 0].tolist()
    )


def _add_losses(found: ClassMatches, threshold: int, to_false: Floats, to_missed: Floats) -> None:
    """Add the losses of one class at one threshold, in recall points of precision 1."""
    objects, outcomes = found.objects[ANY_SIZE], found.outcomes[ANY_SIZE, threshold]
    hits, false = np.flatnonzero(outcomes == TRUE_POSITIVE), np.flatnonzero(outcomes == FALSE_POSITIVE)
    recall = np.arange(1, len(hits) + 1) / objects.sum()
    places = np.searchsorted(recall, RECALL_POINTS, side="left")
    reached = places[places < len(hits)]
    costs = _false_positive_costs(hits, false, reached)
    to_false += np.bincount(found.frames[false], costs, minlength=len(objects))
    missed = objects - np.bincount(found.frames[hits], minlength=len(objects))
    to_missed += missed * ((len(places) - len(reached)) / max(missed.sum(), 1))


def _false_positive_costs(hits: Ints, false: Ints, reached: Ints) -> Floats:
    """Return the lack of precision at the recall points that each false positive causes, [false positives].

    Args:
        hits: indices of true positives among the detections.
        false: indices of false positives.
        reached: [points]: index among the hits of the one that reaches each point.
    """
    before = np.searchsorted(false, hits)
    precision = np.arange(1, len(hits) + 1) / (np.arange(1, len(hits) + 1) + before)
    tops = np.flatnonzero(precision == np.maximum.accumulate(precision[::-1])[::-1])
    sources = tops[np.searchsorted(tops, reached)]
    share = 1 / (sources + 1 + before[sources])
    by_rank = np.bincount(before[sources], share, minlength=len(false) + 1)
    costs: Floats = np.cumsum(by_rank[::-1], dtype=np.float64)[::-1][1:]
    return costs
