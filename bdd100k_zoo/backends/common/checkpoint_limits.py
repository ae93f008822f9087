"""Limits on the memory and time that reading a checkpoint may take, checked before torch reads it."""

from __future__ import annotations

import errno
import io
import zipfile
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from struct import unpack
from typing import TYPE_CHECKING

from bdd100k_zoo.backends.common.pickle_values import DAMAGED, PickleError
from bdd100k_zoo.backends.common.pickles import PickleWalker
from bdd100k_zoo.errors import StorageError, UnsafeCheckpointError, ZooError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ZIP_MAGIC = b"PK\x03\x04"
SAFETENSORS_HEAD_SIZE = 9
"""The first bytes of a safetensors file: the size of its header in 8 bytes, and the brace that opens it."""
SAVE_HINT = "save the weights alone: `torch.save(model.state_dict(), 'weights.pth')`"
BROKEN_ZIP = "it is truncated, damaged, or a zip file of something else"

# The largest published checkpoint has about 550 MB and 882 tensors; HRNet has the most tensors, 1,856. A checkpoint of
# a training with AdamW holds each parameter three times. All limits are well above these.
MAX_BYTES = 4 << 30
"""Size of the file."""
MAX_ENTRIES = 20_000
"""Entries of a zip file: one a tensor, and a handful."""
MAX_PICKLE = 64 << 20
"""Bytes of the pickle that lists the tensors: about 150 for each, and the run's log. ``pickles`` limits its content."""
MAX_DIRECTORY = 8 << 20
"""Bytes of a zip file's directory, about 60 for each entry, which are read before the entries can be counted; and of
the header of a safetensors file, about 150 for each entry."""
MAX_SHARING = 16
"""How often tensors may share a file's bytes, on average: tied weights do, and tensors expanded with strides of 0."""
MIN_TENSOR_ALLOWANCE = 1 << 30
"""Bytes of tensors that any file may describe."""

LEGACY_MAGIC_NUMBER, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The two numbers that torch's older format begins with, a pickle each."""
EOCD_SIZE = 22
"""Bytes of the last record of a zip file, where no comment follows."""
ZIP64_LOCATOR_SIZE, ZIP64_EOCD_SIZE = 20, 56
"""Bytes of the two records before it in zip files of 64 bits."""


class _Archive(io.FileIO):
    """A file that refuses reads larger than a zip directory may be: zipfile reads the directory at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise UnsafeCheckpointError(self._path, f"its directory has {size:,} bytes, more than {MAX_DIRECTORY:,}")
        return super().read(size) or b""


def check_limits(path: Path) -> None:
    """Check the size and the entries of a checkpoint, so that reading it cannot exhaust the machine.

    Torch stores the entries of its zip files uncompressed, so together they are smaller than the file. A file in which
    they are larger would unpack to more than was downloaded.

    Raises:
        StorageError: the file cannot be read.
        UnsafeCheckpointError: it exceeds a limit, is an incomplete zip file, or a TorchScript program.
    """
    with read_errors(path):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UnsafeCheckpointError(path, f"it has {size:,} bytes, more than {MAX_BYTES:,}")
        with _Archive(path) as file:
            head = file.read(SAFETENSORS_HEAD_SIZE)
            if head.startswith(ZIP_MAGIC):
                with zipfile.ZipFile(file) as archive:
                    entries, comment = archive.infolist(), archive.comment
                if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                    raise UnsafeCheckpointError(path, "it is a TorchScript archive, not a state dict", SAVE_HINT)
                if problem := _limit_problem(file, entries, comment, size):
                    raise UnsafeCheckpointError(path, problem)
            if is_safetensors(head) and (header := _header_size(head)) > MAX_DIRECTORY:
                raise UnsafeCheckpointError(path, f"its header has {header:,} bytes, more than {MAX_DIRECTORY:,}")


def is_safetensors(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is in the safetensors format."""
    # Text, and torch's own formats, would claim a header of more than 2 ** 48 bytes.
    return head[8:SAFETENSORS_HEAD_SIZE] == b"{" and _header_size(head) < 1 << 48


def _header_size(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def _limit_problem(file: io.FileIO, entries: Sequence[zipfile.ZipInfo], comment: bytes, size: int) -> str:
    """Return the limit that a zip file exceeds, or why torch and zipfile might read different entries; else nothing."""
    unpacked = sum(entry.file_size for entry in entries)
    others = max((entry.file_size for entry in entries if "/data/" not in entry.filename), default=0)
    if len(entries) > MAX_ENTRIES:
        return f"it has {len(entries):,} entries, more than {MAX_ENTRIES:,}"
    if others > MAX_PICKLE:
        return f"its list of tensors has {others:,} bytes, more than {MAX_PICKLE:,}"
    if unpacked > size:
        return f"its entries unpack to {unpacked:,} bytes, more than the file's {size:,}"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "its entries are compressed, which those of a checkpoint never are"
    # Torch has its own reader of zip files, which ignores the case of names: it must find the same entries.
    one_case = len({entry.filename.lower() for entry in entries}) == len(entries)
    return "" if one_case and not comment and _ends_with_directory(file, size) else BROKEN_ZIP


def _ends_with_directory(file: io.FileIO, size: int) -> bool:
    """Return whether a zip file ends as torch writes it, so that all readers find the same directory."""
    place = size - EOCD_SIZE - ZIP64_LOCATOR_SIZE
    file.seek(max(0, place))
    tail = file.read()
    locator, end = tail[:-EOCD_SIZE], tail[-EOCD_SIZE:]
    located = not locator.startswith(b"PK\6\7") or unpack("<Q", locator[8:16])[0] == place - ZIP64_EOCD_SIZE
    return end.startswith(b"PK\5\6") and located


def check_pickles(path: Path) -> None:
    """Check the pickles of a file within the limits, so that loading them cannot exhaust the machine; see ``pickles``.

    Raises:
        StorageError: the file cannot be read.
        PickleError: they are damaged, name or call something that no checkpoint needs, or exceed a limit.
        UnsafeCheckpointError: the file is not a checkpoint.
    """
    with read_errors(path), _Archive(path) as file:
        size = path.stat().st_size
        walker = _walk_zip(file) if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC else _walk_older(file, size)
        if walker.totals.tensor_bytes > max(MIN_TENSOR_ALLOWANCE, MAX_SHARING * size):
            raise PickleError(f"its tensors have {walker.totals.tensor_bytes:,} bytes, the file {size:,}")


def _walk_zip(file: io.FileIO) -> PickleWalker:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    folder = next(iter(entries)).partition("/")[0]
    listing = entries[f"{folder}/data.pkl"]
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content, memoryview(content) as data:
        # The entry's own header of 30 bytes ends in the lengths of the name and the padding that follow it.
        start = listing.header_offset + 30
        start += sum(unpack("<HH", data[start - 4 : start]))
        with data[start : start + listing.file_size] as pickle:
            walker = PickleWalker(pickle)
            walker.next()
    for key, storage in walker.storages.items():
        entry = entries.get(f"{folder}/data/{key}")
        if entry is None or entry.file_size != storage.size:
            found = "missing" if entry is None else f"{entry.file_size:,} bytes long"
            raise PickleError(f"it is damaged: its entry data/{key} is {found}, expected {storage.size:,} bytes")
    return walker


def _walk_older(file: io.FileIO, size: int) -> PickleWalker:
    """Walk the older format: five pickles, of which the fourth is the content, then the bytes of the storages."""
    with mmap(file.fileno(), min(size, MAX_PICKLE), access=ACCESS_READ) as content, memoryview(content) as data:
        walker = PickleWalker(data)
        if walker.next() != LEGACY_MAGIC_NUMBER or walker.next() != LEGACY_PROTOCOL:
            raise PickleError(DAMAGED)
        for _ in ("system", "content", "keys"):
            walker.next()
    claimed, there = sum(storage.size for storage in walker.storages.values()), size - walker.position
    if claimed > there:
        raise PickleError(f"it is damaged: its tensors have {claimed:,} bytes, of which {there:,} are there")
    return walker


def verify_crcs(path: Path) -> None:
    """Read all of a zip checkpoint and compare every entry with its CRC-32, if one is recorded.

    Torch never compares them, so it would load a tensor with a flipped bit. It can be configured to write none; they
    are then 0.

    Raises:
        StorageError: the file cannot be read.
        UnsafeCheckpointError: an entry is damaged.
    """
    with read_errors(path), path.open("rb") as file:
        if file.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
            return
        with zipfile.ZipFile(file) as archive:
            archive.filelist = [entry for entry in archive.filelist if entry.CRC]
            if damaged := archive.testzip():
                raise UnsafeCheckpointError(path, f"its entry {damaged} is damaged: it has another CRC-32")


@contextmanager
def read_errors(path: Path, reason: str = BROKEN_ZIP) -> Iterator[None]:
    """Raise UnsafeCheckpointError for other errors of the block: hostile bytes can make any reader fail in any way.

    Torch's messages advise to load the file without its check. They are not passed on, not even as a cause.
    """
    try:
        yield
    except (ZooError, PickleError):
        raise
    except OSError as error:
        raise StorageError.from_os_error(path, error) from error
    except Exception as error:  # noqa: BLE001  (see above)
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            no_memory = OSError(errno.ENOMEM, "its tensors need more memory than is available")
            raise StorageError.from_os_error(path, no_memory) from None
        raise UnsafeCheckpointError(path, reason) from None
