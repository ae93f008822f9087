"""Devices: which one to use, its name, its failures."""

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

# How torch reports the failure of a device; the type of error depends on its version. An allocation that fails inside
# cuDNN or cuBLAS is reported by their status alone.
OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|ALLOC_FAILED", re.I)
DEVICE_FAILURE = re.compile(
    r"out of memory|can't allocate memory|\b(CUDA|HIP|CUDNN|CUBLAS)\w* error|CUDNN_STATUS", re.I
)


def resolve_device(wanted: str) -> torch.device:
    """Return the device for ``auto`` (CUDA where there is any), ``cpu``, ``cuda`` or ``cuda:N``.

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
    """Return the device of one process of a machine: a GPU of its own, where ``auto`` or ``cuda`` is wanted.

    A launcher may show each process its own GPU alone, so the numbers wrap around.
    """
    count = cuda_count() if wanted in ("auto", "cuda") else 0
    return f"cuda:{local_rank % count}" if count else wanted


def process_count(wanted: int | None, device: str) -> int:
    """Return the number of processes to start: one for each GPU, or as many as are wanted on the CPU.

    Args:
        wanted: how many; None for as many as there are GPUs.
        device: the device that was asked for.

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
    """Return a device's name, as its maker calls it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def synchronize_device(device: str) -> None:
    """Wait until a device has done all its work, before a clock is read; CUDA computes in the background."""
    if device != "cpu":
        torch.cuda.synchronize(device)


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Raise DeviceError where a device runs out of memory, or fails."""
    try:
        yield
    except RuntimeError as error:
        first = (str(error).splitlines() or [""])[0]
        if not DEVICE_FAILURE.search(first):
            raise
        raise DeviceError(str(device), first, out_of_memory=bool(OUT_OF_MEMORY.search(first))) from error


def cuda_count() -> int:
    """Return the number of CUDA (or ROCm) devices that torch can use, without initialising one."""
    return _cuda()[1]


def cuda_names() -> tuple[str, ...]:
    """Return the names of the CUDA (or ROCm) devices that torch can use."""
    return tuple(str(torch.cuda.get_device_name(index)) for index in range(cuda_count()))


def cuda_problem() -> str:
    """Return why torch can use no CUDA (or ROCm) device; empty where it can."""
    return _cuda()[0]


def torch_platform() -> str:
    """Return the accelerator that torch was built for: ``CUDA 12.8``, ``ROCm 6.3``; empty for the CPU alone."""
    kinds = (("CUDA", torch.version.cuda), ("ROCm", torch.version.hip))
    return next((f"{kind} {version}" for kind, version in kinds if version), "")


def _cuda() -> tuple[str, int]:
    """Return why there is no CUDA (empty where there is), and the number of devices."""
    if not torch_platform():
        return f"this build of torch ({torch.__version__}) has no CUDA", 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # torch warns of a driver that is too old
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        return "", count
    return " ".join(str(caught[0].message).split()) if caught else "torch finds no CUDA device", 0
