"""Scenes → a folder laid out as BDD100K is: ``images/100k/SPLIT/NAME.jpg`` and ``labels/det_20/det_SPLIT.json``."""

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
from bdd100k_zoo.demo.scenes import draw_scene, frame_name
from bdd100k_zoo.errors import FilesExistError
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from bdd100k_zoo.data.scalabel import LabelFrame
    from bdd100k_zoo.progress import Progress

SPLITS = ("train", "val")
QUALITY = 90
"""Of the JPEG files."""
FEW = 32
"""Frames that one process draws sooner than others start."""


class Written(NamedTuple):
    """What was written."""

    root: Path
    splits: dict[str, tuple[LabelFrame, ...]]
    """The labelled frames of each split that was asked for."""


def frame_seed(split: str, seed: int, index: int) -> int:
    """Give the seed of a split's frame: no two splits, seeds or frames share one.

    Args:
        split: ``train`` or ``val``.
        seed: of the whole set, from 0.
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
    """Draw scenes into a folder that ``--data`` takes. Frames of the same seed are the same wherever they are drawn.

    Args:
        root: the folder; what it holds of these very frames is written anew.
        train: number of frames to train with; with 0 that split is left alone.
        val: number of frames to validate with, likewise.
        seed: of the whole set.
        jobs: processes to draw with; None for one on each CPU.
        progress: told of each frame.

    Raises:
        OtherFilesError: the folder holds images or labels of other frames in these splits; nothing was written.
        StorageError: the folder cannot be written.
    """
    seeds = {
        split: [frame_seed(split, seed, index) for index in range(count)]
        for split, count in zip(SPLITS, (train, val), strict=True)
        if count
    }
    _refuse_others(root, seeds)
    work = [(_images(root, split), each) for split, several in seeds.items() for each in several]
    with progress.task("drawing scenes", len(work), "images") as task, _mapped(jobs, len(work)) as mapped:
        frames: dict[str, LabelFrame] = {}
        for frame in mapped(_write_frame, work):
            frames[frame.name] = frame
            task.advance(1)
    splits = {split: tuple(frames[frame_name(each)] for each in several) for split, several in seeds.items()}
    for split, labelled in splits.items():
        write_atomically(_labels(root, split), msgspec.json.encode(labelled))
    return Written(root, splits)


def _images(root: Path, split: str) -> Path:
    return root / "images" / "100k" / split


def _labels(root: Path, split: str) -> Path:
    return root / "labels" / "det_20" / f"det_{split}.json"


def _refuse_others(root: Path, seeds: dict[str, list[int]]) -> None:
    """Keep scenes out of a folder that holds something else: they would be scored with it, or in its place."""
    others: list[Path] = []
    for split, several in seeds.items():
        folder, ours = _images(root, split), {frame_name(each) for each in several}
        with storage_errors(folder):
            present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        others += [folder / name for name in present if name not in ours and not name.startswith(".")][:3]
        if _labels(root, split).exists() and not present:
            others.append(_labels(root, split))
    if others:
        raise FilesExistError(root, tuple(others))


@contextmanager
def _mapped(jobs: int | None, count: int) -> Iterator[Callable[..., Iterable[LabelFrame]]]:
    """Give a ``map`` that several processes share; new ones, as a fork of one with threads may hang."""
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
