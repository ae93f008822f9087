"""Pictures drawn by the official viewer, if installed: scalabel 0.3.1, in the colours of bdd100k 1.0.1."""

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

    from bdd100k_zoo.data.drawing.boxes import BoxMark

OFFICIAL_EXTRA = "official"
"""The extra that installs the packages."""


def import_viewer() -> ModuleType:
    """Import ``scalabel.vis.label``.

    Raises:
        MissingPackageError: the packages are missing, or cannot be imported.
    """
    try:
        with silence_libraries():
            importlib.import_module("matplotlib").use("agg")
            importlib.import_module("bdd100k.label.label")
            return importlib.import_module("scalabel.vis.label")
    except Exception as error:  # with a newer pydantic they fail with errors of its own
        raise MissingPackageError("scalabel", OFFICIAL_EXTRA, f"{type(error).__name__}: {error}") from error


def draw_with_official_viewer(image: Image.Image, marks: Sequence[BoxMark]) -> Image.Image:
    """Draw detections into an image with ``LabelViewer``; each class has the colour of bdd100k's table.

    Raises:
        MissingPackageError: see ``import_viewer``.
    """
    viewing = import_viewer()
    numpy, pyplot = (importlib.import_module(name) for name in ("numpy", "matplotlib.pyplot"))
    typing = importlib.import_module("scalabel.label.typing")
    with silence_libraries():
        config = viewing.UIConfig()
        viewer = viewing.LabelViewer(config, _class_colours(typing))
        # The viewer would round the picture's size to whole inches.
        config.width, config.height = image.size
        viewer.fig.set_size_inches(image.width / config.dpi, image.height / config.dpi)
        try:
            labels = [_label(typing, number, mark) for number, mark in enumerate(marks)]
            viewer.draw(numpy.asarray(image), typing.Frame(name="", labels=labels))
            content = io.BytesIO()
            viewer.save(content)
        finally:
            pyplot.close(viewer.fig)
    with Image.open(content) as drawn:
        return drawn.convert("RGB")


def _class_colours(typing: ModuleType) -> Any:
    table = importlib.import_module("bdd100k.label.label")
    listed = {label.name: list(label.color) for label in table.labels}
    colours = {CLASS_ALIASES.get(name, name): colour for name, colour in listed.items()} | listed
    return typing.Config(categories=[typing.Category(name=name, color=colours[name]) for name in CLASSES])


def _label(typing: ModuleType, number: int, mark: BoxMark) -> Any:
    left, top, right, bottom = mark.box
    box = typing.Box2D(x1=left, y1=top, x2=right - 1, y2=bottom - 1)  # the format's corners are the last pixels
    return typing.Label(id=str(number), category=CLASSES[mark.category], score=mark.score, box2d=box)
