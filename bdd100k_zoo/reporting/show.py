"""Predictions and images → pictures; with labels, of what was matched, missed and falsely detected."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.child_processes import usable_cores
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.data.validation import printable
from bdd100k_zoo.errors import ImagesError, InvalidFileError, StorageError, list_first
from bdd100k_zoo.files import read_bytes
from bdd100k_zoo.reporting import official_viewer
from bdd100k_zoo.reporting.frame_boxes import ALL_CLASSES, FramePredictions
from bdd100k_zoo.reporting.picture_files import (
    PictureFormat,
    PictureJob,
    Viewer,
    draw_picture_files,
    read_picture_digest,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.evaluation.frame_matching import FrameAPLoss
    from bdd100k_zoo.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ShowRequest:
    """Which pictures to draw, and how."""

    predictions: Path
    """A predictions file, or the folder of a run."""
    images: tuple[str, ...]
    """Folders, files, glob patterns, lists and videos; see ``data.images.find_images``."""
    out: Path
    every: int = 1
    """Of a video, the predictions are of frames 0, ``every``, 2 ``every`` …"""
    labels: Path | None = None
    min_score: float
    """Detections with lower scores are not drawn: most of a detector's up to 100 per frame are guesses. From 0 to 1."""
    classes: Collection[int] = ALL_CLASSES
    frames: tuple[str, ...] = ()
    """Names of frames; empty for all."""
    top_errors: int | None = None
    """Draw only this many frames, those that cost the most AP; needs labels."""
    form: PictureFormat = "jpg"
    viewer: Viewer = "own"
    """What draws; ``scalabel`` draws detections alone, without their match outcomes."""
    workers: int | None = None
    """Number of processes; None for one per core."""
    fresh: bool = False
    """Draw existing pictures again."""


class ShownPicture(NamedTuple):
    """One picture in the folder."""

    frame: str
    path: Path
    loss: FrameAPLoss | None
    """The AP that the frame costs, with ``top_errors``."""


class ShowResult(NamedTuple):
    """The pictures of a request, and what was left out."""

    predictions: Path
    """The predictions file."""
    out: Path
    """The folder of the pictures."""
    pictures: tuple[ShownPicture, ...]
    """In the order of the frames' names; with ``top_errors`` the worst first."""
    existing: int
    """How many of them existed before."""
    boxes: int
    """Number of detections drawn."""
    left_out: int
    """Number of detections of the same frames and classes with lower scores."""
    without_image: tuple[str, ...]
    """Frames without an image."""
    unlabelled: int
    """Number of frames without labels: they show detections alone."""
    unreadable: dict[str, str]
    """Why an image could not be drawn, by frame."""

    def __repr__(self) -> str:
        return f"ShowResult({len(self.pictures):,} pictures, {self.boxes:,} boxes)"


def read_frame_names(given: Sequence[str]) -> tuple[str, ...]:
    """Return frame names; an argument that ends in ``.txt`` is a list with one name per line, ``#`` for comments.

    Raises:
        StorageError: a list cannot be read.
        InvalidFileError: a list is not UTF-8 text.
    """
    names: list[str] = []
    for each in given:
        if not each.endswith(".txt"):
            names.append(each)
            continue
        try:
            lines = read_bytes(Path(each)).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InvalidFileError(each, f"is not UTF-8 text (byte {error.start + 1})", "save it as UTF-8") from error
        names += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return tuple(names)


def show_predictions(request: ShowRequest, progress: Progress) -> ShowResult:
    """Draw predictions into images; an existing picture that would look the same is not drawn again.

    Raises:
        ImagesError: none of the frames has an image.
        InvalidFileError: a requested frame is not among the predictions, or a frame's name leads out of the folder.
        StorageError: files of others have the names of pictures; nothing was written.
        MissingPackageError: the viewer is not installed; nothing was written.
        ZooError: any other failure; images that cannot be read are reported in the result instead.
        KeyboardInterrupt: its message has the number of pictures that exist.
    """
    if request.viewer == "scalabel":
        official_viewer.import_viewer()
    predictions = FramePredictions(request.predictions, request.labels)
    chosen, losses = _choose_frames(predictions, request)
    found = find_images(request.images, every=request.every)
    if ignored := found.describe_ignored():
        progress.note(ignored)
    images = {frame.name: frame for frame in found.frames}
    drawable = {key: image for key in chosen if (image := images.get(key) or images.get(predictions.name_of(key)))}
    if not drawable:
        problem = "there is no frame to draw: none costs any AP"
        if chosen:
            problem = f"holds an image of no frame of the predictions, such as {printable(chosen[0])}"
        hint = "--images takes the folder that `predict` was given, files or quoted patterns such as 'day*/*.jpg'"
        raise ImagesError(f"{', '.join(request.images)}: {problem}", hint)
    targets = _picture_paths(predictions, request)
    digests = {key: read_picture_digest(targets[key]) for key in drawable}
    _check_targets(request.out, {targets[key]: digest for key, digest in digests.items()})
    existing, unreadable = _draw(request, predictions, drawable, targets, digests, progress)
    boxes, left_out = predictions.count_detections(drawable, request.min_score, request.classes)
    return ShowResult(
        predictions=predictions.path,
        out=request.out,
        pictures=tuple(ShownPicture(key, targets[key], losses.get(key)) for key in drawable if key not in unreadable),
        existing=existing,
        boxes=boxes,
        left_out=left_out,
        without_image=tuple(key for key in chosen if key not in drawable),
        unlabelled=sum(not predictions.iou_of(key) for key in drawable) if request.labels else 0,
        unreadable=unreadable,
    )


def _choose_frames(
    predictions: FramePredictions, request: ShowRequest
) -> tuple[tuple[str, ...], dict[str, FrameAPLoss]]:
    """Return the keys of the frames to draw, and with ``top_errors`` the AP that each of them costs."""
    keys = predictions.keys
    if unknown := set(request.frames).difference(keys):
        problem = f"holds no frame {printable(min(unknown))}"
        raise InvalidFileError(predictions.path, problem, "check the names given to --frames")
    chosen = tuple(dict.fromkeys(request.frames)) or keys
    if request.top_errors is None:
        return chosen, {}
    among = set(chosen)
    worst = [(key, loss) for key, loss in predictions.worst(request.classes).items() if key in among]
    losses = dict(worst[: request.top_errors])
    return tuple(losses), losses


def _picture_paths(predictions: FramePredictions, request: ShowRequest) -> dict[str, Path]:
    """Return the path of each frame's picture: its name with another suffix, added where replacing would collide."""
    keys, suffix = predictions.keys, f".{request.form}"
    replaced = [str(PurePosixPath(key).with_suffix(suffix)) for key in keys]
    added = [str(PurePosixPath(key + suffix)) for key in keys]
    for names in (replaced, added):
        if len(set(names)) == len(names):
            return {key: request.out / name for key, name in zip(keys, names, strict=True)}
    raise InvalidFileError(
        predictions.path, "has frames whose pictures would be the same file", "choose frames with --frames"
    )


def _check_targets(out: Path, existing: Mapping[Path, str | None]) -> None:
    """Check that no picture overwrites another file, such as one of the images themselves; raises StorageError.

    Args:
        out: the folder of the pictures.
        existing: the digest of each picture, None where another file has its name.
    """
    if others := [path for path, digest in existing.items() if digest is None]:
        raise StorageError(
            out,
            f"holds other files under these names; nothing was written:{list_first(others)}",
            "move them away, or choose another folder",
        )
    root = os.path.realpath(out)
    for folder in {path.parent for path in existing}:
        if os.path.commonpath([root, os.path.realpath(folder)]) != root:
            raise StorageError(folder, f"leads out of {out}", "remove the link, or choose another folder")


def _draw(
    request: ShowRequest,
    predictions: FramePredictions,
    drawable: Mapping[str, Frame],
    targets: Mapping[str, Path],
    digests: Mapping[str, str | None],
    progress: Progress,
) -> tuple[int, dict[str, str]]:
    """Draw the pictures that do not exist yet; return how many do, and why images could not be drawn."""
    existing = written = 0
    unreadable: dict[str, str] = {}

    def pictures() -> Iterator[PictureJob]:
        nonlocal existing
        for key, frame in drawable.items():
            marks, iou = predictions.marks(key, request.min_score, request.classes), predictions.iou_of(key)
            legend = f"at IoU {iou:g}, score {100 * request.min_score:g}% and up" if iou else None
            picture = PictureJob(key, frame, targets[key], marks, legend, request.viewer)
            if digests[key] == picture.digest and not request.fresh:
                existing += 1
                task.advance(1)
            else:
                yield picture

    try:
        with progress.task("Drawing", len(drawable), "images") as task:
            drawn = draw_picture_files(pictures(), len(drawable), request.workers or usable_cores(), request.out)
            with closing(drawn):
                for outcomes in drawn:
                    unreadable |= {key: reason for key, reason in outcomes.items() if reason}
                    written += sum(not reason for reason in outcomes.values())
                    task.advance(len(outcomes))
    except KeyboardInterrupt as interrupt:
        done = f"{written + existing:,} of {len(drawable):,} pictures are in {request.out}"
        raise type(interrupt)(f"interrupted: {done}; the same command resumes") from None
    return existing, unreadable
