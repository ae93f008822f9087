"""Which device to compute on, what it is called, and how it fails."""

from __future__ import annotations

import platform
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bdd100k_zoo.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE_FAILURE = re.compile(r"out of memory|can't allocate memory|\b(CUDA|HIP|cuDNN|MIOpen) error", re.IGNORECASE)
"""How torch tells that a device runs out of memory or fails; which type of error it raises depends on its version."""


def resolve_device(wanted: str) -> torch.device:
    """Find the device that ``auto`` (CUDA where there is any), ``cpu``, ``cuda`` or ``cuda:N`` stands for.

    Raises:
        DeviceError: it is none of these, or this machine or this build of torch lacks it.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", wanted)
    if not match:
        raise DeviceError(wanted, "expected auto, cpu, cuda or cuda:N")
    if wanted == "cpu":
        return torch.device("cpu")
    problem, count = _cuda()
    if wanted == "auto":
        return torch.device("cuda:0" if count else "cpu")
    index = int(match[1] or 0)
    if problem or index >= count:
        raise DeviceError(wanted, problem or f"there are {count} CUDA devices, counted from 0")
    return torch.device("cuda", index)


def device_of_rank(wanted: str, local_rank: int) -> str:
    """Give each process of a machine a GPU of its own, where ``auto`` or ``cuda`` is wanted and there are any.

    Where a process sees fewer GPUs than there are processes, because its launcher shows it its own alone, they take
    turns.
    """
    count = cuda_count() if wanted in ("auto", "cuda") else 0
    return f"cuda:{local_rank % count}" if count else wanted


def process_count(wanted: int | None, device: str) -> int:
    """Give the number of processes to start: one for each GPU that is wanted, or as many as are wanted on the CPU.

    Args:
        wanted: how many; None for as many as there are GPUs.
        device: what was asked for.

    Raises:
        DeviceError: there are fewer GPUs.
    """
    if device == "cpu" and wanted:
        return wanted
    count = cuda_count()
    if not count or (wanted or 0) > count:
        raise DeviceError("cuda", f"{wanted or 'all'} GPUs are wanted, and torch finds {count or 'none'}")
    return wanted or count


def device_name(device: torch.device) -> str:
    """Say what a device is, as its maker calls it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def synchronize_device(device: str) -> None:
    """Wait until a device has done all that it was asked to, so that a clock tells the truth; nothing on the CPU."""
    if device != "cpu":
        torch.cuda.synchronize(device)


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Tell a device that runs out of memory, or that fails, as a DeviceError."""
    try:
        yield
    except RuntimeError as error:
        first = (str(error).splitlines() or [""])[0]
        if not re.search(
            r"out of memory|can't allocate memory|\b(CUDA|HIP|CUDNN|CUBLAS)\w* error|CUDNN_STATUS", first, re.I
        ):
            raise
        full = re.search(r"out of memory|can't allocate memory|ALLOC_FAILED", first, re.I)
        raise DeviceError(str(device), first, out_of_memory=bool(full)) from error


def cuda_count() -> int:
    """Count the CUDA (or ROCm) devices that torch can use, and use none of them."""
    return _cuda()[1]


def cuda_names() -> tuple[str, ...]:
    """Name the CUDA (or ROCm) devices that torch can use; none where it can use none."""
    count = _cuda()[1]
    return tuple(str(torch.cuda.get_device_name(index)) for index in range(count))


def cuda_problem() -> str:
    """Say why torch can use no CUDA (or ROCm) device; nothing where it can."""
    return _cuda()[0]


def torch_platform() -> str:
    """Say for which accelerator torch was built: ``CUDA 12.8``, ``ROCm 6.3``; nothing for the CPU alone."""
    kinds = (("CUDA", torch.version.cuda), ("ROCm", torch.version.hip))
    return next((f"{kind} {version}" for kind, version in kinds if version), "")


def _cuda() -> tuple[str, int]:
    """Why there is no CUDA (empty where there is), and how many devices."""
    if not torch_platform():
        return f"this build of torch ({torch.__version__}) has no CUDA", 0
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        return "", count
    return " ".join(str(said[0].message).split()) if said else "torch finds no CUDA device", 0
