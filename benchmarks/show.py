"""What a picture costs compared with scalabel's LabelViewer, on the same frames and boxes in the same run.

    python benchmarks/show.py --official-python PATH [--images DIR] [--frames 40] [--boxes 18] [--rounds 3]

Both go from the predictions file and the images to JPEGs, in one process each that has imported what it needs; ours
runs all of ``show``, its checks and digests included. They take turns, and each goes first in half of the rounds. The
viewer needs an environment of its own, with bdd100k-zoo[official]. Goal: at least 10 times as fast, by wall and by CPU
time. With `--results DIR` the record is stored as a JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
GOAL = 10.0
SIZE = (1280, 720)
SHARES = {"pedestrian": 7, "rider": 1, "car": 55, "truck": 3, "bus": 1, "bicycle": 1, "traffic light": 14}
SHARES["traffic sign"] = 18
"""Percent of the labels of BDD100K's val split."""


class Cost(NamedTuple):
    """Of one picture."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds."""


# What runs in the children -------------------------------------------------------------------------------------------


def draw_ours(folder: Path, jobs: int) -> None:
    """Draw as ``bdd100k-zoo show`` does."""
    from bdd100k_zoo.progress import NO_PROGRESS
    from bdd100k_zoo.reporting.show import ShowRequest, show_predictions

    begin = time.perf_counter(), time.process_time()
    request = ShowRequest(
        predictions=folder / "det.json",
        images=(str(folder / "frames"),),
        out=folder / "ours",
        min_score=0,
        workers=jobs,
        fresh=True,
    )
    tell(begin, len(show_predictions(request, NO_PROGRESS).pictures))


def draw_theirs(folder: Path, _: int) -> None:
    """Draw as scalabel's own loop does."""
    os.environ["MPLBACKEND"] = "Agg"
    import numpy as np
    from PIL import Image
    from scalabel.label.io import load
    from scalabel.vis.label import LabelViewer, UIConfig

    (folder / "theirs").mkdir(exist_ok=True)
    begin = time.perf_counter(), time.process_time()
    viewer = LabelViewer(UIConfig(height=SIZE[1], width=SIZE[0]))
    frames = load(str(folder / "det.json"), nprocs=0).frames
    for frame in frames:
        viewer.draw(np.array(Image.open(folder / "frames" / frame.name)), frame)
        viewer.save(str(folder / "theirs" / frame.name))
    tell(begin, len(frames))


def tell(begin: tuple[float, float], pictures: int) -> None:
    """Write what one picture has cost."""
    wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
    print(json.dumps([wall / pictures, cpu / pictures]))


def make_frames(folder: Path, number: int) -> None:
    """Draw streets."""
    from bdd100k_zoo.sample_data import write_sample_frames

    write_sample_frames(folder / "frames", number)


PARTS = {"ours": draw_ours, "theirs": draw_theirs, "frames": make_frames}


# What runs here ------------------------------------------------------------------------------------------------------


def part(python: str, name: str, folder: Path, number: int) -> str:
    """Run one of ``PARTS`` in a process of its own, and give the last line that it wrote."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [python, __file__, "--part", name, str(folder), str(number)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return (done.stdout.splitlines() or [""])[-1]


def prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """Lay frames and predictions ready."""
    if arguments.images:
        given = sorted(path for path in arguments.images.iterdir() if path.suffix == ".jpg")
        (folder / "frames").mkdir()
        for place in range(arguments.frames):
            (folder / "frames" / f"{place:04}.jpg").symlink_to(given[place % len(given)].resolve())
    else:
        part(sys.executable, "frames", folder, arguments.frames)
    chance = Random(0)
    names = sorted(path.name for path in (folder / "frames").iterdir())
    frames = [{"name": name, "labels": [box(chance, place) for place in range(arguments.boxes)]} for name in names]
    (folder / "det.json").write_text(json.dumps(frames))


def box(chance: Random, place: int) -> dict[str, Any]:
    """Make a box as dashcam frames have them: small and near the horizon, or large below it."""
    down = min(max(chance.gauss(0.52, 0.1), 0.05), 0.9)
    height = SIZE[1] * (abs(down - 0.5) + 0.02) * chance.uniform(0.4, 1.6)
    width = height * chance.uniform(0.4, 1.6)
    left, top = chance.uniform(0, SIZE[0] - width), SIZE[1] * down - height / 2
    corners = {"x1": left, "y1": top, "x2": left + width, "y2": min(top + height, SIZE[1] - 1)}
    category = chance.choices(list(SHARES), list(SHARES.values()))[0]
    return {"id": str(place), "category": category, "score": chance.uniform(0.3, 1), "box2d": corners}


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, list[Cost]]:
    """Let all engines draw in turns."""
    engines = {
        "ours": (sys.executable, "ours", 1),
        "ours, all cores": (sys.executable, "ours", os.cpu_count() or 1),
        "theirs": (str(arguments.official_python), "theirs", 1),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in engines}
    for number in range(arguments.rounds):
        for name in list(engines) if number % 2 == 0 else list(engines)[::-1]:
            python, kind, jobs = engines[name]
            costs[name].append(Cost(*json.loads(part(python, kind, folder, jobs))))
    return costs


def record_of(costs: dict[str, list[Cost]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Sum up."""
    pairs = list(zip(costs["theirs"], costs["ours"], strict=True))
    return {
        "benchmark": "show",
        "frames": arguments.frames,
        "given": bool(arguments.images),
        "boxes": arguments.boxes,
        "rounds": arguments.rounds,
        "ratio": round(median(theirs.wall / ours.wall for theirs, ours in pairs), 1),
        "ratio_cpu": round(median(theirs.cpu / ours.cpu for theirs, ours in pairs), 1),
        "seconds": {name: round(median(cost.wall for cost in found), 4) for name, found in costs.items()},
        "cpu_seconds": {name: round(median(cost.cpu for cost in costs[name]), 4) for name in ("ours", "theirs")},
        "commit": git("rev-parse", "--short", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--", "bdd100k_zoo", "benchmarks/show.py")),
        "load": [round(value, 2) for value in os.getloadavg()],
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def git(*arguments: str) -> str:
    """Ask git about this checkout; nothing where there is none."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], check=False, capture_output=True, text=True)
    return done.stdout.strip()


def show(record: dict[str, Any]) -> None:
    """Print a record, and whether the goal is met."""
    for name, seconds in record["seconds"].items():
        cpu = record["cpu_seconds"].get(name)
        print(f"{name:<16} {1000 * seconds:8.1f} ms a picture" + (f"   {1000 * cpu:8.1f} ms CPU" if cpu else ""))
    met = min(record["ratio"], record["ratio_cpu"]) >= GOAL
    print(
        f"{record['ratio']:.1f} times as fast as LabelViewer, {record['ratio_cpu']:.1f} by CPU time; "
        f"goal at least {GOAL:.0f}: {'met' if met else 'MISSED'}"
    )


def main() -> int:
    """Read the command line; measure, or be measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official-python", type=Path, help="a Python that has the official packages")
    parser.add_argument("--images", type=Path, help="a folder of 1280×720 JPEGs; default: synthetic ones")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--boxes", type=int, default=18, help="in each frame")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, help="folder for the record")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, folder, number = arguments.part
        PARTS[name](Path(folder), int(number))
        return 0
    if not arguments.official_python:
        print("NOT COMPARED with LabelViewer: give --official-python, a Python with bdd100k-zoo[official]")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), arguments)
        record = record_of(measure(Path(folder), arguments), arguments)
    show(record)
    if arguments.results:
        stamp = record["time"].replace(":", "").replace("-", "")
        (arguments.results / f"show-{stamp}.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
