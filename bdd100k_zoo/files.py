"""Reading files, writing them atomically, walking folders, and checking frame names."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import unicodedata
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from uuid import uuid4

from bdd100k_zoo.errors import InvalidFileError, StorageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

READ_CHUNK_BYTES = 1 << 20
"""Bytes to read at once."""
LARGEST_RECORD = 16 << 20
"""Largest size in bytes of the small files that this package writes; ``read_record`` refuses larger ones."""
LINK_REFUSED = "is a link, and this file is never written through a link; remove it"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise any OSError of the block as a StorageError about ``path``."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os_error(path, error) from error


def read_bytes(path: Path) -> bytes:
    """Read a whole file; raises StorageError."""
    with storage_errors(path):
        return path.read_bytes()


def read_chunks(path: Path) -> Iterator[bytes]:
    """Read a file in chunks of READ_CHUNK_BYTES; raises StorageError."""
    with storage_errors(path), path.open("rb") as file:
        while chunk := file.read(READ_CHUNK_BYTES):
            yield chunk


def sha256_of(*paths: Path) -> str:
    """Return the SHA-256 of the concatenated files in lower-case hexadecimal; raises StorageError."""
    digest = hashlib.sha256()
    for path in paths:
        for chunk in read_chunks(path):
            digest.update(chunk)
    return digest.hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; raises OSError for pipes and devices, which can block their reader forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_record(path: Path) -> bytes:
    """Read a small file that this package wrote; raises OSError, also for a file larger than LARGEST_RECORD."""
    with open_regular(path) as file:
        content = file.read(LARGEST_RECORD + 1)
    if len(content) > LARGEST_RECORD:
        raise OSError(errno.EFBIG, f"has more than {LARGEST_RECORD:,} bytes")
    return content


def open_nofollow(path: Path, mode: str) -> io.FileIO:
    """Open a file for writing, unbuffered, in a mode of ``open``; raises OSError if it is a symbolic link."""

    def opener(name: str, flags: int) -> int:
        try:
            return os.open(name, flags | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if path.is_symlink():
                raise OSError(errno.ELOOP, LINK_REFUSED) from error
            raise

    return io.FileIO(path, mode, opener=opener)


def write_atomically(path: Path, content: bytes, *, follow_links: bool = False) -> None:
    """Write ``content`` to ``path``: readers see the old file or the new one, never a part; see ``atomic_writer``."""
    with atomic_writer(path, follow_links=follow_links) as file:
        file.write(content)


@contextmanager
def atomic_writer(path: Path, *, follow_links: bool = False) -> Iterator[BinaryIO]:
    """Write a temporary file beside ``path`` and move it there if the block succeeds; otherwise delete it.

    Args:
        path: where to write; parent folders are created.
        follow_links: write to the target of a symbolic link and keep the link: for results that the user asks for.
            Otherwise a link is replaced and its target left alone: for the metadata that this package keeps.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    path = Path(os.path.realpath(path)) if follow_links else path
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if path.exists() and not path.is_symlink():
                shutil.copymode(path, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


PLAIN_FRAME_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9_./ -]*")
"""Names that are certainly safe. The full check takes 40 times as long, and a run may have a hundred thousand names."""


def check_frame_name(name: str) -> str:
    """Return ``name`` if it is a relative path that stays inside its folder on any operating system.

    Raises:
        InvalidFileError: it is empty, absolute, leaves its folder, or is no text that JSON can hold.
    """
    if not PLAIN_FRAME_NAME.fullmatch(name) and not _is_safe(name):
        problem = "the name is not a relative path inside its folder, in printable characters"
        raise InvalidFileError(f"frame {name!r}", problem, "rename the file: a relative path without `..`")
    return name


def _is_safe(name: str) -> bool:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if not posix.name or posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts):
        return False
    # File systems return undecodable bytes as lone surrogates (Cs); control characters (Cc) could drive a terminal.
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def add_jpg_suffix(names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Add ``.jpg`` to names that are known only with it: BDD100K's old labels and submissions leave it out."""
    known = set(known)
    return tuple(f"{name}.jpg" if name not in known and f"{name}.jpg" in known else name for name in names)


class Folder(NamedTuple):
    """A folder and the files in it."""

    path: Path
    prefix: str
    """Path relative to the root of the walk, with forward slashes and one at the end; empty for the root."""
    files: list[os.DirEntry[str]]


def walk_folders(root: Path) -> Iterator[Folder]:
    """Yield a folder and all folders below it, each once; links to folders are followed, hidden names skipped.

    Raises:
        StorageError: a folder cannot be listed; its files would silently be missing.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        with storage_errors(folder):
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:  # links may form a cycle
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if entry.name[0] != "."]
        below = {entry.name for entry in entries if _is_folder(entry)}
        waiting += [(folder / name, f"{prefix}{name}/") for name in sorted(below, reverse=True)]
        yield Folder(folder, prefix, [entry for entry in entries if entry.name not in below])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def lower_suffix(name: str) -> str:
    """Return the suffix of a file name in lower case, as ``Path.suffix`` does, at a tenth of the cost."""
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


HTML_START = re.compile(r"<(!doctype|!--|\?xml|[a-z]+[\s>/])", re.IGNORECASE)


def looks_like_html(start: bytes) -> bool:
    """Return whether a file that starts with these bytes is a web page (HTML, XHTML or other markup)."""
    utf16 = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = start.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    return HTML_START.match(text.lstrip()) is not None
