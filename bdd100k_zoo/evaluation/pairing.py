"""Pairing of predictions with the labelled frames that they belong to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.validation import IssueSummary, ValidationIssues, frame_error, merge_issue_summaries, printable
from bdd100k_zoo.errors import InputsError, join_first
from bdd100k_zoo.files import add_jpg_suffix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.data.tables import Ints, LabelTable, PredictionTable


@dataclass(frozen=True, slots=True, eq=False)
class PairedFrames:
    """Labels and predictions of the same frames; predictions sorted by frame, then as in their file."""

    labels: LabelTable
    starts: Ints
    """[frames + 1]: the predictions of frame i are ``starts[i]:starts[i + 1]``."""
    rows: Ints
    """[n]: their rows in the table of predictions."""
    classes: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    let_through: tuple[IssueSummary, ...]


def pair_frames(labels: LabelTable, predictions: PredictionTable, *, lenient: bool = False) -> PairedFrames:
    """Find the predictions of each labelled frame.

    Lenient pairing does as the official evaluator: missing frames count as empty, unknown frames are dropped, and the
    last of several frames of one name is used.

    Raises:
        InputsError: a frame appears twice, is missing or is unknown; only if not ``lenient``. Flat predictions may lack
            frames. Also raised if a prediction in a labelled frame has no score.
    """
    keys, predicted_keys = _frame_keys(labels, predictions, only_predictions=lenient)
    if predictions.flat:
        predicted_keys = add_jpg_suffix(predicted_keys, keys)
    missing, unknown = _difference(keys, predicted_keys), _difference(predicted_keys, keys)
    duplicates = ValidationIssues()
    for path, names in ((labels.path, keys), (predictions.path, predicted_keys)):
        for name, times in Counter(names).items():
            if times > 1:
                duplicates.add("frames more than once", frame_error(path, printable(name), f"appears {times} times"))
    if not lenient:
        duplicates.raise_first()
        if unknown or (missing and not predictions.flat):
            kinds = ("missing", missing), ("not in the labels", unknown)
            found = "; ".join(join_first([*map(printable, names)], f"frames {kind}") for kind, names in kinds if names)
            raise InputsError(
                predictions.path,
                f"its frames differ from those of {labels.path}: {found}",
                "predict every frame of the split, and no others",
                "`eval --lenient` scores missing frames as empty and drops the unknown ones",
            )
    unmatched = ValidationIssues()
    for kind, problem, names in (
        ("frames without predictions", f"missing, but in {labels.path}", missing),
        ("frames without labels", f"dropped, not in {labels.path}", unknown),
    ):
        for name in names:
            unmatched.add(kind, frame_error(predictions.path, printable(name), problem))
    places = {key: place for place, key in enumerate(predicted_keys)}
    frames = np.fromiter((places.get(key, len(predicted_keys)) for key in keys), np.int64, len(keys))
    for place in sorted(predictions.faults.keys() & set(frames.tolist())):
        raise predictions.faults[place]
    # The appended entries are those of frames without predictions.
    counts = np.append(np.diff(predictions.starts), 0)[frames]
    rows = concatenate_ranges(np.append(predictions.starts[:-1], 0)[frames], counts)
    issues = (*labels.let_through, *predictions.let_through, *duplicates.summarise(), *unmatched.summarise())
    return PairedFrames(
        labels=labels,
        starts=np.append(0, np.cumsum(counts)),
        rows=rows,
        classes=predictions.classes[rows],
        scores=predictions.scores[rows],
        boxes=predictions.boxes[rows],
        let_through=merge_issue_summaries(issues),
    )


def concatenate_ranges(begins: Ints, counts: Ints) -> Ints:
    """Return the integers of several ranges, one range after the other."""
    ends = np.cumsum(counts)
    ranges: Ints = np.arange(counts.sum()) + np.repeat(begins - (ends - counts), counts)
    return ranges


def select_predicted_frames(labels: LabelTable, predictions: PredictionTable) -> LabelTable:
    """Return the labels of the frames that have predictions."""
    keys, predicted = _frame_keys(labels, predictions, only_predictions=True)
    known = set(predicted)
    kept = np.array([key in known for key in keys], np.bool_)
    counts = np.diff(labels.starts)
    rows = np.repeat(kept, counts)
    return replace(
        labels,
        frames=tuple(compress(labels.frames, kept)),
        videos=tuple(compress(labels.videos, kept)),
        attributes=tuple(compress(labels.attributes, kept)),
        starts=np.append(0, np.cumsum(counts[kept])),
        classes=labels.classes[rows],
        crowd=labels.crowd[rows],
        boxes=labels.boxes[rows],
    )


def unique_frame_names(table: LabelTable | PredictionTable) -> tuple[str, ...]:
    """Return the frame names; preceded by their videos if names repeat and every frame has a video."""
    return table.frames if _are_unique(table.frames) or not all(table.videos) else _with_videos(table)


def _frame_keys(
    labels: LabelTable, predictions: PredictionTable, *, only_predictions: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the frame names of both; preceded by their videos if names repeat and every frame has a video.

    The official evaluator looks for repeated names in the predictions only (``only_predictions``). Then two labelled
    frames may share one prediction.
    """
    unique = _are_unique(predictions.frames) and (only_predictions or _are_unique(labels.frames))
    if unique or not all(predictions.videos) or not all(labels.videos):
        return labels.frames, predictions.frames
    return _with_videos(labels), _with_videos(predictions)


def _are_unique(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _with_videos(table: LabelTable | PredictionTable) -> tuple[str, ...]:
    return tuple(f"{video}/{name}" for video, name in zip(table.videos, table.frames, strict=True))


def _difference(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    known = set(others)
    return tuple(dict.fromkeys(name for name in names if name not in known))
