"""Which format a file of labels or predictions has, and the conversion of older forms to Scalabel's current one.

``detect_format`` decides the format of a file, for every command. Files of Scalabel frames come in several forms, which
``to_frames`` converts:

- a list of frames, or an object with ``frames``; frames in JSON lines, or one frame per file;
- the flat predictions of BDD100K's old evaluation: one entry per box, with ``name``, ``category``, ``score`` and
  ``bbox`` [x1, y1, x2, y2]. Its corners are inclusive (``bdd_data/evaluate.py`` of ucbdrive/bdd100k takes x2 - x1 + 1
  as the width), as those of ``box2d`` are;
- BDD100K's labels of 2018, one file per image, with the objects in ``frames[0].objects`` and names without ``.jpg``.

Values are interpreted as ``scalabel`` 0.3.1 does, which parses them with pydantic 1: an attribute is converted to the
first of bool, int, float and str that accepts its value, and then tested for truth.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from bdd100k_zoo.data.validation import frame_error, printable, wrong_file_error
from bdd100k_zoo.errors import InputsError
from bdd100k_zoo.files import READ_CHUNK_BYTES, read_bytes, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LABELS = "labels in Scalabel's format"
PREDICTIONS = "predictions in Scalabel's format"
FRAMES = "labels or predictions in Scalabel's format"
ANY_FORMAT = "labels or predictions in Scalabel's or COCO's format"
COCO_LABELS = "a COCO labels file"
COCO_RESULTS = "a list of COCO results"

FileFormat = Literal["Scalabel frames", "COCO labels", "COCO results"]
AnnotationFormat = Literal["scalabel", "coco"]
"""The formats that ``convert`` reads."""
TargetFormat = Literal["scalabel", "coco", "yolo", "csv"]
"""The formats that ``convert`` writes."""

CORNERS = ("x1", "y1", "x2", "y2")

_OTHER_FORMATS = {
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x80": "a Python pickle",
    b"\xff\xfe": "text in UTF-16: save it as UTF-8",
    b"\xfe\xff": "text in UTF-16: save it as UTF-8",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
}
_FORMAT_OF_KEY: dict[str, FileFormat] = {
    "frames": "Scalabel frames",
    "labels": "Scalabel frames",
    "images": "COCO labels",
    "annotations": "COCO labels",
    "image_id": "COCO results",
}
# An unterminated string is one token: to search it again from each of its quotes would take quadratic time.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\]:]', re.DOTALL)


# Values


def is_true(value: Any) -> bool:
    """Return whether an attribute is true: 1, "true", "yes" and "crowd" are; 0, "0", "false", "" and 0.5 are not."""
    value = value.lower() if isinstance(value, str) else value
    if value in (1, "1", "on", "t", "true", "y", "yes"):
        return True
    if value in (0, "0", "off", "f", "false", "n", "no"):
        return False
    for kind in (int, float):
        try:
            return bool(kind(value))
        except (TypeError, ValueError, OverflowError):
            continue
    return bool(value)


def to_mapping(value: object) -> dict[str, Any] | None:
    """Return a JSON object; an empty list or text is an empty one, as for pydantic; None for anything else."""
    if isinstance(value, dict):
        return value
    return {} if value in ([], "") else None


def to_number(value: object) -> float | None:
    """Return a number, also one written as text, as float64; None for anything else."""
    if not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


# Formats


def detect_format(path: Path, expected: str = ANY_FORMAT) -> FileFormat | None:
    """Return the format of a file, by its outermost keys; None for an empty list, which may be of any format.

    Args:
        path: a file; a folder is one of Scalabel frames.
        expected: what to call the expected format in errors.

    Raises:
        StorageError: the file cannot be read.
        InputsError: it has none of the formats.
    """
    with storage_errors(path):
        if path.is_dir():
            return "Scalabel frames"
        with path.open("rb") as file:
            head = file.read(READ_CHUNK_BYTES)
    # The keys are nearly always in the first bytes; decoding a whole file of 100,000 frames takes seconds.
    found = _format_of_keys(_outermost_keys(_check_content(path, head, expected)))
    if found is None:
        document = decode_json(path, read_bytes(path), expected)
        if document == []:
            return None
        first = document[0] if isinstance(document, list) else document
        found = _format_of_keys(first) if isinstance(first, dict) else None
        if found is None:
            raise wrong_file_error(path, expected, _describe(document))
    return found


def _format_of_keys(keys: Iterable[str]) -> FileFormat | None:
    has_name = False
    for key in keys:
        if key in _FORMAT_OF_KEY:
            return _FORMAT_OF_KEY[key]
        has_name = has_name or key == "name"
    return "Scalabel frames" if has_name else None  # a frame without labels, or a flat prediction


def _outermost_keys(content: bytes) -> Iterator[str]:
    """Yield the keys of the outermost object, or of the first object in a list; the content may be truncated."""
    outermost = 2 if content.lstrip().startswith(b"[") else 1
    depth, text = 0, b""
    for token in _TOKEN.finditer(content):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
            if depth < outermost:
                return
        elif token[0] == b":":
            if depth == outermost:
                yield text[1:-1].decode(errors="replace")
        else:
            text = token[0]


def _describe(document: Any) -> str:
    if isinstance(document, list):
        first = document[0]
        return f"a list of {_first_keys(first)}" if isinstance(first, dict) else "a list, but not of objects"
    if not isinstance(document, dict):
        return f"a JSON document that is {json.dumps(document)[:40]}"
    if "images" in document or "annotations" in document:
        return COCO_LABELS
    return f"a JSON object of {_first_keys(document)}" if document else "an empty JSON object"


def _first_keys(document: dict[str, Any]) -> str:
    return ", ".join(printable(key) for key in list(document)[:5])


# JSON


def json_files(path: Path) -> tuple[Path, ...]:
    """Return the file itself, or the ``*.json`` files of a folder, sorted.

    Raises:
        StorageError: there is no such file or folder.
        InputsError: the folder holds no such file.
    """
    with storage_errors(path):
        path.stat()
        if not path.is_dir():
            return (path,)
        found = tuple(sorted(file for file in path.glob("*.json") if not file.name.startswith(".")))
    if not found:
        raise wrong_file_error(path, "a folder of *.json files", "none of them")
    return found


def decode_json(path: Path, content: bytes, expected: str) -> Any:
    """Decode JSON as the standard library does, including NaN and Infinity; JSON lines become a list.

    Raises:
        InputsError: the content is empty, truncated or no JSON, with the position of the error; or it is a web page, an
            archive, or text in another encoding.
    """
    content = _check_content(path, content, expected)
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "truncated" in str(error):
            raise _broken_file_error(path, f"is truncated: the JSON does not end (at byte {len(content)})") from error
    try:
        return _decode_leniently(content.decode())
    except UnicodeDecodeError as error:
        raise _broken_file_error(path, f"is not text in UTF-8 (at byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise _broken_file_error(path, f"is not JSON: {error}") from error
    except RecursionError as error:
        raise _broken_file_error(path, "is nested too deeply") from error
    except ValueError as error:
        raise _broken_file_error(path, "holds an integer of thousands of digits") from error


def _decode_leniently(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        # The standard library reports a second document by this message alone.
        if error.msg != "Extra data" or not text.lstrip().startswith("{"):
            raise
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _check_content(path: Path, content: bytes, expected: str) -> bytes:
    """Return content without UTF-8's byte order mark; raises InputsError for content that is evidently no JSON."""
    content = content.removeprefix(BOM_UTF8)
    start = content[:1024].lstrip().lower()
    if not start:
        raise _broken_file_error(path, "is empty")
    if start.startswith(b"<"):
        raise wrong_file_error(path, expected, "a web page" if b"html" in start else "markup (XML or the like)")
    for magic, name in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise wrong_file_error(path, expected, name)
    if b"\0" in content[:4]:
        raise wrong_file_error(path, expected, "text in UTF-16 or UTF-32, or no text: save it as UTF-8")
    return content


def _broken_file_error(path: Path, problem: str) -> InputsError:
    return InputsError(path, problem, "the file was not written or downloaded completely: create or download it again")


# Older forms


class FrameDocuments(NamedTuple):
    """Frames as plain JSON documents in Scalabel's current form, or not decoded yet, otherwise unchecked."""

    frames: list[Any]
    flat: bool = False
    """The file lists boxes, not frames, so that images without a box have no frame."""


def to_frames(path: Path, document: Any, expected: str) -> FrameDocuments:
    """Convert a document of any form to frames; raises InputsError."""
    frames = document
    if isinstance(document, dict):
        is_frame = "name" in document and ("frames" not in document or _is_of_2018(document))
        frames = [document] if is_frame else document.get("frames")
    if not isinstance(frames, list) or (frames and not isinstance(frames[0], (dict, list))):
        raise wrong_file_error(path, expected, _describe(document))
    if frames and isinstance(frames[0], dict) and "image_id" in frames[0] and "name" not in frames[0]:
        raise wrong_file_error(path, expected, COCO_RESULTS)
    frames = [_from_2018(path, frame) if _is_of_2018(frame) else frame for frame in frames]
    is_flat = any(map(_is_flat, frames))
    return FrameDocuments(_group_by_frame(frames) if is_flat else frames, is_flat)


def _is_of_2018(frame: Any) -> bool:
    if not isinstance(frame, dict) or "name" not in frame or not isinstance(frame.get("frames"), list):
        return False
    return bool(frame["frames"]) and not any(isinstance(each, dict) and "name" in each for each in frame["frames"])


def _from_2018(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    name, frames = str(document["name"]), document["frames"]
    if len(frames) != 1 or not isinstance(frames[0], dict):
        raise frame_error(path, printable(name), f"expected one frame below `frames`, found {len(frames)}")
    return {
        "name": name if PurePosixPath(name).suffix else f"{name}.jpg",
        "attributes": document.get("attributes"),
        "timestamp": frames[0].get("timestamp"),
        "labels": frames[0].get("objects"),
    }


def _is_flat(frame: Any) -> bool:
    if not isinstance(frame, dict) or "name" not in frame or "category" not in frame or frame.get("labels"):
        return False
    return "bbox" in frame or "box2d" in frame


def _group_by_frame(entries: list[Any]) -> list[Any]:
    """Group flat entries by frame, in the order of the frames' first entries."""
    frames: list[Any] = []
    by_name: dict[tuple[str, str], dict[str, Any]] = {}
    for number, entry in enumerate(entries, 1):
        if not _is_flat(entry):
            frames.append(entry)
            continue
        key = str(entry.get("videoName")), str(entry["name"])
        if key not in by_name:
            fields = {name: entry[name] for name in ("name", "videoName", "timestamp") if name in entry}
            by_name[key] = {**fields, "labels": []}
            frames.append(by_name[key])
        box = entry["box2d"] if entry.get("bbox") is None and "box2d" in entry else entry.get("bbox")
        corners = dict(zip(CORNERS, box, strict=True)) if isinstance(box, list) and len(box) == 4 else box
        label = {name: entry[name] for name in ("category", "score", "attributes") if name in entry}
        by_name[key]["labels"].append({"id": entry.get("id", str(number)), **label, "box2d": corners})
    return frames
