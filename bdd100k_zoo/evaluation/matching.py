"""Matching detections with labelled objects by COCO's rules, vectorised over frames, areas and thresholds.

The rules are those of ``pycocotools`` 2.0.11 (``COCOeval.evaluateImg``): in each frame and class, detections choose in
the order of their scores; each takes the free object of highest IoU, of equals the last, and an ignored one only where
there is no other. Crowds stay free, and are overlapped by the share of the detection's own area.

Detections of one rank in different frames do not compete. So all frames choose at once, rank by rank.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.records.matches import (
    AREAS,
    FALSE_POSITIVE,
    IGNORED,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    TRUE_POSITIVE,
    ClassMatches,
    Matches,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bdd100k_zoo.evaluation.pairing import Paired

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_COMBINATIONS = len(AREAS) * len(IOU_THRESHOLDS)
_PAIRS_AT_ONCE = 1 << 20
_COUNTED = np.uint64(1 << 63)
"""Set in the keys of objects that count, so that each of them beats every ignored one."""


class _Objects(NamedTuple):
    """Labels of one class, by frame, then as in their file."""

    boxes: Floats
    crowd: Flags
    ignored: Flags
    """[n, areas]: crowds, and objects outside the area."""
    starts: Ints
    """[frames + 1]."""


class _Detections(NamedTuple):
    """The 100 best detections of one class in each frame, by frame, then by descending score."""

    rows: Ints
    frames: npt.NDArray[np.int32]
    ranks: Ints
    scores: Floats
    boxes: Floats
    outside: Flags
    """[n, areas]: whether their own area is outside the area."""


class _Pairs(NamedTuple):
    """Detections and objects that overlap enough for the lowest threshold; by detection, then by object."""

    detections: Ints
    objects: Ints
    overlaps: Floats


def match(paired: Paired) -> Matches:
    """Match all classes."""
    frames = np.repeat(np.arange(len(paired.starts) - 1, dtype=np.int32), np.diff(paired.starts))
    label_frames = np.repeat(np.arange(len(paired.starts) - 1), np.diff(paired.labels.starts))
    return Matches(
        paired.labels.frames,
        tuple(_match_class(paired, index, frames, label_frames) for index in range(len(CLASSES))),
        len(paired.rows),
    )


def _match_class(paired: Paired, index: int, frames: npt.NDArray[np.int32], label_frames: Ints) -> ClassMatches:
    objects = _objects_of(paired, index, label_frames)
    detections = _detections_of(paired, index, frames)
    outcomes = _outcomes(detections, objects)
    order = np.argsort(-detections.scores, kind="stable")
    return ClassMatches(
        scores=detections.scores[order],
        frames=detections.frames[order],
        ranks=detections.ranks[order].astype(np.uint8),
        rows=paired.rows[detections.rows[order]],
        outcomes=np.ascontiguousarray(np.moveaxis(outcomes[order], 0, -1)),
        objects=_count_objects(objects),
        labelled=len(objects.boxes) > 0,
    )


def _objects_of(paired: Paired, index: int, label_frames: Ints) -> _Objects:
    labels = paired.labels
    rows = np.flatnonzero(labels.classes == index)
    crowd = labels.crowd[rows]
    counts = np.bincount(label_frames[rows], minlength=len(labels.frames))
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    boxes = labels.boxes[rows]
    return _Objects(boxes, crowd, _outside(boxes) | crowd[:, None], starts)


def _detections_of(paired: Paired, index: int, frames: npt.NDArray[np.int32]) -> _Detections:
    rows = np.flatnonzero(paired.classes == index)
    rows = rows[np.lexsort((-paired.scores[rows], frames[rows]))]
    ranks = _places_in_groups(frames[rows])
    best = ranks < MAX_DETECTIONS[-1]
    rows, ranks = rows[best], ranks[best]
    boxes = paired.boxes[rows]
    return _Detections(rows, frames[rows], ranks, paired.scores[rows], boxes, _outside(boxes))


def _outside(boxes: Floats) -> Flags:
    areas = (boxes[:, 2] * boxes[:, 3])[:, None]
    low, high = np.array([bounds for _, *bounds in AREAS]).T
    outside: Flags = (areas < low) | (areas > high)
    return outside


def _places_in_groups(groups: npt.NDArray[np.integer]) -> Ints:
    """Count from 0 within each run of equal values."""
    places = np.arange(len(groups))
    begins = np.append(True, groups[1:] != groups[:-1])[: len(groups)]
    return places - np.maximum.accumulate(np.where(begins, places, 0))


def _count_objects(objects: _Objects) -> npt.NDArray[np.int32]:
    """[areas, frames]: how many objects count."""
    sums = np.concatenate((np.zeros((1, len(AREAS)), np.int32), np.cumsum(~objects.ignored, axis=0, dtype=np.int32)))
    return np.ascontiguousarray(np.diff(sums[objects.starts], axis=0).T)


def _outcomes(detections: _Detections, objects: _Objects) -> npt.NDArray[np.int8]:
    """[n, areas, thresholds]."""
    unmatched = np.where(detections.outside, np.int8(IGNORED), np.int8(FALSE_POSITIVE))
    outcomes = np.repeat(unmatched, len(IOU_THRESHOLDS), axis=1)
    pairs = _overlapping(detections, objects)
    if len(pairs.objects):
        _choose(pairs, detections, objects, outcomes)
    return outcomes.reshape(-1, len(AREAS), len(IOU_THRESHOLDS))


def _overlapping(detections: _Detections, objects: _Objects) -> _Pairs:
    parts = [_overlapping_part(detections, objects, part) for part in _parts(detections, objects)]
    if not parts:
        return _Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return _Pairs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _parts(detections: _Detections, objects: _Objects) -> Iterator[slice]:
    """Cut the detections so that each part has about ``_PAIRS_AT_ONCE`` pairs."""
    before = np.cumsum(np.diff(objects.starts)[detections.frames]) // _PAIRS_AT_ONCE
    cuts = np.flatnonzero(np.diff(before)) + 1
    edges = [0, *cuts.tolist(), len(detections.rows)]
    return (slice(first, last) for first, last in pairwise(edges) if last > first)


def _overlapping_part(detections: _Detections, objects: _Objects, part: slice) -> _Pairs:
    frames = detections.frames[part]
    begins = objects.starts[frames]
    counts = objects.starts[frames + 1] - begins
    ends = np.cumsum(counts)
    chosen = np.repeat(np.arange(part.start, part.stop), counts)
    found = np.arange(counts.sum()) + np.repeat(begins - (ends - counts), counts)
    overlaps = _overlap(detections.boxes[chosen], objects.boxes[found], objects.crowd[found])
    enough = overlaps >= IOU_THRESHOLDS[0]
    return _Pairs(chosen[enough], found[enough], overlaps[enough])


def _overlap(boxes: Floats, others: Floats, crowd: Flags) -> Floats:
    """IoU of boxes and others, one by one; over the own area of the box where the other is a crowd.

    The order of operations is that of ``bbIou`` in pycocotools' maskApi.c.
    """
    x, y, width, height = boxes.T
    other_x, other_y, other_width, other_height = others.T
    common_width = np.minimum(width + x, other_width + other_x) - np.maximum(x, other_x)
    common_height = np.minimum(height + y, other_height + other_y) - np.maximum(y, other_y)
    common = common_width * common_height
    area = width * height
    union = np.where(crowd, area, area + other_width * other_height - common)
    apart = (common_width <= 0) | (common_height <= 0)
    overlap: Floats = np.divide(common, union, out=np.zeros_like(common), where=~apart)
    return overlap


def _choose(pairs: _Pairs, detections: _Detections, objects: _Objects, outcomes: npt.NDArray[np.int8]) -> None:
    """Let all detections that overlap something choose, and write what becomes of them.

    An area and a threshold make a combination; in each the choice is made apart. Positive floats sort as their bits do.
    """
    reached = np.searchsorted(IOU_THRESHOLDS, pairs.overlaps, side="right")
    reaches = reached[:, None] > np.tile(np.arange(len(IOU_THRESHOLDS)), len(AREAS))
    counts = np.where(objects.ignored, np.uint64(0), _COUNTED)[pairs.objects]
    keys = np.repeat(counts | pairs.overlaps.view(np.uint64)[:, None], len(IOU_THRESHOLDS), axis=1)
    keys[~reaches] = 0
    begins = np.flatnonzero(np.append(True, np.diff(pairs.detections) != 0))
    chooser = pairs.detections[begins]
    options = np.diff(np.append(begins, len(pairs.objects)))
    turns = _places_in_groups(detections.frames[chooser])
    taken = np.zeros((len(objects.boxes), _COMBINATIONS), np.bool_)
    order = np.lexsort((-options, turns))
    for turn in np.split(order, np.flatnonzero(np.diff(turns[order])) + 1):
        best, choice = _best_options(begins[turn], options[turn], pairs.objects, keys, taken)
        matched = best > 0
        result = np.where(best >= _COUNTED, np.int8(TRUE_POSITIVE), np.int8(IGNORED))
        outcomes[chooser[turn]] = np.where(matched, result, outcomes[chooser[turn]])
        line, combination = np.nonzero(matched)
        taken[choice[line, combination], combination] = True
        taken[objects.crowd] = False


def _best_options(
    begins: Ints, options: Ints, found: Ints, keys: npt.NDArray[np.uint64], taken: Flags
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Give the key and the object that each detection chooses in each combination; key 0 where there is none.

    Detections come by descending number of options, so that those with one more option are the first of them.
    """
    best = np.zeros((len(begins), _COMBINATIONS), np.uint64)
    choice = np.zeros((len(begins), _COMBINATIONS), np.int32)
    for option in range(options[0]):
        more = int(np.searchsorted(-options, -option, side="left"))
        places = begins[:more] + option
        objects = found[places]
        offered = np.where(taken[objects], np.uint64(0), keys[places])
        better = (offered >= best[:more]) & (offered > 0)
        best[:more][better] = offered[better]
        choice[:more] = np.where(better, objects[:, None], choice[:more])
    return best, choice
