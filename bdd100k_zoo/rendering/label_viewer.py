"""Boxes drawn into an image by scalabel's own viewer, where its package is installed: ``scalabel`` 0.3.1."""

from __future__ import annotations

import importlib
import io
import warnings
from typing import TYPE_CHECKING, Any

from PIL import Image

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.rendering.pictures import Mark

EXTRA = "official"
"""The extra that installs the package."""


def draw(pixels: npt.NDArray[np.uint8], marks: Sequence[Mark]) -> Image.Image:
    """Draw boxes as ``scalabel.vis`` does: classes and scores; what became of a box is not told.

    It draws at 80 dots per inch, in whole inches: sides that are no multiples of 80 pixels are cut down to one.

    Args:
        pixels: [height, width, 3], RGB; 80 pixels or more each way.
        marks: what to draw.

    Raises:
        MissingPackageError: the package is missing, or refuses to be imported.
    """
    _matplotlib().use("Agg")  # no window is opened
    module, records = _import("scalabel.vis.label"), _import("scalabel.label.typing")
    height, width, _ = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        viewer = module.LabelViewer(module.UIConfig(height=height, width=width))
        try:
            viewer.draw(pixels, records.Frame(name="", labels=[_label(records, *each) for each in enumerate(marks)]))
            return _saved(viewer)
        finally:
            module.plt.close(viewer.fig)


def _label(records: Any, place: int, mark: Mark) -> Any:
    left, top, right, bottom = mark.box
    box = records.Box2D(x1=left, y1=top, x2=right - 1, y2=bottom - 1)
    return records.Label(id=str(place), category=CLASSES[mark.category], score=mark.score, box2d=box)


def _saved(viewer: Any) -> Image.Image:
    content = io.BytesIO()
    viewer.fig.savefig(content, format="png", dpi=viewer.ui_cfg.dpi)
    return Image.open(content).convert("RGB")


def _matplotlib() -> Any:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingPackageError("matplotlib", EXTRA, str(error)) from error
    return mpl


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # beside a newer pydantic it fails by errors of its own
        raise MissingPackageError("scalabel", EXTRA, f"{type(error).__name__}: {error}") from error
