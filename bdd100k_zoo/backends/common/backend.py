"""What both backends offer, and how they do it; each backend adds what its mmdet does differently.

Importing this module imports neither torch nor mmdet; the methods of a backend do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bdd100k_zoo.backends.common import packages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from bdd100k_zoo.backends.common.detector import BaseDetector
    from bdd100k_zoo.backends.protocol import Detector


class Stack(Protocol):
    """The module ``detector`` of a backend: how its mmdet builds models and runs them.

    ``config`` is what the backend reads of a config file, and ``name`` what errors call the model.
    """

    @property
    def MmdetDetector(self) -> type[BaseDetector]:  # noqa: N802  (a class)
        """The class of detectors."""

    def resolve_device(self, wanted: str) -> torch.device:
        """Return the device to use; raises DeviceError."""

    def resolve_precision(self, wanted: str, device: torch.device) -> str:
        """Return the precision to use; raises PrecisionError."""

    def check_config(self, config: Any, *, name: str) -> None:
        """Check that the test pipeline runs and that the model can be built; raises ConfigError."""

    def build_model(self, config: Any, *, name: str) -> nn.Module:
        """Build a model with random weights on the CPU; raises ConfigError."""

    def build_meta_model(self, config: Any, *, name: str) -> nn.Module:
        """Build a model, where possible without memory for its parameters; raises ConfigError."""

    def build_pipeline(self, config: Any, *, name: str) -> Any:
        """Build the test pipeline for images in memory, and run it on a grey frame; raises ConfigError."""


class Backend(ABC):
    """A stack of packages that runs the models."""

    NAME: ClassVar[str]
    """What runs record."""
    EXTRA: ClassVar[str]
    """The extra that installs its packages."""
    PACKAGES: ClassVar[tuple[str, ...]]
    """What it imports, each after those that it needs."""
    MMDET_VERSION: ClassVar[int]
    """The major version of mmdet."""
    MMDET_MODULES: ClassVar[tuple[str, ...]]
    """The modules of mmdet that it imports besides."""

    @abstractmethod
    def _stack(self) -> Stack:
        """Import the backend's module ``detector``."""

    @abstractmethod
    def _load_config(self, path: Path, overrides: Mapping[str, object] | None, name: str) -> Any:
        """Read a config file; see ``Stack`` for ``name``."""

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
    ) -> Detector:
        """Build the model of a config, load a checkpoint into it, strictly, and return its detector.

        Args:
            model_name: what errors call the model.
            config_path: a config for mmdet 3. It is code and is run: only those of the package or of files that the
                user names.
            checkpoint: the weights; nothing in this file is ever run.
            device: ``auto`` (CUDA where there is any), ``cpu``, ``cuda`` or ``cuda:N``.
            overrides: settings of the config by dotted key, the keys being those of mmdet 3.
            precision: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``: how the network computes.
            as_built: compute by the layers that mmdet builds, without what makes them faster.

        Raises:
            MissingPackageError: a package of the extra is missing or does not import.
            ConfigError: the config does not run, describes no model of ten classes, or has a setting that mmdet 2
                has no counterpart for.
            DeviceError, PrecisionError, StorageError, CheckpointError: see their descriptions.
        """
        self.import_backend()
        from bdd100k_zoo.backends.common.checkpoint import load_weights
        from bdd100k_zoo.backends.common.config import is_package_config
        from bdd100k_zoo.backends.common.precision import torch_defaults

        stack = self._stack()
        config = self._load_config(config_path, overrides, model_name)
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
        """Check everything that ``load`` needs besides the weights, so that they are not downloaded in vain.

        The arguments are those of ``load``. The test pipeline is run on a frame.

        Raises:
            MissingPackageError, ConfigError, DeviceError, PrecisionError: as ``load`` does.
        """
        self.import_backend()
        stack, name = self._stack(), str(config_path)
        stack.resolve_precision(precision, stack.resolve_device(device))
        stack.check_config(self._load_config(config_path, overrides, name), name=name)

    def check_checkpoint(self, model_name: str, config_path: Path, path: Path) -> None:
        """Check that a file holds a model's trained weights: parameters, shapes, values, classes. Nothing in it is run.

        Args:
            model_name: what errors call the model.
            config_path: see ``load``.
            path: the weights.

        Raises:
            MissingPackageError: a package of the extra is missing or does not import.
            ConfigError, StorageError, CheckpointError: see their descriptions.
        """
        self.import_backend()
        from bdd100k_zoo.backends.common.checkpoint import check_checkpoint_file

        check_checkpoint_file(path, lambda: self.build_meta_model(config_path, model_name), model_name=model_name)

    def build_meta_model(self, config_path: Path, name: str) -> nn.Module:
        """Build the model of a config, where possible without memory for its parameters: for their names and shapes.

        Raises:
            MissingPackageError, ConfigError: it cannot be built.
        """
        self.import_backend()
        return self._stack().build_meta_model(self._load_config(config_path, None, name), name=name)

    def import_backend(self) -> None:
        """Import mmdet and all that it needs.

        Raises:
            MissingPackageError: the first package that is missing, does not import or is of another version, and why.
        """
        for package in self.PACKAGES:
            self.import_package(package)
        packages.check_mmdet_version(self.MMDET_VERSION, self.EXTRA)
        for module in self.MMDET_MODULES:
            self.import_package(module)

    def import_package(self, module: str) -> None:
        """Import one of ``PACKAGES``, or a module of theirs.

        Raises:
            MissingPackageError: it is missing, or raises anything while it is imported.
        """
        packages.import_package(module.partition(".")[0], self.EXTRA, module)
