"""Files of labels or predictions: which they are, their bytes, and what they are where they are something else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.errors import BrokenFileError, WrongFileError
from bdd100k_zoo.records.files import storage_errors
from bdd100k_zoo.records.findings import shown

if TYPE_CHECKING:
    from pathlib import Path

LABELS = "labels in Scalabel's format"
PREDICTIONS = "predictions in Scalabel's format"
COCO_LABELS = "a COCO labels file"
COCO_RESULTS = "a list of COCO results"

_MARK = b"\xef\xbb\xbf"
_OTHER_FORMATS = {b"\x1f\x8b": "a gzip archive", b"PK\x03\x04": "a zip archive", b"\x80": "a pickle of Python"}


def json_files(path: Path) -> tuple[Path, ...]:
    """Give the file itself, or the ``*.json`` files of a folder, sorted.

    Raises:
        StorageError: there is no such file or folder.
        WrongFileError: the folder holds no such file.
    """
    with storage_errors(path):
        path.stat()
        if not path.is_dir():
            return (path,)
        found = tuple(sorted(file for file in path.glob("*.json") if not file.name.startswith(".")))
    if not found:
        raise WrongFileError(path, "a folder of *.json files", "none of them")
    return found


def read_bytes(path: Path) -> bytes:
    """Read a file; raises StorageError."""
    with storage_errors(path):
        return path.read_bytes()


def decode_document(path: Path, content: bytes, expected: str) -> Any:
    """Decode JSON as the standard library does, NaN and Infinity included.

    Raises:
        BrokenFileError: it is empty, cut off, or no JSON; with the byte at which reading stopped.
        WrongFileError: it is a web page or an archive.
    """
    content = content.removeprefix(_MARK)
    _recognise_other_formats(path, content, expected)
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "truncated" in str(error):
            raise BrokenFileError(path, "is cut off: the JSON does not end", len(content)) from error
    try:
        text = content.decode()
        return json.loads(text)
    except json.JSONDecodeError as error:
        position = len(text[: error.pos].encode())
        raise BrokenFileError(path, f"is no JSON: {error.msg}", position) from error
    except UnicodeDecodeError as error:
        raise BrokenFileError(path, "is no text in UTF-8", error.start) from error
    except RecursionError as error:
        raise BrokenFileError(path, "nests too deeply", 0) from error
    except ValueError as error:
        raise BrokenFileError(path, "holds an integer of thousands of digits", 0) from error


def _recognise_other_formats(path: Path, content: bytes, expected: str) -> None:
    start = content[:1024].lstrip().lower()
    if not start:
        raise BrokenFileError(path, "is empty", 0)
    if start.startswith(b"<"):
        raise WrongFileError(path, expected, "a web page" if b"html" in start else "markup (XML or the like)")
    for magic, name in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise WrongFileError(path, expected, name)


def frames_of(path: Path, document: Any, expected: str) -> list[Any]:
    """Give the frames of a document: a list, or an object with ``frames``; raises WrongFileError."""
    frames = document.get("frames") if isinstance(document, dict) else document
    if not isinstance(frames, list):
        raise WrongFileError(path, expected, _kind_of(document))
    if frames and isinstance(frames[0], dict) and "image_id" in frames[0] and "name" not in frames[0]:
        raise WrongFileError(path, expected, COCO_RESULTS)
    return frames


def _kind_of(document: Any) -> str:
    if not isinstance(document, dict):
        return f"a JSON document that is {json.dumps(document)[:40]}"
    if "images" in document or "annotations" in document:
        return COCO_LABELS
    keys = ", ".join(shown(key) for key in list(document)[:5])
    return f"a JSON object of {keys}" if keys else "an empty JSON object"
