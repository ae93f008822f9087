"""Predictions → the file for the evaluation server, checked completely and offline.

What the server accepts: a category is one of the ten classes; a score is from 0 to 1; a box has four finite corners and
lies in its image. x2 and y2 are inclusive, so that the sizes of a box are x2 - x1 + 1 and y2 - y1 + 1.
"""

from __future__ import annotations

import warnings
from array import array
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from math import isfinite, nan
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.formats import to_number
from bdd100k_zoo.data.images import IMAGE_SUFFIXES, find_images
from bdd100k_zoo.data.scalabel import FRAME_SIZE, Box2D, ImageSize, Label, LabelFrame, LooseBox, are_normalised
from bdd100k_zoo.data.scalabel_reader import decode_loose_frame, read_loose_frames
from bdd100k_zoo.errors import (
    InvalidFileError,
    NoImagesError,
    SubmissionError,
    SubmissionProblem,
)
from bdd100k_zoo.files import add_jpg_suffix, check_frame_name, read_bytes, write_atomically
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bdd100k_zoo.data.scalabel import LooseLabel, NumberOrText
    from bdd100k_zoo.progress import Progress

TEST_IMAGES = 20_000
"""Images of the test split."""
MAX_COUNTED_BOXES = 100
"""Boxes of a class that the evaluation counts in an image."""
TOLERANCE = 1.0
"""Pixels by which a box may extend beyond its image: detectors round."""

MISSING_FRAMES = "images without a frame"
EXTRA_FRAMES = "frames without an image"
DUPLICATE_FRAMES = "frames that stand more than once"
MALFORMED_FRAMES = "frames that are not in the format"
UNKNOWN_CATEGORIES = "labels of unknown categories"
REGION_CATEGORIES = "labels of categories that are regions to ignore, not classes"
INVALID_SCORES = "scores that are no number from 0 to 1"
INVALID_BOXES = "boxes without four finite corners"
SWAPPED_EDGES = "boxes whose right edge is left of the left one, or whose bottom is above the top"
BOXES_OUTSIDE_IMAGE = "boxes outside the image"
FILES_WITHOUT_BOXES = "files without a box"
NORMALISED_FILES = "files whose boxes all lie within 0 to 1, not in pixels"


Corners = tuple[float, float, float, float]


class Submission(msgspec.Struct, frozen=True):
    """What was written, and notes on it."""

    path: str
    frames: int
    boxes: int
    bytes: int
    notes: tuple[str, ...]


def submit(predictions: Path, images: str, out: Path, progress: Progress, *, clip: bool = False) -> Submission:
    """Check predictions against images and write the file to submit.

    Args:
        predictions: a predictions file, a folder of such files, or a run's folder.
        images: the folder of the split (searched recursively), or a text file with an image's name a line, whose
            images are assumed to have BDD100K's size.
        out: the file to write; an existing file is replaced.
        progress: where to report.
        clip: clip boxes to their image; otherwise no number is changed.

    Raises:
        SubmissionError: all problems of the predictions.
        StorageError: a file cannot be read or written.
        InputsError, InvalidFileError: a file is not in its format.
        ImagesError: there are no images.
        FrameNameError: an image has a name that no predictions file can hold.
    """
    path = predictions / PREDICTIONS_FILE if (predictions / PREDICTIONS_FILE).is_file() else predictions
    submitted = read_loose_frames(path)
    sizes, notes = _image_sizes(images, progress)
    frames = submitted.frames
    if submitted.flat:
        frames, missing = _add_missing_frames(frames, sizes)
        notes += [f"{missing:,} images have no box; each got an empty frame"] if missing else []
    found = _check_frames(frames, sizes, clip=clip)
    if problems := [*_compare_names(found.places, sizes), *_check_boxes_overall(path, found), *found.problems]:
        outside = any("outside" in problem.kind for problem in problems)
        clip_hint = "; --clip moves the edges of boxes into their images" if outside else ""
        hint = f"--json lists every problem; correct the predictions, or --images{clip_hint}"
        raise SubmissionError(path, tuple(problems), hint)
    lines, clipped = _encode_frames(frames, found.places, sizes, clip=clip)
    content = b"[\n" + b",\n".join(lines) + b"\n]\n"
    write_atomically(out, content, follow_links=True)
    return Submission(str(out), len(found.places), found.boxes, len(content), (*notes, *_notes(found, clipped)))


# Images


def _image_sizes(images: str, progress: Progress) -> tuple[dict[str, ImageSize], list[str]]:
    """Return image sizes by name, and notes on them."""
    path = Path(images)
    if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES:
        return dict.fromkeys(_read_names(path), FRAME_SIZE), []
    found = find_images([images])
    sizes: dict[str, ImageSize | None] = {}
    with progress.task("reading sizes", len(found), "images") as task:
        for frame in found:
            sizes[frame.name] = _read_size(frame.path)
            task.advance(1)
    unreadable = sum(size is None for size in sizes.values())
    assumed = f"{FRAME_SIZE.width}×{FRAME_SIZE.height}"
    notes = [f"{unreadable:,} images cannot be read; they are taken to be {assumed}"] if unreadable else []
    return {name: size or FRAME_SIZE for name, size in sizes.items()}, notes


def _read_names(path: Path) -> list[str]:
    content = read_bytes(path)
    try:
        lines = content.decode("utf-8-sig").splitlines()
        names = [check_frame_name(line.strip()) for line in lines if line.strip()]
    except (UnicodeDecodeError, InvalidFileError) as error:
        raise InvalidFileError(path, f"is no list of image names, a name a line: {error}") from error
    if not names:
        raise NoImagesError(str(path), "names no image")
    if repeated := [name for name, number in Counter(names).items() if number > 1]:
        raise InvalidFileError(path, f"names {len(repeated):,} images more than once: {', '.join(repeated[:3])}")
    return names


def _read_size(path: Path) -> ImageSize | None:
    """Read an image's size from its header, after EXIF rotation; None if it cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                is_rotated = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return ImageSize(height, width) if is_rotated else ImageSize(width, height)


def _add_missing_frames(frames: Sequence[Any], sizes: Mapping[str, ImageSize]) -> tuple[list[Any], int]:
    """Rename the frames of a flat file as the images are named, and add an empty frame for each image without one."""
    names = add_jpg_suffix([str(frame["name"]) if isinstance(frame, dict) else "" for frame in frames], sizes)
    renamed = [
        {**frame, "name": name} if isinstance(frame, dict) else frame for frame, name in zip(frames, names, strict=True)
    ]
    missing = sorted(sizes.keys() - set(names))
    return renamed + [{"name": name, "labels": []} for name in missing], len(missing)


# Checks


@dataclass
class _Findings:
    """Problems, and counts for the notes."""

    problems: list[SubmissionProblem] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """Index of each frame in the file, by name."""
    boxes: int = 0
    crowded: int = 0
    """Frames with more boxes than the evaluation counts."""
    as_text: int = 0
    """Scores written as text."""
    normalised: bool = True
    """All boxes lie within 0 to 1."""
    aliases: Counter[str] = field(default_factory=Counter)
    ids: array[int] = field(default_factory=lambda: array("q"))
    """Hashes: two million texts would take a hundred times the memory, for a note."""
    without_id: int = 0


def _check_frames(frames: Sequence[Any], sizes: Mapping[str, ImageSize], *, clip: bool) -> _Findings:
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
        size = sizes.get(name)  # a frame without an image is one problem; its labels are not checked
        for number, label in enumerate(labels, 1):
            _count_label(label, found)
            for kind, detail in _label_problems(label, size, clip=clip) if size else ():
                found.problems.append(SubmissionProblem(kind, name, str(number), detail))
    return found


def _count_label(label: LooseLabel, found: _Findings) -> None:
    if label.id in (None, ""):
        found.without_id += 1
    else:
        found.ids.append(hash(str(label.id)))
    if label.category and label.category in CLASS_ALIASES:
        found.aliases[label.category] += 1
    found.as_text += isinstance(label.score, str)
    x1, y1, x2, y2 = _corners_of(label) or (nan, nan, nan, nan)
    found.normalised &= are_normalised([(x1, y1, x2 - x1 + 1, y2 - y1 + 1)])


def _label_problems(label: LooseLabel, size: ImageSize, *, clip: bool) -> Iterator[tuple[str, str]]:
    """Yield kind and detail of each problem; with ``clip``, only a box wholly outside its image is one."""
    if label.category not in CLASSES and label.category not in CLASS_ALIASES:
        yield REGION_CATEGORIES if label.category in IGNORED_CLASSES else UNKNOWN_CATEGORIES, str(label.category)
    score = _parse_finite(label.score)
    if score is None or not 0 <= score <= 1:
        yield INVALID_SCORES, str(label.score)
    if corners := _corners_of(label):
        yield from _box_problems(*corners, size, clip=clip)
    elif (box := label.box2d) is None:
        yield INVALID_BOXES, "no box2d"
    else:
        yield INVALID_BOXES, ", ".join(f"{name} {getattr(box, name)}" for name in box.__struct_fields__)


def _box_problems(
    x1: float, y1: float, x2: float, y2: float, size: ImageSize, *, clip: bool
) -> Iterator[tuple[str, str]]:
    width, height = size.width, size.height
    if x2 - x1 + 1 < 0 or y2 - y1 + 1 < 0:
        yield SWAPPED_EDGES, f"x {x1} to {x2}, y {y1} to {y2}"
        return
    if clip:
        is_outside = x1 >= width or y1 >= height or x2 <= -1 or y2 <= -1
    else:
        is_outside = max(-x1, -y1, x2 + 1 - width, y2 + 1 - height) > TOLERANCE
    if is_outside:
        yield BOXES_OUTSIDE_IMAGE, f"x {x1} to {x2}, y {y1} to {y2}; the image is {width}×{height}"


def _parse_finite(value: NumberOrText) -> float | None:
    """Return a finite number, also from text; None for anything else."""
    number = to_number(value)
    return number if number is not None and isfinite(number) else None


def _corners_of(label: LooseLabel) -> Corners | None:
    """Return x1, y1, x2, y2; None if they are not four finite numbers."""
    box = label.box2d or LooseBox()
    x1, y1, x2, y2 = map(_parse_finite, (box.x1, box.y1, box.x2, box.y2))
    if x1 is None or y1 is None or x2 is None or y2 is None:
        return None
    return x1, y1, x2, y2


def _compare_names(places: Mapping[str, int], sizes: Mapping[str, ImageSize]) -> Iterator[SubmissionProblem]:
    """Yield images without a frame, and frames without an image with the image that may be meant."""
    by_base_name = {PurePosixPath(name).name: name for name in sizes}
    for name in sorted(sizes.keys() - places.keys()):
        yield SubmissionProblem(MISSING_FRAMES, name)
    for name in sorted(places.keys() - sizes.keys()):
        similar = by_base_name.get(PurePosixPath(name).name)
        yield SubmissionProblem(EXTRA_FRAMES, name, detail=f"there is {similar}" if similar else "")


def _check_boxes_overall(path: Path, found: _Findings) -> Iterator[SubmissionProblem]:
    if not found.boxes and not found.problems:
        yield SubmissionProblem(FILES_WITHOUT_BOXES, path.name)
    if found.boxes and found.normalised:
        detail = "multiply them by the width and height of the images"
        yield SubmissionProblem(NORMALISED_FILES, path.name, detail=detail)


# The file


def _encode_frames(
    frames: Sequence[Any], places: Mapping[str, int], sizes: Mapping[str, ImageSize], *, clip: bool
) -> tuple[list[bytes], int]:
    """Encode the frames sorted by name, with ids counting up; also return the number of boxes that were clipped."""
    lines: list[bytes] = []
    ids = count(1)
    clipped = 0
    for name in sorted(places):
        frame = decode_loose_frame(frames[places[name]])
        labels: list[Label] = []
        for label in () if isinstance(frame, str) else frame.labels or ():  # it was decoded before, without a problem
            corners = _corners_of(label) or (0.0, 0.0, 0.0, 0.0)
            inside = _clip(corners, sizes[name]) if clip else corners
            clipped += inside != corners
            category = CLASS_ALIASES.get(label.category or "", label.category)
            labels.append(Label(str(next(ids)), category, _parse_finite(label.score) or 0.0, Box2D(*inside)))
        lines.append(msgspec.json.encode(LabelFrame(name, given_labels=tuple(labels))))
    return lines, clipped


def _clip(corners: Corners, size: ImageSize) -> Corners:
    x1, y1, x2, y2 = corners
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(size.width - 1)), min(y2, float(size.height - 1))


def _notes(found: _Findings, clipped: int) -> Iterable[str]:
    if len(found.places) != TEST_IMAGES:
        yield f"there are {len(found.places):,} frames; the test split has {TEST_IMAGES:,}"
    if found.aliases:
        names = ", ".join(f"{name} → {CLASS_ALIASES[name]} ({number:,})" for name, number in found.aliases.items())
        yield f"other names of classes were replaced: {names}"
    if found.without_id or len(set(found.ids)) < len(found.ids):
        yield "ids were missing or repeated; the labels are numbered anew"
    if found.as_text:
        yield f"{found.as_text:,} scores were written as text; they are numbers now"
    if found.crowded:
        best = MAX_COUNTED_BOXES
        yield f"{found.crowded:,} frames have more than {best} boxes; of each class, the best {best} count"
    if clipped:
        yield f"{clipped:,} boxes were clipped to their images"
