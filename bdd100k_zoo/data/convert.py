"""The job of ``convert``: read a file of labels or results in any format, and write it in another.

``READERS`` and ``WRITERS`` at the end list the formats; a new one to write is an entry in ``WRITERS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES
from bdd100k_zoo.data.coco import CocoLabels, CocoResult, class_of, frame_keys, read_coco
from bdd100k_zoo.data.coco_convert import (
    labels_from_coco,
    labels_to_coco,
    read_coco_images,
    resolve_image_ids,
    results_from_coco,
    results_to_coco,
)
from bdd100k_zoo.data.export import CSV_COLUMNS, encode_csv, format_yolo_rows
from bdd100k_zoo.data.formats import AnnotationFormat, FileFormat, TargetFormat, detect_format, to_number
from bdd100k_zoo.data.image_sizes import FrameSizes, size_by_name
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.data.scalabel import are_normalised, is_crowd, to_bbox
from bdd100k_zoo.data.scalabel_reader import read_frames
from bdd100k_zoo.data.validation import NO_BOX, NORMALISED, ValidationIssues, unlikely_boxes_error
from bdd100k_zoo.data.yolo import yolo_writer
from bdd100k_zoo.errors import ImagesError, InvalidFileError
from bdd100k_zoo.files import check_frame_name, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from bdd100k_zoo.data.scalabel import Bbox, ImageSize, Label, LabelFrame


class ConversionResult(msgspec.Struct, frozen=True):
    """What a conversion found and wrote."""

    found: str
    """``Scalabel labels``, ``Scalabel results``, ``COCO labels`` or ``COCO results``."""
    written: str
    path: str
    images: int
    objects: int
    notes: tuple[str, ...]


class Annotations(NamedTuple):
    """The labels or results of a file, whatever its format."""

    source: Path
    """The file."""
    frames: Sequence[LabelFrame]
    are_results: bool
    labels: Path | None
    """The labels file that was given, whose images results are of."""
    images: Sequence[str] = ()
    """Paths of the frames' images that were given; see ``find_images``."""
    notes: tuple[str, ...] = ()
    """On what reading them assumed or left out."""

    @property
    def kind(self) -> str:
        """``labels`` or ``results``."""
        return "results" if self.are_results else "labels"


class Encoded(NamedTuple):
    """What to write."""

    content: bytes | Mapping[str, Sequence[str]]
    """Of a file; or for YOLO the rows of each frame by its name."""
    objects: int
    """How many labels or results it holds."""
    notes: tuple[str, ...] = ()
    """On what the format cannot hold."""


def convert_file(
    source: Path,
    out: Path,
    to: TargetFormat,
    given: AnnotationFormat | None = None,
    labels: Path | None = None,
    images: Sequence[str] = (),
) -> ConversionResult:
    """Convert a file of labels or results; its content decides which of them it is.

    Args:
        source: the file, or a folder of files of frames.
        out: where to write; an existing file is replaced. For YOLO it is a folder; see ``yolo_writer``.
        to: the format to write.
        given: the format that the user expects of the file; another one is an error.
        labels: labels in either format, whose images the results are of.
        images: the images, whose sizes YOLO needs. Without them a size is that in the file, or for results with
            ``labels`` that in the labels file, or else that of BDD100K if the frame's name is one of BDD100K.

    Raises:
        ImagesError: the size of a frame with boxes is needed and unknown, or its image cannot be read.
        StorageError: a file cannot be read or written.
        InputsError: a file is not in its format, results have no box, or all boxes lie within 0 to 1.
        InvalidFileError: a file has a fault; all faults of a kind are counted.
    """
    found = _source_format(source, to, given)
    try:
        annotations = READERS[found](source, labels)._replace(images=images)
        encoded = WRITERS[to](annotations)
    except UnicodeEncodeError as error:
        raise InvalidFileError(source, "holds text that is not valid Unicode: a lone surrogate") from error
    if isinstance(encoded.content, bytes):
        write_atomically(out, encoded.content, follow_links=True)
    else:
        with yolo_writer(out) as write:
            for name, rows in encoded.content.items():
                write(name, rows)
    return ConversionResult(
        found=f"{TITLES[FORMATS[found]]} {annotations.kind}",
        written=f"{TITLES[to]} {annotations.kind}",
        path=str(out),
        images=len(annotations.frames),
        objects=encoded.objects,
        notes=annotations.notes + encoded.notes,
    )


def _source_format(source: Path, to: TargetFormat, given: AnnotationFormat | None) -> FileFormat:
    """Return the format of a file; for an empty list it is the one that the user gave."""
    found = detect_format(source)
    if found is None:
        if given is None:
            problem = "is an empty list, which may be of either format"
            raise InvalidFileError(source, problem, "name its format with --from")
        found = "Scalabel frames" if given == "scalabel" else "COCO results"
    if given and FORMATS[found] != given:
        raise InvalidFileError(source, f"expected {given} (--from), found {found}", "leave out --from, or correct it")
    if FORMATS[found] == to:
        raise InvalidFileError(source, f"holds {found}, so it is in the format {to} already", "use the file as it is")
    return found


def _require_labels(source: Path, labels: Path | None) -> Path:
    if labels is None:
        hint = "give the labels whose images these results are of: --labels FILE"
        raise InvalidFileError(source, "holds results, and the ids of their images are in a labels file", hint)
    return labels


# Reading


def _read_scalabel(source: Path, labels: Path | None) -> Annotations:
    frames = read_frames(source)
    every_label = [label for frame in frames for label in frame.labels]
    # Labels have no scores. If there is no label, a labels file beside the source shows that it holds results.
    are_results = any(label.score is not None for label in every_label) if every_label else labels is not None
    _check_boxes(source, [to_bbox(label.box2d) for label in every_label if label.box2d], are_results=are_results)
    return Annotations(source, frames, are_results, labels)


def _read_coco_labels(source: Path, labels: Path | None) -> Annotations:
    dataset = read_coco(source, CocoLabels)
    _check_boxes(source, [each.bbox for each in dataset.annotations if each.bbox], are_results=False)
    notes = tuple(_label_notes(dataset))
    return Annotations(source, labels_from_coco(source, dataset), are_results=False, labels=labels, notes=notes)


def _label_notes(dataset: CocoLabels) -> Iterator[str]:
    if boxless := sum(annotation.bbox is None for annotation in dataset.annotations):
        yield f"{boxless:,} annotations have no bbox: they became labels without a box; segmentations are not kept"
    if unknown := sorted({category.name for category in dataset.categories if not class_of(category.name)}):
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        yield f"categories that are not classes of BDD100K: {shown}"


def _read_coco_results(source: Path, labels: Path | None) -> Annotations:
    labels = _require_labels(source, labels)
    dataset = read_coco_images(labels)
    results, issues = resolve_image_ids(source, read_coco(source, list[CocoResult]), dataset, labels)
    frames = results_from_coco(source, results, dataset, labels)
    _check_boxes(source, [result.bbox for result in results], are_results=True)
    notes = tuple(f"{each.count:,} {each.kind}; {each.examples[0]}" for each in issues)
    return Annotations(source, frames, are_results=True, labels=labels, notes=notes)


def _check_boxes(source: Path, boxes: list[Bbox], *, are_results: bool) -> None:
    """Raise InputsError for results without a box, and for boxes that are not in pixels."""
    if are_results and not boxes:
        raise unlikely_boxes_error(source, NO_BOX)
    if are_normalised(map(msgspec.structs.astuple, boxes)):
        raise unlikely_boxes_error(source, NORMALISED)


# Writing


def _encode_scalabel(found: Annotations) -> Encoded:
    return Encoded(_encode_lines(found.frames), sum(len(frame.labels) for frame in found.frames))


def _encode_coco(found: Annotations) -> Encoded:
    notes = tuple(_omission_notes(found.frames))
    if found.are_results:
        labels = _require_labels(found.source, found.labels)
        results = results_to_coco(found.source, found.frames, read_coco_images(labels), labels)
        return Encoded(_encode_lines(results), len(results), notes)
    dataset = labels_to_coco(found.source, found.frames)
    return Encoded(msgspec.json.encode(dataset) + b"\n", len(dataset.annotations), notes)


def _encode_csv(found: Annotations) -> Encoded:
    """Encode a row for each box, by frame name: ``export.CSV_COLUMNS``, x2 and y2 exclusive; labels have no score."""
    keyed, issues, rows = frame_keys(found.source, found.frames), ValidationIssues(), []
    for name, frame in sorted(keyed.items()):
        boxed = [label for label in frame.labels if label.box2d]
        for label, box in zip(boxed, _exclusive_corners(boxed).tolist(), strict=True):
            category = label.category or ""
            score = _score(name, label, issues) if found.are_results else None
            rows.append((check_frame_name(name), CLASS_ALIASES.get(category, category), score, *box))
    issues.raise_all(found.source)
    return Encoded(encode_csv([CSV_COLUMNS, *rows]), len(rows), tuple(_omission_notes(found.frames)))


def _encode_yolo(found: Annotations) -> Encoded:
    """Format the rows of each frame; crowds and ignored regions are left out, and boxes are clipped to the image."""
    keyed, sizes, issues = frame_keys(found.source, found.frames), _Sizes(found), ValidationIssues()
    content: dict[str, list[str]] = {}
    crowds = outside = clipped = 0
    for name, frame in sorted(keyed.items()):
        boxed = [label for label in frame.labels if label.box2d]
        single = [label for label in boxed if not is_crowd(label.category, label.attributes)]
        crowds += len(boxed) - len(single)
        classes = [_class_index(name, label, issues) for label in single]
        scores = np.array([_score(name, label, issues) for label in single]) if found.are_results else None
        size = sizes.find(name) if single else None
        if size is None:
            content[name] = []
            continue
        corners, shape = _exclusive_corners(single), (size.width, size.height)
        inside = np.clip(corners, 0, [*shape, *shape])
        kept = (inside[:, 2:] > inside[:, :2]).all(axis=1)
        outside += int((~kept).sum())
        # Scaling a detector's boxes back to the image may put a border in the last bits outside.
        clipped += int((np.abs(inside - corners) > 0.01)[kept].any(axis=1).sum())
        indices = np.array(classes)[kept].tolist()
        content[name] = format_yolo_rows(indices, corners[kept], shape, None if scores is None else scores[kept])
    issues.raise_all(found.source)
    notes = [*_omission_notes(found.frames)]
    if crowds:
        notes.append(f"{crowds:,} crowds and ignored regions were left out: YOLO cannot mark them")
    if outside:
        notes.append(f"{outside:,} boxes without an area inside their image were left out")
    if clipped:
        notes.append(f"{clipped:,} boxes were clipped to their image")
    return Encoded(content, sum(map(len, content.values())), tuple(notes))


def _exclusive_corners(labels: Sequence[Label]) -> npt.NDArray[np.float64]:
    """Return x1, y1, x2, y2 of boxes as [n, 4], x2 and y2 exclusive."""
    corners = [msgspec.structs.astuple(label.box2d) for label in labels if label.box2d]
    exclusive = np.array(corners, np.float64).reshape(-1, 4)
    exclusive[:, 2:] += 1
    return exclusive


def _score(name: str, label: Label, issues: ValidationIssues) -> float:
    score = to_number(label.score)
    if score is None or not np.isfinite(score):
        issues.add("labels without a score that is a number", f"{name}: label {label.id}: {label.score}")
        return 0.0
    return score


def _class_index(name: str, label: Label, issues: ValidationIssues) -> int:
    known = class_of(label.category)
    if known is None:
        issues.add("labels of unknown categories", f"{name}: label {label.id}: {label.category}")
        return 0
    return CLASSES.index(known)


class _Sizes:
    """The sizes of the frames of annotations, from the first source that knows them; see ``convert_file``."""

    def __init__(self, found: Annotations) -> None:
        self._images = FrameSizes(find_images(found.images).frames) if found.images else None
        frames = found.frames if found.labels is None else _read_labels(found.labels)
        self._known = {name: each.given_size for name, each in frame_keys(found.labels or found.source, frames).items()}

    def find(self, name: str) -> ImageSize:
        """Return the size of a frame, by a name of ``frame_keys``; raises ImagesError if it is unknown."""
        if self._images is not None:
            return self._images[name]
        if size := self._known.get(name) or size_by_name(name):
            return size
        problem = f"the size of the image {name!r} is unknown, and YOLO's boxes are fractions of it"
        raise ImagesError(problem, "give the images: --images PATH (in Python, images=…)")


def _read_labels(path: Path) -> Sequence[LabelFrame]:
    if detect_format(path) == "COCO labels":
        return labels_from_coco(path, read_coco(path, CocoLabels))
    return read_frames(path)


def _omission_notes(frames: Sequence[LabelFrame]) -> Iterator[str]:
    """Yield notes on labels that a format of boxes cannot hold."""
    every_label = [label for frame in frames for label in frame.labels]
    if not every_label:
        yield "there is no label: only the images were written"
    if boxless := sum(label.box2d is None for label in every_label):
        yield f"{boxless:,} labels without a box were left out"


def _encode_lines(items: Iterable[msgspec.Struct]) -> bytes:
    """Encode a JSON list, one item per line."""
    lines = b",\n".join(map(msgspec.json.Encoder().encode, items))
    return b"[\n" + lines + b"\n]\n" if lines else b"[]\n"


FORMATS: dict[FileFormat, AnnotationFormat] = {
    "Scalabel frames": "scalabel",
    "COCO labels": "coco",
    "COCO results": "coco",
}
TITLES: dict[TargetFormat, str] = {"scalabel": "Scalabel", "coco": "COCO", "yolo": "YOLO", "csv": "CSV"}
READERS: dict[FileFormat, Callable[[Path, Path | None], Annotations]] = {
    "Scalabel frames": _read_scalabel,
    "COCO labels": _read_coco_labels,
    "COCO results": _read_coco_results,
}
"""Each reads a file, given the labels file that belongs to it, if any."""
WRITERS: dict[TargetFormat, Callable[[Annotations], Encoded]] = {
    "scalabel": _encode_scalabel,
    "coco": _encode_coco,
    "yolo": _encode_yolo,
    "csv": _encode_csv,
}
