"""Scalabel ↔ COCO, labels and results, from file to file."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.data.coco import (
    AnnotationFormat,
    Bbox,
    CocoLabels,
    CocoResult,
    ScalabelFrame,
    class_of,
    read_coco,
    read_scalabel,
)
from bdd100k_zoo.data.coco_convert import (
    labels_from_coco,
    labels_to_coco,
    read_coco_images,
    resolve_image_ids,
    results_from_coco,
    results_to_coco,
)
from bdd100k_zoo.data.formats import FileFormat, describe_format, detect_format
from bdd100k_zoo.data.scalabel import NO_BOX_MESSAGE, NORMALISED_MESSAGE, Box2D, are_normalised
from bdd100k_zoo.errors import RecordError, UnlikelyBoxesError
from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

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
    """Convert a file of labels or results; what it is, its content tells.

    Args:
        source: the file, or a folder of files of frames.
        out: where to write; an older file there is replaced.
        to: the format to write.
        given: the format that the user takes the file for; a contradiction is an error.
        labels: labels in either format, whose images the results are of.

    Raises:
        StorageError: a file cannot be read or written.
        InputsError, RecordError: a file is not what it should be; all faults of a kind are counted.
        UnlikelyBoxesError: results without a box, or boxes that all lie within 0 to 1.
        FrameNameError: a name is no relative path inside a folder.
    """
    shape = _shape(source, to, given)
    try:
        if shape == "Scalabel frames":
            converted, written = _from_scalabel(source, out, read_scalabel(source), labels)
        elif shape == "COCO labels":
            converted, written = _from_coco_labels(source, out, read_coco(source, CocoLabels))
        else:
            results = read_coco(source, list[CocoResult])
            converted, written = _from_coco_results(source, out, results, _needed(source, labels))
    except UnicodeEncodeError as error:
        raise RecordError(source, "holds text that is no Unicode: a lone surrogate") from error
    write_atomically(out, written, follow_links=True)
    return converted


def _shape(source: Path, to: AnnotationFormat, given: AnnotationFormat | None) -> FileFormat:
    """Decide what a file is; an empty list is what the user says."""
    found = detect_format(source)
    if found is None:
        if given is None:
            raise RecordError(source, "is an empty list, which may be of either format: say which with --from")
        found = "Scalabel frames" if given == "scalabel" else "COCO results"
    if given and FORMATS[found] != given:
        raise RecordError(source, f"expected {given} (--from), found {describe_format(found)}")
    if FORMATS[found] == to:
        raise RecordError(source, f"holds {describe_format(found)}, so it is {to} already")
    return found


def _needed(source: Path, labels: Path | None) -> Path:
    if labels is None:
        raise RecordError(
            source, "holds results: the ids of their images stand in a labels file, give it with --labels"
        )
    return labels


def _from_scalabel(
    source: Path, out: Path, frames: Sequence[ScalabelFrame], labels: Path | None
) -> tuple[ConversionResult, bytes]:
    notes = _left_out(frames)
    are_results = _are_results(frames, labels)
    boxes = (label.box2d for frame in frames for label in frame.labels if label.box2d)
    _check_boxes(source, boxes, are_results=are_results)
    if are_results:
        of = _needed(source, labels)
        results = results_to_coco(source, frames, read_coco_images(of), of)
        told = ConversionResult("Scalabel results", "COCO results", str(out), len(frames), len(results), notes)
        return told, _encode_lines(results)
    dataset = labels_to_coco(source, frames)
    counts = len(dataset.images), len(dataset.annotations)
    return ConversionResult("Scalabel labels", "COCO labels", str(out), *counts, notes), msgspec.json.encode(
        dataset
    ) + b"\n"


def _check_boxes(source: Path, boxes: Iterable[Box2D], *, are_results: bool) -> None:
    """Raise UnlikelyBoxesError for results without a box, and for boxes that are not in pixels."""
    found = list(boxes)
    if are_results and not found:
        raise UnlikelyBoxesError(source, NO_BOX_MESSAGE)
    if are_normalised(found):
        raise UnlikelyBoxesError(source, NORMALISED_MESSAGE)


def _edges(bbox: Bbox) -> Box2D:
    return Box2D(bbox.x, bbox.y, bbox.x + bbox.width, bbox.y + bbox.height)


def _are_results(frames: Sequence[ScalabelFrame], labels: Path | None) -> bool:
    """Labels have no scores; where nothing is labelled, a labels file beside them tells that these are results."""
    objects = (label for frame in frames for label in frame.labels)
    first = next(objects, None)
    if first is None:
        return labels is not None
    return any(label.score is not None for label in chain((first,), objects))


def _left_out(frames: Sequence[ScalabelFrame]) -> tuple[str, ...]:
    number = sum(label.box2d is None for frame in frames for label in frame.labels)
    if not any(frame.labels for frame in frames):
        return ("there is no label: only the images were written",)
    return (f"{number:,} labels without a box were left out",) if number else ()


def _from_coco_labels(source: Path, out: Path, dataset: CocoLabels) -> tuple[ConversionResult, bytes]:
    _check_boxes(source, (_edges(each.bbox) for each in dataset.annotations if each.bbox), are_results=False)
    frames = labels_from_coco(source, dataset)
    counts = len(frames), len(dataset.annotations)
    notes = tuple(_notes(dataset))
    return ConversionResult("COCO labels", "Scalabel labels", str(out), *counts, notes), _encode_lines(frames)


def _notes(dataset: CocoLabels) -> Iterator[str]:
    if boxless := sum(annotation.bbox is None for annotation in dataset.annotations):
        yield f"{boxless:,} annotations have no bbox: they became labels without a box; segmentations are not kept"
    if unknown := sorted({category.name for category in dataset.categories if not class_of(category.name)}):
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        yield f"categories that the evaluation does not know: {shown}"


def _from_coco_results(
    source: Path, out: Path, results: Sequence[CocoResult], labels: Path
) -> tuple[ConversionResult, bytes]:
    dataset = read_coco_images(labels)
    results, told_of_ids = resolve_image_ids(source, results, dataset, labels)
    frames = results_from_coco(source, results, dataset, labels)
    _check_boxes(source, (_edges(result.bbox) for result in results), are_results=True)
    notes = tuple(f"{each.count:,} {each.kind}; {each.examples[0]}" for each in told_of_ids)
    told = ConversionResult("COCO results", "Scalabel results", str(out), len(frames), len(results), notes)
    return told, _encode_lines(frames)


def _encode_lines(items: Iterable[msgspec.Struct]) -> bytes:
    """Write a JSON list, an item a line."""
    lines = b",\n".join(map(msgspec.json.Encoder().encode, items))
    return b"[\n" + lines + b"\n]\n" if lines else b"[]\n"
