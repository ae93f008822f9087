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
from bdd100k_zoo.data.formats import FileFormat, describe_format, detect_format
from bdd100k_zoo.data.scalabel import NO_BOX_MESSAGE, NORMALISED_MESSAGE, are_normalised, to_bbox
from bdd100k_zoo.data.scalabel_reader import read_frames
from bdd100k_zoo.errors import InvalidFileError, UnlikelyBoxesError
from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from bdd100k_zoo.data.scalabel import Bbox, LabelFrame

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
    """Convert a file of labels or results; its content decides what it is.

    Args:
        source: the file, or a folder of files of frames.
        out: where to write; an existing file is replaced.
        to: the format to write.
        given: the format that the user expects of the file; another one is an error.
        labels: labels in either format, whose images the results are of.

    Raises:
        StorageError: a file cannot be read or written.
        InputsError, InvalidFileError: a file has a fault; all faults of a kind are counted.
        UnlikelyBoxesError: results without a box, or boxes that all lie within 0 to 1.
        FrameNameError: a name is no relative path inside a folder.
    """
    found = _source_format(source, to, given)
    try:
        if found == "Scalabel frames":
            result, content = _from_scalabel(source, out, read_frames(source), labels)
        elif found == "COCO labels":
            result, content = _from_coco_labels(source, out, read_coco(source, CocoLabels))
        else:
            results = read_coco(source, list[CocoResult])
            result, content = _from_coco_results(source, out, results, _require_labels(source, labels))
    except UnicodeEncodeError as error:
        raise InvalidFileError(source, "holds text that is no Unicode: a lone surrogate") from error
    write_atomically(out, content, follow_links=True)
    return result


def _source_format(source: Path, to: AnnotationFormat, given: AnnotationFormat | None) -> FileFormat:
    """Return the format of a file; for an empty list it is the one that the user gave."""
    found = detect_format(source)
    if found is None:
        if given is None:
            raise InvalidFileError(source, "is an empty list, which may be of either format: say which with --from")
        found = "Scalabel frames" if given == "scalabel" else "COCO results"
    if given and FORMATS[found] != given:
        raise InvalidFileError(source, f"expected {given} (--from), found {describe_format(found)}")
    if FORMATS[found] == to:
        raise InvalidFileError(source, f"holds {describe_format(found)}, so it is {to} already")
    return found


def _require_labels(source: Path, labels: Path | None) -> Path:
    if labels is None:
        problem = "holds results: the ids of their images stand in a labels file, give it with --labels"
        raise InvalidFileError(source, problem)
    return labels


def _from_scalabel(
    source: Path, out: Path, frames: Sequence[LabelFrame], labels: Path | None
) -> tuple[ConversionResult, bytes]:
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


def _from_coco_labels(source: Path, out: Path, dataset: CocoLabels) -> tuple[ConversionResult, bytes]:
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
        yield f"categories that the evaluation does not know: {shown}"


def _from_coco_results(
    source: Path, out: Path, results: Sequence[CocoResult], labels: Path
) -> tuple[ConversionResult, bytes]:
    dataset = read_coco_images(labels)
    results, issues = resolve_image_ids(source, results, dataset, labels)
    frames = results_from_coco(source, results, dataset, labels)
    _check_boxes(source, [result.bbox for result in results], are_results=True)
    notes = tuple(f"{each.count:,} {each.kind}; {each.examples[0]}" for each in issues)
    counts = len(frames), len(results)
    return ConversionResult("COCO results", "Scalabel results", str(out), *counts, notes), _encode_lines(frames)


def _check_boxes(source: Path, boxes: Sequence[Bbox], *, are_results: bool) -> None:
    """Raise UnlikelyBoxesError for results without a box, and for boxes that are not in pixels."""
    if are_results and not boxes:
        raise UnlikelyBoxesError(source, NO_BOX_MESSAGE)
    if are_normalised(map(msgspec.structs.astuple, boxes)):
        raise UnlikelyBoxesError(source, NORMALISED_MESSAGE)


def _encode_lines(items: Iterable[msgspec.Struct]) -> bytes:
    """Encode a JSON list, an item a line."""
    lines = b",\n".join(map(msgspec.json.Encoder().encode, items))
    return b"[\n" + lines + b"\n]\n" if lines else b"[]\n"
