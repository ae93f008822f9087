"""What to do about a package that does not import or work."""

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
    (r"numpy\.core\.multiarray failed|compiled using NumPy 1|_ARRAY_API", "pip install --upgrade opencv-python"),
    (
        r"numpy\.\w+ size changed|binary incompatibility",
        "pip install --upgrade --force-reinstall numpy scipy shapely pycocotools",
    ),
    (r"No space left|[Qq]uota exceeded|No usable temporary", "free some space, or set TMPDIR to a folder with room"),
    (r"out of memory|can't allocate memory", "stop what else uses the memory; `--device cpu` needs none of the GPU's"),
    (r"NVIDIA driver", "update the NVIDIA driver, or install a torch for an older CUDA: https://pytorch.org"),
    (r"libcu|libnv|CUDA", "pip install --force-reinstall torch torchvision"),
    (r"No module named", INSTALL),
)
"""What to do about a failure: the first pattern that the reason holds."""


def repair_of(reason: str) -> str:
    """Name the repair for what made an import, or a trial, fail."""
    return next((repair for pattern, repair in REPAIRS if re.search(pattern, reason)), f"{INSTALL} --force-reinstall")
