"""Predictions and images → pictures, beside what is labelled where labels are given."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.data.validation import printable
from bdd100k_zoo.errors import FilesExistError, NoImagesError, RecordError, StorageError
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
    from bdd100k_zoo.reporting.pictures import BoxMark


@dataclass(frozen=True, kw_only=True)
class ShowRequest:
    """What pictures are asked for."""

    predictions: Path
    """A predictions file, or the folder of a run."""
    images: tuple[str, ...]
    """Folders, files, glob patterns, lists and videos; see ``inference.images.find_images``."""
    out: Path
    every: int = 1
    """Of a video, frames 0, ``every``, 2 ``every`` … were taken."""
    labels: Path | None = None
    min_score: float
    """Detections below are left out: a detector gives up to 100 a frame, most of them guesses. From 0 to 1."""
    classes: Collection[int] = ALL_CLASSES
    frames: tuple[str, ...] = ()
    """Names of frames; none for all."""
    top_errors: int | None = None
    """Only so many frames, those that cost the most AP; needs labels."""
    form: PictureFormat = "jpg"
    viewer: Viewer = "own"
    """What draws; ``scalabel`` draws detections alone, whatever they are judged to be."""
    jobs: int | None = None
    """Processes; None for one a core."""
    fresh: bool = False
    """Draw again what stands."""


class ShownPicture(NamedTuple):
    """One picture that stands in the folder."""

    frame: str
    path: Path
    loss: FrameAPLoss | None
    """What the frame costs the AP, where that was asked for."""


class ShowResult(NamedTuple):
    """What became of a request."""

    pictures: tuple[ShownPicture, ...]
    """In the order of the frames' names; with ``top_errors`` the worst first."""
    stood: int
    """How many of them stood there before."""
    boxes: int
    """Detections that are drawn."""
    left_out: int
    """Detections of the same frames and classes below the least score."""
    without_image: tuple[str, ...]
    """Frames that the images lack."""
    unlabelled: int
    """Frames that the labels lack: they show the detections alone."""
    unreadable: tuple[DrawFailure, ...]


def read_frame_names(given: Sequence[str]) -> tuple[str, ...]:
    """Give the frame names that were asked for: what ends in ``.txt`` is a list with a name a line, ``#`` a comment.

    Raises:
        StorageError: a list cannot be read.
        RecordError: a list is no UTF-8 text.
    """
    return tuple(name for each in given for name in (_names_of(Path(each)) if each.endswith(".txt") else (each,)))


def _names_of(path: Path) -> Iterator[str]:
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RecordError(path, f"is no UTF-8 text (byte {error.start + 1})") from error
    return (line.strip() for line in lines if line.strip() and not line.startswith("#"))


def show_predictions(request: ShowRequest, progress: Progress) -> ShowResult:
    """Draw predictions into images; what stands already and would look the same is not drawn again.

    Raises:
        NoImagesError: none of the frames has an image.
        RecordError: a frame that was asked for is not among the predictions.
        FrameNameError: a frame's name leads out of the folder; nothing was written.
        MissingPackageError: the viewer that was asked for is not installed; nothing was written.
        OtherFilesError: the folder holds other files under the pictures' names; nothing was written.
        ZooError: whatever else is in the way; images that cannot be read are told instead.
        KeyboardInterrupt: as it came, and says how many pictures stand.
    """
    if request.viewer == "scalabel":
        official_viewer.import_viewer()
    scene = FramePredictions(request.predictions, request.labels)
    losses = _losses(scene, request)
    images = {frame.name: frame for frame in find_images(request.images, every=request.every)}
    chosen = tuple(losses) if request.top_errors is not None else _chosen(scene, request)
    drawable = {key: image for key in chosen if (image := images.get(key) or images.get(scene.name_of(key)))}
    missing = tuple(key for key in chosen if key not in drawable)
    if not drawable:
        raise NoImagesError(", ".join(request.images), _why_none(chosen))
    targets = _targets(scene, request)
    standing = {key: read_picture_digest(targets[key]) for key in drawable}
    _check_room(request.out, {targets[key]: digest for key, digest in standing.items()})
    work = _Work(request, scene, drawable, targets, standing)
    work.run(progress)
    return ShowResult(
        pictures=tuple(
            ShownPicture(key, targets[key], losses.get(key)) for key in drawable if key not in work.failures
        ),
        stood=work.stood,
        boxes=work.boxes,
        left_out=work.left_out,
        without_image=missing,
        unlabelled=sum(not scene.iou_of(key) for key in drawable) if request.labels else 0,
        unreadable=tuple(work.failures.values()),
    )


def _chosen(scene: FramePredictions, request: ShowRequest) -> tuple[str, ...]:
    scene.check(request.frames)
    return tuple(dict.fromkeys(request.frames)) or scene.keys


def _losses(scene: FramePredictions, request: ShowRequest) -> dict[str, FrameAPLoss]:
    """Give the worst of the frames that were asked for, the worst first; none where the worst are not asked for."""
    if request.top_errors is None:
        return {}
    among = set(_chosen(scene, request))
    worst = {key: loss for key, loss in scene.worst(request.classes).items() if key in among}
    return dict(list(worst.items())[: request.top_errors])


def _why_none(chosen: Sequence[str]) -> str:
    if not chosen:
        return "there is no frame to draw: none costs any AP"
    return f"holds an image of no frame of the predictions, such as {printable(chosen[0])}"


def _targets(scene: FramePredictions, request: ShowRequest) -> dict[str, Path]:
    """Give each frame's picture: its own name with the form's suffix, added where replacing would make two alike."""
    suffix = f".{request.form}"
    replaced = [str(PurePosixPath(key).with_suffix(suffix)) for key in scene.keys]
    added = [str(PurePosixPath(key + suffix)) for key in scene.keys]
    names = next((names for names in (replaced, added) if len(set(names)) == len(names)), None)
    if names is None:
        raise RecordError(scene.path, "has frames whose pictures would be the same file")
    return {key: request.out / name for key, name in zip(scene.keys, names, strict=True)}


def _check_room(out: Path, standing: Mapping[Path, str | None]) -> None:
    """Raise OtherFilesError where another file has a picture's name, StorageError where a link leads out of the folder.

    The folder of the images themselves is the likely case.
    """
    others = tuple(path for path, digest in standing.items() if digest is None)
    if others:
        raise FilesExistError(out, others)
    root = os.path.realpath(out)
    for folder in {path.parent for path in standing}:
        if os.path.commonpath([root, os.path.realpath(folder)]) != root:
            raise StorageError(folder, f"leads out of {out}")


class _Work:
    """Drawing, and what is counted on the way."""

    def __init__(
        self,
        request: ShowRequest,
        scene: FramePredictions,
        drawable: Mapping[str, Frame],
        targets: Mapping[str, Path],
        standing: Mapping[str, str | None],
    ) -> None:
        self._request, self._scene = request, scene
        self._drawable, self._targets, self._standing = drawable, targets, standing
        self.stood = self.boxes = self.left_out = self._drawn = 0
        self.failures: dict[str, DrawFailure] = {}

    def run(self, progress: Progress) -> None:
        """Draw what does not stand yet; an interrupt says how far it came."""
        try:
            with progress.task("Drawing", len(self._drawable), "images") as task:
                self._run(task)
        except KeyboardInterrupt as interrupt:
            done = f"{self._drawn + self.stood:,} of {len(self._drawable):,} pictures stand in {self._request.out}"
            raise type(interrupt)(f"interrupted: {done}; the same command goes on from there") from None

    def _run(self, task: Task) -> None:
        jobs = self._request.jobs or _cores()
        with closing(draw_picture_files(self._sheets(task), len(self._drawable), jobs, self._request.out)) as parts:
            for part in parts:
                self.failures |= {failure.key: failure for failure in part if failure}
                self._drawn += sum(failure is None for failure in part)
                task.advance(len(part))

    def _sheets(self, task: Task) -> Iterator[PictureJob]:
        for key, frame in self._drawable.items():
            marks = self._scene.marks(key, self._request.min_score, self._request.classes)
            sheet = PictureJob(key, frame, self._targets[key], marks, self._legend(key), self._request.viewer)
            self._count(key, marks)
            if self._standing[key] == sheet.digest and not self._request.fresh:
                self.stood += 1
                task.advance(1)
            else:
                yield sheet

    def _legend(self, key: str) -> str | None:
        iou = self._scene.iou_of(key)
        return f"at IoU {iou:g}, score {100 * self._request.min_score:g}% and up" if iou else None

    def _count(self, key: str, marks: Sequence[BoxMark]) -> None:
        drawn = sum(mark.score is not None for mark in marks)
        self.boxes += drawn
        self.left_out += self._scene.detections(key, self._request.classes) - drawn


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
