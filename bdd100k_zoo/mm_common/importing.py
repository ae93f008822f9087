"""Packages that a backend needs, imported one by one, so that the one at fault is named."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import MissingPackageError, ZooError
from bdd100k_zoo.silence import in_silence

if TYPE_CHECKING:
    from collections.abc import Callable


def import_package(package: str, extra: str, module: str | None = None, prepare: Callable[[], object] = dict) -> None:
    """Import a package, or one module of it.

    What it warns of meanwhile, by whatever means, is its makers' to mend, and not shown.

    Args:
        package: what errors name.
        extra: the extra that installs it.
        module: the module to import in its place.
        prepare: is called before.

    Raises:
        MissingPackageError: it is missing, or refuses, in whatever way, to be imported.
    """
    try:
        with in_silence(logging.WARNING):
            prepare()
            importlib.import_module(module or package)
    except ZooError:
        raise
    # Builds that do not match raise anything: OSError for a library that is not there, RuntimeError for torchvision's
    # ops of another torch, AssertionError in mmdet for mmcv's version, ValueError for another numpy's memory layout.
    except Exception as error:
        raise MissingPackageError(package, extra, " ".join(str(error).split()) or type(error).__name__) from error


def check_generation(wanted: int, extra: str) -> None:
    """Check that the mmdet that is imported is of a generation; raises MissingPackageError."""
    version = str(sys.modules["mmdet"].__version__)
    if version.partition(".")[0] != str(wanted):
        raise MissingPackageError(f"mmdet {wanted}", extra, f"mmdet {version} is installed")
