"""What to do about a package that does not import."""

from __future__ import annotations

import re

INSTALL = "pip install 'bdd100k-zoo[predict]'"

REPAIRS: tuple[tuple[str, str], ...] = (
    (r"libGL", "apt-get install libgl1 (Debian, Ubuntu); dnf install mesa-libGL (Fedora, Rocky)"),
    (r"libgthread|libglib", "apt-get install libglib2.0-0 (Debian, Ubuntu); dnf install glib2 (Fedora, Rocky)"),
    (r"libGLdispatch|libX|libSM|libICE|libxcb", "apt-get install libgl1 libsm6 libxext6 libxcb1 (Debian, Ubuntu)"),
    (r"MMCV==\S+ is used but incompatible", "pip uninstall -y mmcv mmcv-full mmcv-lite; pip install mmcv-lite==2.1.0"),
    (r"MMEngine==\S+ is used but incompatible", "pip install 'mmengine>=0.10.5,<1'"),
    (r"torchvision::nms|operator torchvision", "pip install --upgrade --force-reinstall torch torchvision"),
    (r"No module named '?torchvision", f"{INSTALL}, or for a chosen torch: pip install torchvision"),
    (r"numpy\.core\.multiarray failed|compiled using NumPy 1", "pip install --upgrade opencv-python"),
    (r"libcu|libnv|CUDA", "pip install --force-reinstall torch torchvision"),
    (r"No module named", INSTALL),
)
"""What to do about an import that fails: the first pattern that the reason holds."""


def repair_of(reason: str) -> str:
    """Name the repair for a failed import."""
    return next((repair for pattern, repair in REPAIRS if re.search(pattern, reason)), f"{INSTALL} --force-reinstall")
