"""A folder of labels in Ultralytics' layout: ``labels/NAME.txt`` for each image, and ``data.yaml`` with the classes.

``labels`` gets its name when all of its files are written, so that it is whole or absent. A hidden file in it marks it
as written by this package: only such a folder is ever replaced.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from uuid import uuid4

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import InvalidFileError, StorageError
from bdd100k_zoo.files import check_frame_name, storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

LABELS_FOLDER = "labels"
DATASET_FILE = "data.yaml"
MARK = ".written-by-bdd100k-zoo"
DATASET = "train: images\nval: images\nnames:\n" + "".join(f"  {n}: {name}\n" for n, name in enumerate(CLASSES))
"""Content of ``data.yaml``. Ultralytics finds ``images`` beside it, and their labels in ``labels``."""


def has_labels(folder: Path) -> bool:
    """Return whether a folder holds ``labels`` that this package wrote, which are complete."""
    return (folder / LABELS_FOLDER / MARK).is_file()


def label_file(name: str) -> str:
    """Return the path of a frame's text file below ``labels``: its name with the suffix ``.txt``.

    Raises:
        InvalidFileError: the name is no relative path inside a folder.
    """
    return str(PurePosixPath(check_frame_name(name)).with_suffix(".txt"))


@contextmanager
def yolo_writer(folder: Path) -> Iterator[Callable[[str, Iterable[str]], None]]:
    """Yield a function that writes the rows of one frame; if the block succeeds, the labels get their place.

    The function takes a frame's name and its rows, and keeps none in memory. Names with folders become subfolders. A
    frame without rows gets an empty file, which Ultralytics takes as an image without objects.

    Args:
        folder: where ``labels`` and ``data.yaml`` are written; it is created. Other files in it are left alone.

    Raises:
        StorageError: the folder cannot be written, or has labels or a data.yaml that this package did not write.
        InvalidFileError: a name is no relative path inside a folder, or two frames have the same text file.
    """
    _check_replaceable(folder)
    is_new = not folder.exists()
    labels, temporary = folder / LABELS_FOLDER, folder / f".{LABELS_FOLDER}.{uuid4().hex}"

    def write(name: str, rows: Iterable[str]) -> None:
        path = temporary / label_file(name)
        with storage_errors(path):
            if path.parent != temporary:
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("x", encoding="utf-8", newline="") as file:
                    file.writelines(f"{row}\n" for row in rows)
            except FileExistsError as error:
                problem = f"another frame has the same text file, {label_file(name)}: its name has no image suffix"
                hint = "rename one of the two images, or convert them separately"
                raise InvalidFileError(f"frame {name!r}", problem, hint) from error

    try:
        with storage_errors(folder):
            temporary.mkdir(parents=True)
        yield write
        with storage_errors(folder):
            (temporary / MARK).touch()
            os.sync()  # once for all files: to flush 100,000 one by one would take minutes
        write_atomically(folder / DATASET_FILE, DATASET.encode())
        remove_labels(folder)
        with storage_errors(labels):
            temporary.rename(labels)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # it is empty only after an error
                folder.rmdir()


def remove_labels(folder: Path) -> None:
    """Remove the labels that this package wrote into a folder.

    Raises:
        StorageError: they cannot be removed.
    """
    with storage_errors(folder):
        if has_labels(folder):
            # Renamed first, so that labels are never there in part.
            (folder / LABELS_FOLDER).rename(folder / f".{LABELS_FOLDER}.{uuid4().hex}.old")
        for path in folder.glob(f".{LABELS_FOLDER}.*.old"):
            shutil.rmtree(path)


def _check_replaceable(folder: Path) -> None:
    """Raise StorageError where the folder holds labels or a data.yaml of another origin."""
    labels, dataset = folder / LABELS_FOLDER, folder / DATASET_FILE
    hint = "choose another folder, or move these files away"
    with storage_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise StorageError(folder, "is a file: labels for YOLO are written into a folder", "choose another path")
        if os.path.lexists(labels) and (labels.is_symlink() or not has_labels(folder)):
            raise StorageError(labels, "was not written by this program, so it is not replaced", hint)
        if os.path.lexists(dataset) and (dataset.is_symlink() or dataset.read_bytes() != DATASET.encode()):
            raise StorageError(dataset, "is not the file that this program writes, so it is not replaced", hint)
