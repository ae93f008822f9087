"""Pictures written to files by several processes. Each file contains a digest of what it was made from.

By the digest, a repeated command skips the pictures that would look the same, and recognises pictures of this package.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import re
import signal
import threading
import warnings
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path  # noqa: TC003  (needed where a PictureJob is unpickled)
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from PIL import Image, ImageOps, PngImagePlugin

from bdd100k_zoo.child_processes import exit_with_parent
from bdd100k_zoo.data.drawing.boxes import DRAWING_VERSION, draw_boxes
from bdd100k_zoo.data.images import FrameReader, reader_key
from bdd100k_zoo.errors import UnreadableImageError, WorkerFailedError
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.reporting import official_viewer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from multiprocessing.synchronize import Event

    from bdd100k_zoo.data.drawing.boxes import BoxMark
    from bdd100k_zoo.data.images import Frame

PictureFormat = Literal["jpg", "png"]
Viewer = Literal["own", "scalabel"]
"""What draws: this package, or the official viewer."""
QUALITY = 90
"""Of a JPEG; its colours are not subsampled, or thin lines would blur."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Those of ``data.image_files.FORMATS``, as Pillow calls them."""

_STAMP = "bdd100k-zoo picture "
_STAMPED = re.compile(_STAMP.encode() + rb"([0-9a-f]{64})")
_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")
"""The last bytes of complete files of either format."""

FRAMES_PER_TASK = 16
"""Images that a process draws per task."""
VIDEO_FRAMES_PER_TASK = 256
"""Frames of one video per task: a task that starts in the middle of a video decodes the frames before it first."""
MIN_PICTURES_PER_PROCESS = 32
"""Smallest number of pictures per process: for fewer, starting it takes longer than it saves."""


class PictureJob(NamedTuple):
    """One picture to draw."""

    key: str
    """Identifies the frame."""
    frame: Frame
    target: Path
    marks: tuple[BoxMark, ...]
    legend: str | None
    viewer: Viewer = "own"

    @property
    def digest(self) -> str:
        """SHA-256 of all that determines how the picture looks, as hexadecimal digits."""
        frame = self.frame
        facts = [DRAWING_VERSION, frame.stamp, frame.index, self.marks, self.legend, self.target.suffix, QUALITY]
        if self.viewer != "own":
            facts.append(self.viewer)
        return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


Outcomes = dict[str, str]
"""Why a picture could not be drawn, by the key of its frame; empty where it was written."""


def read_picture_digest(path: Path) -> str | None:
    """Return the digest of the picture in a file: empty without a file, None for a file that is not our picture.

    An incomplete picture, as after a power failure, counts as no file. Raises StorageError.
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
    pictures: Iterable[PictureJob], number: int, workers: int, out: Path
) -> Generator[Outcomes, None, None]:
    """Draw pictures; yield the outcomes of a few at a time.

    Args:
        pictures: what to draw; consumed as needed, so that memory does not grow with their number.
        number: how many there are at most.
        workers: number of processes; few pictures are drawn in this process.
        out: the folder of the pictures.

    Raises:
        StorageError: a picture cannot be written.
        MissingPackageError: a frame belongs to a video, and PyAV is missing.
        WorkerFailedError: one of the processes was killed.
    """
    parts = _split(pictures)
    workers = min(workers, number // MIN_PICTURES_PER_PROCESS)
    if workers < 2:
        yield from map(_draw_part, parts)
        return
    try:
        yield from _draw_in_pool(parts, workers)
    except BrokenProcessPool as error:
        message = f"a process that was drawing into {out} was killed, possibly for lack of memory"
        hint = "the same command draws the missing pictures; fewer --workers need less memory"
        raise WorkerFailedError(message, hint) from error


def _draw_in_pool(parts: Iterable[list[PictureJob]], workers: int) -> Iterator[Outcomes]:
    context = multiprocessing.get_context("spawn")  # a forked process would inherit threads in unknown states
    ended = context.Event()
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(ended,))
    try:
        submitted = (pool.submit(_draw_part, part) for part in parts)
        waiting = deque(islice(submitted, 3 * workers))  # no more, so that memory does not grow
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(islice(submitted, 1))
    finally:
        with _signals_ignored():
            ended.set()
            pool.shutdown(cancel_futures=True)


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore signals in the block: one that arrives while a pool shuts down would leave it hanging."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_ended: Event | None = None
"""Set when the processes of a pool must end after the picture that they are drawing."""


def _start_worker(ended: Event) -> None:
    """Initialise a process of the pool.

    Ctrl-C reaches all processes of a terminal, and SIGTERM may reach all processes of a job. The workers ignore both:
    the main process ends them.
    """
    global _ended
    _ended = ended
    exit_with_parent()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _split(pictures: Iterable[PictureJob]) -> Iterator[list[PictureJob]]:
    """Split the pictures into tasks of a process."""
    for video, group in groupby(pictures, key=lambda picture: reader_key(picture.frame)):
        while part := list(islice(group, VIDEO_FRAMES_PER_TASK if video else FRAMES_PER_TASK)):
            yield part


def _draw_part(pictures: list[PictureJob]) -> Outcomes:
    with FrameReader() as reader:
        return {picture.key: _draw_picture(picture, reader) for picture in pictures if not (_ended and _ended.is_set())}


def _draw_picture(picture: PictureJob, reader: FrameReader) -> str:
    """Draw and write a picture; return why that is impossible, or nothing."""
    frame = picture.frame
    try:
        if frame.index is None:
            image = read_picture(frame.path)
        else:
            image = Image.fromarray(reader.read(frame)[:, :, ::-1].copy())  # BGR to RGB
        if picture.viewer == "scalabel":
            drawn = official_viewer.draw_with_official_viewer(image, picture.marks)
        else:
            drawn = draw_boxes(image, picture.marks, picture.legend)
        content = _encode(drawn, picture)
    except UnreadableImageError as error:
        return error.reason
    write_atomically(picture.target, content, follow_links=True)
    return ""


def read_picture(path: Path) -> Image.Image:
    """Decode an image file to RGB, rotated as its EXIF orientation says.

    Raises:
        UnreadableImageError: it cannot be read, is none of FORMATS, is a TIFF with 32 bits a sample, or is truncated.
    """
    try:
        if not path.is_file():  # reading a pipe would block
            raise UnreadableImageError(path, "is no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images and odd metadata
            with Image.open(path, formats=FORMATS) as image:
                return _to_rgb(ImageOps.exif_transpose(image), is_tiff=image.format == "TIFF")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(path, getattr(error, "strerror", None) or str(error)) from error


def _to_rgb(image: Image.Image, *, is_tiff: bool) -> Image.Image:
    """Return an image in RGB, with the pixels that ``data.image_files.read_image`` gives; raises ValueError."""
    if is_tiff and image.mode in ("F", "I"):
        raise ValueError("has 32 bits a sample, which prediction cannot read either")
    if is_tiff and image.mode == "RGBA":
        return Image.composite(image.convert("RGB"), Image.new("RGB", image.size), image.getchannel("A"))
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _encode(drawn: Image.Image, picture: PictureJob) -> bytes:
    content, stamp = io.BytesIO(), _STAMP + picture.digest
    try:
        if picture.target.suffix == ".png":
            info = PngImagePlugin.PngInfo()
            info.add_text("Comment", stamp)
            drawn.save(content, "PNG", compress_level=1, pnginfo=info)
        else:
            drawn.save(content, "JPEG", quality=QUALITY, subsampling=0, comment=stamp)
    except OSError as error:
        raise UnreadableImageError(picture.frame.path, f"is too large for such a file: {error}") from error
    return content.getvalue()
