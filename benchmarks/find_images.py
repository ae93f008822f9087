"""What finding, naming, stamping and sorting many files adds to the start of a run, and a bare walk beside it.

    python benchmarks/find_images.py [--files 100000] [--runs 5]

The tree has 500 empty files in a folder, two levels deep. Goal: at most 2 seconds for 100,000 files.
Walks and searches alternate; a list of the same files is read, too. Where a machine has other things to do, look at the
CPU time.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from bdd100k_zoo.data.images import find_images

if TYPE_CHECKING:
    from collections.abc import Callable

IN_FOLDER = 500
GOAL = 2.0
"""Seconds for 100,000 files."""


def make_tree(root: Path, files: int) -> None:
    """Make empty files, and beside the tree a list of them."""
    paths = []
    for number in range(files):
        folder = root / "tree" / f"drive{number // IN_FOLDER // 10:04}" / f"part{number // IN_FOLDER:06}"
        if number % IN_FOLDER == 0:
            folder.mkdir(parents=True)
        paths.append(folder / f"frame-{number:09}.jpg")
        paths[-1].touch()
    (root / "list.txt").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")


def walk(root: Path) -> int:
    """Count the files below a folder by the standard library's own walk."""
    return sum(len(files) for _, _, files in os.walk(root))


def seconds(count: Callable[[], int], expected: int) -> tuple[float, float]:
    """Return wall and CPU time of one call, which must find so many files."""
    wall, cpu = perf_counter(), process_time()
    found = count()
    assert found == expected, f"{found} files found, {expected} made"
    return perf_counter() - wall, process_time() - cpu


def main() -> None:
    """Print medians, and whether the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {given.runs} runs")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_tree(root, given.files)
        jobs = {
            "os.walk": lambda: walk(root / "tree"),
            "a folder": lambda: len(find_images([str(root / "tree")]).frames),
            "a list": lambda: len(find_images([str(root / "list.txt")]).frames),
        }
        times = {job: [] for job in jobs}
        for _ in range(given.runs):
            for job, count in jobs.items():
                times[job].append(seconds(count, given.files))
    for job, found in times.items():
        wall, cpu = (statistics.median(each) for each in zip(*found, strict=True))
        print(f"{job:<9} {wall:5.2f} s, CPU {cpu:5.2f} s, for {given.files:,} files")
        if job == "a folder":
            added = wall * 100_000 / given.files
            verdict = "met" if added <= GOAL else "MISSED"
    print(f"a folder, for 100,000: {added:.2f} s, goal {GOAL:.1f}: {verdict}")


if __name__ == "__main__":
    main()
