"""What a built model must be to serve the zoo, whichever mmdet has built it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


def check_number_of_classes(model: nn.Module, name: str) -> None:
    """Check that a model tells ten classes apart.

    Raises:
        ConfigError: it tells others, or none.
    """
    # The first stage of a two-stage detector tells apart objects and background: it has a number of its own.
    head = getattr(model, "roi_head", None) or getattr(model, "bbox_head", None) or model
    numbers = (getattr(part, "num_classes", None) for part in head.modules())
    found = sorted({number for number in numbers if isinstance(number, int)})
    if found != [len(CLASSES)]:
        named = ", ".join(map(str, found)) or "none"
        raise ConfigError(name, f"expected heads of {len(CLASSES)} classes, found num_classes {named}")
