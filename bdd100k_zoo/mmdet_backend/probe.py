"""What torch finds on this machine."""

from __future__ import annotations

from bdd100k_zoo.mmdet_backend import import_package


def devices() -> tuple[str, ...]:
    """Name the CUDA devices that torch can use; none where it can use none. Raises MissingPackageError."""
    import_package("torch")
    import torch

    if not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def cuda_version() -> str | None:
    """Give the CUDA version that torch was built for, None for a CPU build; raises MissingPackageError."""
    import_package("torch")
    import torch

    return torch.version.cuda


def ops_server() -> str:
    """Say who serves mmcv's compiled ops: ``torchvision`` or ``mmcv``; raises MissingPackageError."""
    from bdd100k_zoo.mmdet_backend import ops

    return ops.install()
