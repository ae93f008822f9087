"""The ten detection classes of BDD100K, their aliases, and the categories that the evaluation ignores.

The order is that of the benchmark (``bdd100k`` 1.0.1, ``configs/det.toml``) and of the published detectors' outputs.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import ZooError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CLASSES: tuple[str, ...] = (
    "pedestrian",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
    "traffic light",
    "traffic sign",
)
"""Class names by index, 0 to 9. Official category ids are these indices plus 1."""

CLASS_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "bike": "bicycle",
        "caravan": "car",
        "motor": "motorcycle",
        "person": "pedestrian",
        "van": "car",
    }
)
"""Class by other names that label files use."""

IGNORED_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "other person": "pedestrian",
        "other vehicle": "car",
        "trailer": "truck",
    }
)
"""Class by category of ignored regions: crowd boxes of that class in the evaluation, ignored in training."""


def class_indices(classes: Iterable[str | int]) -> list[int]:
    """Return the indices of classes given by name, alias or index; raises ZooError for any other."""
    found = []
    for each in classes:
        name = CLASS_ALIASES.get(each, each) if isinstance(each, str) else each
        if name in CLASSES:
            found.append(CLASSES.index(str(name)))
        elif isinstance(name, int) and 0 <= name < len(CLASSES):
            found.append(name)
        else:
            raise ZooError(f"there is no class {each!r}", f"the classes are {', '.join(CLASSES)}, or 0 to 9")
    return found
