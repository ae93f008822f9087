"""Pictures by the official viewer, where it is installed: scalabel 0.3.1, in the colours of bdd100k 1.0.1."""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

from PIL import Image

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES
from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.quiet import silence_libraries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from bdd100k_zoo.reporting.pictures import BoxMark

OFFICIAL_EXTRA = "official"
"""The extra that installs the packages."""


def draw_with_official_viewer(image: Image.Image, marks: Sequence[BoxMark]) -> Image.Image:
    """Let ``LabelViewer`` draw detections into an image; each class has the colour of bdd100k's table.

    Raises:
        MissingPackageError: see ``import_viewer``.
    """
    viewing = import_viewer()
    with silence_libraries():
        viewer = _viewer(viewing, image.width, image.height)
        try:
            viewer.draw(_array(image), _frame(marks))
            content = io.BytesIO()
            viewer.save(content)
        finally:
            importlib.import_module("matplotlib.pyplot").close(viewer.fig)
    with Image.open(content) as drawn:
        return drawn.convert("RGB")


def import_viewer() -> ModuleType:
    """Import the viewer.

    Raises:
        MissingPackageError: the packages are missing, or refuse to be imported.
    """
    try:
        with silence_libraries():
            importlib.import_module("matplotlib").use("agg")
            importlib.import_module("bdd100k.label.label")
            return importlib.import_module("scalabel.vis.label")
    except Exception as error:  # beside a newer pydantic they fail by errors of its own
        raise MissingPackageError("scalabel", OFFICIAL_EXTRA, f"{type(error).__name__}: {error}") from error


def _viewer(viewing: ModuleType, width: int, height: int) -> Any:
    """Make a viewer of an image's very size: its own way cuts inches off."""
    config = viewing.UIConfig()
    viewer = viewing.LabelViewer(config, _colours())
    config.width, config.height = width, height
    viewer.fig.set_size_inches(width / config.dpi, height / config.dpi)
    return viewer


def _colours() -> Any:
    typing = importlib.import_module("scalabel.label.typing")
    table = importlib.import_module("bdd100k.label.label")
    listed = {label.name: list(label.color) for label in table.labels}
    colours = {CLASS_ALIASES.get(name, name): colour for name, colour in listed.items()} | listed
    return typing.Config(categories=[typing.Category(name=name, color=colours[name]) for name in CLASSES])


def _frame(marks: Sequence[BoxMark]) -> Any:
    typing = importlib.import_module("scalabel.label.typing")
    labels = [
        typing.Label(id=str(place), category=CLASSES[mark.category], score=mark.score, box2d=_box(typing, mark))
        for place, mark in enumerate(marks)
    ]
    return typing.Frame(name="", labels=labels)


def _box(typing: ModuleType, mark: BoxMark) -> Any:
    """The format's corners lie on the last pixel."""
    left, top, right, bottom = mark.box
    return typing.Box2D(x1=left, y1=top, x2=right - 1, y2=bottom - 1)


def _array(image: Image.Image) -> Any:
    return importlib.import_module("numpy").asarray(image)
