"""Predictions → the file for the evaluation server, checked completely and offline.

The server accepts the ten classes, scores from 0 to 1, and boxes with four finite corners inside the image. All images
of BDD100K are 1280×720. x2 and y2 are inclusive, so the size of a box is x2 - x1 + 1 by y2 - y1 + 1.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict, astuple

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.formats import to_number
from bdd100k_zoo.data.images import IMAGE_SUFFIXES, find_images
from bdd100k_zoo.data.scalabel import FRAME_SIZE, Box2D, Label, LabelFrame, LooseBox
from bdd100k_zoo.data.scalabel_reader import decode_loose_frame, read_loose_frames
from bdd100k_zoo.errors import ImagesError, InvalidFileError, SubmissionError, SubmissionProblem, ZooError
from bdd100k_zoo.evaluation.runs import describe_limits
from bdd100k_zoo.files import add_jpg_suffix, check_frame_name, read_bytes, write_atomically
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence, Set

    from bdd100k_zoo.data.scalabel import LooseLabel, NumberOrText

TEST_IMAGES = 20_000
"""Images of the test split."""
MAX_COUNTED_BOXES = 100
"""Boxes of a class that the evaluation counts in an image."""
TOLERANCE = 1.0
"""Pixels by which a box may extend beyond its image: detectors round."""

MISSING_FRAMES = "images without a frame"
EXTRA_FRAMES = "frames without an image"
DUPLICATE_FRAMES = "frames that appear more than once"
MALFORMED_FRAMES = "frames that are not in the format"
UNKNOWN_CATEGORIES = "labels of unknown categories"
REGION_CATEGORIES = "labels of categories that are regions to ignore, not classes"
INVALID_SCORES = "scores that are not numbers from 0 to 1"
INVALID_BOXES = "boxes without four finite corners"
SWAPPED_EDGES = "boxes whose right edge is left of the left one, or whose bottom is above the top"
BOXES_OUTSIDE_IMAGE = "boxes outside the image"
FILES_WITHOUT_BOXES = "files without a box"
NORMALISED_FILES = "files whose boxes all lie within 0 to 1, not in pixels"


class Submission(msgspec.Struct, frozen=True):
    """The file that was written, and notes on it."""

    path: str
    frames: int
    boxes: int
    bytes: int
    notes: tuple[str, ...]


@dataclass
class _Findings:
    """Problems, and counts for the notes."""

    problems: list[SubmissionProblem] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """Index of each frame in the file, by name."""
    boxes: int = 0
    crowded: int = 0
    """Frames with more boxes than the evaluation counts."""
    normalised: bool = True
    """All boxes lie within 0 to 1."""
    aliases: Counter[str] = field(default_factory=Counter)


def submit(predictions: Path, images: str, out: Path, *, clip: bool = False) -> Submission:
    """Check predictions against the images of a split and write the file to submit.

    Args:
        predictions: a predictions file, a folder of such files, or a run's folder.
        images: the folder of the split (searched recursively), or a text file with one image name per line.
        out: the file to write; an existing file is replaced.
        clip: clip boxes to their image; otherwise no number is changed.

    Raises:
        SubmissionError: all problems of the predictions.
        StorageError: a file cannot be read or written.
        InputsError, InvalidFileError: a file is not in its format.
        ImagesError: there are no images, or an image has a name that no predictions file can hold.
    """
    path = predictions / PREDICTIONS_FILE if (predictions / PREDICTIONS_FILE).is_file() else predictions
    submitted = read_loose_frames(path)
    names, ignored = _image_names(images)
    frames, missing = _complete_frames(submitted.frames, names) if submitted.flat else (submitted.frames, 0)
    found = _check_frames(frames, names, clip=clip)
    if problems := (*_compare_names(found.places, names), *_check_boxes_overall(path, found), *found.problems):
        outside = any(problem.kind == BOXES_OUTSIDE_IMAGE for problem in problems)
        clip_hint = "; --clip moves the edges of boxes into their images" if outside else ""
        raise SubmissionError(
            path, problems, f"--json lists every problem; correct the predictions, --images or --split{clip_hint}"
        )
    lines, clipped = _encode_frames(frames, found.places, clip=clip)
    content = b"[\n" + b",\n".join(lines) + b"\n]\n"
    write_atomically(out, content, follow_links=True)
    notes = [note for note in (ignored, describe_limits(path.parent, str(path))) if note]
    notes += _notes(found, missing, clipped)
    return Submission(str(out), len(lines), found.boxes, len(content), tuple(notes))


def _image_names(images: str) -> tuple[Set[str], str]:
    """Return the names of a split's images, and which files of their folder were ignored."""
    path = Path(images)
    if not path.is_file() or path.suffix.lower() in IMAGE_SUFFIXES:
        given = find_images([images])
        return {frame.name for frame in given.frames}, given.describe_ignored()
    content = read_bytes(path)
    try:
        lines = map(str.strip, content.decode("utf-8-sig").splitlines())
        names = {check_frame_name(line) for line in lines if line}
    except (UnicodeDecodeError, ZooError) as error:
        raise InvalidFileError(path, f"is not a list of image names, one per line: {error}") from error
    if not names:
        raise ImagesError(f"{path}: contains no image name", "write one image name per line, or use --images FOLDER")
    return names, ""


def _complete_frames(frames: Sequence[Any], images: Set[str]) -> tuple[list[Any], int]:
    """Return the frames of a flat file, named as the images, with an empty frame for each other image; and how many."""
    names = add_jpg_suffix([str(frame["name"]) if isinstance(frame, dict) else "" for frame in frames], images)
    renamed = [
        {**frame, "name": name} if isinstance(frame, dict) else frame for frame, name in zip(frames, names, strict=True)
    ]
    missing = sorted(images - set(names))
    return renamed + [{"name": name, "labels": []} for name in missing], len(missing)


# Checks


def _check_frames(frames: Sequence[Any], images: Set[str], *, clip: bool) -> _Findings:
    found = _Findings()
    for index, raw in enumerate(frames):
        frame = decode_loose_frame(raw)
        if isinstance(frame, str):
            found.problems.append(SubmissionProblem(MALFORMED_FRAMES, f"frame {index + 1}", detail=frame))
            continue
        name = str(frame.name)
        if name in found.places:
            found.problems.append(SubmissionProblem(DUPLICATE_FRAMES, name))
        found.places.setdefault(name, index)
        labels = frame.labels or ()
        found.boxes += len(labels)
        found.crowded += len(labels) > MAX_COUNTED_BOXES
        for number, label in enumerate(labels, 1):
            corners = _corners_of(label)
            found.normalised &= bool(corners) and min(corners) >= 0 and max(corners) <= 1
            found.aliases[label.category or ""] += label.category in CLASS_ALIASES
            # A frame without an image is one problem; its labels are not checked.
            for kind, detail in _label_problems(label, corners, clip=clip) if name in images else ():
                found.problems.append(SubmissionProblem(kind, name, str(number), detail))
    return found


def _label_problems(label: LooseLabel, corners: list[float], *, clip: bool) -> Iterator[tuple[str, str]]:
    """Yield kind and detail of each problem."""
    if label.category not in CLASSES and label.category not in CLASS_ALIASES:
        yield REGION_CATEGORIES if label.category in IGNORED_CLASSES else UNKNOWN_CATEGORIES, str(label.category)
    score = _parse_finite(label.score)
    if score is None or not 0 <= score <= 1:
        yield INVALID_SCORES, str(label.score)
    if corners:
        yield from _box_problems(*corners, clip=clip)
    else:
        box = label.box2d
        yield INVALID_BOXES, ", ".join(f"{key} {value}" for key, value in asdict(box).items()) if box else "no box2d"


def _box_problems(x1: float, y1: float, x2: float, y2: float, *, clip: bool) -> Iterator[tuple[str, str]]:
    """Yield kind and detail of each problem; with ``clip``, a box that is partly inside its image has none."""
    width, height = FRAME_SIZE.width, FRAME_SIZE.height
    shown = f"x {x1} to {x2}, y {y1} to {y2}"
    if clip:
        is_outside = x1 >= width or y1 >= height or x2 <= -1 or y2 <= -1
    else:
        is_outside = max(-x1, -y1, x2 + 1 - width, y2 + 1 - height) > TOLERANCE
    if x2 - x1 + 1 < 0 or y2 - y1 + 1 < 0:
        yield SWAPPED_EDGES, shown
    elif is_outside:
        yield BOXES_OUTSIDE_IMAGE, f"{shown}; the image is {width}×{height}"


def _parse_finite(value: NumberOrText) -> float | None:
    """Return a finite number, also from text; None for anything else."""
    number = to_number(value)
    return number if number is not None and isfinite(number) else None


def _corners_of(label: LooseLabel) -> list[float]:
    """Return x1, y1, x2, y2; empty if they are not four finite numbers."""
    corners = [number for number in map(_parse_finite, astuple(label.box2d or LooseBox())) if number is not None]
    return corners if len(corners) == 4 else []


def _compare_names(places: Mapping[str, int], images: Set[str]) -> Iterator[SubmissionProblem]:
    """Yield images without a frame, and frames without an image with the image that may be meant."""
    by_base_name = {PurePosixPath(name).name: name for name in images}
    for name in sorted(images - places.keys()):
        yield SubmissionProblem(MISSING_FRAMES, name)
    for name in sorted(places.keys() - images):
        similar = by_base_name.get(PurePosixPath(name).name)
        yield SubmissionProblem(EXTRA_FRAMES, name, detail=f"there is {similar}" if similar else "")


def _check_boxes_overall(path: Path, found: _Findings) -> Iterator[SubmissionProblem]:
    if not found.boxes and not found.problems:
        yield SubmissionProblem(FILES_WITHOUT_BOXES, path.name)
    if found.boxes and found.normalised:
        detail = "multiply them by the width and height of the images"
        yield SubmissionProblem(NORMALISED_FILES, path.name, detail=detail)


# The file


def _encode_frames(frames: Sequence[Any], places: Mapping[str, int], *, clip: bool) -> tuple[list[bytes], int]:
    """Encode the frames sorted by name, with ids counting up; also return the number of boxes that were clipped."""
    lines: list[bytes] = []
    ids = count(1)
    clipped = 0
    for name in sorted(places):
        frame = decode_loose_frame(frames[places[name]])
        labels: list[Label] = []
        for label in () if isinstance(frame, str) else frame.labels or ():  # it was decoded before, without a problem
            corners = _corners_of(label)
            inside = _clip(*corners) if clip else corners
            clipped += inside != corners
            category = CLASS_ALIASES.get(label.category or "", label.category)
            labels.append(Label(str(next(ids)), category, _parse_finite(label.score) or 0.0, Box2D(*inside)))
        lines.append(msgspec.json.encode(LabelFrame(name, given_labels=tuple(labels))))
    return lines, clipped


def _clip(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    return [max(x1, 0.0), max(y1, 0.0), min(x2, FRAME_SIZE.width - 1.0), min(y2, FRAME_SIZE.height - 1.0)]


def _notes(found: _Findings, missing: int, clipped: int) -> Iterator[str]:
    if missing:
        yield f"{missing:,} images have no box; each got an empty frame"
    if len(found.places) != TEST_IMAGES:
        yield f"there are {len(found.places):,} frames; the test split has {TEST_IMAGES:,}"
    if replaced := +found.aliases:
        names = ", ".join(f"{name} → {CLASS_ALIASES[name]} ({number:,})" for name, number in replaced.items())
        yield f"class names were replaced: {names}"
    if found.crowded:
        best = MAX_COUNTED_BOXES
        yield f"{found.crowded:,} frames have more than {best} boxes; of each class, the best {best} count"
    if clipped:
        yield f"{clipped:,} boxes were clipped to their images"
