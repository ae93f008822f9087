"""The demo's weights: from a training's folder into the package, and their digest into the demo's zoo file.

    python -m bdd100k_zoo.workflows.bundle runs/demo_fcos_r18_fpn/train/weights.pth

is for a checkout of this project; docs/demo.md has the commands that come before it.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.files import sha256_of, storage_errors, write_atomically
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.editing import insert_digests
from bdd100k_zoo.registry.loading import DEMO_ZOO_FILE
from bdd100k_zoo.registry.models import DigestAndSize
from bdd100k_zoo.workflows.demo import MODEL, bundled_weights

RECORDED = re.compile(r"^( +)(digest|size): .*$", re.MULTILINE)


def bundle(weights: Path, target: Path, zoo_file: Path = DEMO_ZOO_FILE) -> DigestAndSize:
    """Write weights in half their size, and record digest and size in a zoo file that lists the demo's model alone.

    Raises:
        ZooError: the weights are not the model's, or something cannot be read or written.
    """
    model = load_zoo()[MODEL]
    mmdet3.save_fp16_checkpoint(model.name, model.config_path, weights, target)
    with storage_errors(target):
        known = DigestAndSize(f"sha256:{sha256_of(target)}", target.stat().st_size)
    with storage_errors(zoo_file):
        text = zoo_file.read_text(encoding="utf-8")
    emptied = RECORDED.sub(r"\1\2: null", text)
    write_atomically(
        zoo_file, insert_digests(zoo_file, emptied, {MODEL: {"weights": known}}).encode(), follow_links=True
    )
    return known


def main() -> int:
    """Bundle the weights that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bdd100k_zoo.workflows.bundle", description=__doc__.splitlines()[0])
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
