"""Choose a device, report its name, and recognise its failures."""

from __future__ import annotations

import platform
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

import torch

from bdd100k_zoo.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Texts by which torch reports that a device fails; the type of error depends on torch's version. An allocation that
# fails inside cuBLAS or cuDNN is reported by their status only. Where cuDNN gets no workspace for any algorithm of a
# convolution, torch only says that it found none (pytorch#108645).
OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|ALLOC(ATION)?_FAILED"
    r"|unable to find an engine to execute this computation|unable to find a valid cuDNN algorithm",
    re.IGNORECASE,
)
OTHER_FAILURE = re.compile(r"\b(CUDA|HIP|CUDNN|CUBLAS)\w* error|CUDNN_STATUS", re.IGNORECASE)


def resolve_device(wanted: str) -> torch.device:
    """Return the device for ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: it is none of these, or this machine or this build of torch lacks it.
    """
    if wanted.partition(":")[0] == "mps":
        raise DeviceError(
            wanted,
            "Apple's GPUs do not compute in float64, which the checks of results and training need",
            hint="use --device cpu, which auto chooses on Apple's machines",
        )
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


def gpu_identity(device: torch.device) -> str:
    """Return what identifies a GPU on all machines; empty for a CPU, and before torch 2.4, which does not report it."""
    return str(getattr(torch.cuda.get_device_properties(device), "uuid", "")) if device.type == "cuda" else ""


def process_count(wanted: int | None, device: str) -> int:
    """Return the number of processes to start: one for each GPU, or as many as requested on the CPU.

    Args:
        wanted: the requested number; None for one for each GPU.
        device: the requested device.

    Raises:
        DeviceError: there are fewer GPUs, or the device is a single GPU.
    """
    if device == "cpu" and wanted:
        return wanted
    if device not in ("auto", "cpu", "cuda"):
        resolve_device(device)
        problem = "--gpus starts one process for each GPU, and this is a single one"
        raise DeviceError(device, problem, hint="leave out --device; CUDA_VISIBLE_DEVICES chooses among the GPUs")
    count = cuda_count()
    if not count or (wanted or 0) > count:
        raise DeviceError("cuda", f"{wanted or 'all'} GPUs were requested, and torch finds {count or 'none'}")
    return wanted or count


def device_name(device: torch.device) -> str:
    """Return the product name of a device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    found = re.search(r"^model name\s*:\s*(.+)$", read_cpuinfo(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def read_cpuinfo() -> str:
    """Return Linux's description of the processors; empty on other systems."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def synchronize_device(device: str) -> None:
    """Wait until a device has finished its work, before a clock is read: CUDA computes asynchronously."""
    if device != "cpu":
        torch.cuda.synchronize(device)


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Raise DeviceError if the device runs out of memory or fails inside the block."""
    try:
        yield
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        out_of_memory = OUT_OF_MEMORY.search(first) is not None
        if not out_of_memory and not OTHER_FAILURE.search(first):
            raise
        raise DeviceError(str(device), first, out_of_memory) from error


_thread_numbers = Lock()


def compute_in_this_thread() -> None:
    """Make torch compute in the calling thread alone: else OpenMP starts a team of threads for each thread that reads.

    Other threads, and those that start later, keep their numbers.
    """
    with _thread_numbers:
        others = torch.get_num_threads()
        torch.set_num_threads(1)
        # It holds for this thread, and for those that start later: another thread restores what those get.
        restoring = Thread(target=torch.set_num_threads, args=(others,))
        restoring.start()
        restoring.join()


def cuda_count() -> int:
    """Return the number of CUDA (or ROCm) devices that torch can use, without initialising one."""
    return _cuda()[1]


def cuda_names() -> tuple[str, ...]:
    """Return the names of the CUDA (or ROCm) devices that torch can use."""
    return tuple(str(torch.cuda.get_device_name(index)) for index in range(cuda_count()))


def cuda_problem() -> str:
    """Return why torch can use no CUDA (or ROCm) device; empty if it can."""
    return _cuda()[0]


def torch_platform() -> str:
    """Return the accelerator that torch was built for: ``CUDA 12.8``, ``ROCm 6.3``; empty for a CPU build."""
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip else ""


def _cuda() -> tuple[str, int]:
    """Return why CUDA cannot be used (empty if it can), and the number of devices."""
    if not torch_platform():
        return f"this build of torch ({torch.__version__}) has no CUDA", 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # torch warns if the driver is too old
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        return "", count
    return " ".join(str(caught[0].message).split()) if caught else "torch finds no CUDA device", 0
