"""Which devices there are, and how one that is not there is refused."""

from __future__ import annotations

import pytest
import torch

from bdd100k_zoo.backends.common import devices
from bdd100k_zoo.errors import DeviceError


@pytest.mark.parametrize("device", ["gpu", "cuda:-1", "CPU", "cuda:", "cuda:0:1", "", "mps"])
def test_a_device_of_another_name_is_refused(device: str) -> None:
    with pytest.raises(DeviceError, match="expected auto, cpu, cuda or cuda:N"):
        devices.resolve_device(device)


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
def test_a_build_for_rocm_is_no_cpu_build(
    cuda: str | None, hip: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert devices.torch_platform() == expected
