"""Draw scenes, or count what stands in them.

python -m bdd100k_zoo.demo --count 200
python -m bdd100k_zoo.demo --write ROOT --train 3000 --val 200
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bdd100k_zoo.demo.counting import report
from bdd100k_zoo.demo.scenes import draw_scene
from bdd100k_zoo.demo.writing import frame_seed, write_scenes
from bdd100k_zoo.errors import ZooError


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m bdd100k_zoo.demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", type=Path, metavar="ROOT", help="folder to lay out as the dataset is")
    parser.add_argument("--train", type=int, default=0, metavar="N", help="frames to train with")
    parser.add_argument("--val", type=int, default=0, metavar="N", help="frames to validate with")
    parser.add_argument(
        "--count", type=int, default=0, metavar="N", help="count what stands in N scenes, and write none"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, metavar="N", help="processes; default: one on each CPU")
    given = parser.parse_args()
    if given.write:
        try:
            written = write_scenes(given.write, train=given.train, val=given.val, seed=given.seed, jobs=given.jobs)
        except ZooError as error:
            sys.exit(f"error: {error}")
        frames = [frame for several in written.splits.values() for frame in several]
    else:
        frames = [draw_scene(frame_seed("val", given.seed, index)).labels for index in range(given.count)]
    sys.stdout.write(report(frames))


if __name__ == "__main__":
    main()
