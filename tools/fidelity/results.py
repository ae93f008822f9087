"""Frozen results: a folder with the boxes that a stack found in some images, an npz per model, and ``frozen.json``."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import msgspec
import numpy as np
import numpy.typing as npt

from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import read_bytes, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.data.detections import Detections

FROZEN = "frozen.json"

Rows = npt.NDArray[np.float32]
"""[n, 6]: corners in pixels, score, class index; in the order of a predictions file."""


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """The stack that found the boxes, in fp32 on the CPU."""

    backend: str
    """``mmdet3`` or ``mmdet2``."""
    ops: str
    """The package that provides mmcv's compiled ops: ``torchvision`` or ``mmcv``."""
    optimised: bool
    """The models were changed for speed, which may change the last bits."""
    processor: str
    """Its name, and the instructions that torch's own kernels use on it, such as ``AVX2``."""
    threads: int | None
    versions: Mapping[str, str]


class FrozenImage(msgspec.Struct, frozen=True):
    """An image that every model processed."""

    width: int
    """Pixels."""
    height: int
    sha256: str
    """Of its pixels, row by row, BGR."""


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of the results in a folder."""

    stack: Stack
    images: Mapping[str, FrozenImage]
    weights: Mapping[str, str]
    """SHA-256 of each model's weights."""
    commit: str | None
    """Of the checkout that was run, ``-changed`` after it where files differ; None outside a checkout."""
    time: str
    """ISO 8601, UTC."""


def rows_of(detections: Detections) -> Rows:
    """Return detections as rows in the order of a predictions file."""
    return in_order(np.column_stack([detections.boxes, detections.scores, detections.classes]).astype(np.float32))


def in_order(rows: Rows) -> Rows:
    """Sort rows by class, then by descending score; equal scores keep their order."""
    return rows[np.lexsort((-rows[:, 4], rows[:, 5]))]


def write_frozen(folder: Path, frozen: Frozen) -> None:
    """Write the record of a folder; raises StorageError."""
    write_atomically(folder / FROZEN, msgspec.json.format(msgspec.json.encode(frozen), indent=1) + b"\n")


def read_frozen(folder: Path) -> Frozen:
    """Read the record of a folder; raises StorageError, InvalidFileError."""
    path = folder / FROZEN
    content = read_bytes(path)
    try:
        return msgspec.json.decode(content, type=Frozen)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFileError(path, f"not a record of frozen results: {error}") from error


def write_rows(folder: Path, model: str, rows: Mapping[str, Rows]) -> None:
    """Write a model's boxes, by image; raises StorageError."""
    content = io.BytesIO()
    np.savez_compressed(content, **rows)  # type: ignore[arg-type]  # no options: names of images
    write_atomically(folder / f"{model}.npz", content.getvalue())


def read_rows(folder: Path, model: str) -> dict[str, Rows]:
    """Read a model's boxes, by image; raises StorageError, InvalidFileError."""
    path = folder / f"{model}.npz"
    content = io.BytesIO(read_bytes(path))
    try:
        with np.load(content, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    # The errors of numpy for one array in place of several, for bytes that are not a zip, and for damaged ones.
    except (AttributeError, TypeError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise InvalidFileError(path, f"does not hold frozen results: {error}") from error
    for name, rows in found.items():
        if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != 6:
            raise InvalidFileError(path, f"{name}: expected float32 [n, 6], found {rows.dtype} {list(rows.shape)}")
    return found
