"""What a report on two predictions files costs, with and without intervals.

    python benchmarks/report.py [--frames 10000] [--make-val PATH] [--rounds 3] [--results DIR]

Each report is written by the command in a process of its own, from files to page; wall time, CPU time and peak memory
are of the whole process. The data are those of ``--make-val``, or of ``benchmarks/evaluate.py``; the second predictions
file is the first with noise added to its scores and boxes. Goals, for 10,000 frames on two cores: 20 seconds without
intervals, 90 with them, pages under 15 MB. What was measured is added to the results as one JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from evaluate import LABELS, PREDICTIONS, Cost, measure, part

ROOT = Path(__file__).resolve().parents[1]
SHAKEN = "shaken.json"
GOALS = {"without intervals": 20.0, "with intervals": 90.0}
"""Seconds."""
LARGEST_PAGE = 15_000_000


def make_data(folder: Path, frames: int, make_val: Path | None) -> None:
    """Write labels and two predictions files."""
    if make_val:
        measure([sys.executable, str(make_val), "--frames", str(frames), "--seed", "1", "--out", str(folder)])
    else:
        measure(part("data", folder, Path(str(frames))))
    measure([sys.executable, __file__, "--shake", str(folder)])


def shake(folder: Path) -> None:
    """Write the first predictions file again, somewhat worse."""
    chance = random.Random(1)
    frames = json.loads((folder / PREDICTIONS).read_bytes())
    for frame in frames:
        for label in frame["labels"]:
            label["score"] = min(max(label["score"] + chance.gauss(0, 0.1), 0.0), 1.0)
            box = label["box2d"]
            width, height = box["x2"] - box["x1"], box["y2"] - box["y1"]
            for side, length in (("x1", width), ("x2", width), ("y1", height), ("y2", height)):
                box[side] += 0.03 * length * chance.gauss(0, 1)
            box["x2"], box["y2"] = max(box["x2"], box["x1"]), max(box["y2"], box["y1"])
    (folder / SHAKEN).write_text(json.dumps(frames))


def report(folder: Path, page: Path, *options: str) -> list[str]:
    """Return the command that writes a report."""
    files = [str(folder / PREDICTIONS), str(folder / SHAKEN), "--labels", str(folder / LABELS)]
    return [sys.executable, "-m", "bdd100k_zoo", "--quiet", "report", *files, "--out", str(page), *options]


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure both kinds of report in turns, print and give what was found."""
    make_data(folder, arguments.frames, arguments.make_val)
    options = {"without intervals": (), "with intervals": ("--confidence",)}
    costs: dict[str, list[Cost]] = {name: [] for name in options}
    for _ in range(arguments.rounds):
        for name, given in options.items():
            costs[name].append(measure(report(folder, folder / "report.html", *given)))
    size = (folder / "report.html").stat().st_size
    for name, found in costs.items():
        show(name, found, arguments.frames)
    print(f"page      {size:,} bytes   goal under {LARGEST_PAGE:,} {'met' if size < LARGEST_PAGE else 'MISSED'}")
    return {
        "benchmark": "report",
        "frames": arguments.frames,
        "data": "make_val" if arguments.make_val else "benchmarks/evaluate.py",
        "rounds": arguments.rounds,
        **{name: [cost._asdict() for cost in found] for name, found in costs.items()},
        "page": size,
        "machine": {"platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "commit": commit(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def show(name: str, found: list[Cost], frames: int) -> None:
    """Print the medians of some runs, and whether the goal holds."""
    wall, cpu, memory = (median(values) for values in zip(*found, strict=True))
    goal = f"goal {GOALS[name]:.0f} s {'met' if wall < GOALS[name] else 'MISSED'}" if frames >= 10_000 else ""
    print(f"{name:<18} wall {wall:6.1f} s   CPU {cpu:6.1f} s   peak {memory:5.0f} MiB   {goal}")


def commit() -> str:
    """Return the commit of this checkout, ``-changed`` after it where files differ."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=-changed", "--abbrev=12", "--match", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--make-val", type=Path, help="a program that makes the data: --frames N --seed S --out DIR")
    parser.add_argument("--results", type=Path, help="a folder to add what was measured to")
    parser.add_argument("--shake", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.shake:
        shake(arguments.shake)
        return 0
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, {arguments.frames} frames"
    )
    with tempfile.TemporaryDirectory() as folder:
        record = run(arguments, Path(folder))
    if arguments.results:
        name = f"report-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
        (arguments.results / name).write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
