"""Which device is used, how an absent one is refused, and which failures are recognised."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from bdd100k_zoo.backends.common import devices
from bdd100k_zoo.errors import DeviceError


@pytest.mark.parametrize("device", ["gpu", "cuda:-1", "CPU", "cuda:", "cuda:0:1", ""])
def test_a_device_of_another_name_is_refused(device: str) -> None:
    with pytest.raises(DeviceError, match="expected auto, cpu, cuda or cuda:N"):
        devices.resolve_device(device)


@pytest.mark.parametrize("device", ["mps", "mps:0"])
def test_the_gpus_of_apple_are_refused_with_the_reason(device: str) -> None:
    with pytest.raises(DeviceError, match="do not compute in float64") as caught:
        devices.resolve_device(device)
    assert "--device cpu" in caught.value.hint


def test_auto_takes_no_gpu_of_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(devices, "_cuda", lambda: ("torch finds no CUDA device", 0))
    assert devices.resolve_device("auto") == torch.device("cpu")


def test_processes_are_as_many_as_gpus_or_as_requested_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cuda", lambda: ("", 4))
    assert [devices.process_count(*each) for each in ((None, "auto"), (2, "cuda"), (9, "cpu"))] == [4, 2, 9]
    with pytest.raises(DeviceError, match="5 GPUs were requested, and torch finds 4"):
        devices.process_count(5, "auto")
    with pytest.raises(DeviceError, match="'cuda:1' cannot be used: --gpus starts one process for each GPU") as caught:
        devices.process_count(2, "cuda:1")
    assert "leave out --device" in caught.value.hint
    with pytest.raises(DeviceError, match="expected auto, cpu, cuda or cuda:N"):
        devices.process_count(2, "gpu")


def test_a_thread_that_computes_alone_leaves_the_others_their_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1, initializer=devices.compute_in_this_thread) as reader:
            assert reader.submit(torch.get_num_threads).result() == 1
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_auto_and_cpu_are_found() -> None:
    assert devices.resolve_device("cpu") == torch.device("cpu")
    assert devices.resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_without_cuda_is_refused_with_a_reason(device: str) -> None:
    with pytest.raises(DeviceError, match=r"has no CUDA|finds no CUDA|[Dd]river") as caught:
        devices.resolve_device(device)
    assert caught.value.device == device


@pytest.mark.gpu
def test_a_cuda_device_beyond_the_last_is_refused() -> None:
    assert devices.resolve_device("cuda") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="counted from 0"):
        devices.resolve_device("cuda:99")


@pytest.mark.parametrize(
    ("cuda", "hip", "expected"), [("12.8", None, "CUDA 12.8"), (None, "6.3.4", "ROCm 6.3.4"), (None, None, "")]
)
def test_the_platform_of_a_build(
    cuda: str | None, hip: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert devices.torch_platform() == expected


@pytest.mark.parametrize(
    ("text", "out_of_memory"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("FIND was unable to find an engine to execute this computation", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("GET was unable to find an engine to execute this computation", True),
        ("Unable to find a valid cuDNN algorithm to run convolution", True),
        ("CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA", False),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_failures_of_a_device_are_recognised_and_those_for_lack_of_memory_named(text: str, out_of_memory: bool) -> None:
    device = torch.device("cuda", 1)
    with pytest.raises(DeviceError, match=re.escape(text.splitlines()[0])) as caught, devices.device_errors(device):
        raise RuntimeError(text)
    assert (caught.value.device, caught.value.out_of_memory) == ("cuda:1", out_of_memory)


def test_other_errors_are_not_those_of_the_device() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), devices.device_errors(torch.device("cpu")):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
