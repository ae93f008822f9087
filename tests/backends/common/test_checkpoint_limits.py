"""Files that would exhaust the machine are refused before torch reads them; those that torch writes pass."""

from __future__ import annotations

import pickle
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch

from bdd100k_zoo.backends.common import checkpoint_limits
from bdd100k_zoo.backends.common.checkpoint import read_checkpoint
from bdd100k_zoo.backends.common.checkpoint_limits import MAX_BYTES, MAX_ENTRIES, MAX_PICKLE, check_limits, verify_crcs
from bdd100k_zoo.errors import StorageError, UnsafeCheckpointError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def save(path: Path) -> Path:
    torch.save({"meta": {}, "state_dict": {"weight": torch.arange(5000.0), "bias": torch.ones(3)}}, path)
    return path


def entries_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def write_zip(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def refusal(path: Path) -> str:
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_checkpoint(path)
    return caught.value.reason


def flip_a_bit(path: Path, of: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(of)] ^= 1
    path.write_bytes(content)


def test_what_torch_writes_is_far_within_the_limits(path: Path) -> None:
    tensors = {f"backbone.stage4.2.fuse_layers.3.{n}.weight": torch.zeros(1) for n in range(1856)}
    torch.save({"meta": {"CLASSES": ("car",) * 10}, "state_dict": tensors}, path)
    assert list(read_checkpoint(path).state_dict) == list(tensors)
    sizes = {name: len(content) for name, content in entries_of(path).items()}
    assert len(sizes) * 8 < MAX_ENTRIES
    assert next(size for name, size in sizes.items() if name.endswith("data.pkl")) * 100 < MAX_PICKLE


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"\x80\x02"], ids=["zip", "older"])
def test_a_file_of_more_bytes_than_any_checkpoint_is_not_read(head: bytes, path: Path) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(MAX_BYTES + 1)
    assert refusal(path) == "it has 4,294,967,297 bytes, more than 4,294,967,296"


def test_a_zip_file_of_too_many_entries_is_not_read(path: Path) -> None:
    write_zip(path, {f"archive/data/{number}": b"" for number in range(MAX_ENTRIES + 1)})
    assert refusal(path) == "it has 20,001 entries, more than 20,000"


def test_a_directory_too_large_to_count_its_entries_is_not_read(path: Path) -> None:
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 100 << 20, 4, 0)
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate((100 << 20) + 4)
        file.seek(0, 2)
        file.write(end)
    assert refusal(path) == "its directory has 104,857,600 bytes, more than 8,388,608"


def test_a_pickle_of_millions_of_objects_is_not_read(path: Path) -> None:
    entries = entries_of(save(path))
    listing = next(name for name in entries if name.endswith("data.pkl"))
    write_zip(path, entries | {listing: b"\x80\x02" + b"]" * MAX_PICKLE})
    assert refusal(path) == "its list of tensors has 67,108,866 bytes, more than 67,108,864"


def test_a_zip_bomb_is_not_unpacked(path: Path) -> None:
    write_zip(path, entries_of(save(path)) | {"archive/data/9": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "unpack to 52," in refusal(path)


def test_entries_that_share_their_bytes_are_not_read(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", bytes(100_000))
        first = archive.infolist()[0]
        for number in range(1, 50):
            other = zipfile.ZipInfo(f"archive/data/{number}")
            other.header_offset, other.CRC = first.header_offset, first.CRC
            other.file_size = other.compress_size = first.file_size
            archive.filelist.append(other)
    assert refusal(path).startswith("its entries unpack to 5,000,000 bytes")


def test_compressed_entries_are_refused_even_where_they_save_nothing(path: Path) -> None:
    noise = torch.randint(0, 256, (100_000,), dtype=torch.uint8).numpy().tobytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries_of(save(path)).items():
            archive.writestr(name, content)
        archive.writestr("archive/data/9", noise, zipfile.ZIP_DEFLATED)
    assert refusal(path) == "its entries are compressed, which those of a checkpoint never are"


def test_a_limit_applies_exactly(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = save(path).stat().st_size
    monkeypatch.setattr(checkpoint_limits, "MAX_BYTES", size)
    monkeypatch.setattr(checkpoint_limits, "MAX_ENTRIES", len(entries_of(path)))
    check_limits(path)
    monkeypatch.setattr(checkpoint_limits, "MAX_BYTES", size - 1)
    with pytest.raises(UnsafeCheckpointError, match=f"it has {size:,} bytes"):
        check_limits(path)


def test_a_zip_checkpoint_whose_tensor_is_shorter_than_it_claims_is_refused(path: Path) -> None:
    entries = entries_of(save(path))
    tensor = next(name for name in entries if len(entries[name]) == 20_000)
    write_zip(path, entries | {tensor: entries[tensor][:8]})
    assert "damaged" in refusal(path)


# The older format has no directory: torch reads pickles, then the bytes of the tensors.


def older_that_claims(numbers: int, path: Path) -> Path:
    """Write a file of the older format whose only tensor claims that many numbers, but has three."""
    torch.save({"weight": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    claim, longer = pickle.dumps(3, 2)[2:-1], pickle.dumps(numbers, 2)[2:-1]
    start = content.index(b"cpu") + len(b"cpu")
    place = content.index(claim, start)
    path.write_bytes(content[:place] + longer + content[place + len(claim) :])
    return path


def test_an_older_file_whose_tensor_claims_more_than_the_file_holds_is_refused(path: Path) -> None:
    assert refusal(older_that_claims(1_000_000, path)) == (
        "it is damaged: its tensors have 4,000,000 bytes, of which 20 are there"
    )


READ_WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.backends.common.checkpoint import read_checkpoint
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 29), used + (1 << 29)))
try:
    read_checkpoint(Path(sys.argv[1]))
except StorageError as error:
    print(error.reason)
"""


def test_a_file_larger_than_the_memory_is_not_reported_as_damaged(path: Path, run_python: Run) -> None:
    older_that_claims(1 << 28, path)
    with path.open("r+b") as file:
        file.truncate((1 << 30) + 4096)
    assert run_python(READ_WITH_LITTLE_MEMORY, path).stdout == "its tensors need more memory than is available\n"


# Checksums


def test_a_flipped_bit_is_found_although_torch_loads_it(path: Path) -> None:
    verify_crcs(save(path))
    flip_a_bit(path, torch.arange(5000.0).numpy().tobytes()[:64])
    assert set(read_checkpoint(path).state_dict) == {"weight", "bias"}
    with pytest.raises(UnsafeCheckpointError, match=r"its entry weights/data/0 is damaged"):
        verify_crcs(path)


def test_a_file_without_checksums_passes(path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        save(path)
    finally:
        torch.serialization.set_crc32_options(True)
    verify_crcs(path)


def test_the_older_format_has_no_checksums(path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    verify_crcs(path)


def test_a_missing_file_is_a_storage_error(path: Path) -> None:
    for check in (check_limits, verify_crcs):
        with pytest.raises(StorageError, match="No such file"):
            check(path)
