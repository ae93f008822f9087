"""The NVIDIA driver, whatever torch finds; and which of the two is at fault if they disagree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import NamedTuple

from bdd100k_zoo.diagnostics.checks import Finding
from bdd100k_zoo.diagnostics.repairs import pip_command, torch_command

NVIDIA_SMI_SECONDS = 30.0
"""Timeout for the answer of the driver."""
MIN_DRIVER_VERSIONS = {12: "525.60.13", 13: "580.65.06"}
"""The first driver for each CUDA version."""


class NvidiaDriver(NamedTuple):
    """An installed NVIDIA driver."""

    version: str
    cuda: str | None
    """The newest CUDA that it supports, as in ``12.4``; None if it does not report that."""
    cards: tuple[str, ...]
    """Names of the GPUs."""
    problem: str = ""
    """Why it does not work; empty if it does."""

    def __str__(self) -> str:
        return f"driver {self.version}" + (f" for CUDA up to {self.cuda}" if self.cuda else "")


def find_driver() -> NvidiaDriver | None:
    """Run ``nvidia-smi``; return None if there is no such driver, or if it sees no GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        done = subprocess.run([command, "-q"], capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_nvidia_smi(done.stdout + done.stderr)


def parse_nvidia_smi(answer: str) -> NvidiaDriver | None:
    """Parse the output of ``nvidia-smi -q``."""
    if re.search(r"version mismatch", answer, re.IGNORECASE):
        return NvidiaDriver("", None, (), "the driver's library has another version than its kernel module")
    facts = dict(re.findall(r"^\s*(Driver|CUDA)(?: UMD)? Version\s*:\s*(\d[\d.]*)", answer, re.M))
    cards = tuple(re.findall(r"^\s*Product Name\s*:\s*(\S.*?)\s*$", answer, re.M))
    return NvidiaDriver(facts["Driver"], facts.get("CUDA"), cards) if cards and "Driver" in facts else None


def are_gpus_hidden() -> bool:
    """Return whether the user hides all GPUs."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles")


def explain_unused_gpu(build: str, problem: str, driver: NvidiaDriver | None, *, hidden: bool) -> Finding:
    """Return why torch uses no GPU. It is a fault if there is one that the user does not hide.

    Args:
        build: the platform that torch is built for, as in ``CUDA 13.0``; empty for the CPU alone.
        problem: why torch can use no GPU.
        driver: the driver, if any.
        hidden: whether the user hides all GPUs.
    """
    built = f"torch is built for {build or 'the CPU alone'}"
    if driver is None:
        return Finding("GPU", "ok", f"there is none, predictions run on the CPU; {built}")
    if hidden:
        return Finding("GPU", "ok", f"hidden by CUDA_VISIBLE_DEVICES, predictions run on the CPU; {built}")
    if driver.problem:
        restart = "restart this machine: its driver was updated while it was running"
        return Finding("GPU", "wrong", driver.problem, (restart,))
    cards = f"{', '.join(driver.cards)}, {driver}"
    kind, _, wanted = build.partition(" ")
    other_torch = torch_command(pip_command(), driver.cuda)
    if kind != "CUDA":
        return Finding("GPU", "wrong", f"{cards}; {built}", (other_torch,))
    if driver.cuda and _major(driver.cuda) < _major(wanted):
        least = MIN_DRIVER_VERSIONS.get(_major(wanted), "the newest")
        update = f"update the NVIDIA driver to {least} or later, and restart"
        return Finding("GPU", "wrong", f"{cards}: too old for a torch built for CUDA {wanted}", (other_torch, update))
    return Finding("GPU", "wrong", f"{cards}: {problem}", ("sudo nvidia-modprobe -u -c=0",))


def _major(version: str) -> int:
    return int(version.partition(".")[0])
