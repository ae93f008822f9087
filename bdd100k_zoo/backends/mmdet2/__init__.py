"""Detectors with mmdet 2.28 and a compiled mmcv-full 1.7: the stack that the published weights were trained with.

Importing this package imports neither torch nor mmdet; its functions do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.backends.common.backend import Backend

if TYPE_CHECKING:
    from bdd100k_zoo.backends.common.backend import Stack


class Mmdet2(Backend):
    """mmdet 2.28 with mmcv-full 1.7; docs/classic.md describes how to install them."""

    NAME = "mmdet2"
    EXTRA = "mmcv-full"
    # mmengine only reads the configs.
    PACKAGES = ("torch", "torchvision", "cv2", "mmengine", "mmcv", "mmcv._ext", "mmdet")
    MMDET_VERSION = 2
    MMDET_MODULES = ("mmdet.apis",)

    def _stack(self) -> Stack:
        from bdd100k_zoo.backends.mmdet2 import detector

        return detector


MMDET2 = Mmdet2()

load, check, check_checkpoint = MMDET2.load, MMDET2.check, MMDET2.check_checkpoint
import_backend, import_package = MMDET2.import_backend, MMDET2.import_package
