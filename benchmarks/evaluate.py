"""What scoring costs compared with the official command and hotcoco, and whether the scores are the official ones.

    python benchmarks/evaluate.py [--frames 10000] [--official-python PATH] [--make-val PATH]

Every engine runs in a process of its own, from files to written scores; wall time, CPU time and peak memory are of the
whole process. hotcoco is a lower bound of what a scorer built on it takes: both files decoded into the leanest typed
records, and hotcoco on arrays that are ready. This package's scorer and hotcoco alternate, so that a drifting machine
affects both.
Goals: 40 times less CPU and wall time and 6 times less memory than the official command with ``--nproc 1``, and no more
CPU time, wall time or memory than hotcoco. They are for 10,000 frames of the data of ``--make-val``; without it the
data are this file's own, of the same shape.
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
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LABELS, PREDICTIONS, ARRAYS = "det_val.json", "det.json", "arrays.npz"
CLASSES = {
    "pedestrian": 13262,
    "rider": 649,
    "car": 102506,
    "truck": 4245,
    "bus": 1597,
    "train": 15,
    "motorcycle": 452,
    "bicycle": 1007,
    "traffic light": 26885,
    "traffic sign": 34908,
}
"""Labels of each class in BDD100K's val split."""


class Cost(NamedTuple):
    """Of one process, from its start to its end."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, children included."""
    memory: float
    """Peak resident size in MiB."""


def measure(command: list[str]) -> Cost:
    """Run a command and give its cost; raises CalledProcessError with what it wrote.

    This process must stay small: on Linux a child's peak counts from the size of its parent.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            raise subprocess.CalledProcessError(child.returncode, command, output.read())
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**20)


# What runs in the children -------------------------------------------------------------------------------------------


def run_ours(folder: Path, out: Path) -> None:
    """Read, score and write as ``bdd100k-zoo eval`` does."""
    from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
    from bdd100k_zoo.evaluation.scoring import score_predictions

    labels, predictions = read_label_table(folder / LABELS), read_prediction_table(folder / PREDICTIONS)
    out.write_bytes(score_predictions(labels, predictions).official_json())


def run_hotcoco(folder: Path, out: Path) -> None:
    """Decode both files into the leanest records, and let hotcoco score arrays that are ready."""
    import msgspec
    import numpy as np
    from hotcoco import COCO, COCOeval

    box = msgspec.defstruct("Box", [(name, float) for name in ("x1", "y1", "x2", "y2")], gc=False)
    marks = msgspec.defstruct("Marks", [("crowd", bool, False), ("ignored", bool, False)], gc=False)
    label = msgspec.defstruct("Label", [("category", str), ("box2d", box), ("attributes", marks)], gc=False)
    prediction = msgspec.defstruct("Prediction", [("category", str), ("score", float), ("box2d", box)], gc=False)
    for name, kind in ((LABELS, label), (PREDICTIONS, prediction)):
        frame = msgspec.defstruct("Frame", [("name", str), ("labels", list[kind])], gc=False)
        msgspec.json.decode((folder / name).read_bytes(), type=list[frame])
    ready = np.load(folder / ARRAYS)
    images = [{"id": number + 1, "width": 1280, "height": 720, "file_name": ""} for number in range(ready["frames"])]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    columns = [ready[name] for name in ("images", "categories", "boxes")]
    truth = COCO.from_arrays(images, categories, *columns, iscrowd=ready["crowd"])
    run = COCOeval(truth, truth.load_res(ready["results"]), "bbox")
    run.evaluate()
    run.accumulate()
    out.write_text(str(run.eval["recall"].mean()))


def prepare_arrays(folder: Path, _: Path) -> None:
    """Write the arrays that hotcoco scores."""
    import numpy as np

    from bdd100k_zoo.data.tables import read_label_table, read_prediction_table

    labels, found = read_label_table(folder / LABELS), read_prediction_table(folder / PREDICTIONS)
    place = {name: number for number, name in enumerate(labels.frames, start=1)}
    images = np.repeat([place[name] for name in found.frames], np.diff(found.starts))
    results = np.column_stack((images, found.boxes, found.scores, found.classes + 1.0))
    np.savez(
        folder / ARRAYS,
        frames=len(labels.frames),
        images=np.repeat(np.arange(1, len(labels.frames) + 1), np.diff(labels.starts)),
        categories=labels.classes.astype(np.int64) + 1,
        boxes=labels.boxes,
        crowd=labels.crowd,
        results=results[np.argsort(images, kind="stable")],
    )


def make_data(folder: Path, count: Path) -> None:
    """Write labels and predictions of ``count`` frames: 19 labels and 100 predictions a frame, on the average."""
    import numpy as np

    rng = np.random.default_rng(0)
    names, share = list(CLASSES), np.array(list(CLASSES.values())) / sum(CLASSES.values())
    labelled, predicted = [], []
    for number in range(int(count.name)):
        name, many = f"{rng.integers(1 << 62):016x}-{number:06d}.jpg", int(rng.poisson(19))
        classes = rng.choice(len(names), 100 + many, p=share)
        low = rng.uniform((0, 200), (1200, 500), (100 + many, 2))
        boxes = np.hstack((low, low + np.exp(rng.normal(3.6, 0.8, (100 + many, 2))).clip(3, 600)))
        found = boxes[:many][rng.random(many) < 0.8]
        guesses = np.vstack((found + rng.normal(0, 2, found.shape), boxes[many:]))[:100]
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        kinds = np.concatenate((classes[:many][: len(found)], classes[many:]))[:100]
        scores = np.where(np.arange(100) < len(found), rng.beta(4, 2, 100), rng.beta(1, 9, 100))
        labelled.append({"name": name, "labels": _as_labels(classes[:many], boxes[:many], names, rng.random(many))})
        predicted.append({"name": name, "labels": _as_labels(kinds, guesses, names, None, scores)})
    (folder / LABELS).write_text(json.dumps(labelled))
    (folder / PREDICTIONS).write_text(json.dumps([predicted[index] for index in rng.permutation(len(predicted))]))


def _as_labels(classes, boxes, names, chances, scores=None):
    labels = []
    for place, (index, box) in enumerate(zip(classes.tolist(), boxes.tolist(), strict=True)):
        corners = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
        label = {"id": str(place), "category": names[index], "box2d": corners}
        if chances is not None:
            label["attributes"] = {"occluded": bool(chances[place] < 0.5), "crowd": bool(chances[place] < 0.004)}
        if scores is not None:
            label["score"] = float(scores[place])
        labels.append(label)
    return labels


PARTS = {"ours": run_ours, "hotcoco": run_hotcoco, "arrays": prepare_arrays, "data": make_data}


# What runs here ------------------------------------------------------------------------------------------------------


def part(name: str, folder: Path, other: Path) -> list[str]:
    """Return the command that runs one of ``PARTS`` in a process of its own."""
    return [sys.executable, __file__, "--part", name, str(folder), str(other)]


def official(python: Path, folder: Path, out: Path) -> list[str]:
    """Return the official command."""
    files = ["-g", str(folder / LABELS), "-r", str(folder / PREDICTIONS), "--out-file", str(out)]
    return [str(python), "-m", "bdd100k.eval.run", "-t", "det", *files, "--nproc", "1", "--quiet"]


def prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """Make the data and hotcoco's arrays."""
    if arguments.make_val:
        options = ["--frames", str(arguments.frames), "--seed", "0", "--out", str(folder)]
        measure([sys.executable, str(arguments.make_val), *options])
    else:
        print("data: this benchmark's own; the goals are for those of --make-val")
        measure(part("data", folder, Path(str(arguments.frames))))
    measure(part("arrays", folder, folder))


def show(name: str, costs: list[Cost]) -> Cost:
    """Print the medians of an engine's costs, and give them."""
    middle = Cost(*(median(values) for values in zip(*costs, strict=True)))
    print(f"{name:<9} wall {middle.wall:7.2f} s   CPU {middle.cpu:7.2f} s   peak {middle.memory:6.0f} MiB")
    return middle


def judge(what: str, ratio: float, holds: bool, goal: str) -> None:
    """Print whether a goal holds."""
    print(f"{what:<28} {ratio:6.2f}   goal {goal:<12} {'met' if holds else 'MISSED'}")


def compare_with_hotcoco(ours: list[Cost], hotcoco: list[Cost]) -> None:
    """Print the ratios to hotcoco, by pairs of runs."""
    for what in ("cpu", "wall", "memory"):
        ratio = median(getattr(mine, what) / getattr(other, what) for mine, other in zip(ours, hotcoco, strict=True))
        judge(f"{what}, ours / hotcoco", ratio, ratio <= 1, "at most 1")


def compare_with_official(ours: Cost, theirs: Cost) -> None:
    """Print the ratios to the official command."""
    for what, goal in (("cpu", 40), ("wall", 40), ("memory", 6)):
        ratio = getattr(theirs, what) / getattr(ours, what)
        judge(f"{what}, official / ours", ratio, ratio >= goal, f"at least {goal}")


def run(arguments: argparse.Namespace, folder: Path) -> int:
    """Measure all engines, ours on both sides of the official one; 1 where the scores differ."""
    prepare(folder, arguments)
    python, theirs = arguments.official_python, folder / "official.json"
    costs: dict[str, list[Cost]] = {"ours": [], "hotcoco": []}
    reference: list[Cost] = []
    for round_ in range(arguments.repeats):
        if python and round_ == arguments.repeats // 2:
            reference.append(measure(official(python, folder, theirs)))
        for name, measured in costs.items():
            measured.append(measure(part(name, folder, folder / f"{name}.json")))
    ours, _ = [show(name, measured) for name, measured in costs.items()]
    compare_with_hotcoco(costs["ours"], costs["hotcoco"])
    if not reference:
        print("official  NOT RUN, NOT COMPARED: give --official-python, a Python with bdd100k-zoo[official]")
        return 0
    compare_with_official(ours, show("official", reference))
    equal = (folder / "ours.json").read_bytes() == theirs.read_bytes()
    print(f"ours: all 132 numbers {'equal' if equal else 'DIFFER FROM'} the official ones, bit for bit")
    return int(not equal)


def main() -> int:
    """Read the command line; measure, or be measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10000)
    parser.add_argument("--repeats", type=int, default=3, help="runs of this package's scorer and of hotcoco")
    parser.add_argument("--official-python", type=Path, help="a Python that has the official packages")
    parser.add_argument("--make-val", type=Path, help="a program that makes the data: --frames N --seed S --out DIR")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, folder, other = arguments.part
        PARTS[name](Path(folder), Path(other))
        return 0
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, {arguments.frames} frames"
    )
    with tempfile.TemporaryDirectory() as folder:
        return run(arguments, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
