"""Names under which configs ask for a backbone's start values → addresses, by the lists that mmengine ships."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

LISTS: Mapping[str, str] = {
    "torchvision": "torchvision_0.12.json",
    "modelzoo": "torchvision_0.12.json",
    "open-mmlab": "openmmlab.json",
    "openmmlab": "openmmlab.json",
}
"""The list of each scheme of names, in mmengine's folder ``hub``."""


def address_of(name: str) -> str | None:
    """Give the address of the file that a config names, as ``torchvision://resnet50``; None for a path.

    Raises:
        ConfigError: no list has that name, or its scheme is none of ours.
    """
    scheme, separator, rest = name.partition("://")
    if not separator or scheme == "file":
        return None
    if scheme == "https":
        return name
    found = _list(LISTS[scheme]).get(rest) if scheme in LISTS else None
    if found is None:
        raise ConfigError(name, "nothing is known of these start values; give a file with --pretrained")
    return found


def _list(name: str) -> Mapping[str, str]:
    spec = find_spec("mmengine")
    folders = spec.submodule_search_locations if spec else None
    found: dict[str, str] = json.loads(Path((folders or [""])[0], "hub", name).read_text(encoding="utf-8"))
    return found
