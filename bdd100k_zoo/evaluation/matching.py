"""Matching of detections with labelled objects by COCO's rules, vectorised over frames, areas and thresholds.

The rules are those of ``pycocotools`` 2.0.11 (``COCOeval.evaluateImg``). In each frame and class, detections are
matched in descending order of score. Each takes the free object with the highest IoU, the last of equal ones; it takes
an ignored object only if no other is left. A crowd stays free, and its overlap is relative to the detection's area.

Detections of the same rank in different frames do not compete, so all frames are matched at once, rank by rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.pairing import concatenate_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.evaluation.pairing import PairedFrames

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.uint64]
Outcomes = npt.NDArray[np.int8]

IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALL_POINTS: Floats = np.linspace(0.0, 1.0, 101)
AREAS: tuple[tuple[str, float, float], ...] = (
    ("all", 0.0, 1e5**2),
    ("small", 0.0, 32.0**2),
    ("medium", 32.0**2, 96.0**2),
    ("large", 96.0**2, 1e5**2),
)
"""Names and bounds in square pixels, both inclusive."""
ANY_SIZE = 0
"""Index into ``AREAS`` of the one that includes all others."""
MAX_DETECTIONS = (1, 10, 100)
"""Per image and class."""

TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1

LARGEST = 1e150
"""The overlaps of boxes are finite if no side or area is larger."""

_PAIRS_AT_ONCE = 1 << 16
"""Few enough that the arrays of one part fit into the processor's cache."""
_COUNTED = np.uint64(1 << 63)
"""Set in the keys of objects that are not ignored, so that each of them wins over every ignored one."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """Detections of one class, the 100 best of each frame; by descending score, ties in the official order."""

    scores: Floats
    """[n]."""
    frames: npt.NDArray[np.int32]
    """[n]: indices into ``Matches.frames``."""
    ranks: npt.NDArray[np.uint8]
    """[n]: how many detections of this class in the same frame are better, 0 to 99."""
    rows: Ints
    """[n]: rows of the table of predictions."""
    outcomes: Outcomes
    """[areas, thresholds, n]: TRUE_POSITIVE, FALSE_POSITIVE or IGNORED."""
    took: Ints
    """[n]: row in the table of labels of the object of any size that it matched at ``Matches.iou``; -1 for none."""
    objects: npt.NDArray[np.int32]
    """[areas, frames]: numbers of labelled objects that are not ignored."""
    labelled: bool
    """Whether the class has any label, crowds and ignored regions included."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """All matches of one predictions file."""

    frames: tuple[str, ...]
    """In the official order."""
    classes: tuple[ClassMatches, ...]
    """In the order of ``CLASSES``."""
    predictions: int
    """Number of predictions: the official evaluator has a rule of its own for a file without any."""
    iou: float
    """The one of ``IOU_THRESHOLDS`` that ``ClassMatches.took`` belongs to."""


class _Boxes(NamedTuple):
    """Sides and areas, each in an array of its own."""

    low: tuple[Floats, Floats]
    """Left and upper side."""
    high: tuple[Floats, Floats]
    """Right and lower side."""
    areas: Floats

    @classmethod
    def of(cls, boxes: Floats) -> _Boxes:
        x, y, width, height = np.ascontiguousarray(boxes.T)
        return cls((x, y), (width + x, height + y), width * height)

    def outside(self) -> Flags:
        """[n, areas]: whether a box is smaller or larger than the area's bounds."""
        low, high = np.array([bounds for _, *bounds in AREAS]).T
        outside: Flags = (self.areas[:, None] < low) | (self.areas[:, None] > high)
        return outside

    def odd(self) -> Flags:
        """[n]: whether a box is so large, or not a number, that its overlaps may not be finite."""
        odd: Flags = ~(np.abs(np.array([*self.low, *self.high, self.areas])) <= LARGEST).all(axis=0)
        return odd


class _Objects(NamedTuple):
    """Labels of one class, by frame, then as in their file."""

    boxes: _Boxes
    crowd: Flags
    ignored: Flags
    """[n, areas]: crowds, and objects outside the area."""
    starts: Ints
    """[frames + 1]."""
    rows: Ints
    """[n]: rows of the table of labels."""


class _Detections(NamedTuple):
    """The 100 best detections of one class in each frame, by frame, then by descending score."""

    order: Ints
    """[n]: indices that sort by descending score over all frames, ties in the official order."""
    rows: Ints
    """[n]: rows of the table of predictions."""
    frames: npt.NDArray[np.int32]
    ranks: Ints
    scores: Floats
    boxes: _Boxes


class _Pairs(NamedTuple):
    """Detections and objects that overlap enough for the lowest threshold; by detection, then by object."""

    detections: Ints
    objects: Ints
    overlaps: Floats


def match_detections(paired: PairedFrames, iou: float = 0.5) -> Matches:
    """Match the detections of all classes.

    Args:
        paired: labels and predictions of the same frames.
        iou: the one of ``IOU_THRESHOLDS`` at which to record the object that each detection matched.
    """
    threshold = int(np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou))[0])
    frames = np.repeat(np.arange(len(paired.starts) - 1, dtype=np.int32), np.diff(paired.starts))
    label_frames = np.repeat(np.arange(len(paired.starts) - 1), np.diff(paired.labels.starts))
    with np.errstate(all="ignore"):  # boxes may be infinite, not a number, or without extent
        classes = (
            _match_class(_detections_of(paired, index, frames), _objects_of(paired, index, label_frames), threshold)
            for index in range(len(CLASSES))
        )
        return Matches(paired.labels.frames, tuple(classes), len(paired.rows), float(IOU_THRESHOLDS[threshold]))


def select_frames(matches: Matches, frames: Sequence[int]) -> Matches:
    """Return the matches of some frames alone; ``frames`` are indices, in order."""
    chosen = np.asarray(frames, np.int64)
    places = np.full(len(matches.frames), -1, np.int32)
    places[chosen] = np.arange(len(chosen), dtype=np.int32)
    classes = tuple(_select(found, chosen, places) for found in matches.classes)
    names = tuple(matches.frames[index] for index in frames)
    return Matches(names, classes, sum(len(found.scores) for found in classes), matches.iou)


def _select(found: ClassMatches, chosen: Ints, places: npt.NDArray[np.int32]) -> ClassMatches:
    frames = places[found.frames]
    kept = np.flatnonzero(frames >= 0)
    objects = found.objects[:, chosen]
    return ClassMatches(
        scores=found.scores[kept],
        frames=frames[kept],
        ranks=found.ranks[kept],
        rows=found.rows[kept],
        outcomes=found.outcomes[:, :, kept],
        took=found.took[kept],
        objects=objects,
        labelled=bool(objects[ANY_SIZE].any()),
    )


def _objects_of(paired: PairedFrames, index: int, label_frames: Ints) -> _Objects:
    labels = paired.labels
    rows = np.flatnonzero(labels.classes == index)
    crowd, boxes = labels.crowd[rows], _Boxes.of(labels.boxes[rows])
    counts = np.bincount(label_frames[rows], minlength=len(labels.frames))
    return _Objects(boxes, crowd, boxes.outside() | crowd[:, None], np.append(0, np.cumsum(counts)), rows)


def _detections_of(paired: PairedFrames, index: int, frames: npt.NDArray[np.int32]) -> _Detections:
    rows = np.flatnonzero(paired.classes == index)
    rows = rows[np.argsort(-paired.scores[rows], kind="stable")]
    # numpy sorts 16 bits in linear time
    narrow = frames[rows].astype(np.uint16) if len(paired.labels.frames) <= 1 << 16 else frames[rows]
    by_frame = np.argsort(narrow, kind="stable")
    ranks = _places_in_groups(frames[rows[by_frame]])
    best = ranks < MAX_DETECTIONS[-1]
    order = np.empty(len(by_frame), np.int64)
    order[by_frame] = np.where(best, np.cumsum(best) - 1, -1)
    rows, ranks = rows[by_frame[best]], ranks[best]
    return _Detections(
        order[order >= 0], paired.rows[rows], frames[rows], ranks, paired.scores[rows], _Boxes.of(paired.boxes[rows])
    )


def _places_in_groups(groups: npt.NDArray[np.integer]) -> Ints:
    """Count from 0 within each run of equal values."""
    places = np.arange(len(groups))
    begins = np.append(True, groups[1:] != groups[:-1])[: len(groups)]
    return places - np.maximum.accumulate(np.where(begins, places, 0))


def _match_class(detections: _Detections, objects: _Objects, threshold: int) -> ClassMatches:
    unmatched = np.where(detections.boxes.outside(), np.int8(IGNORED), np.int8(FALSE_POSITIVE))
    outcomes = np.repeat(unmatched[:, :, None], len(IOU_THRESHOLDS), axis=2)
    took = np.full(len(detections.rows), -1)
    pairs = _overlapping_pairs(detections, objects)
    if odd := _odd_frames(detections, objects):
        for frame in odd:
            _match_frame_naively(frame, detections, objects, threshold, outcomes, took)
        regular = ~np.isin(detections.frames[pairs.detections], odd)
        pairs = _Pairs._make(column[regular] for column in pairs)
    if len(pairs.objects):
        _match_pairs(pairs, detections, objects, threshold, outcomes, took)
    counted = np.concatenate((np.zeros((1, len(AREAS)), np.int32), np.cumsum(~objects.ignored, axis=0, dtype=np.int32)))
    order = detections.order
    return ClassMatches(
        scores=detections.scores[order],
        frames=detections.frames[order],
        ranks=detections.ranks[order].astype(np.uint8),
        rows=detections.rows[order],
        outcomes=np.ascontiguousarray(np.moveaxis(outcomes[order], 0, -1)),
        took=np.append(objects.rows, -1)[took[order]],
        objects=np.ascontiguousarray(np.diff(counted[objects.starts], axis=0).T),
        labelled=len(objects.crowd) > 0,
    )


def _overlapping_pairs(detections: _Detections, objects: _Objects) -> _Pairs:
    """Return the pairs of all frames, found in parts of about ``_PAIRS_AT_ONCE`` pairs."""
    before = np.cumsum(np.diff(objects.starts)[detections.frames]) // _PAIRS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(before)) + 1).tolist(), len(detections.rows)]
    parts = [_overlapping_part(detections, objects, slice(*edge)) for edge in pairwise(edges)]
    return _Pairs._make(map(np.concatenate, zip(*parts, strict=True)))


def _overlapping_part(detections: _Detections, objects: _Objects, part: slice) -> _Pairs:
    """Return the pairs among the detections of one part and all objects of their frames.

    Most boxes are apart, and are dropped as soon as one axis shows it.
    """
    frames = detections.frames[part]
    begins = objects.starts[frames]
    counts = objects.starts[frames + 1] - begins
    chosen = np.repeat(np.arange(part.start, part.stop), counts)
    found = concatenate_ranges(begins, counts)
    width = _common_side(detections, objects, 0, chosen, found)
    near = np.flatnonzero(width > 0)
    chosen, found, width = chosen[near], found[near], width[near]
    height = _common_side(detections, objects, 1, chosen, found)
    near = np.flatnonzero(height > 0)
    chosen, found = chosen[near], found[near]
    overlaps = _overlaps(detections, objects, width[near] * height[near], chosen, found)
    enough = np.flatnonzero(overlaps >= IOU_THRESHOLDS[0])
    return _Pairs(chosen[enough], found[enough], overlaps[enough])


def _common_side(detections: _Detections, objects: _Objects, axis: int, chosen: Ints, found: Ints) -> Floats:
    """Return the length that boxes share along an axis; negative if they are apart.

    As in ``bbIou`` of pycocotools' maskApi.c, ``fmin`` and ``fmax`` ignore NaN where the other number is known.
    """
    common: Floats = np.fmin(detections.boxes.high[axis][chosen], objects.boxes.high[axis][found])
    common -= np.fmax(detections.boxes.low[axis][chosen], objects.boxes.low[axis][found])
    return common


def _overlaps(detections: _Detections, objects: _Objects, common: Floats, chosen: Ints, found: Ints) -> Floats:
    """Return common areas relative to the union of both boxes, or to the detection's own area if the object is a crowd.

    The order of operations is that of ``bbIou`` in pycocotools' maskApi.c, on which the last bit depends.
    """
    area = detections.boxes.areas[chosen]
    overlaps: Floats = common / np.where(objects.crowd[found], area, area + objects.boxes.areas[found] - common)
    return overlaps


def _match_pairs(
    pairs: _Pairs, detections: _Detections, objects: _Objects, threshold: int, outcomes: Outcomes, took: Ints
) -> None:
    """Match all detections that overlap an object, one rank of all frames after the other."""
    # The bits of positive floats sort as the floats do; the top bit puts objects that count above the ignored ones.
    keys = np.where(objects.ignored, np.uint64(0), _COUNTED)[pairs.objects] | pairs.overlaps.view(np.uint64)[:, None]
    reached = np.searchsorted(IOU_THRESHOLDS, pairs.overlaps, side="right")
    begins = np.flatnonzero(np.append(True, np.diff(pairs.detections) != 0))
    chooser = pairs.detections[begins]
    counts = np.diff(np.append(begins, len(pairs.objects)))
    turns = _places_in_groups(detections.frames[chooser])
    taken = np.zeros((len(objects.crowd), len(AREAS), len(IOU_THRESHOLDS)), np.bool_)
    order = np.lexsort((-counts, turns))
    for turn in np.split(order, np.flatnonzero(np.diff(turns[order])) + 1):
        best, choice = _best_options(pairs.objects, keys, reached, begins[turn], counts[turn], taken)
        matched = best > 0
        result = np.where(best >= _COUNTED, np.int8(TRUE_POSITIVE), np.int8(IGNORED))
        outcomes[chooser[turn]] = np.where(matched, result, outcomes[chooser[turn]])
        took[chooser[turn]] = np.where(matched, choice, -1)[:, ANY_SIZE, threshold]
        line, area, level = np.nonzero(matched)
        taken[choice[line, area, level], area, level] = True
        taken[objects.crowd] = False


def _best_options(
    objects: Ints, keys: Keys, reached: Ints, begins: Ints, counts: Ints, taken: Flags
) -> tuple[Keys, Ints]:
    """Return the best key and its object for each detection, [n, areas, thresholds]; key 0 if there is none.

    Args:
        objects: [pairs]: the objects that detections may match.
        keys: [pairs, areas]: the highest one wins.
        reached: [pairs]: how many of the thresholds the overlap reaches.
        begins: [n]: the first pair of each detection.
        counts: [n]: its number of pairs, in descending order, so that those with one more pair are the first ones.
        taken: [objects, areas, thresholds].
    """
    best = np.zeros((len(begins), *taken.shape[1:]), np.uint64)
    choice = np.zeros(best.shape, np.int64)
    for option in range(counts[0]):
        places = begins[: int(np.searchsorted(-counts, -option, side="left"))] + option
        open_to = reached[places, None, None] > np.arange(len(IOU_THRESHOLDS))
        offered = keys[places][:, :, None]
        better = (offered >= best[: len(places)]) & open_to & ~taken[objects[places]]
        np.copyto(best[: len(places)], offered, where=better)
        np.copyto(choice[: len(places)], objects[places][:, None, None], where=better)
    return best, choice


# Boxes that are infinite or not a number, which lenient reading accepts


def _odd_frames(detections: _Detections, objects: _Objects) -> list[int]:
    """Return the frames with a box whose overlaps may not be finite."""
    frames = np.repeat(np.arange(len(objects.starts) - 1), np.diff(objects.starts))
    return sorted({*detections.frames[detections.boxes.odd()].tolist(), *frames[objects.boxes.odd()].tolist()})


def _match_frame_naively(
    frame: int, detections: _Detections, objects: _Objects, threshold: int, outcomes: Outcomes, took: Ints
) -> None:
    """Match the detections of one frame comparison by comparison, as ``COCOeval.evaluateImg`` does.

    An overlap that is NaN compares as false with thresholds and with other overlaps. So it wins over the best one
    before it, and whatever comes next wins over it.
    """
    first, last = np.searchsorted(detections.frames, [frame, frame + 1]).tolist()
    begin, end = objects.starts[frame : frame + 2].tolist()
    chosen, found = np.arange(first, last)[:, None], np.arange(begin, end)
    width, height = (_common_side(detections, objects, axis, chosen, found) for axis in (0, 1))
    overlaps = _overlaps(detections, objects, width * height, chosen, found)
    overlaps[(width <= 0) | (height <= 0)] = 0
    for area in range(len(AREAS)):
        ignored = objects.ignored[begin:end, area]
        order = np.argsort(ignored, kind="stable").tolist()
        for level, least in enumerate(IOU_THRESHOLDS.tolist()):
            taken: set[int] = set()
            for detection in range(last - first):
                best, choice = min(least, 1 - 1e-10), -1  # as pycocotools does
                for place in order:
                    if place in taken and not objects.crowd[begin + place]:
                        continue
                    if choice >= 0 and not ignored[choice] and ignored[place]:
                        break
                    if overlaps[detection, place] < best:
                        continue
                    best, choice = overlaps[detection, place], place
                if choice < 0:
                    continue
                taken.add(choice)
                outcomes[first + detection, area, level] = IGNORED if ignored[choice] else TRUE_POSITIVE
                if (area, level) == (ANY_SIZE, threshold):
                    took[first + detection] = begin + choice
