"""Write scenes as a dataset: ``images/100k/SPLIT/NAME.jpg`` and ``labels/det_20/det_SPLIT.json``; count its boxes."""

from __future__ import annotations

import io
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from PIL import Image

from bdd100k_zoo.child_processes import exit_with_parent
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import StorageError, list_first
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.progress import NO_PROGRESS
from tools.scenes.scene import draw_scene, frame_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from bdd100k_zoo.data.scalabel import Box2D, LabelFrame
    from bdd100k_zoo.progress import Progress

SPLITS = ("train", "val")
QUALITY = 90
"""Quality of the JPEG files."""
FEW = 32
"""Frames that one process draws in the time that others take to start."""


class Written(NamedTuple):
    """What was written."""

    root: Path
    splits: dict[str, tuple[LabelFrame, ...]]
    """The labelled frames of each requested split."""


def frame_seed(split: str, seed: int, index: int) -> int:
    """Return the seed of a split's frame: no two splits, seeds or frames share one.

    Args:
        split: ``train`` or ``val``.
        seed: random seed of the dataset, from 0.
        index: of the frame in its split, 0 to 2^32 - 1.
    """
    return (seed * len(SPLITS) + SPLITS.index(split)) << 32 | index


def write_scenes(
    root: Path,
    *,
    train: int = 0,
    val: int = 0,
    seed: int = 0,
    jobs: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Written:
    """Write scenes as a dataset root that ``--data`` takes. A seed gives the same frames on every machine.

    Args:
        root: the folder; files of the same frames are replaced.
        train: number of frames to train with; with 0 the split is not written.
        val: number of frames to validate with; with 0 the split is not written.
        seed: random seed of the dataset.
        jobs: number of processes; None for one per CPU.
        progress: reports each frame.

    Raises:
        StorageError: the folder cannot be written, or holds images or labels of other frames in these splits.
    """
    seeds = {
        split: [frame_seed(split, seed, index) for index in range(count)]
        for split, count in zip(SPLITS, (train, val), strict=True)
        if count
    }
    _refuse_others(root, seeds)
    work = [(images_folder(root, split), each) for split, several in seeds.items() for each in several]
    with progress.task("drawing scenes", len(work), "images") as task, _mapped(jobs, len(work)) as mapped:
        frames: dict[str, LabelFrame] = {}
        for frame in mapped(_write_frame, work):
            frames[frame.name] = frame
            task.advance(1)
    splits = {split: tuple(frames[frame_name(each)] for each in several) for split, several in seeds.items()}
    for split, labelled in splits.items():
        write_atomically(labels_file(root, split), encode_labels(labelled))
    return Written(root, splits)


def encode_labels(frames: Iterable[LabelFrame]) -> bytes:
    """Encode the labels of frames; the order of the keys is that of the files that the package ships."""
    return msgspec.json.encode(
        [
            {"name": frame.name, "labels": frame.labels, "attributes": frame.attributes, "size": frame.size}
            for frame in frames
        ]
    )


def images_folder(root: Path, split: str) -> Path:
    """Return the folder of a split's images."""
    return root / "images" / "100k" / split


def labels_file(root: Path, split: str) -> Path:
    """Return the label file of a split."""
    return root / "labels" / "det_20" / f"det_{split}.json"


def _refuse_others(root: Path, seeds: dict[str, list[int]]) -> None:
    """Raise StorageError if a folder holds other images or labels: they would be scored together with the scenes."""
    others: list[Path] = []
    for split, several in seeds.items():
        folder, ours = images_folder(root, split), {frame_name(each) for each in several}
        with storage_errors(folder):
            present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        others += [folder / name for name in present if name not in ours and not name.startswith(".")][:3]
        if labels_file(root, split).exists() and not present:
            others.append(labels_file(root, split))
    if others:
        raise StorageError(
            root,
            f"holds other files, which would be mixed with the scenes; nothing was written:{list_first(others)}",
            "move them away, or choose another folder",
        )


@contextmanager
def _mapped(jobs: int | None, count: int) -> Iterator[Callable[..., Iterable[LabelFrame]]]:
    """Yield a ``map`` over several processes. They are spawned: a fork of a process with threads may hang."""
    workers = min(jobs or os.cpu_count() or 1, max(count // (FEW // 2), 1))
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=exit_with_parent) as pool:
        yield lambda function, work: pool.map(function, work, chunksize=8)


def _write_frame(work: tuple[Path, int]) -> LabelFrame:
    folder, seed = work
    scene = draw_scene(seed)
    content = io.BytesIO()
    Image.fromarray(scene.pixels).save(content, "JPEG", quality=QUALITY, subsampling="4:2:0")
    write_atomically(folder / scene.labels.name, content.getvalue())
    return scene.labels


BOUNDS = (8, 16, 32, 64, 96, 192)
"""Borders of the histogram's bins: the side of a square of a box's area, in pixels; 32 and 96 are COCO's."""


class Census(NamedTuple):
    """Counts of boxes."""

    frames: int
    by_class: dict[str, tuple[int, ...]]
    """For each class, the boxes in each bin of sizes: up to each of ``BOUNDS``, and above."""

    @property
    def total(self) -> int:
        """All boxes."""
        return sum(map(sum, self.by_class.values()))

    @property
    def small(self) -> float:
        """The share of boxes that COCO calls small, 0 to 1."""
        below = BOUNDS.index(32) + 1
        return sum(sum(counts[:below]) for counts in self.by_class.values()) / max(self.total, 1)


def count(frames: Iterable[LabelFrame]) -> Census:
    """Count the boxes of frames by class and size."""
    counts = {name: [0] * (len(BOUNDS) + 1) for name in CLASSES}
    number = 0
    for frame in frames:
        number += 1
        for label in frame.labels:
            if label.box2d is not None and label.category in counts:
                counts[label.category][_bin(label.box2d)] += 1
    return Census(number, {name: tuple(several) for name, several in counts.items()})


def area(box: Box2D) -> float:
    """Return a box's area in pixels, as the evaluation counts it: x2 and y2 belong to the box."""
    return (box.x2 - box.x1 + 1) * (box.y2 - box.y1 + 1)


def _bin(box: Box2D) -> int:
    return sum(area(box) >= bound * bound for bound in BOUNDS)


def report(frames: Sequence[LabelFrame]) -> str:
    """Return a table of the boxes of frames, by class and size."""
    census = count(frames)
    heads = [f"<{bound}" for bound in BOUNDS] + [f">={BOUNDS[-1]}"]
    lines = [f"{'side in px':14}" + "".join(f"{head:>7}" for head in heads) + f"{'all':>8}{'share':>8}"]
    rows = {**census.by_class, "all": tuple(map(sum, zip(*census.by_class.values(), strict=True)))}
    for name, counts in rows.items():
        share = 100 * sum(counts) / max(census.total, 1)
        lines.append(f"{name:14}" + "".join(f"{each:7,}" for each in counts) + f"{sum(counts):8,}{share:7.1f}%")
    per_frame = census.total / max(census.frames, 1)
    lines.append(
        f"{census.frames:,} frames, {per_frame:.1f} boxes a frame, {100 * census.small:.1f}% of them below 32 x 32"
    )
    return "\n".join(lines) + "\n"
