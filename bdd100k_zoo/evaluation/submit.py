"""Predictions file → the one file that the evaluation server wants, checked completely and offline."""

from __future__ import annotations

import warnings
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.data.classes import CLASS_ALIASES
from bdd100k_zoo.data.detections import PredictedFrame
from bdd100k_zoo.data.images import IMAGE_SUFFIXES, find_images
from bdd100k_zoo.data.scalabel import FRAME_SIZE, ImageSize
from bdd100k_zoo.errors import FrameNameError, NoImagesError, RecordError, SubmissionError, SubmissionProblem
from bdd100k_zoo.evaluation import submission
from bdd100k_zoo.evaluation.submission import decode_frame, final_label, find_label_faults, read_submission
from bdd100k_zoo.files import add_jpg_suffix, check_frame_name, storage_errors, write_atomically
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.evaluation.submission import SubmittedFrame
    from bdd100k_zoo.progress import Progress

TEST_IMAGES = 20_000
"""Images of the test split."""

MAX_COUNTED_BOXES = 100
"""Boxes that the evaluation counts in an image, of each class."""


class Submission(msgspec.Struct, frozen=True):
    """What was written, and what is worth knowing about it."""

    path: str
    frames: int
    boxes: int
    bytes: int
    notes: tuple[str, ...]


@dataclass
class _SubmissionChecks:
    """What went over the frames one by one has found so far."""

    problems: list[SubmissionProblem] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """Where each frame stands in the file, by name."""
    boxes: int = 0
    crowded: int = 0
    as_text: int = 0
    normalised: bool = True
    """All boxes lie within 0 to 1."""
    aliases: Counter[str] = field(default_factory=Counter)
    ids: array[int] = field(default_factory=lambda: array("q"))
    """Hashes: two million texts would take a hundred times the memory, for a note."""
    without_id: int = 0


def submit(predictions: Path, images: str, out: Path, progress: Progress, *, clip: bool = False) -> Submission:
    """Check predictions against images and write the file to hand in.

    Args:
        predictions: the file, a folder of files, or a run's folder.
        images: the folder of the split (searched recursively), or a text file with an image's name a line, whose
            images are taken to be of BDD100K's size.
        out: the file to write; an older one there is replaced.
        progress: where to report.
        clip: move the edges of boxes that reach beyond their image; otherwise no number is changed.

    Raises:
        SubmissionError: everything that is wrong with the predictions.
        StorageError: a file cannot be read or written.
        InputsError, RecordError: a file is not what it should be.
        ImagesError: there are no images.
        FrameNameError: an image's name that no predictions file can hold.
    """
    path = predictions / PREDICTIONS_FILE if (predictions / PREDICTIONS_FILE).is_file() else predictions
    submitted = read_submission(path)
    sizes, notes = _image_sizes(images, progress)
    frames = submitted.frames
    if submitted.flat:
        frames, unlisted = _with_all_images(frames, sizes)
        notes += [f"{unlisted:,} images have no box; each got an empty frame"] if unlisted else []
    found = _examine(frames, sizes, clip=clip)
    if problems := [*_compare_names(found.places, sizes), *_unlikely(path, found), *found.problems]:
        raise SubmissionError(path, tuple(problems))
    lines, clipped = _final_lines(frames, found.places, sizes, clip=clip)
    content = b"[\n" + b",\n".join(lines) + b"\n]\n"
    write_atomically(out, content, follow_links=True)
    notes = [*notes, *_notes(found, clipped)]
    return Submission(str(out), len(found.places), found.boxes, len(content), tuple(notes))


def _image_sizes(images: str, progress: Progress) -> tuple[dict[str, ImageSize], list[str]]:
    """Sizes by name, and what is worth knowing about them."""
    path = Path(images)
    if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES:
        return dict.fromkeys(_listed_names(path), FRAME_SIZE), []
    sizes: dict[str, ImageSize] = {}
    unreadable = 0
    found = find_images([images])
    with progress.task("reading sizes", len(found), "images") as task:
        for frame in found:
            size = _size_of(frame)
            sizes[frame.name] = size or FRAME_SIZE
            unreadable += size is None
            task.advance(1)
    told = f"{FRAME_SIZE.width}×{FRAME_SIZE.height}"
    return sizes, [f"{unreadable:,} images cannot be read; they are taken to be {told}"] if unreadable else []


def _listed_names(path: Path) -> list[str]:
    with storage_errors(path):
        content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
        names = [check_frame_name(line.strip()) for line in lines if line.strip()]
    except (UnicodeDecodeError, FrameNameError) as error:
        raise RecordError(path, f"is no list of image names, a name a line: {error}") from error
    if not names:
        raise NoImagesError(str(path), "names no image")
    if repeated := [name for name, number in Counter(names).items() if number > 1]:
        raise RecordError(path, f"names {len(repeated):,} images more than once: {', '.join(repeated[:3])}")
    return names


def _size_of(frame: Frame) -> ImageSize | None:
    """Read an image's size from its head, turned as its EXIF orientation says; None where it cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(frame.path) as image:
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return ImageSize(height, width) if turned else ImageSize(width, height)


def _compare_names(places: Mapping[str, int], sizes: Mapping[str, ImageSize]) -> Iterator[SubmissionProblem]:
    """Tell images without a frame, and frames without an image with the image that may be meant."""
    alike = {PurePosixPath(name).name: name for name in sizes}
    for name in sorted(sizes.keys() - places.keys()):
        yield SubmissionProblem(submission.MISSING_FRAMES, name)
    for name in sorted(places.keys() - sizes.keys()):
        meant = alike.get(PurePosixPath(name).name)
        yield SubmissionProblem(submission.EXTRA_FRAMES, name, detail=f"there is {meant}" if meant else "")


def _with_all_images(frames: Sequence[Any], sizes: Mapping[str, ImageSize]) -> tuple[list[Any], int]:
    """Rename the frames of a flat file as the images are named, and add an empty one for each image that has none."""
    known = add_jpg_suffix([str(frame["name"]) if isinstance(frame, dict) else "" for frame in frames], sizes)
    named = [
        {**frame, "name": name} if isinstance(frame, dict) else frame for frame, name in zip(frames, known, strict=True)
    ]
    missing = sizes.keys() - set(known)
    return named + [{"name": name, "labels": []} for name in sorted(missing)], len(missing)


def _unlikely(path: Path, found: _SubmissionChecks) -> Iterator[SubmissionProblem]:
    if not found.boxes and not found.problems:
        yield SubmissionProblem(submission.FILES_WITHOUT_BOXES, path.name)
    if found.boxes and found.normalised:
        yield SubmissionProblem(
            submission.NORMALISED_FILES, path.name, detail="multiply them by the width and height of the images"
        )


def _examine(frames: Sequence[Any], sizes: Mapping[str, ImageSize], *, clip: bool) -> _SubmissionChecks:
    found = _SubmissionChecks()
    for number, raw in enumerate(frames, 1):
        frame = decode_frame(raw, number)
        if isinstance(frame, SubmissionProblem):
            found.problems.append(frame)
            continue
        name = str(frame.name)
        if name in found.places:
            found.problems.append(SubmissionProblem(submission.DUPLICATE_FRAMES, name))
        found.places.setdefault(name, number - 1)
        _examine_labels(name, frame, sizes.get(name), found, clip=clip)
    return found


def _examine_labels(
    name: str, frame: SubmittedFrame, size: ImageSize | None, found: _SubmissionChecks, *, clip: bool
) -> None:
    """Count what is worth a note, and collect faults; a frame without an image is fault enough."""
    labels = frame.labels or ()
    found.boxes += len(labels)
    found.crowded += len(labels) > MAX_COUNTED_BOXES
    for place, label in enumerate(labels, 1):
        if label.id in (None, ""):
            found.without_id += 1
        else:
            found.ids.append(hash(str(label.id)))
        if label.category and label.category in CLASS_ALIASES:
            found.aliases[label.category] += 1
        found.as_text += isinstance(label.score, str)
        corners = submission.corners_of(label)
        found.normalised &= corners is not None and all(0 <= corner <= 1 for corner in corners)
        for kind, detail in find_label_faults(label, size, clip=clip) if size else ():
            found.problems.append(SubmissionProblem(kind, name, str(place), detail))


def _final_lines(
    frames: Sequence[Any], places: Mapping[str, int], sizes: Mapping[str, ImageSize], *, clip: bool
) -> tuple[list[bytes], int]:
    """Encode the frames in the order of their names, ids counting up; and how many boxes were clipped."""
    lines: list[bytes] = []
    boxes = clipped = 0
    for name in sorted(places):
        frame = decode_frame(frames[places[name]], places[name] + 1)
        given = () if isinstance(frame, SubmissionProblem) else frame.labels or ()  # a problem was reported before
        labels = tuple(
            final_label(label, number, sizes[name] if clip else None) for number, label in enumerate(given, boxes + 1)
        )
        clipped += sum(map(submission.was_clipped, given, labels)) if clip else 0
        boxes += len(labels)
        lines.append(msgspec.json.encode(PredictedFrame(name, labels)))
    return lines, clipped


def _notes(found: _SubmissionChecks, clipped: int) -> Iterable[str]:
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
        most = MAX_COUNTED_BOXES
        yield f"{found.crowded:,} frames have more than {most} boxes; of each class, the best {most} count"
    if clipped:
        yield f"{clipped:,} boxes were clipped to their images"
