"""Select the backend that runs the models. Selecting imports neither torch nor mmdet."""

from __future__ import annotations

from bdd100k_zoo.backends.common.backend import Backend
from bdd100k_zoo.backends.common.packages import installed_distributions
from bdd100k_zoo.backends.mmdet2 import MMDET2
from bdd100k_zoo.backends.mmdet3 import MMDET3
from bdd100k_zoo.errors import BackendError, docs_page

__all__ = ["BACKENDS", "MMDET2", "MMDET3", "Backend", "backend_for_mmdet", "select_backend"]

BACKENDS: tuple[Backend, ...] = (MMDET3, MMDET2)
"""The default one first."""
MMDET2_HINT = f"mmdet 2 needs its own environment: {docs_page('classic')} describes how to build it"
HINTS = {
    "mmdet3": "install it in its own environment with `pip install 'bdd100k-zoo[predict]'`",
    "mmdet2": MMDET2_HINT,
}


def select_backend(wanted: str = "auto") -> Backend:
    """Return a backend.

    Args:
        wanted: ``mmdet3``, ``mmdet2``, or ``auto`` for the one whose mmdet is installed; if none is, the default one,
            which then reports the missing packages.

    Raises:
        BackendError: there is no backend of that name, or its version of mmdet is not installed.
    """
    version = next(iter(installed_distributions("mmdet").values()), "")
    found = backend_for_mmdet(version)
    if wanted == "auto":
        return found or MMDET3
    names = [each.NAME for each in BACKENDS]
    if wanted not in names:
        raise BackendError(
            f"the backend {wanted!r} cannot be used: expected auto, {' or '.join(names)}",
            f"leave out --backend to use the installed one; {MMDET2_HINT}",
        )
    if found is None or wanted != found.NAME:
        is_there = f"mmdet {version} is installed" if version else "no mmdet is installed"
        raise BackendError(
            f"the backend {wanted!r} cannot be used: it needs mmdet {wanted[-1]}, and {is_there}", HINTS[wanted]
        )
    return found


def backend_for_mmdet(version: str) -> Backend | None:
    """Return the backend for a version of mmdet; None if there is none, as for an empty version."""
    return next((each for each in BACKENDS if version.partition(".")[0] == str(each.MMDET_VERSION)), None)
