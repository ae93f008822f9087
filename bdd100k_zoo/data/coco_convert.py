"""Scalabel ↔ COCO, labels and results, exactly.

Category ids are 1 to 10 in the benchmark's order and image ids 1 to N over the frames stable-sorted by name, as in the
official evaluation, unless a frame or a labels file says otherwise.
"""

from __future__ import annotations

from math import isfinite
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from bdd100k_zoo.data.classes import CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.coco import (
    Bbox,
    CocoAnnotation,
    CocoCategory,
    CocoImage,
    CocoLabels,
    CocoOrigin,
    CocoResult,
    FaultCollector,
    ScalabelFrame,
    ScalabelLabel,
    ScalabelOrigin,
    box_to_coco,
    box_to_scalabel,
    category_ids,
    class_of,
    find_frame_key,
    frame_keys,
    is_crowd,
    is_finite,
    read_coco,
    read_scalabel,
)
from bdd100k_zoo.data.formats import detect_format, is_true
from bdd100k_zoo.data.scalabel import FRAME_SIZE, ImageSize
from bdd100k_zoo.data.validation import IssueSummary
from bdd100k_zoo.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

CATEGORIES = tuple(CocoCategory(number, name) for number, name in enumerate(CLASSES, 1))
"""The categories of the labels files that we write."""


class _Categories:
    """The categories of a labels file, both ways."""

    def __init__(self, categories: Sequence[CocoCategory]) -> None:
        self.names = {category.id: category.name for category in categories}
        self.ids = category_ids({category.name: category.id for category in categories})


def images_to_coco(path: Path, frames: Sequence[ScalabelFrame]) -> CocoLabels:
    """Give the images and categories of a labels file, without annotations; raises as ``frame_keys``."""
    frame_keys(path, frames)
    ordered = sorted(frames, key=lambda frame: frame.name)
    kept = [frame.coco.id for frame in ordered if frame.coco and not isinstance(frame.coco.id, UnsetType)]
    whole = len(set(kept)) == len(ordered)
    ids: Sequence[int | str] = kept if whole else range(1, len(ordered) + 1)
    return CocoLabels(tuple(map(_image, ids, ordered)), CATEGORIES)


def _image(number: int | str, frame: ScalabelFrame) -> CocoImage:
    size = frame.size or FRAME_SIZE
    return CocoImage(
        number,
        frame.name,
        size.width,
        size.height,
        url=frame.url,
        videoName=frame.videoName,
        timestamp=frame.timestamp,
        frameIndex=frame.frameIndex,
        attributes=frame.attributes,
    )


def labels_to_coco(path: Path, frames: Sequence[ScalabelFrame]) -> CocoLabels:
    """Convert labels; those without a box are left out. Label ids that COCO can hold become annotation ids.

    Raises:
        RecordError: a category that the benchmark lacks, or a name that repeats; all are counted.
        FrameNameError: a name is no relative path inside a folder.
    """
    dataset = images_to_coco(path, frames)
    ordered = sorted(frames, key=lambda frame: frame.name)
    placed = [
        (image, label)
        for image, frame in zip(dataset.images, ordered, strict=True)
        for label in frame.labels
        if label.box2d
    ]
    troubles, categories = FaultCollector(path), _Categories(dataset.categories)
    numbers = _annotation_ids([label for _, label in placed])
    annotations = tuple(
        _annotation(number, image, label, categories, troubles)
        for number, (image, label) in zip(numbers, placed, strict=True)
    )
    troubles.tell()
    return msgspec.structs.replace(dataset, annotations=annotations)


def _annotation_ids(labels: Sequence[ScalabelLabel]) -> Sequence[int]:
    """Use the labels' own numbers where all are whole, positive and different (COCO's tools take 0 for "no match")."""
    texts = {str(label.id) for label in labels}
    if len(texts) == len(labels) and all(map(_is_number, texts)):
        return [int(str(label.id)) for label in labels]
    return range(1, len(labels) + 1)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 19


def _annotation(
    number: int, image: CocoImage, label: ScalabelLabel, categories: _Categories, troubles: FaultCollector
) -> CocoAnnotation:
    category, bbox, origin = _convert_label(number, image.file_name, label, categories, troubles)
    return CocoAnnotation(
        id=number,
        image_id=image.id,
        category_id=category,
        bbox=bbox,
        area=bbox.width * bbox.height,
        iscrowd=int(is_crowd(label.category, label.attributes)),
        attributes=label.attributes,
        scalabel=origin,
    )


def _convert_label(
    number: int, frame: str, label: ScalabelLabel, categories: _Categories, troubles: FaultCollector
) -> tuple[int, Bbox, ScalabelOrigin | None]:
    """Category id, box, and what else a label says; a fault is noted."""
    category = categories.ids.get(label.category or "")
    if category is None:
        troubles.add("labels of unknown categories", f"{frame}: label {label.id}: {label.category}")
        category = 0
    bbox, box = box_to_coco(label.box2d, label.coco.bbox if label.coco else UNSET) if label.box2d else (_NONE, UNSET)
    if not is_finite(bbox):
        troubles.add("boxes that are too large, or no numbers", f"{frame}: label {label.id}")
    origin = ScalabelOrigin(
        id=UNSET if label.id == str(number) else label.id,
        category=UNSET if label.category in (None, categories.names.get(category)) else str(label.category),
        box2d=box,
    )
    return category, bbox, None if origin == ScalabelOrigin() else origin


_NONE = Bbox(0, 0, 0, 0)


def results_to_coco(path: Path, frames: Sequence[ScalabelFrame], dataset: CocoLabels, of: Path) -> list[CocoResult]:
    """Convert results, with the image and category ids of a labels file; labels without a box are left out.

    Raises:
        RecordError: a frame or a category that the labels file ``of`` lacks, a missing score; all are counted.
        FrameNameError: a name is no relative path inside a folder.
    """
    images = frame_keys(of, dataset.images)
    frame_keys(path, frames)
    categories, troubles = _Categories(dataset.categories), FaultCollector(path)
    results: list[CocoResult] = []
    for frame in sorted(frames, key=lambda frame: frame.name):
        # BDD100K's old submissions leave the suffix out.
        image = images.get(find_frame_key(images, frame)) or images.get(f"{frame.name}.jpg")
        if image is None:
            troubles.add(f"frames that {of} lacks", frame.name)
        else:
            results += _frame_results(len(results), image, frame, categories, troubles)
    troubles.tell()
    return results


def _frame_results(
    before: int, image: CocoImage, frame: ScalabelFrame, categories: _Categories, troubles: FaultCollector
) -> Iterable[CocoResult]:
    boxed = (label for label in frame.labels if label.box2d)
    for number, label in enumerate(boxed, before + 1):
        category, bbox, origin = _convert_label(number, frame.name, label, categories, troubles)
        score = _parse_score(label, frame.name, troubles)
        yield CocoResult(image.id, category, bbox, score, attributes=label.attributes, scalabel=origin)


def _parse_score(label: ScalabelLabel, frame: str, troubles: FaultCollector) -> float:
    """Read a score; it may be a number written as text."""
    try:
        score = float("nan" if label.score is None else label.score)
    except ValueError:
        score = float("nan")
    if not isfinite(score):
        troubles.add("labels without a score that is a number", f"{frame}: label {label.id}: {label.score}")
    return score


def resolve_image_ids(
    path: Path, results: Sequence[CocoResult], dataset: CocoLabels, of: Path
) -> tuple[Sequence[CocoResult], tuple[IssueSummary, ...]]:
    """Replace ids of results by those of a labels file where images are named by their files, as ultralytics does.

    There ``image_id`` is the file's name without folder and suffix, a number where it is digits alone; newer versions
    add ``file_name``. Category ids are the model's classes, counted from 0, and from 1 since December 2024
    (ultralytics/ultralytics#18140).

    Returns:
        The results, and what was assumed of their ids.

    Raises:
        RecordError: several images may be meant, or it is open whether category ids begin at 0 or 1.
    """
    by_file = all(result.file_name for result in results)
    images: dict[int | str, list[int | str]] = {}
    for image in dataset.images:
        name = PurePosixPath(image.file_name)
        images.setdefault(name.name if by_file else _stem_key(name.stem), []).append(image.id)
    keys = [PurePosixPath(result.file_name or "").name if by_file else _stem_key(result.image_id) for result in results]
    meant = [images.get(key, []) for key in keys]
    if not all(meant) or all(each.image_id in found for found, each in zip(meant, results, strict=True)):
        return results, ()  # they have the labels' own ids, or ids that are an error elsewhere
    if not by_file and {result.image_id for result in results} <= {image.id for image in dataset.images}:
        if detect_format(of) == "COCO labels":
            return results, ()
        problem = "image ids may be places in the labels or names of files, which are numbers: give COCO labels"
        raise RecordError(path, problem)
    for key, found in zip(keys, meant, strict=True):
        if len(found) > 1:
            raise RecordError(path, f"names images by their files, and {of} has several named {key}")
    shift = _category_shift(path, results, dataset)
    matched = [
        msgspec.structs.replace(result, image_id=image, category_id=result.category_id + shift, file_name=None)
        for result, (image,) in zip(results, meant, strict=True)
    ]
    names = ", ".join(f"{each.id - shift} {each.name}" for each in dataset.categories)
    example = f"{path}: category ids were taken to be {names}"
    return matched, (IssueSummary("results whose images were found by their file names", len(matched), (example,)),)


def _stem_key(stem: int | str) -> int | str:
    # Longer ones are no ids, and Python refuses to read numbers of thousands of digits.
    return int(stem) if isinstance(stem, str) and stem.isdecimal() and len(stem) < 19 else stem


def _category_shift(path: Path, results: Sequence[CocoResult], dataset: CocoLabels) -> int:
    """Return what to add to category ids: 1 where they begin at 0, and 0 where they are those of the labels."""
    found, known = {result.category_id for result in results}, {category.id for category in dataset.categories}
    if 0 in known or max(known, default=0) in found:
        return 0
    if 0 in found:
        return 1
    problem = f"has no category id 0 or {max(known)}: whether they begin at 0 or at 1 cannot be told"
    raise RecordError(path, problem)


def labels_from_coco(path: Path, dataset: CocoLabels) -> tuple[ScalabelFrame, ...]:
    """Convert labels: every image becomes a frame, sorted by name. Annotations keep their order within a frame.

    Raises:
        RecordError: ids that repeat or lead nowhere, names that repeat; all are counted.
        FrameNameError: a name is no relative path inside a folder.
    """
    labels, names = _empty_frames(path, dataset)
    troubles = FaultCollector(path)
    for number, annotation in enumerate(dataset.annotations, 1):
        if annotation.image_id not in labels or annotation.category_id not in names:
            troubles.add("annotations of an image or category that the file lacks", f"annotation {annotation.id}")
            continue
        if annotation.bbox and not is_finite(annotation.bbox):
            troubles.add("boxes that are too large, or no numbers", f"annotation {annotation.id}")
        labels[annotation.image_id].append(_label(number, annotation, names[annotation.category_id]))
    troubles.tell()
    return _frames(dataset, labels)


def results_from_coco(
    path: Path, results: Sequence[CocoResult], dataset: CocoLabels, of: Path
) -> tuple[ScalabelFrame, ...]:
    """Convert results: every image of the labels file ``of`` becomes a frame, sorted by name, empty or not.

    Raises:
        RecordError: ids that ``of`` lacks; all are counted.
        FrameNameError: a name is no relative path inside a folder.
    """
    labels, names = _empty_frames(of, dataset)
    troubles = FaultCollector(path)
    for number, result in enumerate(results, 1):
        if result.image_id not in labels or result.category_id not in names:
            kind = f"results of an image or category that {of} lacks"
            troubles.add(kind, f"result {number}: image {result.image_id}, category {result.category_id}")
            continue
        if not is_finite(result.bbox):
            troubles.add("boxes that are too large, or no numbers", f"result {number}")
        labels[result.image_id].append(_detection(number, result, names[result.category_id]))
    troubles.tell()
    return _frames(dataset, labels)


def _empty_frames(path: Path, dataset: CocoLabels) -> tuple[dict[int | str, list[ScalabelLabel]], dict[int, str]]:
    """Lists of labels by image id, and category names by id."""
    frame_keys(path, dataset.images)
    labels: dict[int | str, list[ScalabelLabel]] = {image.id: [] for image in dataset.images}
    names = {category.id: category.name for category in dataset.categories}
    if len(labels) < len(dataset.images) or len(names) < len(dataset.categories):
        raise RecordError(path, "image ids or category ids repeat")
    return labels, names


def _frames(dataset: CocoLabels, labels: Mapping[int | str, list[ScalabelLabel]]) -> tuple[ScalabelFrame, ...]:
    images = sorted(dataset.images, key=lambda image: image.file_name)
    counted = all(image.id == number for number, image in enumerate(images, 1))
    return tuple(
        ScalabelFrame(
            image.file_name,
            url=image.url,
            videoName=image.videoName,
            timestamp=image.timestamp,
            frameIndex=image.frameIndex,
            attributes=image.attributes,
            size=ImageSize(image.width, image.height) if image.width and image.height else None,
            coco=None if counted else CocoOrigin(id=image.id),
            given_labels=tuple(labels[image.id]),
        )
        for image in images
    )


def _original_category(name: str, origin: ScalabelOrigin) -> str:
    """Use what the origin says where it stands for the same class."""
    if isinstance(origin.category, str) and class_of(origin.category) == class_of(name) is not None:
        return origin.category
    return name


def _label(number: int, annotation: CocoAnnotation, name: str) -> ScalabelLabel:
    origin = annotation.scalabel or ScalabelOrigin()
    category, attributes = _original_category(name, origin), annotation.attributes
    if not isinstance(annotation.iscrowd, UnsetType):
        crowd = bool(annotation.iscrowd)
        category = category if crowd or category not in IGNORED_CLASSES else name
        attributes = _with_crowd(category, attributes, crowd=crowd)
    own = number if annotation.id is None else annotation.id
    label = ScalabelLabel(
        id=str(own) if isinstance(origin.id, UnsetType) else origin.id, category=category, attributes=attributes
    )
    return _boxed(label, annotation.bbox, origin)


def _with_crowd(category: str, attributes: dict[str, Any] | None, *, crowd: bool) -> dict[str, Any] | None:
    """Let the attributes say what ``iscrowd`` says, where they do not already."""
    if is_crowd(category, attributes) == crowd:
        return attributes
    unset = {"ignored": False} if attributes and is_true(attributes.get("ignored")) else {}
    return {**(attributes or {}), **unset, "crowd": crowd}


def _detection(number: int, result: CocoResult, name: str) -> ScalabelLabel:
    origin = result.scalabel or ScalabelOrigin()
    label = ScalabelLabel(
        id=str(number) if isinstance(origin.id, UnsetType) else origin.id,
        category=_original_category(name, origin),
        score=result.score,
        attributes=result.attributes,
    )
    return _boxed(label, result.bbox, origin)


def _boxed(label: ScalabelLabel, bbox: Bbox | None, origin: ScalabelOrigin) -> ScalabelLabel:
    if bbox is None:
        return label
    box, kept = box_to_scalabel(bbox, origin.box2d)
    coco = None if isinstance(kept, UnsetType) else CocoOrigin(bbox=kept)
    return msgspec.structs.replace(label, box2d=box, coco=coco)


def read_coco_images(path: Path) -> CocoLabels:
    """Read COCO labels, or the images and categories that Scalabel labels would have in COCO's format.

    Raises:
        StorageError: the file cannot be read.
        RecordError: it is neither.
    """
    shape = detect_format(path)
    if shape in ("Scalabel frames", None):
        return images_to_coco(path, read_scalabel(path))
    if shape != "COCO labels":
        raise RecordError(path, f"expected labels, found {shape}")
    return read_coco(path, CocoLabels)
