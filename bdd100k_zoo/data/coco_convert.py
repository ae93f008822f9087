"""Lossless conversion between Scalabel and COCO, of labels and results.

Category ids are 1 to 10 in the benchmark's order, and image ids 1 to N over the frames stable-sorted by name, as in the
official evaluation, unless a frame or a labels file has other ids.
"""

from __future__ import annotations

from math import isfinite
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from bdd100k_zoo.data.classes import CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.coco import (
    CLASS_OF_CATEGORY,
    CocoAnnotation,
    CocoCategory,
    CocoImage,
    CocoLabels,
    CocoResult,
    ScalabelOrigin,
    box_to_coco,
    box_to_scalabel,
    class_of,
    frame_keys,
    is_finite,
    read_coco,
)
from bdd100k_zoo.data.formats import detect_format, is_true, to_number
from bdd100k_zoo.data.scalabel import Bbox, Box2D, CocoOrigin, ImageSize, Label, LabelFrame, is_crowd
from bdd100k_zoo.data.scalabel_reader import read_frames
from bdd100k_zoo.data.validation import IssueSummary, ValidationIssues, wrong_file_error
from bdd100k_zoo.errors import InvalidFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CATEGORIES = tuple(CocoCategory(number, name) for number, name in enumerate(CLASSES, 1))
"""The categories of the labels files that this package writes."""

INVALID_BOXES = "boxes whose size is too large or not a number"


class _Categories:
    """The categories of a labels file, by id, and their ids by all names of their classes."""

    def __init__(self, categories: Sequence[CocoCategory]) -> None:
        self.names = {category.id: category.name for category in categories}
        own = {category.name: category.id for category in categories}
        ids = {class_of(name) or name: number for name, number in own.items() if name not in IGNORED_CLASSES} | own
        self.ids = {other: ids[name] for other, name in CLASS_OF_CATEGORY.items() if name in ids} | ids


# Scalabel to COCO


def read_coco_images(path: Path) -> CocoLabels:
    """Read COCO labels, or the images and categories that Scalabel labels would have in COCO's format.

    Raises:
        StorageError: the file cannot be read.
        InvalidFileError: it is neither.
    """
    found = detect_format(path)
    if found == "COCO results":
        raise wrong_file_error(path, "labels", found)
    return read_coco(path, CocoLabels) if found == "COCO labels" else images_to_coco(path, read_frames(path))


def images_to_coco(path: Path, frames: Sequence[LabelFrame]) -> CocoLabels:
    """Return the images and categories of a labels file, without annotations; raises as ``frame_keys``."""
    frame_keys(path, frames)
    ordered = sorted(frames, key=lambda frame: frame.name)
    original = [frame.coco.id for frame in ordered if frame.coco and not isinstance(frame.coco.id, UnsetType)]
    ids: Sequence[int | str] = original if len(set(original)) == len(ordered) else range(1, len(ordered) + 1)
    images = (
        CocoImage(image_id, frame.name, frame.size.width, frame.size.height, **_shared_fields(frame))
        for image_id, frame in zip(ids, ordered, strict=True)
    )
    return CocoLabels(tuple(images), CATEGORIES)


def _shared_fields(source: LabelFrame | CocoImage) -> dict[str, Any]:
    names = ("url", "videoName", "timestamp", "frameIndex", "attributes")
    return {name: getattr(source, name) for name in names}


def labels_to_coco(path: Path, frames: Sequence[LabelFrame]) -> CocoLabels:
    """Convert labels; those without a box are omitted. Label ids that COCO can hold become annotation ids.

    Raises:
        InvalidFileError: a category that the benchmark lacks, a name that repeats or is no relative path inside a
            folder; all are counted.
    """
    dataset = images_to_coco(path, frames)
    ordered = sorted(frames, key=lambda frame: frame.name)
    boxed = [
        (image, label)
        for image, frame in zip(dataset.images, ordered, strict=True)
        for label in frame.labels
        if label.box2d
    ]
    issues, categories = ValidationIssues(), _Categories(dataset.categories)
    annotations = []
    for number, (image, label) in zip(_annotation_ids([label for _, label in boxed]), boxed, strict=True):
        category, bbox, origin = _convert_label(number, image.file_name, label, categories, issues)
        annotation = CocoAnnotation(
            id=number,
            image_id=image.id,
            category_id=category,
            bbox=bbox,
            area=bbox.width * bbox.height,
            iscrowd=int(is_crowd(label.category, label.attributes)),
            attributes=label.attributes,
            scalabel=origin,
        )
        annotations.append(annotation)
    issues.raise_all(path)
    return msgspec.structs.replace(dataset, annotations=tuple(annotations))


def _annotation_ids(labels: Sequence[Label]) -> Sequence[int]:
    """Return the labels' own ids if all are positive integers and unique (COCO's tools take 0 for "no match")."""
    texts = {str(label.given_id) for label in labels}
    if len(texts) == len(labels) and all(
        text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 19 for text in texts
    ):
        return [int(str(label.given_id)) for label in labels]
    return range(1, len(labels) + 1)


def _convert_label(
    number: int, frame: str, label: Label, categories: _Categories, issues: ValidationIssues
) -> tuple[int, Bbox, ScalabelOrigin | None]:
    """Return category id, box and origin of a label with a box."""
    category = categories.ids.get(label.category or "")
    if category is None:
        issues.add("labels of unknown categories", f"{frame}: label {label.given_id}: {label.category}")
        category = 0
    box = label.box2d or Box2D(0, 0, 0, 0)
    bbox, corners = box_to_coco(box, label.coco.bbox if label.coco else UNSET)
    if not is_finite(bbox):
        issues.add(INVALID_BOXES, f"{frame}: label {label.given_id}")
    origin = ScalabelOrigin(
        id=UNSET if label.given_id == str(number) else label.given_id,
        category=UNSET if label.category in (None, categories.names.get(category)) else str(label.category),
        box2d=corners,
    )
    return category, bbox, None if origin == ScalabelOrigin() else origin


def results_to_coco(
    path: Path, frames: Sequence[LabelFrame], dataset: CocoLabels, labels_path: Path
) -> list[CocoResult]:
    """Convert results, with the image and category ids of a labels file; labels without a box are omitted.

    Raises:
        InvalidFileError: a frame or a category that the labels file lacks, a missing score, a name that is no relative
            path inside a folder; all are counted.
    """
    images = frame_keys(labels_path, dataset.images)
    frame_keys(path, frames)
    categories, issues = _Categories(dataset.categories), ValidationIssues()
    results: list[CocoResult] = []
    for frame in sorted(frames, key=lambda frame: frame.name):
        # BDD100K's old submissions omit the suffix.
        keys = (frame.name, f"{frame.videoName}/{frame.name}", f"{frame.name}.jpg")
        image = next((images[key] for key in keys if key in images), None)
        if image is None:
            issues.add(f"frames that {labels_path} lacks", frame.name)
            continue
        for label in frame.labels:
            if not label.box2d:
                continue
            score = to_number(label.score)
            if score is None or not isfinite(score):
                place = f"{frame.name}: label {label.given_id}: {label.score}"
                issues.add("labels without a score that is a number", place)
                continue
            category, bbox, origin = _convert_label(len(results) + 1, frame.name, label, categories, issues)
            results.append(CocoResult(image.id, category, bbox, score, attributes=label.attributes, scalabel=origin))
    issues.raise_all(path)
    return results


# COCO to Scalabel


def resolve_image_ids(
    path: Path, results: Sequence[CocoResult], dataset: CocoLabels, labels_path: Path
) -> tuple[Sequence[CocoResult], tuple[IssueSummary, ...]]:
    """Replace ids of results by those of a labels file if images are named by their files, as ultralytics names them.

    Its ``image_id`` is the file's name without folder and suffix, a number if it is all digits; newer versions add
    ``file_name``. Category ids are the model's classes, counted from 0, and from 1 since December 2024
    (ultralytics/ultralytics#18140).

    Returns:
        The results, and what was assumed about their ids.

    Raises:
        InvalidFileError: a name matches several images, or it is ambiguous whether category ids begin at 0 or 1.
    """
    has_files = all(result.file_name for result in results)
    images: dict[int | str, list[int | str]] = {}
    for image in dataset.images:
        name = PurePosixPath(image.file_name)
        images.setdefault(name.name if has_files else _stem_key(name.stem), []).append(image.id)
    keys = [
        PurePosixPath(result.file_name or "").name if has_files else _stem_key(result.image_id) for result in results
    ]
    matches = [images.get(key, []) for key in keys]
    if not all(matches) or all(each.image_id in found for found, each in zip(matches, results, strict=True)):
        return results, ()  # the labels' own ids, or unknown ones, which the conversion refuses
    if not has_files and {result.image_id for result in results} <= {image.id for image in dataset.images}:
        if detect_format(labels_path) == "COCO labels":
            return results, ()
        problem = "image ids may be numbers of images or, as file names are numbers, names of files"
        raise InvalidFileError(path, problem, "give COCO labels, which define the ids")
    for key, found in zip(keys, matches, strict=True):
        if len(found) > 1:
            problem = f"names images by their files, and {labels_path} has several named {key}"
            raise InvalidFileError(path, problem, "use the image ids of COCO labels in the results")
    shift = _category_shift(path, results, dataset)
    resolved = [
        msgspec.structs.replace(result, image_id=image, category_id=result.category_id + shift, file_name=None)
        for result, (image,) in zip(results, matches, strict=True)
    ]
    names = ", ".join(f"{each.id - shift} {each.name}" for each in dataset.categories)
    example = f"{path}: category ids were taken to be {names}"
    return resolved, (IssueSummary("results whose images were found by their file names", len(resolved), (example,)),)


def _stem_key(stem: int | str) -> int | str:
    # Longer numbers are no ids, and Python refuses to read numbers of thousands of digits.
    return int(stem) if isinstance(stem, str) and stem.isdecimal() and len(stem) < 19 else stem


def _category_shift(path: Path, results: Sequence[CocoResult], dataset: CocoLabels) -> int:
    """Return what to add to category ids: 1 if they begin at 0, and 0 if they are those of the labels."""
    found, known = {result.category_id for result in results}, {category.id for category in dataset.categories}
    if 0 in known or max(known, default=0) in found:
        return 0
    if 0 in found:
        return 1
    problem = f"has no category id 0 or {max(known)}, so they may begin at 0 or at 1"
    raise InvalidFileError(path, problem, "use the category ids of the labels in the results")


def labels_from_coco(path: Path, dataset: CocoLabels) -> tuple[LabelFrame, ...]:
    """Convert labels: every image becomes a frame, sorted by name. Annotations keep their order within a frame.

    Raises:
        InvalidFileError: ids that repeat or are not defined, names that repeat or are no relative paths inside a
            folder; all are counted.
    """
    return _to_frames(path, dataset.annotations, dataset, path)


def results_from_coco(
    path: Path, results: Sequence[CocoResult], dataset: CocoLabels, labels_path: Path
) -> tuple[LabelFrame, ...]:
    """Convert results: every image of the labels file becomes a frame, sorted by name, empty or not.

    Raises:
        InvalidFileError: ids that the labels file lacks, names that are no relative paths inside a folder; all are
            counted.
    """
    return _to_frames(path, results, dataset, labels_path)


def _to_frames(
    path: Path, items: Sequence[CocoAnnotation | CocoResult], dataset: CocoLabels, labels_path: Path
) -> tuple[LabelFrame, ...]:
    frame_keys(labels_path, dataset.images)
    labels: dict[int | str, list[Label]] = {image.id: [] for image in dataset.images}
    names = {category.id: category.name for category in dataset.categories}
    if len(labels) < len(dataset.images) or len(names) < len(dataset.categories):
        raise InvalidFileError(labels_path, "image ids or category ids repeat", "give every image and category its own")
    issues = ValidationIssues()
    for number, item in enumerate(items, 1):
        if item.image_id not in labels or item.category_id not in names:
            place = _place(number, item)
            kind = f"{place.split()[0]}s of an image or category that {labels_path} lacks"
            issues.add(kind, f"{place}: image {item.image_id}, category {item.category_id}")
            continue
        if item.bbox and not is_finite(item.bbox):
            issues.add(INVALID_BOXES, _place(number, item))
        labels[item.image_id].append(_to_label(number, item, names[item.category_id]))
    issues.raise_all(path)
    images = sorted(dataset.images, key=lambda image: image.file_name)
    has_plain_ids = all(image.id == number for number, image in enumerate(images, 1))
    return tuple(
        LabelFrame(
            image.file_name,
            **_shared_fields(image),
            given_size=ImageSize(image.width, image.height) if image.width and image.height else None,
            coco=None if has_plain_ids else CocoOrigin(id=image.id),
            given_labels=tuple(labels[image.id]),
        )
        for image in images
    )


def _place(number: int, item: CocoAnnotation | CocoResult) -> str:
    return f"annotation {item.id}" if isinstance(item, CocoAnnotation) else f"result {number}"


def _to_label(number: int, item: CocoAnnotation | CocoResult, name: str) -> Label:
    """Convert an annotation or result of the category ``name``; ``number`` is its id if it has none."""
    origin = item.scalabel or ScalabelOrigin()
    category, attributes = name, item.attributes
    own_id: int | str = number
    if isinstance(origin.category, str) and class_of(origin.category) == class_of(name) is not None:
        category = origin.category
    if isinstance(item, CocoAnnotation):
        own_id = number if item.id is None else item.id
        if not isinstance(item.iscrowd, UnsetType):
            crowd = bool(item.iscrowd)
            category = category if crowd or category not in IGNORED_CLASSES else name
            attributes = _with_crowd(category, attributes, crowd=crowd)
    box, original = box_to_scalabel(item.bbox, origin.box2d) if item.bbox else (None, UNSET)
    return Label(
        str(own_id) if isinstance(origin.id, UnsetType) else origin.id,
        category,
        item.score if isinstance(item, CocoResult) else None,
        box,
        attributes,
        None if isinstance(original, UnsetType) else CocoOrigin(bbox=original),
    )


def _with_crowd(category: str, attributes: dict[str, Any] | None, *, crowd: bool) -> dict[str, Any] | None:
    """Set the attribute ``crowd`` as ``iscrowd`` is, unless category and attributes already agree with it."""
    if is_crowd(category, attributes) == crowd:
        return attributes
    unset = {"ignored": False} if attributes and is_true(attributes.get("ignored")) else {}
    return {**(attributes or {}), **unset, "crowd": crowd}
