"""Which predictions belong to which labelled frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.validation import (
    IssueSummary,
    ValidationIssues,
    merge_issue_summaries,
    printable,
)
from bdd100k_zoo.errors import BadFrameError, FramesDifferError
from bdd100k_zoo.files import add_jpg_suffix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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

    Lenient, as the official tool: missing frames count as empty, unknown ones are dropped, of duplicates the last wins.

    Raises:
        BadFrameError: a frame appears twice; only if not ``lenient``.
        FramesDifferError: frames are missing or unknown; only if not ``lenient``. Flat predictions may lack frames.
        BadLabelError: a prediction in a labelled frame has no score.
    """
    keys, predicted_keys = _frame_keys(labels, predictions, only_predictions=lenient)
    if predictions.flat:
        predicted_keys = add_jpg_suffix(predicted_keys, keys)
    missing, unknown = _difference(keys, predicted_keys), _difference(predicted_keys, keys)
    duplicates = ValidationIssues()
    _find_duplicates(labels.path, keys, duplicates)
    _find_duplicates(predictions.path, predicted_keys, duplicates)
    if not lenient:
        duplicates.raise_first()
        if unknown or (missing and not predictions.flat):
            shown = (tuple(map(printable, names)) for names in (missing, unknown))
            raise FramesDifferError(predictions.path, labels.path, *shown)
    unmatched = ValidationIssues()
    for kind, problem, names in (
        ("frames without predictions", f"missing, but in {labels.path}", missing),
        ("frames without labels", f"dropped, not in {labels.path}", unknown),
    ):
        for name in names:
            unmatched.add(kind, BadFrameError(predictions.path, printable(name), problem))
    starts, rows, used = _select_rows(keys, predicted_keys, predictions.starts)
    for place in sorted(predictions.faults.keys() & used):
        raise predictions.faults[place]
    issues = (*labels.let_through, *predictions.let_through, *duplicates.summarise(), *unmatched.summarise())
    return PairedFrames(
        labels=labels,
        starts=starts,
        rows=rows,
        classes=predictions.classes[rows],
        scores=predictions.scores[rows],
        boxes=predictions.boxes[rows],
        let_through=merge_issue_summaries(issues),
    )


def select_predicted_frames(labels: LabelTable, predictions: PredictionTable) -> LabelTable:
    """Return the labels of the frames that the predictions have."""
    keys, predicted = _frame_keys(labels, predictions, only_predictions=True)
    known = set(predicted)
    kept = [place for place, key in enumerate(keys) if key in known]
    counts = np.diff(labels.starts)
    rows = np.isin(np.repeat(np.arange(len(keys)), counts), kept)
    return replace(
        labels,
        frames=tuple(labels.frames[place] for place in kept),
        videos=tuple(labels.videos[place] for place in kept),
        attributes=tuple(labels.attributes[place] for place in kept),
        starts=np.concatenate((np.zeros(1, np.int64), np.cumsum(counts[kept]))),
        classes=labels.classes[rows],
        crowd=labels.crowd[rows],
        boxes=labels.boxes[rows],
    )


def unique_frame_names(table: LabelTable | PredictionTable) -> tuple[str, ...]:
    """Return the frames' names, with their videos where names alone are not unique and every frame gives its video."""
    return table.frames if _are_unique(table.frames) or not all(table.videos) else _with_videos(table)


def _frame_keys(
    labels: LabelTable, predictions: PredictionTable, *, only_predictions: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return frame names, with their videos where names alone are not unique and every frame gives its video.

    The official tool looks for duplicates in the predictions only; then two labelled frames may share one prediction.
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


def _find_duplicates(path: Path, keys: Sequence[str], issues: ValidationIssues) -> None:
    if _are_unique(keys):  # much faster than counting
        return
    for key, times in Counter(keys).items():
        if times > 1:
            issues.add("frames more than once", BadFrameError(path, printable(key), f"stands {times} times"))


def _select_rows(keys: Sequence[str], predicted_keys: Sequence[str], starts: Ints) -> tuple[Ints, Ints, set[int]]:
    """Return where each labelled frame's predictions start, their rows in the file, and the frames used of it."""
    place = {key: index for index, key in enumerate(predicted_keys)}
    nowhere = len(predicted_keys)
    frames = np.fromiter((place.get(key, nowhere) for key in keys), np.int64, len(keys))
    begins = np.append(starts[:-1], 0)[frames]
    counts = np.append(np.diff(starts), 0)[frames]
    ends = np.cumsum(counts)
    rows = np.arange(counts.sum()) + np.repeat(begins - (ends - counts), counts)
    return np.concatenate((np.zeros(1, np.int64), ends)), rows, set(frames.tolist())
