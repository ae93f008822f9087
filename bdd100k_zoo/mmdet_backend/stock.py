"""mmdet's own loop over images, to compare ours with: ``mmdet.apis.inference_detector``, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bdd100k_zoo.mmdet_backend import import_backend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt


def load_stock(
    config_path: Path, checkpoint: Path, device: str
) -> Callable[[Path], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    """Load a model as it comes from mmdet, with none of our settings.

    Args:
        config_path: one of the package's configs.
        checkpoint: the weights.
        device: see ``devices.resolve_device``.

    Returns:
        What finds objects in an image file: corners [n, 4], scores and classes [n], as arrays in the CPU's memory.

    Raises:
        MissingPackageError, ConfigError, DeviceError, StorageError, CheckpointError: as ``mmdet_backend.load``.
    """
    import_backend()
    from mmdet.apis import inference_detector

    from bdd100k_zoo.mmdet_backend.checkpoint import load_strictly, read_checkpoint
    from bdd100k_zoo.mmdet_backend.config import load_config
    from bdd100k_zoo.mmdet_backend.detector import build_model
    from bdd100k_zoo.mmdet_backend.devices import device_errors, resolve_device
    from bdd100k_zoo.mmdet_backend.settings import in_scope

    target = resolve_device(device)
    model = build_model(load_config(config_path))
    load_strictly(model, read_checkpoint(checkpoint).state_dict, model_name="stock", path=checkpoint)
    with device_errors(target):
        model.to(target).eval()

    def detect(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        with in_scope(), device_errors(target):
            found = inference_detector(model, str(path)).pred_instances.cpu()
        return found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy()

    return detect
