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
from bdd100k_zoo.errors import FilesExistError, InvalidFileError, NoImagesError, StorageError
from bdd100k_zoo.files import read_bytes
from bdd100k_zoo.reporting import official_viewer
from bdd100k_zoo.reporting.frame_boxes import ALL_CLASSES, FramePredictions
from bdd100k_zoo.reporting.picture_files import (
    DrawFailure,
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
    from bdd100k_zoo.progress import Progress, Task


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
    jobs: int | None = None
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

    pictures: tuple[ShownPicture, ...]
    """In the order of the frames' names; with ``top_errors`` the worst first."""
    stood: int
    """How many of them existed before."""
    boxes: int
    """Number of detections drawn."""
    left_out: int
    """Number of detections of the same frames and classes with lower scores."""
    without_image: tuple[str, ...]
    """Frames without an image."""
    unlabelled: int
    """Number of frames without labels: they show detections alone."""
    unreadable: tuple[DrawFailure, ...]


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
            raise InvalidFileError(Path(each), f"is no UTF-8 text (byte {error.start + 1})") from error
        names += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return tuple(names)


def show_predictions(request: ShowRequest, progress: Progress) -> ShowResult:
    """Draw predictions into images; an existing picture that would look the same is not drawn again.

    Raises:
        NoImagesError: none of the frames has an image.
        InvalidFileError: a frame that was asked for is not among the predictions.
        FrameNameError: a frame's name leads out of the folder; nothing was written.
        MissingPackageError: the viewer is not installed; nothing was written.
        FilesExistError: the folder holds other files with the names of pictures; nothing was written.
        ZooError: any other failure; images that cannot be read are reported in the result instead.
        KeyboardInterrupt: says how many pictures exist.
    """
    if request.viewer == "scalabel":
        official_viewer.import_viewer()
    predictions = FramePredictions(request.predictions, request.labels)
    predictions.check(request.frames)
    chosen = tuple(dict.fromkeys(request.frames)) or predictions.keys
    losses: dict[str, FrameAPLoss] = {}
    if request.top_errors is not None:
        among = set(chosen)
        worst = [(key, loss) for key, loss in predictions.worst(request.classes).items() if key in among]
        losses = dict(worst[: request.top_errors])
        chosen = tuple(losses)
    images = {frame.name: frame for frame in find_images(request.images, every=request.every)}
    drawable = {key: image for key in chosen if (image := images.get(key) or images.get(predictions.name_of(key)))}
    if not drawable:
        raise NoImagesError(
            ", ".join(request.images),
            f"holds an image of no frame of the predictions, such as {printable(chosen[0])}"
            if chosen
            else "there is no frame to draw: none costs any AP",
        )
    targets = _picture_paths(predictions, request)
    existing = {key: read_picture_digest(targets[key]) for key in drawable}
    _check_folder(request.out, {targets[key]: digest for key, digest in existing.items()})
    drawing = _Drawing(request, predictions, drawable, targets, existing)
    drawing.run(progress)
    return ShowResult(
        pictures=tuple(
            ShownPicture(key, targets[key], losses.get(key)) for key in drawable if key not in drawing.failures
        ),
        stood=drawing.stood,
        boxes=drawing.boxes,
        left_out=drawing.left_out,
        without_image=tuple(key for key in chosen if key not in drawable),
        unlabelled=sum(not predictions.iou_of(key) for key in drawable) if request.labels else 0,
        unreadable=tuple(drawing.failures.values()),
    )


def _picture_paths(predictions: FramePredictions, request: ShowRequest) -> dict[str, Path]:
    """Return each frame's picture: its name with the suffix replaced; or added, where replacing makes two alike."""
    keys, suffix = predictions.keys, f".{request.form}"
    replaced = [str(PurePosixPath(key).with_suffix(suffix)) for key in keys]
    added = [str(PurePosixPath(key + suffix)) for key in keys]
    for names in (replaced, added):
        if len(set(names)) == len(names):
            return {key: request.out / name for key, name in zip(keys, names, strict=True)}
    raise InvalidFileError(predictions.path, "has frames whose pictures would be the same file")


def _check_folder(out: Path, existing: Mapping[Path, str | None]) -> None:
    """Check that no picture overwrites another file, most likely one of the images themselves.

    Raises:
        FilesExistError: another file has the name of a picture.
        StorageError: a link leads out of the folder.
    """
    others = tuple(path for path, digest in existing.items() if digest is None)
    if others:
        raise FilesExistError(out, others)
    root = os.path.realpath(out)
    for folder in {path.parent for path in existing}:
        if os.path.commonpath([root, os.path.realpath(folder)]) != root:
            raise StorageError(folder, f"leads out of {out}")


class _Drawing:
    """Draws the pictures, and counts what is drawn and left out."""

    def __init__(
        self,
        request: ShowRequest,
        predictions: FramePredictions,
        drawable: Mapping[str, Frame],
        targets: Mapping[str, Path],
        existing: Mapping[str, str | None],
    ) -> None:
        self._request, self._predictions = request, predictions
        self._drawable, self._targets, self._existing = drawable, targets, existing
        self.stood = self.boxes = self.left_out = self._drawn = 0
        self.failures: dict[str, DrawFailure] = {}

    def run(self, progress: Progress) -> None:
        """Draw the pictures that do not exist yet; an interrupt says how many are done."""
        jobs = self._request.jobs or usable_cores()
        try:
            with (
                progress.task("Drawing", len(self._drawable), "images") as task,
                closing(draw_picture_files(self._jobs(task), len(self._drawable), jobs, self._request.out)) as parts,
            ):
                for part in parts:
                    self.failures |= {failure.key: failure for failure in part if failure}
                    self._drawn += sum(failure is None for failure in part)
                    task.advance(len(part))
        except KeyboardInterrupt as interrupt:
            done = f"{self._drawn + self.stood:,} of {len(self._drawable):,} pictures stand in {self._request.out}"
            raise type(interrupt)(f"interrupted: {done}; the same command goes on from there") from None

    def _jobs(self, task: Task) -> Iterator[PictureJob]:
        """Yield the pictures to draw, and count those that exist."""
        request = self._request
        for key, frame in self._drawable.items():
            marks = self._predictions.marks(key, request.min_score, request.classes)
            drawn = sum(mark.score is not None for mark in marks)
            self.boxes += drawn
            self.left_out += self._predictions.detections(key, request.classes) - drawn
            iou = self._predictions.iou_of(key)
            legend = f"at IoU {iou:g}, score {100 * request.min_score:g}% and up" if iou else None
            picture = PictureJob(key, frame, self._targets[key], marks, legend, request.viewer)
            if self._existing[key] == picture.digest and not request.fresh:
                self.stood += 1
                task.advance(1)
            else:
                yield picture
