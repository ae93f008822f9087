"""Speed records: a file with one JSON line per measurement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path  # noqa: TC003  (record fields are read at run time)

import msgspec

from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import storage_errors


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, beside the device."""

    processor: str
    cores: int | None
    threads: int | None
    """CPU threads of one operation; None if another device computes."""
    platform: str


class StockBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """The same images through mmdet's own test loop, one by one, alternating with our pipeline.

    It computes in fp32 with torch's defaults: on CUDA, convolutions use TF32.
    """

    images_per_second: float
    """Median of the rounds."""
    rates: tuple[float, ...]
    """Images per second of each round."""
    ratio: float
    """How many times as fast our pipeline is: the median of the rounds."""
    ratios: tuple[float, ...]
    """Of each round."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a model was, with random weights on synthetic frames."""

    model: str
    device: str
    """``cpu`` or ``cuda:N``."""
    device_name: str
    precision: str
    batch_size: int
    images: int
    """In each round."""
    images_per_second: float
    """Median of the rounds."""
    rates: tuple[float, ...]
    """Images per second of each round."""
    seconds: Mapping[str, float]
    """Per image by stage, summed over all threads: stages overlap."""
    busy: float
    """Share of the time in which the device was busy, 0 to 1."""
    against: StockBaseline | None
    tf32_ratio: float | None = None
    """How many times as fast it was with TF32: the median of the rounds. None for another precision than fp32, and for
    devices without TF32."""
    machine: Machine
    versions: Mapping[str, str]
    commit: str | None
    """Of the checkout that was measured, followed by ``-changed`` if files differ; None outside a checkout."""
    time: str
    """ISO 8601, UTC."""


class SpeedSummary(msgspec.Struct, frozen=True):
    """What tables show of a record."""

    model: str
    device_name: str
    precision: str
    images_per_second: float


def check_speed_file(path: Path) -> None:
    """Check that records can be appended to a file, before minutes of measuring; raises StorageError."""
    with storage_errors(path):
        is_new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
        if is_new:
            path.unlink()


def add_speed(path: Path, speed: Speed) -> None:
    """Append a record to a file; raises StorageError."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(speed) + b"\n")


def read_speed_summaries(path: Path) -> list[SpeedSummary]:
    """Read what tables show of the records in a file.

    Raises:
        StorageError: the file cannot be read.
        InvalidFileError: it has no record, or a line that is not one.
    """
    with storage_errors(path):
        lines = path.read_bytes().splitlines()
    decode = msgspec.json.Decoder(SpeedSummary).decode
    rates = []
    for place, line in enumerate(lines, 1):
        try:
            rates += [decode(line)] if line.strip() else []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidFileError(path, f"line {place} is not a speed record: {error}") from error
    if not rates:
        raise InvalidFileError(path, "holds no speed record")
    return rates
