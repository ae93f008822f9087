"""What a file of weights may ask for, looked at before torch reads it."""

from __future__ import annotations

import io
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import StorageError, UnsafeCheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ZIP_MAGIC = b"PK\x03\x04"
HEADER_START = 9
"""Bytes of a safetensors file that tell its format: the size of its header, in 8 bytes, and the brace that opens it."""
SAVE = "save the weights alone: `torch.save(model.state_dict(), 'weights.pth')`"
NO_WHOLE_ZIP = "it is cut short, damaged, or a zip file of something else"
CHUNK = 1 << 20

# The largest published checkpoint has about 550 MB: 882 tensors. The most tensors are those of HRNet, 1,856. A
# checkpoint of a training run with AdamW holds each parameter three times. Every limit leaves room beyond that.
MAX_BYTES = 4 << 30
"""Size of the file."""
MAX_ENTRIES = 20_000
"""Entries of a zip file: one a tensor, and a handful."""
MAX_PICKLE = 64 << 20
"""Bytes of the pickle that lists the tensors: some 150 each, and the run's log. Each may take 100 bytes of memory."""
MAX_DIRECTORY = 8 << 20
"""Bytes of a zip file's directory, some 60 an entry: what is read before the entries can be counted. Also those of
the header of a safetensors file, some 150 an entry."""


class _Archive(io.FileIO):
    """Refuses to be read in pieces larger than a directory may be."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise UnsafeCheckpointError(self._path, f"its directory has {size:,} bytes, more than {MAX_DIRECTORY:,}")
        return super().read(size) or b""


def check_limits(path: Path) -> None:
    """See to it that reading a file of weights cannot exhaust the machine.

    Torch stores the entries of its zip files as they are, so together they are smaller than the file. A file in
    which they are not would unpack to more than was downloaded.

    Raises:
        StorageError: the file cannot be read.
        UnsafeCheckpointError: it exceeds a limit, or is a zip file that is not whole or holds a program.
    """
    with _refusals(path):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UnsafeCheckpointError(path, f"it has {size:,} bytes, more than {MAX_BYTES:,}")
        with _Archive(path) as file:
            head = file.read(HEADER_START)
            if head.startswith(ZIP_MAGIC):
                with zipfile.ZipFile(file) as archive:
                    entries = archive.infolist()
                if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                    raise UnsafeCheckpointError(path, "it is a TorchScript archive, not a state dict", SAVE)
                if problem := _excess(entries, size):
                    raise UnsafeCheckpointError(path, problem)
            header = _header_size(head)
            if is_safetensors(head) and header > MAX_DIRECTORY:
                raise UnsafeCheckpointError(path, f"its header has {header:,} bytes, more than {MAX_DIRECTORY:,}")


def is_safetensors(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is in the safetensors format."""
    # Text, and torch's own formats, would claim a header of more than 2 ** 48 bytes.
    return head[8:HEADER_START] == b"{" and _header_size(head) < 1 << 48


def _header_size(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def _excess(entries: Sequence[zipfile.ZipInfo], size: int) -> str:
    unpacked = sum(entry.file_size for entry in entries)
    listing = max((entry.file_size for entry in entries if entry.filename.endswith("data.pkl")), default=0)
    if len(entries) > MAX_ENTRIES:
        return f"it has {len(entries):,} entries, more than {MAX_ENTRIES:,}"
    if listing > MAX_PICKLE:
        return f"its list of tensors has {listing:,} bytes, more than {MAX_PICKLE:,}"
    if unpacked > size:
        return f"its entries unpack to {unpacked:,} bytes, more than the file's {size:,}"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "its entries are compressed, which those of a checkpoint never are"
    return ""


def check_sums(path: Path) -> None:
    """Read a zip checkpoint through and compare every entry with its recorded CRC-32, where there is one.

    Torch itself never compares them, so that a tensor with a flipped bit would be loaded; it can be told to write
    none, and then writes zeros.

    Raises:
        StorageError: the file cannot be read.
        UnsafeCheckpointError: an entry is damaged.
    """
    with _refusals(path), path.open("rb") as file:
        if file.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
            return
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.CRC and not _is_sound(archive, entry):
                    raise UnsafeCheckpointError(path, f"its entry {entry.filename} is damaged: its CRC-32 is another")


def _is_sound(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as content:
            while content.read(CHUNK):
                pass
    except zipfile.BadZipFile:
        return False
    return True


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Bytes that anybody may have written can make the reader of zip files stumble in any way."""
    try:
        yield
    except UnsafeCheckpointError:
        raise
    except OSError as error:
        raise StorageError(path, error.strerror or str(error)) from error
    except Exception as error:
        raise UnsafeCheckpointError(path, NO_WHOLE_ZIP) from error
