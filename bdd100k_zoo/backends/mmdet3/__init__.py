"""Detectors through mmdet 3.3. Importing this package imports neither torch nor mmdet; its functions do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.backends.common import packages
from bdd100k_zoo.backends.common.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mmengine.config import Config

    from bdd100k_zoo.backends.common.backend import Stack


class Mmdet3(Backend):
    """mmdet 3.3 with mmcv 2.1, whose compiled ops torchvision serves where mmcv has none."""

    NAME = "mmdet3"
    EXTRA = "predict"
    PACKAGES = ("torch", "torchvision", "cv2", "mmengine", "mmcv", "mmdet")
    MMDET_VERSION = 3
    MMDET_MODULES = ("mmdet.models", "mmdet.datasets")

    def import_package(self, module: str) -> None:
        """Import a package or a module; before mmdet, install the ops that it imports from mmcv."""
        package = module.partition(".")[0]
        packages.import_package(package, self.EXTRA, module, _install_ops if package == "mmdet" else None)

    def _stack(self) -> Stack:
        from bdd100k_zoo.backends.mmdet3 import detector

        return detector

    def _load_config(self, path: Path, overrides: Mapping[str, object] | None, name: str) -> Config:  # noqa: ARG002
        from bdd100k_zoo.backends.common.config import load_config

        return load_config(path, overrides)  # whose errors name the file


def _install_ops() -> None:
    from bdd100k_zoo.backends.mmdet3.ops import install_ops

    install_ops()


MMDET3 = Mmdet3()

load, check, check_checkpoint = MMDET3.load, MMDET3.check, MMDET3.check_checkpoint
import_backend, import_package = MMDET3.import_backend, MMDET3.import_package
