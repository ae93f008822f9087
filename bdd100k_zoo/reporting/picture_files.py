"""Pictures into files, by as many processes as there are cores. Each file says what it was made of."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import re
import signal
import threading
import warnings
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path  # noqa: TC003  (Sheet is read at run time where it is unpickled)
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from PIL import Image, ImageOps, PngImagePlugin

from bdd100k_zoo.child_processes import exit_with_parent
from bdd100k_zoo.data.images import FrameReader, reader_key
from bdd100k_zoo.errors import UnreadableImageError, WorkerKilledError
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.reporting import official_viewer
from bdd100k_zoo.reporting.pictures import DRAWING_VERSION, draw_boxes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from concurrent.futures import Future
    from multiprocessing.synchronize import Event

    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.reporting.pictures import BoxMark

PictureFormat = Literal["jpg", "png"]
Viewer = Literal["own", "scalabel"]
"""What draws: this package, or the official viewer."""
QUALITY = 90
"""Of a JPEG; its colours are kept at full resolution, or thin lines would blur."""

_STAMP = "bdd100k-zoo picture "
_STAMPED = re.compile(_STAMP.encode() + rb"([0-9a-f]{64})")
_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")
"""How whole files of either form end."""

FRAMES_PER_TASK = 16
"""Images that a process takes at once."""
MIN_PICTURES_PER_PROCESS = 32
"""Pictures that a process must have to draw, or starting it takes longer than it saves."""
VIDEO_FRAMES_PER_TASK = 256
"""Likewise, frames of one video: to begin amid one costs the decoding of what comes before."""


class PictureJob(NamedTuple):
    """One picture that is to be made."""

    key: str
    """What tells the frame from all others."""
    frame: Frame
    target: Path
    marks: tuple[BoxMark, ...]
    legend: str | None
    viewer: Viewer = "own"

    @property
    def digest(self) -> str:
        """What tells this picture from one that would look otherwise, as hexadecimal digits."""
        facts = (
            DRAWING_VERSION,
            self.frame.stamp,
            self.frame.index,
            self.marks,
            self.legend,
            self.target.suffix,
            QUALITY,
        )
        viewer = () if self.viewer == "own" else (self.viewer,)
        return hashlib.sha256(msgspec.json.encode((*facts, *viewer))).hexdigest()


class DrawFailure(NamedTuple):
    """An image that could not be drawn upon."""

    key: str
    reason: str


def read_picture_digest(path: Path) -> str | None:
    """Give the digest of the picture that stands in a file: empty where nothing does, None where another file does.

    A picture that is not whole, after a power failure, counts as nothing. Raises StorageError.
    """
    with storage_errors(path):
        if not os.path.lexists(path):
            return ""
        with path.open("rb") as file:
            stamped = _STAMPED.search(file.read(512))
            file.seek(-min(path.stat().st_size, 8), os.SEEK_END)
            is_whole = file.read().endswith(_ENDS)
    if stamped is None:
        return None
    return stamped[1].decode() if is_whole else ""


def draw_picture_files(
    sheets: Iterable[PictureJob], number: int, jobs: int, out: Path
) -> Generator[list[DrawFailure | None], None, None]:
    """Draw pictures, and give for some after others what became of each of them: None where it stands now.

    Args:
        sheets: what to draw; taken as it is needed, so that memory does not grow with their number.
        number: how many there are at most.
        jobs: processes; few pictures are drawn in this one.
        out: the folder that they go to.

    Raises:
        StorageError: a picture cannot be written.
        MissingPackageError: a frame is a video's, and PyAV is missing.
        LostProcessError: one of the processes was ended from outside.
    """
    parts = _parts(sheets)
    jobs = min(jobs, number // MIN_PICTURES_PER_PROCESS)
    if jobs < 2:
        yield from map(_draw_part, parts)
        return
    try:
        yield from _draw_by_many(parts, jobs)
    except BrokenProcessPool as error:
        raise WorkerKilledError(out) from error


def _draw_by_many(parts: Iterable[list[PictureJob]], jobs: int) -> Iterator[list[DrawFailure | None]]:
    context = multiprocessing.get_context("spawn")  # a forked process would inherit threads in unknown states
    ended = context.Event()
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(ended,))
    waiting: set[Future[list[DrawFailure | None]]] = set()
    try:
        for part in parts:
            waiting.add(pool.submit(_draw_part, part))
            if len(waiting) > 2 * jobs:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    finally:
        with _undisturbed():
            ended.set()
            pool.shutdown(cancel_futures=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Pass over further interrupts for a moment: one that comes while a pool is shut down would leave it hanging."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ended: Event | None = None
"""Set when the processes of a pool are to end after the picture that each is at."""


def _begin(ended: Event) -> None:
    """Begin a process: Ctrl-C goes to all of a terminal, SIGTERM to all of a job, and the first sees to the others."""
    global _ended
    _ended = ended
    exit_with_parent()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _parts(sheets: Iterable[PictureJob]) -> Iterator[list[PictureJob]]:
    """Cut the sheets into what one process does at a time."""
    for video, group in groupby(sheets, key=lambda sheet: reader_key(sheet.frame)):
        while part := list(islice(group, VIDEO_FRAMES_PER_TASK if video else FRAMES_PER_TASK)):
            yield part


def _draw_part(sheets: list[PictureJob]) -> list[DrawFailure | None]:
    with FrameReader() as reader:
        return [_draw_sheet(sheet, reader) for sheet in sheets if not (_ended and _ended.is_set())]


def _draw_sheet(sheet: PictureJob, reader: FrameReader) -> DrawFailure | None:
    try:
        content = _encoded(_drawn(sheet, _pixels_of(sheet.frame, reader)), sheet)
    except UnreadableImageError as error:
        return DrawFailure(sheet.key, error.reason)
    write_atomically(sheet.target, content, follow_links=True)
    return None


def _drawn(sheet: PictureJob, image: Image.Image) -> Image.Image:
    if sheet.viewer == "scalabel":
        return official_viewer.draw_with_official_viewer(image, sheet.marks)
    return draw_boxes(image, sheet.marks, sheet.legend)


def _pixels_of(frame: Frame, reader: FrameReader) -> Image.Image:
    if frame.index is None:
        return read_picture(frame.path)
    return Image.fromarray(reader.read(frame)[:, :, ::-1].copy())


def read_picture(path: Path) -> Image.Image:
    """Decode an image file: in RGB, turned as its EXIF orientation says.

    Raises:
        UnreadableImageError: it cannot be read, is no JPEG or PNG, or is cut off.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise UnreadableImageError(path, "is no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of odd metadata
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                return _as_rgb(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(path, getattr(error, "strerror", None) or str(error)) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _encoded(picture: Image.Image, sheet: PictureJob) -> bytes:
    content, stamp = io.BytesIO(), _STAMP + sheet.digest
    try:
        if sheet.target.suffix == ".png":
            told = PngImagePlugin.PngInfo()
            told.add_text("Comment", stamp)
            picture.save(content, "PNG", compress_level=1, pnginfo=told)
        else:
            picture.save(content, "JPEG", quality=QUALITY, subsampling=0, comment=stamp)
    except OSError as error:
        raise UnreadableImageError(sheet.frame.path, f"is too large for such a file: {error}") from error
    return content.getvalue()
