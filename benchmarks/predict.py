"""What prediction costs, against mmdet's own test loop in the same run, and whether the detections are equal.

    python benchmarks/predict.py retinanet_r50_fpn_1x cascade_rcnn_r50_fpn_1x [--images DIR] [--rounds 5]
    python benchmarks/predict.py faster_rcnn_r50_fpn_1x --device cuda --precision fp16 --batch-size 16

Stock is mmdet's test loop: its data pipeline, batches of one image, fp32 (`mmdet3/mmdet_loop.py`); on a GPU with
`--stock-tf32` as torch has it when left to itself, which rounds convolutions to TF32. Ours is the pipeline that
`predict` runs. They have a process each and the same random weights, and take turns while the other one waits; ratios
are medians of pairs. A turn is a batch of ours on the CPU, and 16 batches, 64 images at least, elsewhere. A pair during
which others took more than a tenth of the machine is measured again, up to three times as many in all; the least
disturbed ones count. What others took is part of the record, one JSON file for a model in `benchmarks/results/`.

Stages: decode, prepare (resize, pack), network (with normalising and padding) and, measured on the CPU only, choose
(proposals and boxes: `predict_by_feat` of every head). Ours overlap. On a GPU our network is also measured by itself:
backbone, neck, pooling and heads on batches that are already on the device, with the same size and precision.

On the CPU in fp32, the share of the machine's peak is how many of the floating-point operations that convolutions and
matrix products need (counted in stock's network) ours does in a second, divided by those of one large matrix product,
which is timed in every pair with as many threads. At the end, a table of all models is printed.
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
import warnings
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from predict_engines import PRODUCT, Taken, Task, draw, ours, stock

from bdd100k_zoo.benchmark.loops import BenchSetup
from bdd100k_zoo.benchmark.worker_process import WorkerProcess
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.sample_data import write_sample_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bdd100k_zoo.benchmark.loops import DetectorInfo
    from bdd100k_zoo.registry import Model

DRAWN = 8
"""Frames that differ, where none are given."""
STAGES = ("decode", "prepare", "network", "choose")
CORNER, SCORE = 1e-3, 1e-5
"""How far boxes may be apart, in pixels and in score, to be the same in the strict sense."""
NEAR, ROUGH = 100, 4000
"""Boxes this many times as far apart are a pair with reported differences: in fp32, and where numbers are rounded."""
DISTURBED = 0.1
"""Pairs during which others took more of the machine than this are measured again."""


class Pair(NamedTuple):
    """The same images by both engines, and by our network alone where that is measured."""

    frames: list[int]
    taken: Mapping[str, Taken]
    others: float
    """The share of the machine that other processes took meanwhile."""


# What is compared


def compare(expected: np.ndarray, found: np.ndarray, near: float) -> dict[str, list[float] | int]:
    """Pair each expected box, best scores first, with the nearest box of its class that is left.

    Gives the numbers of boxes, of pairs and of pairs that are the same in the strict sense, and how far the corners
    and scores of each pair are apart.
    """
    left, corners, scores = list(range(len(found))), [], []
    for row in expected[np.argsort(-expected[:, 4], kind="stable")]:
        apart = [(*distances(row, found[index]), index) for index in left if found[index, 5] == row[5]]
        if not apart:
            continue
        corner, score, index = min(apart, key=lambda one: max(one[0] / CORNER, one[1] / SCORE))
        if max(corner / CORNER, score / SCORE) <= near:
            left.remove(index)
            corners.append(corner)
            scores.append(score)
    strict = sum(c <= CORNER and s <= SCORE for c, s in zip(corners, scores, strict=True))
    counts = {"stock": len(expected), "ours": len(found), "pairs": len(corners), "strict": strict}
    return {**counts, "corner": corners, "score": scores}


def distances(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """How far two boxes are apart, in pixels and in score."""
    return float(np.abs(a[:4] - b[:4]).max()), float(abs(a[4] - b[4]))


def compare_frames(pairs: Sequence[Pair], near: float) -> dict[str, float]:
    """Compare what was found in every frame, once each, and sum up."""
    found = {
        frame: (expected, rows)
        for pair in pairs
        for frame, expected, rows in zip(pair.frames, pair.taken["stock"].rows, pair.taken["ours"].rows, strict=True)
    }
    each = [compare(*rows, near) for rows in found.values()]
    apart = {key: [value for one in each for value in one[key]] or [0.0] for key in ("corner", "score")}
    return {
        "frames": len(found),
        **{key: sum(one[key] for one in each) for key in ("stock", "ours", "pairs", "strict")},
        **{key: max(values) for key, values in apart.items()},
        **{f"{key}_median": median(values) for key, values in apart.items()},
    }


# What is run


def measure(model: Model, arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Measure one model, and give its record."""
    setup = BenchSetup(
        model=model.name,
        config_path=model.config_path,
        weights=folder / f"{model.name}.pth",
        images=arguments.images or str(folder / "frames"),
        device=arguments.device,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
    )
    with WorkerProcess(draw, setup, arguments.seed):  # in a process of its own, so that its memory counts for no engine
        pass
    with WorkerProcess(ours, setup) as our:
        about, capability = our.about
        with WorkerProcess(stock, setup._replace(device=about.facts.device), arguments.stock_tf32) as other:
            setup.weights.unlink()
            engines = {"stock": other.do, "ours": our.do}
            if about.facts.device != "cpu":
                engines["bare"] = lambda task: our.do(task._replace(bare=True))
            elif about.facts.precision == "fp32":
                engines["peak"] = lambda task: our.do(task._replace(peak=True))
            operations = other.about
            turns = Turns(len(setup.frames), arguments.turn or default_turn(about), arguments.rounds)
            pairs = turns.take(engines)
    least = sorted(pairs, key=lambda pair: pair.others)[: arguments.rounds]
    exact = about.facts.precision == "fp32" and not arguments.stock_tf32
    return {
        **described(model.name, about, arguments),
        "turn": turns.images,
        **ratios([pair.taken for pair in least]),
        "gflop": round(operations / 1e9, 1),
        **peak_shares([pair.taken for pair in least], operations * turns.images),
        **{
            engine: costs([pair.taken[engine] for pair in least], turns.images)
            for engine in engines
            if engine != "peak"
        },
        "detections": compare_frames(pairs, NEAR if exact else ROUGH),
        "others": [round(pair.others, 3) for pair in least],
        "disturbed": len(pairs) - len(least),
        **surroundings(about, capability),
    }


def default_turn(about: DetectorInfo) -> int:
    """Return a number of images that fills a turn: on the CPU few, since each takes seconds."""
    size = about.batch_size
    return size if about.facts.device == "cpu" else size * max(16, -(-64 // size))


class Turns(NamedTuple):
    """Engines that take the same images after one another."""

    frames: int
    """How many there are; they are taken in a circle."""
    images: int
    """In a turn."""
    rounds: int

    def take(self, engines: Mapping[str, Callable[[Task], Taken]]) -> list[Pair]:
        """Take as many undisturbed pairs as there are rounds, or at most three times as many pairs; one goes before."""
        self._pair(0, engines)
        pairs: list[Pair] = []
        while len(pairs) < 3 * self.rounds and sum(pair.others <= DISTURBED for pair in pairs) < self.rounds:
            pairs.append(self._pair(len(pairs), engines))
        return pairs

    def _pair(self, number: int, engines: Mapping[str, Callable[[Task], Taken]]) -> Pair:
        """Let each engine take a turn; each goes first in half of the rounds."""
        frames = [place % self.frames for place in range(number * self.images, (number + 1) * self.images)]
        since, busy = time.perf_counter(), busy_seconds()
        order = list(engines) if number % 2 == 0 else list(engines)[::-1]
        taken = {name: engines[name](Task(frames)) for name in order}
        foreign = busy_seconds() - busy - sum(one.cpu for one in taken.values())
        return Pair(frames, taken, max(foreign, 0) / (time.perf_counter() - since) / (os.cpu_count() or 1))


def busy_seconds() -> float:
    """Return the seconds that all processors have worked since the machine started; 0 on other systems than Linux."""
    try:
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


# What is recorded


def described(model: str, about: DetectorInfo, arguments: argparse.Namespace) -> dict[str, object]:
    """Return what was measured."""
    return {
        "benchmark": "predict",
        "model": model,
        "device": about.facts.device,
        "device_name": about.facts.device_name,
        "precision": about.facts.precision,
        "batch_size": about.batch_size,
        "stock_tf32": arguments.stock_tf32,
        "seed": arguments.seed,
        "frames": "given" if arguments.images else "synthetic",
        "rounds": arguments.rounds,
    }


def ratios(rounds: Sequence[Mapping[str, Taken]]) -> dict[str, object]:
    """Return how many times as fast ours is, by wall and by CPU time, and the share of the bare network's speed."""
    each = [one["stock"].wall / one["ours"].wall for one in rounds]
    found = {
        "ratio": round(median(each), 3),
        "ratios": [round(ratio, 3) for ratio in each],
        "ratio_cpu": round(median(one["stock"].cpu / one["ours"].cpu for one in rounds), 3),
    }
    if "bare" in rounds[0]:
        found["share_of_bare"] = round(median(one["bare"].wall / one["ours"].wall for one in rounds), 3)
    return found


def peak_shares(rounds: Sequence[Mapping[str, Taken]], operations: float) -> dict[str, object]:
    """Return the machine's peak, and the share of it that both engines reach with so many operations in a turn."""
    if "peak" not in rounds[0]:
        return {}
    shares = {
        engine: round(median(operations / one[engine].wall / (PRODUCT / one["peak"].wall) for one in rounds), 3)
        for engine in ("stock", "ours")
    }
    return {
        "peak_gflops": round(median(PRODUCT / one["peak"].wall for one in rounds) / 1e9, 1),
        "share_of_peak": shares,
    }


def costs(taken: Sequence[Taken], images: int) -> dict[str, object]:
    """Return the medians of what an image costs."""
    seconds = median(one.wall for one in taken) / images
    stages = {stage: median(one.stages.get(stage, 0) for one in taken) / images for stage in STAGES}
    return {
        "images_per_second": float(f"{1 / seconds:.4g}"),
        "seconds": round(seconds, 6),
        "cpu_seconds": round(median(one.cpu for one in taken) / images, 6),
        "stages": {stage: round(spent, 6) for stage, spent in stages.items() if spent},
        "split": sum(sum(one.split.values()) for one in taken),
        "peak_mib": round(max(one.peak for one in taken)),
    }


def surroundings(about: DetectorInfo, capability: str) -> dict[str, object]:
    """Return what the figures hold for."""
    return {
        "commit": git("rev-parse", "--short", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--", "bdd100k_zoo", "benchmarks/*.py")),
        "machine": {
            "processor": about.processor,
            "cores": os.cpu_count(),
            "threads": about.facts.threads,
            "capability": capability,
            "platform": platform.platform(),
            "libc": " ".join(platform.libc_ver()),
        },
        "versions": dict(about.facts.versions),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def git(*arguments: str) -> str:
    """Ask git about this checkout; nothing where there is none."""
    here = Path(__file__).parents[1]
    done = subprocess.run(["git", "-C", str(here), *arguments], check=False, capture_output=True, text=True)
    return done.stdout.strip()


def show(record: dict[str, object]) -> None:
    """Print a record."""
    found, bare = record["detections"], record.get("bare")
    print(f"{record['model']} on {record['device_name']}, {record['precision']}, batches of {record['batch_size']}")
    print(f"  {record['ratio']:.2f} times as fast ({record['ratio_cpu']:.2f} by CPU time)")
    for engine in ("stock", "ours"):
        cost = record[engine]
        shares = "  ".join(f"{stage} {seconds / cost['seconds']:.1%}" for stage, seconds in cost["stages"].items())
        halved = f"  {cost['split']} batches halved" if cost["split"] else ""
        print(f"  {engine:<6}{cost['images_per_second']:8.3f} images/s  {cost['peak_mib']:5d} MiB   {shares}{halved}")
    if bare:
        print(f"  bare  {bare['images_per_second']:8.3f} images/s; ours reaches {record['share_of_bare']:.0%} of it")
    if "share_of_peak" in record:
        needs = f"{record['gflop']:.0f} GFLOP an image, {record['peak_gflops']:.0f} GFLOP/s at the machine's peak"
        shares = record["share_of_peak"]
        print(f"  {needs}: ours reaches {shares['ours']:.0%} of it, stock {shares['stock']:.0%}")
    equal = f"{found['strict']} within {CORNER} px and {SCORE} in score"
    print(f"  of {found['stock']} boxes in {found['frames']} frames {found['pairs']} found again, {equal}")
    most, middle = (f"{found['corner' + end]:.1e} px and {found['score' + end]:.1e}" for end in ("", "_median"))
    print(f"  apart at most {most}, half of them at most {middle}")
    others = f"others took {max(record['others']):.0%} of the machine at most"
    turns = f"{plural(record['rounds'], 'pair')} of {plural(record['turn'], 'image')}"
    print(f"  {turns}, {others}; {record['disturbed']} more were disturbed")


def show_table(records: Sequence[dict[str, object]]) -> None:
    """Print one line of Markdown for each record."""
    print("| model | stock | ours | speed-up | GFLOP | of the peak | memory | boxes found again | largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for record in records:
        both, found, gflop = (record["stock"], record["ours"]), record["detections"], round(record["gflop"])
        speeds = " | ".join(f"{cost['images_per_second']:.3g} images/s" for cost in both)
        share = f"{record['share_of_peak']['ours']:.0%}" if "share_of_peak" in record else ""
        memory = " → ".join(f"{cost['peak_mib']:,}" for cost in both)
        print(
            f"| `{record['model']}` | {speeds} | {record['ratio']:.2f} | {gflop} | {share} | {memory} MiB "
            f"| {found['pairs']} of {found['stock']} | {found['corner']:.1e} px, {found['score']:.1e} |"
        )


def plural(number: int, name: str) -> str:
    """Write a number of things."""
    return f"{number} {name}{'' if number == 1 else 's'}"


def keep(record: dict[str, object], folder: Path) -> None:
    """Add a record to the results."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = str(record["time"]).replace(":", "").replace("-", "")
    kind = str(record["device"]).partition(":")[0]
    file = folder / f"predict-{kind}-{record['precision']}-{record['model']}-{stamp}.json"
    file.write_text(json.dumps(record, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--images", help="frames to use; default: synthetic ones")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="as `bdd100k-zoo predict` takes it")
    parser.add_argument("--batch-size", type=int, default=1, help="ours; stock takes image by image")
    parser.add_argument("--turn", type=int, help="images in a turn, a multiple of the batch size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stock-tf32", action="store_true", help="let torch round stock's convolutions on a GPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    if min(given.batch_size, given.rounds) < 1 or (given.turn or given.batch_size) % given.batch_size:
        parser.error("expected at least one image and one round, and turns of whole batches")
    return given


def main() -> int:
    """Measure the models that are named; 1 where a box of stock was not found again although nothing was rounded."""
    arguments, lost, records = parsed(), 0, []
    warnings.simplefilter("ignore")  # of the libraries below, in the processes too
    try:
        models = [load_zoo()[name] for name in arguments.models]
        with tempfile.TemporaryDirectory() as folder:
            if not arguments.images:
                write_sample_frames(Path(folder, "frames"), DRAWN)
            for model in models:
                record = measure(model, arguments, Path(folder))
                show(record)
                keep(record, arguments.results)
                records.append(record)
                exact = record["precision"] == "fp32" and not arguments.stock_tf32
                lost += exact * (record["detections"]["stock"] - record["detections"]["pairs"])
        show_table(records)
    except ZooError as error:
        sys.exit(f"error: {error}")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
