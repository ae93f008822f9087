"""Put the demo's weights into the package, and their digest into the demo's zoo file.

    python -m tools.demo_weights runs/demo_fcos_r18_fpn/train/weights.pth

docs/demo.md has the commands that come before it.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.backends.mmdet3 import import_backend
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.demo_run.steps import MODEL, bundled_weights
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.files import atomic_writer, sha256_of, storage_errors, write_atomically
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.editing import insert_digests
from bdd100k_zoo.registry.loading import DEMO_ZOO_FILE
from bdd100k_zoo.registry.models import DigestAndSize

if TYPE_CHECKING:
    from torch import Tensor

RECORDED = re.compile(r"^( +)(digest|size): .*$", re.MULTILINE)


def bundle(weights: Path, target: Path, zoo_file: Path = DEMO_ZOO_FILE) -> DigestAndSize:
    """Write weights in half their size, and record digest and size in a zoo file that lists the demo's model alone.

    Raises:
        ZooError: the weights are not the model's, or something cannot be read or written.
    """
    model = load_zoo()[MODEL]
    save_halved(model.name, model.config_path, weights, target)
    with storage_errors(target):
        known = DigestAndSize(f"sha256:{sha256_of(target)}", target.stat().st_size)
    with storage_errors(zoo_file):
        text = zoo_file.read_text(encoding="utf-8")
    emptied = RECORDED.sub(r"\1\2: null", text)
    write_atomically(
        zoo_file, insert_digests(zoo_file, emptied, {MODEL: {"weights": known}}).encode(), follow_links=True
    )
    return known


def save_halved(model_name: str, config_path: Path, source: Path, target: Path) -> None:
    """Write a model's weights with 16 bits for each number of a convolution or matrix, and nothing beside them.

    Biases and the statistics of normalisations stay as they are: they are few, and variances may be smaller than
    16 bits can hold. So does a tensor with a number that 16 bits cannot hold.

    Args:
        model_name: what errors call the model.
        config_path: its config.
        source: a checkpoint of it.
        target: where to.

    Raises:
        MissingPackageError, ConfigError, StorageError, CheckpointError: as ``backends.mmdet3.check_checkpoint``;
            nothing was written.
    """
    import_backend()
    import torch

    from bdd100k_zoo.backends.common.checkpoint import check_checkpoint_file
    from bdd100k_zoo.backends.common.config import load_config
    from bdd100k_zoo.backends.mmdet3.detector import build_meta_model

    taken = check_checkpoint_file(
        source, lambda: build_meta_model(load_config(config_path), name=model_name), model_name=model_name
    )
    halved = {name: _halved(tensor) for name, tensor in taken.items()}
    with atomic_writer(target, follow_links=True) as file:
        torch.save({"meta": {"CLASSES": list(CLASSES)}, "state_dict": halved}, file)


def _halved(tensor: Tensor) -> Tensor:
    from bdd100k_zoo.backends.common.checkpoint import all_finite

    short = tensor.half() if tensor.dim() > 1 and tensor.is_floating_point() else tensor
    return short.clone() if all_finite(short.float()) else tensor.clone()


def main() -> int:
    """Bundle the weights that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_weights", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="weights.pth of the training")
    target = bundled_weights(load_zoo())
    try:
        known = bundle(parser.parse_args().weights, target)
    except ZooError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{target}: {known.size:,} bytes, {known.digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
