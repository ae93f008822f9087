"""The predictions of a finished run in other formats, beside det.json: det.coco.json, det.csv and the folder yolo.

They are written from det.json frame by frame, in constant memory, and each is complete or absent. A new det.json in the
folder removes them first, so those that are there are of the predictions beside them.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from bdd100k_zoo.data.detections import stream_detections
from bdd100k_zoo.data.export import CSV_COLUMNS, encode_csv, to_coco_results, to_csv_rows, to_yolo_rows
from bdd100k_zoo.data.image_sizes import FrameSizes
from bdd100k_zoo.data.yolo import LABELS_FOLDER, has_labels, remove_labels, yolo_writer
from bdd100k_zoo.files import atomic_writer, storage_errors
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE
from bdd100k_zoo.prediction.run_folder import exports_lock
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.progress import Progress

    FrameWriter = Callable[[int, str, Detections], None]
    """Takes the number of a frame, from 1, its name and its detections."""

ExportFormat = Literal["coco", "yolo", "csv"]
EXPORTS: dict[ExportFormat, str] = {"coco": "det.coco.json", "yolo": "yolo", "csv": "det.csv"}
"""The file or folder of each format, in the run's folder."""


def write_exports(
    folder: Path, formats: Collection[ExportFormat], frames: Sequence[Frame], progress: Progress = NO_PROGRESS
) -> list[Path]:
    """Write the predictions of a finished run in other formats; those that are there already are left as they are.

    - ``coco``: a list of COCO results. ``image_id`` is the place of the frame in det.json, from 1 (frames are sorted by
      name, as in ``coco_convert``), ``category_id`` the class index plus 1, ``file_name`` the frame's name.
    - ``yolo``: a folder as ``yolo_writer`` writes it, with scores; the sizes of images come from their files.
    - ``csv``: a row of ``export.CSV_COLUMNS`` for each box.

    Args:
        folder: the run's folder.
        formats: which to write.
        frames: the images of the run, as ``find_images`` returns them; only YOLO needs them.
        progress: where to report.

    Returns:
        The paths of the formats, in their order; without those that another process is writing at this moment.

    Raises:
        ImagesError: the size of an image is needed, and the image cannot be read.
        StorageError: a file cannot be read or written. No export is written then, and the predictions stay.
        InvalidFileError: two frames would have one text file of YOLO, or det.json is not as ``predict`` wrote it.
    """
    wanted = list(dict.fromkeys(formats))
    if not all(_is_written(folder, each) for each in wanted):
        with exports_lock(folder) as is_mine:
            missing = [each for each in wanted if not _is_written(folder, each)]
            if missing and is_mine:
                _remove_partial(folder)
                _write(folder, missing, frames, progress)
            elif missing:
                names = ", ".join(EXPORTS[each] for each in missing)
                progress.note(f"another process is writing {names} in {folder}")
    return [folder / EXPORTS[each] for each in wanted if _is_written(folder, each)]


def remove_exports(folder: Path) -> None:
    """Remove what ``write_exports`` wrote into a run's folder; raises StorageError."""
    for name in (EXPORTS["coco"], EXPORTS["csv"]):
        with storage_errors(folder / name):
            (folder / name).unlink(missing_ok=True)
    remove_labels(folder / EXPORTS["yolo"])


def _is_written(folder: Path, form: ExportFormat) -> bool:
    path = folder / EXPORTS[form]
    with storage_errors(path):
        return has_labels(path) if form == "yolo" else path.is_file()


def _remove_partial(folder: Path) -> None:
    """Remove what killed processes left behind."""
    with storage_errors(folder):
        for name in (EXPORTS["coco"], EXPORTS["csv"]):
            for path in folder.glob(f".{name}.*"):
                path.unlink()
        for path in folder.glob(f"{EXPORTS['yolo']}/.{LABELS_FOLDER}.*"):
            shutil.rmtree(path)


def _write(folder: Path, formats: Iterable[ExportFormat], frames: Sequence[Frame], progress: Progress) -> None:
    """Write several formats in one pass over the predictions."""
    with ExitStack() as stack:
        writers = [stack.enter_context(_WRITERS[each](folder / EXPORTS[each], frames)) for each in formats]
        with progress.task("Exporting", len(frames) or None, "images") as task:
            for number, (name, found) in enumerate(stream_detections(folder / PREDICTIONS_FILE), 1):
                for write in writers:
                    write(number, name, found)
                task.advance(1)


@contextmanager
def _coco_writer(path: Path, _: Sequence[Frame]) -> Iterator[FrameWriter]:
    """Write a JSON list with one result a line."""
    encode = msgspec.json.Encoder().encode
    with atomic_writer(path) as file:
        separator = b"[\n"

        def write(number: int, name: str, found: Detections) -> None:
            nonlocal separator
            results = to_coco_results(found, number)
            if results:
                lines = b",\n".join([encode({**each, "file_name": name}) for each in results])
                _append(path, file, separator + lines)
                separator = b",\n"

        yield write
        _append(path, file, b"[]\n" if separator == b"[\n" else b"\n]\n")


@contextmanager
def _csv_writer(path: Path, _: Sequence[Frame]) -> Iterator[FrameWriter]:
    with atomic_writer(path) as file:
        _append(path, file, encode_csv([CSV_COLUMNS]))
        yield lambda _number, name, found: _append(path, file, encode_csv(to_csv_rows(found, name)))


@contextmanager
def _yolo_writer(path: Path, frames: Sequence[Frame]) -> Iterator[FrameWriter]:
    sizes = FrameSizes(frames)

    def rows(name: str, found: Detections) -> list[str]:
        if not len(found):  # its image may be unreadable
            return []
        size = sizes[name]
        return to_yolo_rows(found, (size.width, size.height))

    with yolo_writer(path) as write:
        yield lambda _number, name, found: write(name, rows(name, found))


def _append(path: Path, file: BinaryIO, content: bytes) -> None:
    with storage_errors(path):
        file.write(content)


_WRITERS: dict[ExportFormat, Callable[[Path, Sequence[Frame]], AbstractContextManager[FrameWriter]]] = {
    "coco": _coco_writer,
    "yolo": _yolo_writer,
    "csv": _csv_writer,
}
