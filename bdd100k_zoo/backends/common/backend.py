"""The functions that both backends offer. Importing this module imports neither torch nor mmdet; its methods do."""

from __future__ import annotations

import importlib
import logging
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bdd100k_zoo.errors import MissingPackageError, ZooError
from bdd100k_zoo.quiet import silence_libraries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from bdd100k_zoo.backends.common.detector import BaseDetector
    from bdd100k_zoo.backends.protocol import BackendDetector


class Stack(Protocol):
    """The module ``detector`` of a backend: how its mmdet builds models and runs them.

    ``config`` is the return value of ``load_config``, and ``name`` is what errors call the model.
    """

    @property
    def MmdetDetector(self) -> type[BaseDetector]:  # noqa: N802  (a class)
        """The class of detectors."""

    def load_config(self, path: Path, overrides: Mapping[str, object] | None) -> Any:
        """Run a config file, and return its settings; raises ConfigError."""

    def resolve_device(self, wanted: str) -> torch.device:
        """Return the device to use; raises DeviceError."""

    def resolve_precision(self, wanted: str, device: torch.device) -> str:
        """Return the precision to use; raises DeviceError."""

    def check_config(self, config: Any, *, name: str) -> None:
        """Check that the test pipeline runs and that the model can be built; raises ConfigError."""

    def build_model(self, config: Any, *, name: str) -> nn.Module:
        """Build a model with random weights on the CPU; raises ConfigError."""

    def build_meta_model(self, config: Any, *, name: str) -> nn.Module:
        """Build a model, if possible without memory for its parameters; raises ConfigError."""

    def build_pipeline(self, config: Any, *, name: str) -> Any:
        """Build the test pipeline for images in memory, and run it on a grey frame; raises ConfigError."""


class Backend(ABC):
    """A stack of packages that runs the models."""

    NAME: ClassVar[str]
    """As recorded in runs."""
    EXTRA: ClassVar[str]
    """The extra that installs its packages."""
    PACKAGES: ClassVar[tuple[str, ...]]
    """The packages that it imports, each after those that it depends on."""
    MMDET_VERSION: ClassVar[int]
    """The major version of mmdet."""
    MMDET_MODULES: ClassVar[tuple[str, ...]]
    """The modules of mmdet that it imports in addition."""

    @abstractmethod
    def _stack(self) -> Stack:
        """Import the backend's module ``detector``."""

    def _install_ops(self) -> None:  # noqa: B027  (optional)
        """Prepare the ops of mmcv, which mmdet imports."""

    def load(
        self,
        model_name: str,
        config_path: Path,
        checkpoint: Path,
        device: str = "auto",
        overrides: Mapping[str, object] | None = None,
        precision: str = "auto",
        *,
        as_built: bool = False,
    ) -> BackendDetector:
        """Build the model of a config, strictly load a checkpoint into it, and return its detector.

        Args:
            model_name: what errors call the model.
            config_path: a config for mmdet 3. It is code and is run: only those of the package, or of files that the
                user names.
            checkpoint: the weights; no code in this file is ever run.
            device: ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:N``.
            overrides: settings of the config by dotted key, with the keys of mmdet 3.
            precision: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
            as_built: compute with the layers that mmdet builds, without the changes that make them faster.

        Raises:
            MissingPackageError: a package of the extra is missing or cannot be imported.
            ConfigError: the config does not run, describes no model of ten classes, or has a setting that mmdet 2
                does not support.
            DeviceError, StorageError, CheckpointError: see their descriptions.
        """
        self.import_backend()
        from bdd100k_zoo.backends.common.checkpoint import load_weights
        from bdd100k_zoo.backends.common.config import is_package_config
        from bdd100k_zoo.backends.common.precision import torch_defaults

        stack = self._stack()
        config = stack.load_config(config_path, overrides)
        with torch_defaults():
            target = stack.resolve_device(device)
            used = stack.resolve_precision(precision, target)
            model = stack.build_model(config, name=model_name)
            pipeline = stack.build_pipeline(config, name=model_name)
            random = load_weights(model, checkpoint, model_name=model_name)
            return stack.MmdetDetector(
                model,
                pipeline,
                target,
                name=model_name,
                customised=bool(overrides) or not is_package_config(config_path),
                precision=used,
                as_built=as_built,
                random_weights=random,
            )

    def check(
        self,
        config_path: Path,
        device: str = "auto",
        overrides: Mapping[str, object] | None = None,
        precision: str = "auto",
    ) -> None:
        """Check everything that ``load`` needs except the weights, before they are downloaded.

        The arguments are those of ``load``. The test pipeline is run on a frame.

        Raises:
            MissingPackageError, ConfigError, DeviceError: as ``load`` does.
        """
        self.import_backend()
        stack = self._stack()
        stack.resolve_precision(precision, stack.resolve_device(device))
        stack.check_config(stack.load_config(config_path, overrides), name=str(config_path))

    def check_checkpoint(self, model_name: str, config_path: Path, path: Path) -> None:
        """Check that a file holds a model's trained weights: parameters, shapes, values, classes. No code in it is run.

        Args:
            model_name: what errors call the model.
            config_path: see ``load``.
            path: the weights.

        Raises:
            MissingPackageError: a package of the extra is missing or cannot be imported.
            ConfigError, StorageError, CheckpointError: see their descriptions.
        """
        self.import_backend()
        from bdd100k_zoo.backends.common.checkpoint import check_checkpoint_file

        check_checkpoint_file(path, lambda: self.build_meta_model(config_path, model_name), model_name=model_name)

    def build_meta_model(self, config_path: Path, name: str) -> nn.Module:
        """Build the model of a config, if possible without memory for its parameters: for their names and shapes.

        Raises:
            MissingPackageError, ConfigError: it cannot be built.
        """
        self.import_backend()
        stack = self._stack()
        return stack.build_meta_model(stack.load_config(config_path, None), name=name)

    def import_backend(self) -> None:
        """Import mmdet and the packages that it needs.

        Raises:
            MissingPackageError: the first package that is missing, cannot be imported or has another version.
        """
        for package in self.PACKAGES:
            self.import_package(package)
        version = str(sys.modules["mmdet"].__version__)
        if version.partition(".")[0] != str(self.MMDET_VERSION):
            raise MissingPackageError(f"mmdet {self.MMDET_VERSION}", self.EXTRA, f"mmdet {version} is installed")
        for module in self.MMDET_MODULES:
            self.import_package(module)

    def import_package(self, module: str) -> None:
        """Import one of ``PACKAGES`` or one of their modules, and suppress the warnings that it causes.

        Raises:
            MissingPackageError: it is missing, or raises any error while it is imported.
        """
        package = module.partition(".")[0]
        try:
            with silence_libraries(logging.WARNING):
                if package == "mmdet":
                    self._install_ops()
                importlib.import_module(module)
        except ZooError:
            raise
        # Builds that do not match raise any error: OSError for a missing library, RuntimeError for torchvision's ops of
        # another torch, AssertionError in mmdet for mmcv's version, ValueError for another memory layout of numpy.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MissingPackageError(package, self.EXTRA, reason) from error
