"""Matching detections with labelled objects by COCO's rules, vectorised over frames, areas and thresholds.

The rules are those of ``pycocotools`` 2.0.11 (``COCOeval.evaluateImg``): in each frame and class, detections choose in
the order of their scores; each takes the free object of highest IoU, of equals the last, and an ignored one only where
there is no other. Crowds stay free, and are overlapped by the share of the detection's own area.

Detections of one rank in different frames do not compete. So all frames choose at once, rank by rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.classes import CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bdd100k_zoo.evaluation.pairing import PairedFrames

IOU_THRESHOLDS: npt.NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
RECALL_POINTS: npt.NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
AREAS: tuple[tuple[str, float, float], ...] = (
    ("all", 0.0, 1e5**2),
    ("small", 0.0, 32.0**2),
    ("medium", 32.0**2, 96.0**2),
    ("large", 96.0**2, 1e5**2),
)
"""Names and bounds in square pixels, both inclusive."""
ANY_SIZE = 0
"""The area, by its place in ``AREAS``, that holds all others."""
MAX_DETECTIONS = (1, 10, 100)
"""Per image and class."""

TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """Detections of one class, the 100 best of each frame; by descending score, ties in the official order."""

    scores: npt.NDArray[np.float64]
    """[n]."""
    frames: npt.NDArray[np.int32]
    """[n]: indices into ``Matches.frames``."""
    ranks: npt.NDArray[np.uint8]
    """[n]: how many detections of this class in the same frame are better, 0 to 99."""
    rows: npt.NDArray[np.int64]
    """[n]: rows of the table of predictions."""
    outcomes: npt.NDArray[np.int8]
    """[areas, thresholds, n]: TRUE_POSITIVE, FALSE_POSITIVE or IGNORED."""
    took: npt.NDArray[np.int64]
    """[n]: the row in the table of labels of the object of any size that each took at ``Matches.iou``; -1 for none."""
    objects: npt.NDArray[np.int32]
    """[areas, frames]: labelled objects to be found."""
    labelled: bool
    """Whether the class has any label, crowds and regions included."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """All matches of one predictions file."""

    frames: tuple[str, ...]
    """In the official order."""
    classes: tuple[ClassMatches, ...]
    """In the order of ``categories.CLASSES``."""
    predictions: int
    """How many predictions count at all: the official tool scores none of them by a rule of its own."""
    iou: float
    """The one of ``IOU_THRESHOLDS`` that ``ClassMatches.took`` is of."""


Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LARGEST = 1e150
"""Sides and areas up to here have overlaps that are numbers."""

_PAIRS_AT_ONCE = 1 << 16
_COUNTED = np.uint64(1 << 63)
"""Set in the keys of objects that count, so that each of them beats every ignored one."""


class _Boxes(NamedTuple):
    """Sides and areas, each in a line of its own."""

    low: tuple[Floats, Floats]
    """Left and upper side."""
    high: tuple[Floats, Floats]
    """Right and lower side."""
    areas: Floats

    @classmethod
    def of(cls, boxes: Floats) -> _Boxes:
        x, y, width, height = np.ascontiguousarray(boxes.T)
        return cls((x, y), (width + x, height + y), width * height)


class _Objects(NamedTuple):
    """Labels of one class, by frame, then as in their file."""

    boxes: _Boxes
    crowd: Flags
    ignored: Flags
    """[n, areas]: crowds, and objects outside the area."""
    starts: Ints
    """[frames + 1]."""
    rows: Ints
    """[n]: their rows in the table of labels."""


class _Detections(NamedTuple):
    """The 100 best detections of one class in each frame, by frame, then by descending score."""

    order: Ints
    """[n]: their places by descending score over all frames, ties in the official order."""
    rows: Ints
    frames: npt.NDArray[np.int32]
    ranks: Ints
    scores: Floats
    boxes: _Boxes
    outside: Flags
    """[n, areas]: whether their own area is outside the area."""


class _Pairs(NamedTuple):
    """Detections and objects that overlap enough for the lowest threshold; by detection, then by object."""

    detections: Ints
    objects: Ints
    overlaps: Floats


class _Choices(NamedTuple):
    """What becomes of detections, and which objects they take."""

    outcomes: npt.NDArray[np.int8]
    """[n, areas, thresholds]."""
    took: Ints
    """[n]: places of objects of any size, at one threshold; -1 for none."""


def match_detections(paired: PairedFrames, iou: float = 0.5) -> Matches:
    """Match all classes.

    Args:
        paired: labels and predictions of the same frames.
        iou: one of ``IOU_THRESHOLDS``, at which to tell the object that each detection took.
    """
    threshold = int(np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou))[0])
    with np.errstate(all="ignore"):  # of boxes that are not finite, or of no size
        return _match(paired, threshold)


def _match(paired: PairedFrames, threshold: int) -> Matches:
    frames = np.repeat(np.arange(len(paired.starts) - 1, dtype=np.int32), np.diff(paired.starts))
    label_frames = np.repeat(np.arange(len(paired.starts) - 1), np.diff(paired.labels.starts))
    return Matches(
        paired.labels.frames,
        tuple(_match_class(paired, index, frames, label_frames, threshold) for index in range(len(CLASSES))),
        len(paired.rows),
        float(IOU_THRESHOLDS[threshold]),
    )


def _match_class(
    paired: PairedFrames, index: int, frames: npt.NDArray[np.int32], label_frames: Ints, threshold: int
) -> ClassMatches:
    objects = _objects_of(paired, index, label_frames)
    detections = _detections_of(paired, index, frames)
    outcomes, took = _choices(detections, objects, threshold)
    order = detections.order
    return ClassMatches(
        scores=detections.scores[order],
        frames=detections.frames[order],
        ranks=detections.ranks[order].astype(np.uint8),
        rows=paired.rows[detections.rows[order]],
        outcomes=np.ascontiguousarray(np.moveaxis(outcomes[order], 0, -1)),
        took=np.append(objects.rows, -1)[took[order]],
        objects=_count_objects(objects),
        labelled=len(objects.crowd) > 0,
    )


def _objects_of(paired: PairedFrames, index: int, label_frames: Ints) -> _Objects:
    labels = paired.labels
    rows = np.flatnonzero(labels.classes == index)
    crowd = labels.crowd[rows]
    counts = np.bincount(label_frames[rows], minlength=len(labels.frames))
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    boxes = _Boxes.of(labels.boxes[rows])
    return _Objects(boxes, crowd, _outside(boxes) | crowd[:, None], starts, rows)


def _detections_of(paired: PairedFrames, index: int, frames: npt.NDArray[np.int32]) -> _Detections:
    rows = np.flatnonzero(paired.classes == index)
    rows = rows[np.argsort(-paired.scores[rows], kind="stable")]
    by_frame = np.argsort(_narrow(frames[rows], len(paired.labels.frames)), kind="stable")
    ranks = _places_in_groups(frames[rows[by_frame]])
    best = ranks < MAX_DETECTIONS[-1]
    rows, ranks = rows[by_frame[best]], ranks[best]
    boxes = _Boxes.of(paired.boxes[rows])
    order = _inverse(by_frame, best)
    return _Detections(order, rows, frames[rows], ranks, paired.scores[rows], boxes, _outside(boxes))


def _inverse(permutation: Ints, kept: Flags) -> Ints:
    """Give the places, among those kept, of what was permuted, in the order before."""
    places = np.empty(len(permutation), np.int64)
    places[permutation] = np.where(kept, np.cumsum(kept) - 1, -1)
    return places[places >= 0]


def _narrow(frames: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.integer]:
    """Frames as 16 bits where they fit: numpy sorts those in linear time."""
    return frames.astype(np.uint16) if count <= 1 << 16 else frames


def _outside(boxes: _Boxes) -> Flags:
    """[n, areas]: whether a box is smaller or larger than the area says."""
    low, high = np.array([bounds for _, *bounds in AREAS]).T
    areas = boxes.areas[:, None]
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


def _choices(detections: _Detections, objects: _Objects, threshold: int) -> _Choices:
    unmatched = np.where(detections.outside, np.int8(IGNORED), np.int8(FALSE_POSITIVE))
    outcomes = np.repeat(unmatched[:, :, None], len(IOU_THRESHOLDS), axis=2)
    choices = _Choices(outcomes, np.full(len(detections.rows), -1))
    pairs = _overlapping(detections, objects)
    if odd := _odd_frames(detections, objects):
        for frame in odd:
            _choose_in_turn(frame, detections, objects, threshold, choices)
        sound = ~np.isin(detections.frames[pairs.detections], odd)
        pairs = _Pairs(pairs.detections[sound], pairs.objects[sound], pairs.overlaps[sound])
    if len(pairs.objects):
        _choose(pairs, detections, objects, threshold, choices)
    return choices


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
    """Overlap the detections of one part with all objects of their frames.

    Over the union of both areas, or over the detection's own where the object is a crowd; the order of operations is
    that of ``bbIou`` in pycocotools' maskApi.c. Most pairs are apart, and given up as soon as that is known.
    """
    chosen, found = _pairs_of_frames(detections, objects, part)
    width = _common(detections.boxes, objects.boxes, 0, chosen, found)
    near = np.flatnonzero(width > 0)
    chosen, found, width = chosen[near], found[near], width[near]
    height = _common(detections.boxes, objects.boxes, 1, chosen, found)
    near = np.flatnonzero(height > 0)
    chosen, found, common = chosen[near], found[near], width[near] * height[near]
    area = detections.boxes.areas[chosen]
    union = np.where(objects.crowd[found], area, area + objects.boxes.areas[found] - common)
    overlaps = common / union
    enough = np.flatnonzero(overlaps >= IOU_THRESHOLDS[0])
    return _Pairs(chosen[enough], found[enough], overlaps[enough])


def _pairs_of_frames(detections: _Detections, objects: _Objects, part: slice) -> tuple[Ints, Ints]:
    """Each detection of the part with each object of its frame."""
    frames = detections.frames[part]
    begins = objects.starts[frames]
    counts = objects.starts[frames + 1] - begins
    ends = np.cumsum(counts)
    found = np.arange(counts.sum()) + np.repeat(begins - (ends - counts), counts)
    return np.repeat(np.arange(part.start, part.stop), counts), found


def _common(boxes: _Boxes, others: _Boxes, axis: int, chosen: Ints, found: Ints) -> Floats:
    """How much of an axis boxes and others share; negative where they are apart."""
    common: Floats = np.minimum(boxes.high[axis][chosen], others.high[axis][found])
    common -= np.maximum(boxes.low[axis][chosen], others.low[axis][found])
    return common


def _choose(pairs: _Pairs, detections: _Detections, objects: _Objects, threshold: int, choices: _Choices) -> None:
    """Let all detections that overlap something choose, and write what becomes of them."""
    outcomes, took = choices
    offers = _Offers.of(pairs, objects)
    begins = np.flatnonzero(np.append(True, np.diff(pairs.detections) != 0))
    chooser = pairs.detections[begins]
    options = np.diff(np.append(begins, len(pairs.objects)))
    turns = _places_in_groups(detections.frames[chooser])
    taken = np.zeros((len(objects.crowd), len(AREAS), len(IOU_THRESHOLDS)), np.bool_)
    order = np.lexsort((-options, turns))
    for turn in np.split(order, np.flatnonzero(np.diff(turns[order])) + 1):
        best, choice = _best_options(begins[turn], options[turn], offers, taken)
        matched = best > 0
        result = np.where(best >= _COUNTED, np.int8(TRUE_POSITIVE), np.int8(IGNORED))
        outcomes[chooser[turn]] = np.where(matched, result, outcomes[chooser[turn]])
        took[chooser[turn]] = np.where(matched, choice, -1)[:, ANY_SIZE, threshold]
        line, area, level = np.nonzero(matched)
        taken[choice[line, area, level], area, level] = True
        taken[objects.crowd] = False


def _odd_frames(detections: _Detections, objects: _Objects) -> list[int]:
    """Return the frames with a box so large, or not a number, that overlaps may be no numbers."""
    frames = np.repeat(np.arange(len(objects.starts) - 1), np.diff(objects.starts))
    return sorted({*detections.frames[_is_odd(detections.boxes)].tolist(), *frames[_is_odd(objects.boxes)].tolist()})


def _is_odd(boxes: _Boxes) -> Flags:
    numbers = np.array([*boxes.low, *boxes.high, boxes.areas])
    odd: Flags = ~(np.abs(numbers) <= LARGEST).all(axis=0)
    return odd


def _choose_in_turn(frame: int, detections: _Detections, objects: _Objects, threshold: int, choices: _Choices) -> None:
    """Let the detections of a frame choose as ``COCOeval.evaluateImg`` has it, comparison by comparison.

    An overlap that is not a number is below no threshold and below no other overlap, so it wins, and anything wins over
    it. ``bbIou`` takes the number where one side of a comparison is none.
    """
    first, last = np.searchsorted(detections.frames, [frame, frame + 1]).tolist()
    begin, end = objects.starts[frame : frame + 2].tolist()
    overlaps = _overlaps_of(detections.boxes, slice(first, last), objects.boxes, slice(begin, end), objects.crowd)
    for area in range(len(AREAS)):
        ignored = objects.ignored[begin:end, area]
        order = np.argsort(ignored, kind="stable").tolist()
        for level, least in enumerate(IOU_THRESHOLDS.tolist()):
            taken: set[int] = set()
            for detection in range(last - first):
                best, chosen = min(least, 1 - 1e-10), -1
                for place in order:
                    if place in taken and not objects.crowd[begin + place]:
                        continue
                    if chosen >= 0 and not ignored[chosen] and ignored[place]:
                        break
                    if overlaps[detection, place] < best:
                        continue
                    best, chosen = overlaps[detection, place], place
                if chosen < 0:
                    continue
                taken.add(chosen)
                choices.outcomes[first + detection, area, level] = IGNORED if ignored[chosen] else TRUE_POSITIVE
                if (area, level) == (ANY_SIZE, threshold):
                    choices.took[first + detection] = begin + chosen


def _overlaps_of(boxes: _Boxes, chosen: slice, others: _Boxes, found: slice, crowd: Flags) -> Floats:
    """[chosen, found]: the overlaps of some boxes with others, as ``bbIou`` in pycocotools' maskApi.c computes them."""
    sides = [
        np.fmin(boxes.high[axis][chosen, None], others.high[axis][found])
        - np.fmax(boxes.low[axis][chosen, None], others.low[axis][found])
        for axis in (0, 1)
    ]
    common = sides[0] * sides[1]
    area = boxes.areas[chosen, None]
    union = np.where(crowd[found], area, area + others.areas[found] - common)
    return np.where((sides[0] <= 0) | (sides[1] <= 0), 0, common / union)


class _Offers(NamedTuple):
    """What each pair is worth to its detection: the higher key wins."""

    objects: Ints
    reached: npt.NDArray[np.uint8]
    """[pairs]: how many of the thresholds the overlap reaches."""
    keys: npt.NDArray[np.uint64]
    """[pairs, areas]: the overlap's bits, which sort as positive floats do; above all those where the object counts."""

    @classmethod
    def of(cls, pairs: _Pairs, objects: _Objects) -> _Offers:
        counted = np.where(objects.ignored, np.uint64(0), _COUNTED)[pairs.objects]
        reached = np.searchsorted(IOU_THRESHOLDS, pairs.overlaps, side="right").astype(np.uint8)
        return cls(pairs.objects, reached, counted | pairs.overlaps.view(np.uint64)[:, None])


def _best_options(
    begins: Ints, options: Ints, offers: _Offers, taken: Flags
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Give the key and the object that each detection chooses, [n, areas, thresholds]; key 0 where there is none.

    Detections come by descending number of options, so that those with one more option are the first of them.
    """
    best = np.zeros((len(begins), *taken.shape[1:]), np.uint64)
    choice = np.zeros(best.shape, np.int64)
    for option in range(options[0]):
        places = begins[: int(np.searchsorted(-options, -option, side="left"))] + option
        objects = offers.objects[places]
        open_to = offers.reached[places, None, None] > np.arange(len(IOU_THRESHOLDS), dtype=np.uint8)
        keys = offers.keys[places][:, :, None]
        better = (keys >= best[: len(places)]) & open_to & ~taken[objects]
        np.copyto(best[: len(places)], keys, where=better)
        np.copyto(choice[: len(places)], objects[:, None, None], where=better)
    return best, choice
