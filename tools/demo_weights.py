"""Copy the demo's weights into the package, and record their digest in the demo's zoo file.

    python -m tools.demo_weights runs/demo_fcos_r18_fpn/train/weights.pth

docs/demo.md has the commands that train them.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.backends.selection import MMDET3
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.demo_run.steps import MODEL, bundled_weights
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.files import atomic_writer, read_bytes, sha256_of, storage_errors, write_atomically
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.editing import insert_digests
from bdd100k_zoo.registry.loading import DEMO_ZOO_FILE
from bdd100k_zoo.registry.models import DigestAndSize

if TYPE_CHECKING:
    from torch import Tensor

RECORDED = re.compile(r"^( +)(digest|size): .*$", re.MULTILINE)


def bundle(weights: Path, target: Path, zoo_file: Path = DEMO_ZOO_FILE) -> DigestAndSize:
    """Write weights in half their size, and record digest and size in a zoo file that only lists the demo's model.

    Raises:
        ZooError: the weights are not the model's, or something cannot be read or written.
    """
    model = load_zoo()[MODEL]
    save_halved(model.name, model.config_path, weights, target)
    with storage_errors(target):
        known = DigestAndSize(f"sha256:{sha256_of(target)}", target.stat().st_size)
    emptied = RECORDED.sub(r"\1\2: null", read_bytes(zoo_file).decode())
    write_atomically(
        zoo_file, insert_digests(zoo_file, emptied, {MODEL: {"weights": known}}).encode(), follow_links=True
    )
    return known


def save_halved(model_name: str, config_path: Path, source: Path, target: Path) -> None:
    """Write a model's weights with 16 bits for each number of a convolution or matrix, and no other entries.

    Biases and the statistics of normalisations keep their type: they are few, and 16 bits may be too short for small
    variances. The same holds for a tensor with a number that 16 bits cannot represent.

    Args:
        model_name: what errors call the model.
        config_path: its config.
        source: a checkpoint of it.
        target: the file to write.

    Raises:
        MissingPackageError, ConfigError, StorageError, CheckpointError: as ``Backend.check_checkpoint``; then nothing
            is written.
    """
    MMDET3.import_backend()
    import torch

    from bdd100k_zoo.backends.common.checkpoint import check_checkpoint_file

    taken = check_checkpoint_file(
        source, lambda: MMDET3.build_meta_model(config_path, model_name), model_name=model_name
    )
    halved = {name: _halved(tensor) for name, tensor in taken.items()}
    with atomic_writer(target, follow_links=True) as file:
        torch.save({"meta": {"CLASSES": list(CLASSES)}, "state_dict": halved}, file)


def _halved(tensor: Tensor) -> Tensor:
    from bdd100k_zoo.backends.common.checkpoint import all_finite

    short = tensor.half() if tensor.dim() > 1 and tensor.is_floating_point() else tensor
    return short.clone() if all_finite(short.float()) else tensor.clone()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_weights", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="weights.pth of the training")
    target = bundled_weights(load_zoo())
    try:
        known = bundle(parser.parse_args().weights, target)
    except ZooError as error:
        sys.stderr.write(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 1
    sys.stdout.write(f"{target}: {known.size:,} bytes, {known.digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
