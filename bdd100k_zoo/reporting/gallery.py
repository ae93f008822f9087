"""Frames for a report: which are worth looking at, and their pictures, small enough for one page."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import NoImagesError, UnreadableImageError
from bdd100k_zoo.evaluation.frame_matching import build_match_outcomes, worst_frames
from bdd100k_zoo.evaluation.pairing import unique_frame_names
from bdd100k_zoo.reporting.frame_boxes import build_verdict_marks
from bdd100k_zoo.reporting.picture_files import read_picture
from bdd100k_zoo.reporting.pictures import BoxMark, draw_boxes
from bdd100k_zoo.reporting.report_page import Album, Picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from PIL import Image

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.evaluation.frame_matching import FrameAPLoss
    from bdd100k_zoo.evaluation.matching import Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames
    from bdd100k_zoo.progress import Progress

MIN_SCORE = 0.3
"""Detections below are left out of pictures."""
SEED = 0
MAX_PAGE_BYTES = 10_000_000
"""Of all pictures together; in the page they take a third more."""


Box = tuple[float, float, float, float]


class GallerySize(NamedTuple):
    """How many pictures, and how large."""

    worst: int
    """Of each run."""
    random: int
    """The same for all runs."""
    width: int
    """Pixels, at most."""
    quality: int
    """Of the JPEG, 1 to 95."""


GALLERY_SIZES = (
    GallerySize(12, 8, 960, 80),
    GallerySize(12, 8, 640, 75),
    GallerySize(6, 4, 640, 75),
    GallerySize(4, 2, 480, 70),
    GallerySize(2, 1, 320, 70),
)
"""The first whose pictures are small enough is taken."""


class GalleryFrame(NamedTuple):
    """A frame to show."""

    frame: str
    image: Path
    marks: tuple[BoxMark, ...]
    told: str


class GalleryFrames(NamedTuple):
    """The frames of one run to show."""

    worst: tuple[GalleryFrame, ...]
    """The worst first."""
    random: tuple[GalleryFrame, ...]


class Gallery(NamedTuple):
    """Pictures, and what their reader must know."""

    albums: tuple[Album, ...]
    notes: tuple[str, ...]


class FolderImages:
    """The images of a folder, by the names of their frames: what a frame's name says is never joined to a path."""

    def __init__(self, folder: Path) -> None:
        """Find them; errors as those of ``inference.images.find_images``."""
        self._folder = folder
        self._paths = {frame.name: frame.path for frame in find_images((str(folder),)) if frame.index is None}

    def of(self, labels: LabelTable) -> dict[int, Path]:
        """Give the images of labelled frames, by their places; raises NoImagesError where there are none."""
        names = zip(unique_frame_names(labels), labels.frames, strict=True)
        found = {place: self._paths.get(key) or self._paths.get(name) for place, (key, name) in enumerate(names)}
        images = {place: path for place, path in found.items() if path}
        if not images:
            raise NoImagesError(str(self._folder), "holds an image of none of the labelled frames")
        return images


def choose_gallery_frames(paired: PairedFrames, matches: Matches, images: Mapping[int, Path]) -> GalleryFrames:
    """Choose the frames of a run that cost it the most AP, and some at random, among those that have an image."""
    losses = {loss.frame: loss for loss in worst_frames(matches, len(matches.frames))}
    worst = [place for place in losses if place in images][: GALLERY_SIZES[0].worst]
    chance = random.Random(SEED)  # noqa: S311  (no secret)
    others = chance.sample(sorted(images), min(GALLERY_SIZES[0].random, len(images)))
    verdicts = build_match_outcomes(paired, matches)

    def piece(place: int) -> GalleryFrame:
        marks = build_verdict_marks(verdicts.of_frame(place), MIN_SCORE)
        told = _told(marks, losses.get(place))
        return GalleryFrame(matches.frames[place], images[place], marks, told)

    return GalleryFrames(tuple(map(piece, worst)), tuple(map(piece, others)))


def _told(marks: Sequence[BoxMark], loss: FrameAPLoss | None) -> str:
    kinds = [mark.kind for mark in marks]
    seen = f"{kinds.count('true')} matched, {kinds.count('false')} false, {kinds.count('missed')} missed"
    if loss is None:
        return f"{seen}; costs no AP"
    return f"{seen}; costs {loss.lost:.3f} AP, of which {loss.to_false:.3f} by false detections"


def draw_gallery(runs: Sequence[GalleryFrames], without_image: int, progress: Progress) -> Gallery:
    """Draw the pictures of all runs, as large and as many as the page has room for.

    Args:
        runs: what to show of each.
        without_image: how many labelled frames have none.
        progress: where to tell how far it is.
    """
    walls = (_GalleryDrawing(runs, size, progress) for size in GALLERY_SIZES)
    wall = next((each for each in walls if each.fill()), None) or _GalleryDrawing((), GALLERY_SIZES[-1], progress)
    notes = [f"Detections of a score below {MIN_SCORE} are not drawn, and count as not made."]
    if without_image:
        notes.append(f"{without_image:,} of the labelled frames have no image in the folder; they are passed over.")
    if wall.size != GALLERY_SIZES[0]:
        notes.append("There are fewer or smaller pictures than usual, to keep the page small.")
    if wall.unreadable:
        notes.append(f"{len(wall.unreadable)} images cannot be read; the first is that of {wall.unreadable[0]}.")
    return Gallery(tuple(wall.albums), tuple(notes))


class _GalleryDrawing:
    """Pictures of one size."""

    def __init__(self, runs: Sequence[GalleryFrames], size: GallerySize, progress: Progress) -> None:
        self.size = size
        self.albums: list[Album] = []
        self.unreadable: list[str] = []
        self._runs, self._progress, self._bytes = runs, progress, 0

    def fill(self) -> bool:
        """Draw all pictures, and tell whether they are small enough; give up as soon as they are not."""
        parts = [part for run, pieces in enumerate(self._runs) for part in self._parts(run, pieces)]
        with self._progress.task("Drawing", sum(len(pieces) for *_, pieces in parts), "images") as task:
            for run, title, pieces in parts:
                pictures = []
                for piece in pieces:
                    pictures += self._draw(piece)
                    task.advance(1)
                    if self._bytes > MAX_PAGE_BYTES:
                        return False
                self.albums.append(Album(run, title, tuple(pictures)))
        return True

    def _parts(self, run: int, pieces: GalleryFrames) -> Iterator[tuple[int, str, tuple[GalleryFrame, ...]]]:
        yield run, "The frames that cost the most AP", pieces.worst[: self.size.worst]
        yield run, "Frames at random", pieces.random[: self.size.random]

    def _draw(self, piece: GalleryFrame) -> list[Picture]:
        try:
            image = read_picture(piece.image)
        except UnreadableImageError:
            self.unreadable.append(piece.frame)
            return []
        image, marks = _scaled(image, piece.marks, self.size.width)
        content = io.BytesIO()
        draw_boxes(image, marks).save(content, "JPEG", quality=self.size.quality, optimize=True)
        self._bytes += content.tell()
        return [Picture(piece.frame, content.getvalue(), *image.size, piece.told)]


def _scaled(image: Image.Image, marks: Sequence[BoxMark], width: int) -> tuple[Image.Image, list[BoxMark]]:
    """Make an image no wider than so many pixels, and its marks with it; lines and text keep their size."""
    factor = min(1.0, width / image.width)
    size = max(round(image.width * factor), 1), max(round(image.height * factor), 1)
    smaller = image.resize(size, reducing_gap=2.0) if factor < 1 else image
    return smaller, [mark._replace(box=_times(mark.box, factor)) for mark in marks]


def _times(box: Box, factor: float) -> Box:
    left, top, right, bottom = box
    return left * factor, top * factor, right * factor, bottom * factor
