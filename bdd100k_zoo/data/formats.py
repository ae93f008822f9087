"""Which format a file of labels or predictions has, and the frames of any file in Scalabel's or an older format.

Rules of ``scalabel`` 0.3.1, whose records are read by pydantic 1: an attribute is the first of bool, int, float and
text that takes its value, and what counts is whether that is true.

Every reader comes here. A standard file is decoded straight into the reader's own records; any other form is decoded
into plain documents, which are brought into Scalabel's current form once:

- frames in JSON lines, or a frame a file;
- the flat predictions of BDD100K's old evaluation: an entry a box, with ``name``, ``category``, ``score`` and ``bbox``
  [x1, y1, x2, y2]. Its corners both belong to the box (``bdd_data/evaluate.py`` of ucbdrive/bdd100k takes
  x2 - x1 + 1 as the width), as those of ``box2d`` do;
- BDD100K's labels of 2018, a file an image, with the objects in ``frames[0].objects`` and names without ``.jpg``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from bdd100k_zoo.data.validation import printable
from bdd100k_zoo.errors import BadFrameError, BrokenFileError, WrongFileError
from bdd100k_zoo.files import READ_CHUNK_BYTES, read_bytes, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_TRUE = (1, "1", "on", "t", "true", "y", "yes")
_FALSE = (0, "0", "off", "f", "false", "n", "no")


def is_true(value: Any) -> bool:
    """Whether an attribute's value is true: 1, "true", "yes" and "crowd" are; 0, "0", "false", "" and 0.5 are not."""
    value = value.lower() if isinstance(value, str) else value
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    for kind in (int, float):
        try:
            return bool(kind(value))
        except (TypeError, ValueError, OverflowError):
            continue
    return bool(value)


def to_mapping(value: object) -> dict[str, Any] | None:
    """An object, or what ``dict`` makes of a list of pairs or of an empty value, as pydantic does; else None."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, (list, str)):
        return None
    try:
        return dict(value)  # type: ignore[arg-type]  # whether these are pairs is what is tried
    except (TypeError, ValueError):
        return None


def to_number(value: object) -> float | None:
    """A number, or text that says one, as float64; None for anything else."""
    if not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


LABELS = "labels in Scalabel's format"
PREDICTIONS = "predictions in Scalabel's format"
COCO_LABELS = "a COCO labels file"
COCO_RESULTS = "a list of COCO results"

FileFormat = Literal["Scalabel frames", "COCO labels", "COCO results"]

CORNERS = ("x1", "y1", "x2", "y2")

_MARK = b"\xef\xbb\xbf"
_OTHER_FORMATS = {
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x80": "a pickle of Python",
    b"\xff\xfe": "text in UTF-16: save it as UTF-8",
    b"\xfe\xff": "text in UTF-16: save it as UTF-8",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with `git lfs pull`",
}
_FORMAT_OF_KEY: dict[str, FileFormat] = {
    "frames": "Scalabel frames",
    "labels": "Scalabel frames",
    "images": "COCO labels",
    "annotations": "COCO labels",
    "image_id": "COCO results",
}
# A string that does not end is one token: looked for again at each of its quotes, it would take quadratic time.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\]:]', re.DOTALL)


class PlainFrame(msgspec.Struct, kw_only=True, frozen=True, gc=False, omit_defaults=True):
    """Base of records of one frame; a file that has these fields in a frame is in another form, and not decoded."""

    bbox: None = None
    box2d: None = None
    frames: None = None
    objects: None = None


FrameType = TypeVar("FrameType")


class ScalabelDataset(msgspec.Struct, Generic[FrameType], gc=False):
    """The outer form of Scalabel's own writer; a bare list of frames is the other one."""

    frames: list[FrameType]


class FrameDocuments(NamedTuple):
    """Frames as plain documents in Scalabel's form, not checked any further."""

    frames: list[Any]
    flat: bool = False
    """They were listed box by box, so that images without a box are not listed."""


def json_files(path: Path) -> tuple[Path, ...]:
    """Return the file itself, or the ``*.json`` files of a folder, sorted.

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


def detect_format(
    path: Path, expected: str = "labels or predictions in Scalabel's or COCO's format"
) -> FileFormat | None:
    """Return which format a file has, by its outermost names; None for an empty list, which may be anything.

    A folder is one of Scalabel frames.

    Raises:
        StorageError: it cannot be read.
        WrongFileError, BrokenFileError: it is in none of the formats.
    """
    with storage_errors(path):
        if path.is_dir():
            return "Scalabel frames"
        with path.open("rb") as file:
            head = file.read(READ_CHUNK_BYTES)
    shape = _format_of_names(_outermost_names(_without_mark(path, head, expected)))
    if shape is None:
        document = decode_json(path, read_bytes(path), expected)
        if document == []:
            return None
        first = document[0] if isinstance(document, list) else document
        shape = _format_of_names(first) if isinstance(first, dict) else None
        if shape is None:
            raise WrongFileError(path, expected, _kind_of(document))
    return shape


def describe_format(shape: FileFormat | None) -> str:
    """Name what a file holds."""
    return shape or "an empty list"


def _format_of_names(names: Iterable[str]) -> FileFormat | None:
    shape: FileFormat | None = None
    for name in names:
        if name in _FORMAT_OF_KEY:
            return _FORMAT_OF_KEY[name]
        if name == "name":  # of a frame without labels, or of anything else
            shape = "Scalabel frames"
    return shape


def _outermost_names(content: bytes) -> Iterator[str]:
    """Find the names in the outermost object, or in the first object of a list; the content may be cut off."""
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


def decode_json(path: Path, content: bytes, expected: str) -> Any:
    """Decode JSON as the standard library does, NaN and Infinity included; JSON lines become a list.

    Raises:
        BrokenFileError: it is empty, cut off, or no JSON; with the byte at which reading stopped.
        WrongFileError: it is a web page, an archive, or text in another encoding.
    """
    content = _without_mark(path, content, expected)
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "truncated" in str(error):
            raise BrokenFileError(path, "is cut off: the JSON does not end", len(content)) from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise BrokenFileError(path, "is no text in UTF-8", error.start) from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _decode_lines(path, text)
        raise _broken(path, text, error) from error
    except RecursionError as error:
        raise BrokenFileError(path, "nests too deeply", 0) from error
    except ValueError as error:
        raise BrokenFileError(path, "holds an integer of thousands of digits", 0) from error


def _decode_lines(path: Path, text: str) -> list[Any]:
    """Decode one JSON document a line."""
    documents, start = [], 0
    for line in text.split("\n"):
        try:
            documents += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise _broken(path, text, error, start) from error
        except RecursionError as error:
            raise BrokenFileError(path, "nests too deeply", start) from error
        except ValueError as error:
            raise BrokenFileError(path, "holds an integer of thousands of digits", start) from error
        start += len(line) + 1
    return documents


def _broken(path: Path, text: str, error: json.JSONDecodeError, start: int = 0) -> BrokenFileError:
    return BrokenFileError(path, f"is no JSON: {error.msg}", len(text[: start + error.pos].encode()))


def _without_mark(path: Path, content: bytes, expected: str) -> bytes:
    """Cut off the byte order mark of UTF-8; raises BrokenFileError, WrongFileError for what is no JSON."""
    content = content.removeprefix(_MARK)
    start = content[:1024].lstrip().lower()
    if not start:
        raise BrokenFileError(path, "is empty", 0)
    if start.startswith(b"<"):
        raise WrongFileError(path, expected, "a web page" if b"html" in start else "markup (XML or the like)")
    for magic, name in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise WrongFileError(path, expected, name)
    if b"\0" in content[:4]:
        raise WrongFileError(path, expected, "text in UTF-16 or UTF-32, or no text: save it as UTF-8")
    return content


@dataclass(frozen=True, slots=True)
class FrameFile(Generic[FrameType]):
    """One file of frames."""

    path: Path
    content: bytes
    expected: str
    records: list[FrameType] | None
    """Its frames, where the whole file is in Scalabel's form and each fits the record; None where not."""

    def plain(self) -> FrameDocuments:
        """Return its frames as plain documents, whichever form it has; raises InputsError."""
        return extract_frames(self.path, decode_json(self.path, self.content, self.expected), self.expected)


def read_frames(path: Path, form: type[FrameType], expected: str) -> Iterator[FrameFile[FrameType]]:
    """Read the frames of a file, or of a folder of files, one file after the other.

    Args:
        path: a JSON file in any of the forms that this module knows, or a folder of them.
        form: the record of a frame, a ``PlainFrame``.
        expected: what to call the file in errors.

    Raises:
        StorageError: it cannot be read.
        WrongFileError: the folder holds no such file.
    """
    decoder = msgspec.json.Decoder(list[form] | ScalabelDataset[form])  # type: ignore[valid-type]
    for file in json_files(path):
        content = read_bytes(file)
        try:
            document = decoder.decode(content)
        # KeyError: of a record that looks its category up, see records.tables.
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
            records = None
        else:
            records = document.frames if isinstance(document, ScalabelDataset) else document
        yield FrameFile(file, content, expected, records)


def extract_frames(path: Path, document: Any, expected: str) -> FrameDocuments:
    """Return the frames of a document in Scalabel's form; raises WrongFileError, BadFrameError."""
    frames = document
    if isinstance(document, dict):
        alone = "name" in document and ("frames" not in document or _is_of_2018(document))
        frames = [document] if alone else document.get("frames")
    if not isinstance(frames, list) or (frames and not isinstance(frames[0], (dict, list))):
        raise WrongFileError(path, expected, _kind_of(document))
    if frames and isinstance(frames[0], dict) and "image_id" in frames[0] and "name" not in frames[0]:
        raise WrongFileError(path, expected, COCO_RESULTS)
    frames = [_from_2018(path, frame) if _is_of_2018(frame) else frame for frame in frames]
    flat = any(map(_is_flat, frames))
    frames = _grouped(frames) if flat else frames
    for frame in frames:
        if isinstance(frame, dict) and isinstance(frame.get("labels"), list):
            frame["labels"] = [_with_numbers(label) for label in frame["labels"]]
    return FrameDocuments(frames, flat)


def _is_of_2018(frame: Any) -> bool:
    if not isinstance(frame, dict) or "name" not in frame or not isinstance(frame.get("frames"), list):
        return False
    return bool(frame["frames"]) and not any(isinstance(each, dict) and "name" in each for each in frame["frames"])


def _from_2018(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    name, frames = str(document["name"]), document["frames"]
    if len(frames) != 1 or not isinstance(frames[0], dict):
        raise BadFrameError(path, printable(name), f"expected one frame below `frames`, found {len(frames)}")
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


def _grouped(entries: list[Any]) -> list[Any]:
    """Gather flat entries by their frames, which come in the order of their first boxes."""
    frames: list[Any] = []
    by_name: dict[tuple[str, str], dict[str, Any]] = {}
    for number, entry in enumerate(entries, 1):
        if not _is_flat(entry):
            frames.append(entry)
            continue
        key = str(entry.get("videoName")), str(entry["name"])
        if key not in by_name:
            kept = {name: entry[name] for name in ("name", "videoName", "timestamp") if name in entry}
            by_name[key] = {**kept, "labels": []}
            frames.append(by_name[key])
        box = entry["box2d"] if entry.get("bbox") is None and "box2d" in entry else entry.get("bbox")
        corners = dict(zip(CORNERS, box, strict=True)) if isinstance(box, list) and len(box) == 4 else box
        label = {name: entry[name] for name in ("category", "score", "attributes") if name in entry}
        by_name[key]["labels"].append({"id": entry.get("id", str(number)), **label, "box2d": corners})
    return frames


def _with_numbers(label: Any) -> Any:
    """Turn corners that are written as text into numbers."""
    box = label.get("box2d") if isinstance(label, dict) else None
    if not isinstance(box, dict):
        return label
    texts = [name for name in CORNERS if isinstance(box.get(name), (str, bool)) and to_number(box[name]) is not None]
    return label | {"box2d": box | {name: to_number(box[name]) for name in texts}} if texts else label


def _kind_of(document: Any) -> str:
    if isinstance(document, list):
        return f"a list of {_names_in(document[0])}" if isinstance(document[0], dict) else "a list, but not of objects"
    if not isinstance(document, dict):
        return f"a JSON document that is {json.dumps(document)[:40]}"
    if "images" in document or "annotations" in document:
        return COCO_LABELS
    return f"a JSON object of {_names_in(document)}" if document else "an empty JSON object"


def _names_in(document: dict[str, Any]) -> str:
    return ", ".join(printable(key) for key in list(document)[:5])
