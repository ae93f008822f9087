"""The job of ``convert``: read a file of labels or results in any format, and write it in another.

``READERS`` and ``WRITERS`` at the end list the formats; a new one to write is an entry in ``WRITERS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.data.coco import CocoLabels, CocoResult, class_of, read_coco
from bdd100k_zoo.data.coco_convert import (
    labels_from_coco,
    labels_to_coco,
    read_coco_images,
    resolve_image_ids,
    results_from_coco,
    results_to_coco,
)
from bdd100k_zoo.data.formats import AnnotationFormat, FileFormat, TargetFormat, detect_format
from bdd100k_zoo.data.scalabel import are_normalised, to_bbox
from bdd100k_zoo.data.scalabel_reader import read_frames
from bdd100k_zoo.data.validation import NO_BOX, NORMALISED, unlikely_boxes_error
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from bdd100k_zoo.data.scalabel import Bbox, LabelFrame


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
    notes: tuple[str, ...] = ()
    """On what reading them assumed or left out."""

    @property
    def kind(self) -> str:
        """``labels`` or ``results``."""
        return "results" if self.are_results else "labels"


class Encoded(NamedTuple):
    """The content of a file to write."""

    content: bytes
    objects: int
    """How many labels or results it holds."""
    notes: tuple[str, ...] = ()
    """On what the format cannot hold."""


def convert_file(
    source: Path, out: Path, to: TargetFormat, given: AnnotationFormat | None = None, labels: Path | None = None
) -> ConversionResult:
    """Convert a file of labels or results; its content decides which of them it is.

    Args:
        source: the file, or a folder of files of frames.
        out: where to write; an existing file is replaced.
        to: the format to write.
        given: the format that the user expects of the file; another one is an error.
        labels: labels in either format, whose images the results are of.

    Raises:
        StorageError: a file cannot be read or written.
        InputsError: a file is not in its format, results have no box, or all boxes lie within 0 to 1.
        InvalidFileError: a file has a fault; all faults of a kind are counted.
    """
    found = _source_format(source, to, given)
    try:
        annotations = READERS[found](source, labels)
        encoded = WRITERS[to](annotations)
    except UnicodeEncodeError as error:
        raise InvalidFileError(source, "holds text that is not valid Unicode: a lone surrogate") from error
    write_atomically(out, encoded.content, follow_links=True)
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
TITLES: dict[TargetFormat, str] = {"scalabel": "Scalabel", "coco": "COCO"}
READERS: dict[FileFormat, Callable[[Path, Path | None], Annotations]] = {
    "Scalabel frames": _read_scalabel,
    "COCO labels": _read_coco_labels,
    "COCO results": _read_coco_results,
}
"""Each reads a file, given the labels file that belongs to it, if any."""
WRITERS: dict[TargetFormat, Callable[[Annotations], Encoded]] = {
    "scalabel": _encode_scalabel,
    "coco": _encode_coco,
}
