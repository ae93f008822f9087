"""The job of ``convert``: a file of labels or results from Scalabel's to COCO's format, or back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.data.coco import AnnotationFormat, CocoLabels, CocoResult, class_of, read_coco
from bdd100k_zoo.data.coco_convert import (
    labels_from_coco,
    labels_to_coco,
    read_coco_images,
    resolve_image_ids,
    results_from_coco,
    results_to_coco,
)
from bdd100k_zoo.data.formats import FileFormat, detect_format
from bdd100k_zoo.data.scalabel import are_normalised, to_bbox
from bdd100k_zoo.data.scalabel_reader import read_frames
from bdd100k_zoo.data.validation import NO_BOX, NORMALISED, unlikely_boxes_error
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bdd100k_zoo.data.scalabel import Bbox

FORMATS: dict[FileFormat, AnnotationFormat] = {
    "Scalabel frames": "scalabel",
    "COCO labels": "coco",
    "COCO results": "coco",
}


class ConversionResult(msgspec.Struct, frozen=True):
    """What a conversion found and wrote."""

    found: str
    """``Scalabel labels``, ``Scalabel results``, ``COCO labels`` or ``COCO results``."""
    written: str
    path: str
    images: int
    objects: int
    notes: tuple[str, ...]


def convert_file(
    source: Path, out: Path, to: AnnotationFormat, given: AnnotationFormat | None = None, labels: Path | None = None
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
    convert = {
        "Scalabel frames": _from_scalabel,
        "COCO labels": _from_coco_labels,
        "COCO results": _from_coco_results,
    }[found]
    try:
        result, content = convert(source, out, labels)
    except UnicodeEncodeError as error:
        raise InvalidFileError(source, "holds text that is not valid Unicode: a lone surrogate") from error
    write_atomically(out, content, follow_links=True)
    return result


def _source_format(source: Path, to: AnnotationFormat, given: AnnotationFormat | None) -> FileFormat:
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


def _from_scalabel(source: Path, out: Path, labels: Path | None) -> tuple[ConversionResult, bytes]:
    frames = read_frames(source)
    every_label = [label for frame in frames for label in frame.labels]
    # Labels have no scores. If there is no label, a labels file beside the source shows that it holds results.
    are_results = any(label.score is not None for label in every_label) if every_label else labels is not None
    _check_boxes(source, [to_bbox(label.box2d) for label in every_label if label.box2d], are_results=are_results)
    notes: tuple[str, ...] = ()
    if not every_label:
        notes = ("there is no label: only the images were written",)
    elif boxless := sum(label.box2d is None for label in every_label):
        notes = (f"{boxless:,} labels without a box were left out",)
    if are_results:
        labels = _require_labels(source, labels)
        results = results_to_coco(source, frames, read_coco_images(labels), labels)
        counts = len(frames), len(results)
        return ConversionResult("Scalabel results", "COCO results", str(out), *counts, notes), _encode_lines(results)
    dataset = labels_to_coco(source, frames)
    counts = len(dataset.images), len(dataset.annotations)
    content = msgspec.json.encode(dataset) + b"\n"
    return ConversionResult("Scalabel labels", "COCO labels", str(out), *counts, notes), content


def _from_coco_labels(source: Path, out: Path, _: Path | None) -> tuple[ConversionResult, bytes]:
    dataset = read_coco(source, CocoLabels)
    _check_boxes(source, [each.bbox for each in dataset.annotations if each.bbox], are_results=False)
    frames = labels_from_coco(source, dataset)
    counts = len(frames), len(dataset.annotations)
    notes = tuple(_label_notes(dataset))
    return ConversionResult("COCO labels", "Scalabel labels", str(out), *counts, notes), _encode_lines(frames)


def _label_notes(dataset: CocoLabels) -> Iterator[str]:
    if boxless := sum(annotation.bbox is None for annotation in dataset.annotations):
        yield f"{boxless:,} annotations have no bbox: they became labels without a box; segmentations are not kept"
    if unknown := sorted({category.name for category in dataset.categories if not class_of(category.name)}):
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        yield f"categories that are not classes of BDD100K: {shown}"


def _from_coco_results(source: Path, out: Path, labels: Path | None) -> tuple[ConversionResult, bytes]:
    labels = _require_labels(source, labels)
    dataset = read_coco_images(labels)
    results, issues = resolve_image_ids(source, read_coco(source, list[CocoResult]), dataset, labels)
    frames = results_from_coco(source, results, dataset, labels)
    _check_boxes(source, [result.bbox for result in results], are_results=True)
    notes = tuple(f"{each.count:,} {each.kind}; {each.examples[0]}" for each in issues)
    counts = len(frames), len(results)
    return ConversionResult("COCO results", "Scalabel results", str(out), *counts, notes), _encode_lines(frames)


def _check_boxes(source: Path, boxes: list[Bbox], *, are_results: bool) -> None:
    """Raise InputsError for results without a box, and for boxes that are not in pixels."""
    if are_results and not boxes:
        raise unlikely_boxes_error(source, NO_BOX)
    if are_normalised(map(msgspec.structs.astuple, boxes)):
        raise unlikely_boxes_error(source, NORMALISED)


def _encode_lines(items: Iterable[msgspec.Struct]) -> bytes:
    """Encode a JSON list, one item per line."""
    lines = b",\n".join(map(msgspec.json.Encoder().encode, items))
    return b"[\n" + lines + b"\n]\n" if lines else b"[]\n"
