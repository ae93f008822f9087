"""Speed records: a file with a JSON line for every measurement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path  # noqa: TC003  (record fields are read at run time)

import msgspec

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.files import storage_errors


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a speed holds for, beside the device."""

    processor: str
    cores: int | None
    threads: int | None
    """Threads of the CPU that one operation is spread over; None where another device computes."""
    platform: str


class StockBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """The same images through mmdet's own test loop, one by one, in turns with ours.

    It computes in fp32 as torch does when left to itself: on CUDA, the factors of convolutions are rounded to TF32.
    """

    images_per_second: float
    """Median of the rounds."""
    rates: tuple[float, ...]
    """Images per second of each round."""
    ratio: float
    """How many times as fast ours is: the median of the rounds."""
    ratios: tuple[float, ...]
    """Of each round."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a model was, on frames that were drawn and with random weights."""

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
    """Of an image by stage, of all threads together: stages overlap."""
    busy: float
    """Share of the time in which the device was at work, 0 to 1."""
    against: StockBaseline | None
    machine: Machine
    versions: Mapping[str, str]
    commit: str | None
    """Of the checkout that was measured, ``-changed`` after it where files differ; None outside a checkout."""
    time: str
    """ISO 8601, UTC."""


class SpeedSummary(msgspec.Struct, frozen=True):
    """What tables show of a record."""

    model: str
    device_name: str
    precision: str
    images_per_second: float


def check_speed_file(path: Path) -> None:
    """Make sure that records can be added to a file, before they take minutes to make; raises StorageError."""
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
    """Read what tables show of a file of records.

    Raises:
        StorageError: the file cannot be read.
        RecordError: it holds no record, or a line that is none.
    """
    with storage_errors(path):
        lines = path.read_bytes().splitlines()
    decode = msgspec.json.Decoder(SpeedSummary).decode
    rates = []
    for place, line in enumerate(lines, 1):
        try:
            rates += [decode(line)] if line.strip() else []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError(path, f"line {place} is no speed record: {error}") from error
    if not rates:
        raise RecordError(path, "holds no speed record")
    return rates
