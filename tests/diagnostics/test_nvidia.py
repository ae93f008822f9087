"""The output of nvidia-smi is parsed; a GPU that torch does not use is a fault, unless the user hides it."""

from __future__ import annotations

import pytest

from bdd100k_zoo.diagnostics.nvidia import (
    NvidiaDriver,
    are_gpus_hidden,
    explain_unused_gpu,
    find_driver,
    parse_nvidia_smi,
)

ANSWER = """\

==============NVSMI LOG==============

Timestamp                                 : Tue Nov 24 15:00:00 2026
Driver Version                            : 550.54.14
{cuda}

Attached GPUs                             : 2
GPU 00000000:17:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    Product Brand                         : NVIDIA
    Serial Number                         : 1650000000000
    VBIOS Version                         : 96.00.74.00.1C
GPU 00000000:65:00.0
    Product Name                          : NVIDIA T4
"""
OLD = "CUDA Version                              : 12.4"
NEW = "CUDA UMD Version                          : 13.1"
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54\n"
H100 = NvidiaDriver("550.54.14", "12.4", ("NVIDIA H100 80GB HBM3",))


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a program of that name on PATH that prints an answer."""

    def write(answer: str, status: int = 0) -> None:
        (tmp_path / "answer").write_text(answer)
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat '{tmp_path}/answer'\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return write


@pytest.mark.parametrize(("line", "cuda"), [(OLD, "12.4"), (NEW, "13.1"), ("", None)])
def test_the_driver_is_found(line, cuda, nvidia_smi):
    nvidia_smi(ANSWER.format(cuda=line))
    assert find_driver() == NvidiaDriver("550.54.14", cuda, ("NVIDIA H100 80GB HBM3", "NVIDIA T4"))


@pytest.mark.parametrize(
    "answer",
    [
        "No devices were found\n",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "Driver Version : 550.54.14\nAttached GPUs : 0\n",
        "",
    ],
)
def test_a_driver_without_a_gpu_counts_as_none(answer, nvidia_smi):
    nvidia_smi(answer, 9)
    assert find_driver() is None


def test_without_nvidia_smi_there_is_no_driver(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert find_driver() is None


@pytest.mark.parametrize("build", ["", "CUDA 13.0"])
def test_a_machine_without_a_gpu_is_no_fault(build):
    finding = explain_unused_gpu(build, "no CUDA", None, hidden=False)
    assert finding.state == "ok"
    assert (build or "the CPU alone") in finding.found


def test_a_hidden_gpu_is_no_fault():
    finding = explain_unused_gpu("", "no CUDA", H100, hidden=True)
    assert finding.state == "ok"
    assert "CUDA_VISIBLE_DEVICES" in finding.found


@pytest.mark.parametrize(("value", "hidden"), [("", True), ("-1", True), ("0", False), ("1,2", False), (None, False)])
def test_gpus_are_hidden_by_an_environment_variable(value, hidden, monkeypatch):
    if value is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert are_gpus_hidden() is hidden


@pytest.mark.parametrize("build", ["", "ROCm 6.3"])
def test_a_torch_for_another_platform_is_replaced_by_one_for_the_driver(build):
    finding = explain_unused_gpu(build, "no CUDA", H100, hidden=False)
    assert finding.state == "wrong"
    assert "H100" in finding.found
    assert (build or "the CPU alone") in finding.found
    assert finding.repairs[0].endswith("/whl/cu126")


def test_a_driver_that_is_older_than_torchs_cuda_gets_an_older_torch_or_is_updated():
    finding = explain_unused_gpu("CUDA 13.0", "too old", H100, hidden=False)
    assert finding.state == "wrong"
    assert "too old for a torch built for CUDA 13.0" in finding.found
    instead, update = finding.repairs
    assert instead.endswith("/whl/cu126")
    assert "580.65.06" in update


def test_another_minor_version_of_cuda_is_no_fault():
    finding = explain_unused_gpu("CUDA 12.8", "CUDA unknown error", H100, hidden=False)
    assert finding.state == "wrong"
    assert "CUDA unknown error" in finding.found
    assert "whl" not in finding.repairs[0]


def test_a_driver_that_was_updated_while_running_needs_a_restart():
    driver = parse_nvidia_smi(MISMATCH)
    assert driver is not None
    finding = explain_unused_gpu("CUDA 13.0", "", driver, hidden=False)
    assert finding.state == "wrong"
    assert "restart" in finding.repairs[0]
