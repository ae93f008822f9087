"""The sizes of ConvNeXt in the zoo, and which of them a state dict has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

STEM = re.compile(r"(.*\.)?downsample_layers\.0\.0\.weight")
LAYER_SCALE = re.compile(r"(?:.*\.)?stages\.(\d+)\.\d+\.gamma")


class Size(NamedTuple):
    """The size of a ConvNeXt: blocks and channels of each of the four stages."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]


SIZES: Mapping[str, Size] = {
    "tiny": Size((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": Size((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": Size((3, 3, 27, 3), (128, 256, 512, 1024)),
}
"""By the names that configs give them as ``arch``; titles are ConvNeXt-T, -S and -B."""


def find_size(state_dict: Mapping[str, Tensor]) -> str | None:
    """Return the name of the ConvNeXt whose parameters a state dict has; None for another network or another size."""
    stems = [tensor for name, tensor in state_dict.items() if STEM.fullmatch(name)]
    stages = [int(found[1]) for name in state_dict if (found := LAYER_SCALE.fullmatch(name))]
    blocks = tuple(stages.count(stage) for stage in range(max(stages, default=-1) + 1))
    for name, size in SIZES.items():
        if blocks == size.depths and [len(stem) for stem in stems] == [size.channels[0]]:
            return name
    return None


def explain_other_size(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Explain why a state dict does not fit a model, if each has a ConvNeXt and the sizes differ.

    Args:
        expected: the state dict of the model.
        given: that of a file.

    Returns:
        The problem and a hint; None where the reason is another one.
    """
    wanted, found = find_size(expected), find_size(given)
    if wanted is None or found is None or wanted == found:
        return None
    settings = [f"model.backbone.arch={found}"]
    if SIZES[found].channels != SIZES[wanted].channels:
        settings.append(f"model.neck.in_channels={[*SIZES[found].channels]}".replace(" ", ""))
    return (
        f"the file has the backbone ConvNeXt-{found[0].upper()} ({found}), the model ConvNeXt-{wanted[0].upper()} "
        f"({wanted})",
        f"use a file of ConvNeXt-{wanted[0].upper()}, or build the model with the backbone of this file: "
        f"`--cfg-options {' '.join(settings)}`",
    )
