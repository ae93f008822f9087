"""Which of the two stacks finds the objects. Choosing imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bdd100k_zoo.backends import mmdet2, mmdet3
from bdd100k_zoo.backends.common.packages import installed_distributions
from bdd100k_zoo.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import Detector


class Backend(Protocol):
    """What a backend's package offers, a module in place of an object; see ``mmdet_backend``."""

    NAME: str
    """What runs record."""
    EXTRA: str
    """The extra that installs what it needs."""
    PACKAGES: tuple[str, ...]
    """What it imports, each before those that need it."""

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
        """Load a model's weights into what its config describes."""

    def check(
        self,
        config_path: Path,
        device: str = "auto",
        overrides: Mapping[str, object] | None = None,
        precision: str = "auto",
    ) -> None:
        """See to everything that ``load`` needs beside the weights."""

    def check_checkpoint(self, model_name: str, config_path: Path, path: Path) -> None:
        """Tell whether a file of weights is a model's."""

    def import_package(self, package: str) -> None:
        """Import one of its packages."""

    def import_backend(self) -> None:
        """Import mmdet and all that it stands on."""


MMDET3: Backend = mmdet3
MMDET2: Backend = mmdet2
BACKENDS = (MMDET3, MMDET2)
"""The default one first."""


def select_backend(wanted: str = "auto") -> Backend:
    """Give a backend.

    Args:
        wanted: ``mmdet3``, ``mmdet2``, or ``auto`` for the one whose mmdet is installed; where none is, the default
            one, which then says what it misses.

    Raises:
        BackendError: there is no backend of that name, or the mmdet that is installed is the other's, or none is.
    """
    version = next(iter(installed_distributions("mmdet").values()), "")
    found = backend_for_mmdet(version)
    if wanted == "auto":
        return found or MMDET3
    names = [each.NAME for each in BACKENDS]
    if wanted not in names:
        raise BackendError(wanted, f"expected auto, {' or '.join(names)}")
    if found is None or wanted != found.NAME:
        is_there = f"mmdet {version} is installed" if version else "no mmdet is installed"
        raise BackendError(wanted, f"it needs mmdet {wanted[-1]}, and {is_there}")
    return found


def backend_for_mmdet(version: str) -> Backend | None:
    """Give the backend for a version of mmdet; None for an empty one, or one of neither generation."""
    generation = version.partition(".")[0]
    return next((each for each in BACKENDS if generation and each.NAME.endswith(generation)), None)
