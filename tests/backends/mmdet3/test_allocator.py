from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.backends.mmdet3.fast_cpu import keep_freed_memory

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Run = Callable[..., subprocess.CompletedProcess[str]]

FAULTS = """
import ctypes, resource, sys
from bdd100k_zoo.backends.mmdet3.fast_cpu import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory() and keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def touch():
    block = libc.malloc(ctypes.c_size_t(100 * 2**20))
    ctypes.memset(block, 1, 100 * 2**20)
    libc.free(block)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system has no glibc")
def test_freed_memory_is_reused(run_python: Run) -> None:
    faults = {setting: int(run_python(FAULTS, setting).stdout) for setting in ("kept", "given back")}
    assert faults["kept"] < 100 < faults["given back"]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_not_changed(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert not keep_freed_memory.__wrapped__()
