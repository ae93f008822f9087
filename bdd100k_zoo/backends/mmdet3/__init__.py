"""Detectors with mmdet 3.3. Importing this package imports neither torch nor mmdet; its functions do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.backends.common.backend import Backend

if TYPE_CHECKING:
    from bdd100k_zoo.backends.common.backend import Stack


class Mmdet3(Backend):
    """mmdet 3.3 with mmcv 2.1; torchvision provides the compiled ops if mmcv has none."""

    NAME = "mmdet3"
    EXTRA = "predict"
    PACKAGES = ("torch", "torchvision", "cv2", "mmengine", "mmcv", "mmdet")
    MMDET_VERSION = 3
    MMDET_MODULES = ("mmdet.models", "mmdet.datasets")

    def _stack(self) -> Stack:
        from bdd100k_zoo.backends.mmdet3 import detector

        return detector

    def _install_ops(self) -> None:
        from bdd100k_zoo.backends.mmdet3.ops import install_ops

        install_ops()


MMDET3 = Mmdet3()

load, check, check_checkpoint = MMDET3.load, MMDET3.check, MMDET3.check_checkpoint
import_backend, import_package = MMDET3.import_backend, MMDET3.import_package
