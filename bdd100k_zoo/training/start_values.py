"""The pretrained weights that backbones start from: addresses, download, loading."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.backends.common.checkpoint import match_state_dict, read_checkpoint
from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.registry import Artifact
from bdd100k_zoo.registry.addresses import redact_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.progress import Progress

HUB_LISTS: Mapping[str, str] = {
    "torchvision": "torchvision_0.12.json",
    "modelzoo": "torchvision_0.12.json",
    "open-mmlab": "openmmlab.json",
    "openmmlab": "openmmlab.json",
}
"""The list of addresses for each scheme of names, in mmengine's folder ``hub``."""


def pretrained_url(name: str) -> str | None:
    """Return the address of the file that a config names, as ``torchvision://resnet50``; None for a path.

    Raises:
        ConfigError: the name is in no list, or its scheme is unknown.
    """
    scheme, separator, rest = name.partition("://")
    if not separator or scheme == "file":
        return None
    if scheme == "https":
        return name
    found = _read_hub_list(HUB_LISTS[scheme]).get(rest) if scheme in HUB_LISTS else None
    if found is None:
        raise ConfigError(name, "the address of these pretrained weights is not known; pass a file as --pretrained")
    return found


def _read_hub_list(name: str) -> Mapping[str, str]:
    spec = find_spec("mmengine")  # not imported: that takes seconds
    folders = spec.submodule_search_locations if spec else None
    found: dict[str, str] = json.loads(Path((folders or [""])[0], "hub", name).read_text(encoding="utf-8"))
    return found


TORCHVISION = "https://download.pytorch.org/models/"
SHORT_DIGEST = re.compile(r"-([0-9a-f]{8})\.pth")
"""File names of torchvision's weights end with the first eight digits of the file's SHA-256."""


def fetch_start_values(name: str, store: Store, progress: Progress) -> Path:
    """Return the file that a config names as its backbone's start values, from the cache or else downloaded.

    Args:
        name: as a config names them: ``torchvision://resnet50``, an address, or a path.
        store: the cache.
        progress: where to report.

    Raises:
        ConfigError: the name is unknown.
        ArtifactError, StorageError: the file cannot be downloaded, or does not have the digest in its name.
    """
    address = pretrained_url(name)
    if address is None:
        return Path(name.removeprefix("file://"))
    stem, named = redact_address(address).rpartition("/")[2].removesuffix(".pth"), SHORT_DIGEST.search(address)
    digest = f"sha256:{named[1]}" if named and address.startswith(TORCHVISION) else None
    with store:
        return store.fetch(Artifact(stem, "start-values", (address,), digest, None), progress).path


BACKBONE_PREFIX = "backbone."
OUTPUT_NORM = re.compile(r"norm[0-3]\.(weight|bias)")
"""The normalisations of four outputs, of which a classifier has none or the last: they start as initialised."""
WITH_OUTPUT_NORMS = ("SwinTransformer", "ConvNeXt")
"""The backbones that have them."""
OPTIONAL_SUFFIXES = ("num_batches_tracked", "conv_offset.weight", "conv_offset.bias")
"""Suffixes of names that a classifier's file may lack: BatchNorm's counter, parameters of deformable convolutions."""


def load_pretrained_backbone(backbone: Any, path: Path, *, name: str) -> None:
    """Load the values of a file into a backbone; other entries of the file, such as a classifier's, are ignored.

    Files with the parameter names of the authors of Swin Transformer and PVT are converted to mmdet's.

    Args:
        backbone: changed in place.
        path: a state dict, or a checkpoint of a classifier or of a detector, of which the backbone is used.
        name: what errors call the model.

    Raises:
        StorageError, UnsafeCheckpointError: see ``checkpoint.read_checkpoint``.
        CheckpointError: values of the backbone are missing, have other shapes, types or values.
    """
    given, expected = read_checkpoint(path).state_dict, backbone.state_dict()
    if any(key.startswith(BACKBONE_PREFIX) for key in given):  # a detector's
        given = {key.removeprefix(BACKBONE_PREFIX): given[key] for key in given if key.startswith(BACKBONE_PREFIX)}
    given = convert_names(backbone, given)
    if type(backbone).__name__ in WITH_OUTPUT_NORMS:
        expected = {key: like for key, like in expected.items() if key in given or not OUTPUT_NORM.fullmatch(key)}
    known = {key: tensor for key, tensor in given.items() if key in expected}
    owner = f"the backbone of {name}"
    fit = match_state_dict(expected, known, model_name=owner, path=path, optional=OPTIONAL_SUFFIXES)
    backbone.load_state_dict(fit, strict=False)


def convert_names(backbone: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict with mmdet's names and layouts, where it has those of the authors' own code.

    Args:
        backbone: a Swin Transformer or a PVT whose setting ``convert_weights`` is true; others are not converted.
        given: tensors by parameter name.
    """
    if not getattr(backbone, "convert_weights", False):
        return given
    from mmdet.models.backbones.pvt import pvt_convert
    from mmdet.models.backbones.swin import swin_converter

    if any(key.startswith("layers.0.blocks.") for key in given):
        converted = swin_converter(given)
        return {key.removeprefix(BACKBONE_PREFIX): tensor for key, tensor in converted.items()}
    if any(key.startswith("block1.") for key in given):
        return dict(pvt_convert(given))
    return given
