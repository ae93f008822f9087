"""What prediction on the CPU costs, against mmdet's own way in the same run, with equal detections.

    python benchmarks/predict.py retinanet_r50_fpn_1x cascade_rcnn_r50_fpn_1x [--images DIR] [--rounds 5]

Stock is `mmdet.apis.inference_detector(model, path)`. It and ours run in a process each, with the same random weights,
and take turns image by image while the other one waits; ratios are medians of pairs. A pair during which others took
more than a tenth of the machine is measured again, up to three times as many in all; the least disturbed ones count.
What others took is part of the record, one JSON file for a model in `benchmarks/results/`.

Stages: decode, prepare (resize, pack, normalise, pad), choose (proposals and boxes: `predict_by_feat` of every head)
and network, which is the rest.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.inference.images import find_images, read_image
from bdd100k_zoo.manifest import load_zoo
from bdd100k_zoo.mmdet_backend import import_backend
from bdd100k_zoo.workflows.trial import draw_street

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGES = ("decode", "prepare", "network", "choose")
CORNER, SCORE = 1e-3, 1e-5
"""How far boxes may be apart, in pixels and in score, to be the same in the strict sense."""
NEAR = 100
"""Boxes this many times as far apart are a pair; their differences are told."""
DISTURBED = 0.1
"""Pairs during which others took more of the machine than this are measured again."""


class Taken(NamedTuple):
    """One image's detections and what they cost."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all threads."""
    stages: dict[str, float]
    rows: np.ndarray
    """[n, 6]: corners, score, class."""


class Pair(NamedTuple):
    """One image by both engines."""

    taken: dict[str, Taken]
    others: float
    """The share of the machine that other processes took meanwhile."""


# What one engine does, in a process of its own -----------------------------------------------------------------------


class Watch:
    """Seconds by stage; time inside a stage within another one counts for the inner one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.running = ["network"]
        self.since = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count a block for a stage."""
        self._turn()
        self.running.append(name)
        try:
            yield
        finally:
            self._turn()
            self.running.pop()

    def wrap(self, owner: object, attribute: str, stage: str) -> None:
        """Count every call of an object's function for a stage."""
        function = getattr(owner, attribute)

        def watched(*arguments, **named):
            with self.stage(stage):
                return function(*arguments, **named)

        setattr(owner, attribute, watched)

    def lap(self) -> dict[str, float]:
        """Give the seconds since the last lap."""
        self._turn()
        seconds, self.seconds = self.seconds, {}
        return seconds

    def _turn(self) -> None:
        now = time.perf_counter()
        self.seconds[self.running[-1]] = self.seconds.get(self.running[-1], 0) + now - self.since
        self.since = now


def stock(config_path: Path, weights: Path, watch: Watch):
    """Give mmdet's own way from a path to detections."""
    import torch
    from mmcv.transforms import Compose, LoadImageFromFile
    from mmdet.apis import inference_detector
    from mmengine.registry import DefaultScope

    from bdd100k_zoo.mmdet_backend.config import load_config
    from bdd100k_zoo.mmdet_backend.detector import build_model

    DefaultScope.get_instance("benchmark", scope_name="mmdet")
    model = build_model(load_config(config_path)).eval()
    model.load_state_dict(torch.load(weights)["state_dict"])
    watch.wrap(LoadImageFromFile, "transform", "decode")
    watch.wrap(Compose, "transform", "prepare")
    watch_model(model, watch)

    def detect(path: str) -> np.ndarray:
        found = inference_detector(model, path).pred_instances
        return rows_of(found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy())

    return detect


def ours(config_path: Path, weights: Path, watch: Watch):
    """Give this package's way from a path to detections."""
    from bdd100k_zoo.mmdet_backend import load

    found = load("ours", config_path, weights, "cpu")
    watch.wrap(found, "prepare", "prepare")
    watch_model(found._model, watch)

    def detect(path: str) -> np.ndarray:
        with watch.stage("decode"):
            pixels = read_image(Path(path))
        detections = found.detect(pixels)
        return rows_of(detections.boxes, detections.scores, detections.classes)

    return detect


ENGINES = {"stock": stock, "ours": ours}


def watch_model(model, watch: Watch) -> None:
    """Count the parts of a model."""
    watch.wrap(model.data_preprocessor, "forward", "prepare")
    for part in model.modules():
        if hasattr(part, "predict_by_feat"):
            watch.wrap(part, "predict_by_feat", "choose")


def rows_of(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Lay detections out for comparison."""
    return np.column_stack([boxes, scores, classes]).astype(np.float64)


def serve(engine: str, config_path: Path, weights: Path, pipe) -> None:
    """Take one path after the other until there is none, then tell the most memory that was held, in MiB."""
    import_backend()
    watch = Watch()
    detect = ENGINES[engine](config_path, weights, watch)
    pipe.send("ready")
    while path := pipe.recv():
        watch.lap()
        wall, cpu = time.perf_counter(), time.process_time()
        rows = detect(path)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        pipe.send(Taken(wall, cpu, watch.lap(), rows))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class Engine:
    """An engine in its process."""

    def __init__(self, name: str, config_path: Path, weights: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(name, config_path, weights, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def take(self, path: str) -> Taken:
        """Detect objects in one image, while nothing else here computes."""
        self.pipe.send(path)
        return self.pipe.recv()

    def stop(self) -> float:
        """End the process and give the most memory that it held, in MiB."""
        self.pipe.send("")
        peak = self.pipe.recv()
        self.process.join()
        return peak


# What is compared -----------------------------------------------------------------------------------------------------


def compare(expected: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Pair each expected box, best scores first, with the nearest box of its class that is left.

    Gives the numbers of boxes, of pairs and of pairs that are the same in the strict sense, and the pairs' largest
    differences.
    """
    left, corners, scores = list(range(len(found))), [0.0], [0.0]
    for row in expected[np.argsort(-expected[:, 4], kind="stable")]:
        apart = [(*distances(row, found[index]), index) for index in left if found[index, 5] == row[5]]
        if not apart:
            continue
        corner, score, index = min(apart, key=lambda one: max(one[0] / CORNER, one[1] / SCORE))
        if max(corner / CORNER, score / SCORE) <= NEAR:
            left.remove(index)
            corners.append(corner)
            scores.append(score)
    strict = sum(c <= CORNER and s <= SCORE for c, s in zip(corners[1:], scores[1:], strict=True))
    counts = {"stock": len(expected), "ours": len(found), "pairs": len(corners) - 1, "strict": strict}
    return {**counts, "corner": max(corners), "score": max(scores)}


def distances(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """How far two boxes are apart, in pixels and in score."""
    return float(np.abs(a[:4] - b[:4]).max()), float(abs(a[4] - b[4]))


# What runs here -------------------------------------------------------------------------------------------------------


def draw_frames(folder: Path, number: int) -> list[str]:
    """Draw streets that differ in their noise: without any, equal pixels would give equal scores."""
    paths = []
    for seed in range(number):
        street = np.asarray(draw_street(), np.float32)
        noisy = street + np.random.default_rng(seed).normal(0, 12, street.shape)
        paths.append(str(folder / f"street{seed}.jpg"))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def draw_weights(config_path: Path, frame: str, seed: int, path: Path) -> None:
    """Write a checkpoint of lively random weights."""
    import_backend()
    from bdd100k_zoo.mmdet_backend.config import load_config
    from bdd100k_zoo.mmdet_backend.detector import build_model
    from bdd100k_zoo.mmdet_backend.pipeline import batch_of, build_pipeline
    from bdd100k_zoo.mmdet_backend.random_weights import draw_lively_weights, save_weights

    config = load_config(config_path)
    model = build_model(config)
    draw_lively_weights(model, batch_of(build_pipeline(config), [read_image(Path(frame))]), seed)
    save_weights(model, path)


def measure(name: str, frames: list[str], arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Measure one model, and give its record."""
    config_path, weights = load_zoo()[name].config_path, folder / f"{name}.pth"
    # In a process of its own: this one must not hold memory, or threads that spin.
    drawing = multiprocessing.get_context("spawn").Process(
        target=draw_weights, args=(config_path, frames[0], arguments.seed, weights)
    )
    drawing.start()
    drawing.join()
    engines = {engine: Engine(engine, config_path, weights) for engine in ENGINES}
    weights.unlink()
    for engine in engines.values():
        engine.take(frames[0])
    pairs = take_pairs(engines, frames, arguments.rounds)
    compared = [compare(pair.taken["stock"].rows, pair.taken["ours"].rows) for pair in pairs[: len(frames)]]
    least = sorted(pairs, key=lambda pair: pair.others)[: arguments.rounds]
    rounds = [pair.taken for pair in least]
    ratios = [one["stock"].wall / one["ours"].wall for one in rounds]
    return {
        "benchmark": "predict",
        "model": name,
        "device": "cpu",
        "precision": "fp32",
        "seed": arguments.seed,
        "frames": "given" if arguments.images else "drawn",
        "rounds": arguments.rounds,
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio_cpu": round(median(one["stock"].cpu / one["ours"].cpu for one in rounds), 3),
        **{engine: costs([one[engine] for one in rounds], engines[engine].stop()) for engine in engines},
        "detections": {
            **{key: int(sum(one[key] for one in compared)) for key in ("stock", "ours", "pairs", "strict")},
            **{key: float(max(one[key] for one in compared)) for key in ("corner", "score")},
        },
        "others": [round(pair.others, 3) for pair in least],
        "disturbed": len(pairs) - len(least),
        **surroundings(),
    }


def take_pairs(engines: dict[str, Engine], frames: list[str], rounds: int) -> list[Pair]:
    """Take as many undisturbed pairs as there are rounds, or at most three times as many pairs."""
    pairs: list[Pair] = []
    while len(pairs) < 3 * rounds and sum(pair.others <= DISTURBED for pair in pairs) < rounds:
        number, since, busy = len(pairs), time.perf_counter(), busy_seconds()
        taken = {name: engines[name].take(frames[number % len(frames)]) for name in turn(number)}
        foreign = busy_seconds() - busy - sum(one.cpu for one in taken.values())
        pairs.append(Pair(taken, max(foreign, 0) / (time.perf_counter() - since) / (os.cpu_count() or 1)))
    return pairs


def busy_seconds() -> float:
    """Give the seconds that all processors have worked since the machine started; 0 where Linux does not tell."""
    try:
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def turn(number: int) -> list[str]:
    """Let each engine go first in half of the rounds."""
    return list(ENGINES) if number % 2 == 0 else list(ENGINES)[::-1]


def costs(taken: list[Taken], peak: float) -> dict[str, object]:
    """Give the medians of what images cost."""
    stages = {stage: median(one.stages.get(stage, 0) for one in taken) for stage in STAGES}
    return {
        "seconds": round(median(one.wall for one in taken), 4),
        "cpu_seconds": round(median(one.cpu for one in taken), 4),
        "stages": {stage: round(seconds, 4) for stage, seconds in stages.items()},
        "peak_mib": round(peak),
    }


def surroundings() -> dict[str, object]:
    """Say what the figures hold for."""
    import_backend()
    import torch

    from bdd100k_zoo.mmdet_backend.devices import device_name
    from bdd100k_zoo.mmdet_backend.versions import versions

    return {
        "commit": git("rev-parse", "--short", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--", "bdd100k_zoo", "benchmarks/predict.py")),
        "machine": {
            "processor": device_name(torch.device("cpu")),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "platform": platform.platform(),
            "libc": " ".join(platform.libc_ver()),
        },
        "versions": versions(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def git(*arguments: str) -> str:
    """Ask git about this checkout; nothing where there is none."""
    here = Path(__file__).parents[1]
    done = subprocess.run(["git", "-C", str(here), *arguments], check=False, capture_output=True, text=True)
    return done.stdout.strip()


def show(record: dict[str, object]) -> None:
    """Print a record."""
    found = record["detections"]
    print(f"{record['model']}: {record['ratio']:.2f} times as fast ({record['ratio_cpu']:.2f} by CPU time)")
    for engine in ENGINES:
        cost = record[engine]
        shares = "  ".join(f"{stage} {seconds / cost['seconds']:.1%}" for stage, seconds in cost["stages"].items())
        print(f"  {engine:<6}{cost['seconds']:7.3f} s  {cost['peak_mib']:5d} MiB   {shares}")
    equal = f"{found['strict']} within {CORNER} px and {SCORE} in score"
    most = f"at most {found['corner']:.1e} px and {found['score']:.1e} apart"
    print(f"  of {found['stock']} boxes {found['pairs']} found again, {most}; {equal}")
    others = f"others took {max(record['others']):.0%} of the machine at most"
    print(f"  {record['rounds']} pairs, {others}; {record['disturbed']} more were disturbed")


def keep(record: dict[str, object], folder: Path) -> None:
    """Add a record to the results."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = str(record["time"]).replace(":", "").replace("-", "")
    file = folder / f"predict-{record['device']}-{record['model']}-{stamp}.json"
    file.write_text(json.dumps(record, indent=1) + "\n")


def main() -> int:
    """Measure the models that are named; 1 where a box of stock was not found again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--images", help="frames to take; drawn ones where not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            given = [str(frame.path) for frame in find_images([arguments.images])] if arguments.images else []
        except ZooError as error:
            parser.error(str(error))
        frames = given or draw_frames(Path(folder), 4)
        for name in arguments.models:
            record = measure(name, frames, arguments, Path(folder))
            show(record)
            keep(record, arguments.results)
            lost += record["detections"]["stock"] - record["detections"]["pairs"]
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
