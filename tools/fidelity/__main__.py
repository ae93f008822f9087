"""Freeze the boxes that a stack finds in synthetic images with synthetic weights; compare those of two stacks.

    python -m tools.fidelity freeze --backend mmdet2 --out frozen/mmdet2
    python -m tools.fidelity freeze --backend mmdet3 --out frozen/mmdet3
    python -m tools.fidelity compare frozen/mmdet2 frozen/mmdet3 --out docs/fidelity.md

Run each freeze in an environment with that backend. It runs the first model of every architecture, since models that
differ only in their training get the same weights. --small restricts it to small images, whose results the tests keep.
Models that fail can be frozen with --as-built as well; compare then reports which of their differences are caused by
rounding in optimised layers. Boxes of the second stack on another processor can be given with --elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.files import write_atomically
from bdd100k_zoo.registry import load_zoo
from tools.fidelity.comparison import CORNER_TOLERANCE, SCORE_TOLERANCE, compare_folders
from tools.fidelity.freeze import all_images, architectures, freeze, small_images
from tools.fidelity.page import page, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCES = (
    f"the same boxes in the same order, scores within {SCORE_TOLERANCE:g}, corners within {CORNER_TOLERANCE:g} px"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.do(given))
    except ZooError as error:
        sys.stderr.write(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.fidelity", description=_first_line())
    commands = parser.add_subparsers(required=True, metavar="freeze|compare")
    one = commands.add_parser("freeze", help="detect objects with one stack, and write the boxes")
    one.add_argument("models", nargs="*", metavar="MODEL", help="default: one of every architecture")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the boxes to")
    one.add_argument("--backend", default="auto", choices=("auto", "mmdet3", "mmdet2"), help="default: auto")
    one.add_argument("--small", action="store_true", help="only small images")
    one.add_argument("--as-built", action="store_true", help="compute with mmdet's own layers, without optimisation")
    one.set_defaults(do=_freeze)
    other = commands.add_parser("compare", help="compare the boxes of two stacks")
    other.add_argument("expected", type=Path, metavar="EXPECTED", help="a folder that freeze wrote")
    other.add_argument("found", type=Path, metavar="FOUND", help="another such folder")
    other.add_argument(
        "--as-built", type=Path, metavar="DIR", help="the boxes of FOUND's stack with mmdet's own layers"
    )
    other.add_argument("--elsewhere", type=Path, metavar="DIR", help="the boxes of FOUND's stack on another processor")
    other.add_argument(
        "--out", type=Path, metavar="FILE", help="write the page to this file instead of standard output"
    )
    other.set_defaults(do=_compare)
    return parser


def _first_line() -> str:
    return (__doc__ or "").splitlines()[0]


def _freeze(given: argparse.Namespace) -> int:
    zoo = load_zoo()
    models = [zoo[name] for name in given.models] or [models[0] for models in architectures(zoo)]
    images = small_images() if given.small else all_images()
    for model in models:
        sys.stderr.write(f"{model.name}\n")
        freeze(given.out, model, images, given.backend, as_built=given.as_built)
    return 0


def _compare(given: argparse.Namespace) -> int:
    comparison = compare_folders(given.expected, given.found, given.as_built)
    elsewhere = compare_folders(given.expected, given.elsewhere) if given.elsewhere else None
    same_weights = {models[0].name: [model.name for model in models[1:]] for models in architectures(load_zoo())}
    text = page(comparison, same_weights, TOLERANCES, elsewhere)
    if given.out:
        write_atomically(given.out, text.encode(), follow_links=True)
    sys.stdout.write(f"{summary(comparison)}\n" if given.out else text)
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    sys.exit(main())
