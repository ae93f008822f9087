"""mmdet's own test loop, for comparison: its model, data pipeline and data loader, one image at a time.

``import_backend`` must be called before this module is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from bdd100k_zoo.backends.common.checkpoint import load_weights
from bdd100k_zoo.backends.common.config import load_config, mmdet_default_scope
from bdd100k_zoo.backends.common.devices import device_errors, resolve_device
from bdd100k_zoo.backends.common.precision import torch_defaults, use_precision
from bdd100k_zoo.backends.mmdet3.detector import build_model
from bdd100k_zoo.data.detections import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class StockLoop:
    """A model as mmdet builds it, and the data loader of its test loop for some image files.

    Attributes:
        model: the model, in evaluation mode on its device.
    """

    def __init__(self, model: Any, paths: Sequence[Path], device: torch.device, *, tf32: bool) -> None:
        self.model = model
        self._device, self._tf32 = device, tf32
        with mmdet_default_scope():
            pipeline = Compose(get_test_pipeline_cfg(model.cfg))
        workers = 0 if device.type == "cpu" else int(model.cfg.test_dataloader.num_workers)
        files: Any = _Files(paths, pipeline)
        self._indices: list[int] = []
        self._loader: Any = DataLoader(
            files,
            batch_size=1,
            sampler=self._indices,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_init_worker,
            collate_fn=pseudo_collate,
        )

    def detect(self, indices: Sequence[int]) -> list[Detections]:
        """Return the objects in the files at some indices, one file after the other.

        Raises:
            DeviceError: the device fails or has too little memory.
        """
        self._indices[:] = indices
        precision = torch_defaults() if self._tf32 else use_precision("fp32", self._device)
        with mmdet_default_scope(), device_errors(self._device), torch.no_grad(), precision:
            return [_detections(found) for batch in self._loader for found in self.model.test_step(batch)]


class _Files:
    """The dataset of the loader: image files through the pipeline."""

    def __init__(self, paths: Sequence[Path], pipeline: Any) -> None:
        self._paths, self._pipeline = paths, pipeline

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        return self._pipeline({"img_path": str(self._paths[index]), "img_id": index})


def load_stock(config_path: Path, checkpoint: Path, paths: Sequence[Path], device: str, *, tf32: bool) -> StockLoop:
    """Load a model as mmdet builds it, without this package's changes.

    On the CPU the loop reads the images itself; on a GPU as many processes read ahead as the config specifies.

    Args:
        config_path: one of the package's configs.
        checkpoint: the weights.
        paths: the image files.
        device: see ``devices.resolve_device``.
        tf32: keep torch's default, as mmdet does: CUDA rounds the factors of convolutions to TF32.

    Raises:
        ConfigError, DeviceError, StorageError, CheckpointError: as ``Backend.load``.
    """
    target = resolve_device(device)
    with torch_defaults():
        model = build_model(load_config(config_path))
        load_weights(model, checkpoint, model_name="stock")
    with device_errors(target):
        model.to(target).eval()
    return StockLoop(model, paths, target, tf32=tf32)


def _init_worker(_: int) -> None:
    """Restrict each of the loader's processes to one thread, as mmengine does."""
    cv2.setNumThreads(0)


def _detections(sample: Any) -> Detections:
    found = sample.pred_instances.cpu()
    boxes = found.bboxes.numpy().astype(np.float32, copy=False).reshape(-1, 4)
    return Detections(boxes, found.scores.numpy(), found.labels.numpy().astype(np.int64, copy=False))
