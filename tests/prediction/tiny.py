"""A real network that takes a few milliseconds, and the share of a run that a process of its own does with it."""

from __future__ import annotations

import os
import signal
import sys
import time
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import msgspec
import numpy as np
import torch
from records import PROCESS, REQUEST, WEIGHTS

from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import DeviceError
from bdd100k_zoo.prediction.journal import JournalHeader, Journals
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, ProcessRank
from bdd100k_zoo.prediction.run import RunRequest, check_same_run, compared, frames_digest
from bdd100k_zoo.prediction.run_folder import (
    RunFolderState,
    clean_run_folder,
    read_run_digest,
    read_run_folder,
    remove_journals,
    resolve_input,
    run_folder_lock,
)
from bdd100k_zoo.prediction.sharding import RunShard, chunk_size, compute_shard, finish_run, report_saved_frames
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.progress import Progress

BOXES = 6


class Image(NamedTuple):
    shape: tuple[int, ...]
    pixels: torch.Tensor


class TinyDetector:
    """Two seeded convolutions; every box depends on every pixel."""

    batch_size = 2
    batches_in_flight = 1

    def __init__(self, pause: float = 0.0, most: int = 100, seed: int = 7) -> None:
        """Take ``pause`` seconds more for a batch; have no memory for more than ``most`` images."""
        self.pause, self.most = pause, most
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 5, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, BOXES * 6, 3), torch.nn.Sigmoid()
            ).eval()

    @property
    def facts(self) -> DetectorFacts:
        versions = {"python": "3", "torch": str(torch.__version__)}
        return DetectorFacts(
            backend="tiny", device="cpu", device_name="", precision="fp32", ops="none", versions=versions, threads=1
        )

    def detect(self, image: np.ndarray) -> Detections:
        return self.detect_prepared([self.prepare(image)])[0]

    def start_reader(self) -> None:
        pass

    def prepare(self, image: np.ndarray) -> Image:
        return Image(image.shape[:2], torch.from_numpy(image).permute(2, 0, 1))

    def detect_prepared(self, batch: Sequence[Image]) -> list[Detections]:
        if len(batch) > self.most:
            raise DeviceError("cpu", "out of memory", out_of_memory=True)
        time.sleep(self.pause)
        with torch.inference_mode():
            pixels = torch.stack([image.pixels for image in batch]).float() / 255
            found = self.layers(pixels).mean((2, 3)).reshape(len(batch), BOXES, 6).numpy()
        return [_detections(rows, image.shape) for rows, image in zip(found, batch, strict=True)]


def _detections(rows: np.ndarray, shape: tuple[int, ...]) -> Detections:
    height, width = shape
    boxes = rows[:, :4] * np.array([width / 2, height / 2, width, height], np.float32)
    return Detections(boxes.astype(np.float32), rows[:, 4], (rows[:, 5] * 1e4).astype(np.int64) % 10)


def draw(folder: Path, number: int) -> None:
    """Draw frames of two sizes, and between them some that are no images."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(number)
    for place in range(number):
        path = folder / f"{place:04}.png"
        if place % 11 == 10:
            path.write_bytes(b"no image")
        else:
            size = (24, 32, 3) if place % 3 else (32, 24, 3)
            cv2.imwrite(str(path), random.integers(0, 255, size, np.uint8))


def request_for(frames: Sequence[Any], folder: Path, **changes: Any) -> RunRequest:
    facts: dict[str, Any] = {
        "model": "tiny",
        "cfg_options": {},
        "image_roots": (resolve_input(str(folder)),),
        "frames": len(frames),
        "frames_sha256": frames_digest((frame.name, frame.stamp) for frame in frames),
        "weights_sha256": "a" * 64,
    }
    return msgspec.structs.replace(REQUEST, **(facts | changes))


def resume_run(
    out: Path,
    images: Path,
    detector: TinyDetector,
    *,
    place: ProcessRank = SINGLE_PROCESS,
    batch_size: int = 2,
    progress: Progress = NO_PROGRESS,
    fresh: bool = False,
    **changes: Any,
) -> RunRecord | None:
    """Do what ``predict`` does between the detector's loading and the end."""
    frames = find_images([str(images)]).frames
    request = request_for(frames, images, **changes)
    facts = msgspec.structs.replace(detector.facts, batch_size=batch_size)
    with run_folder_lock(out, place.rank):
        existing = (
            RunFolderState(Journals(), replaces=read_run_digest(out))
            if fresh
            else read_run_folder(out, compared(request))
        )
        header = JournalHeader(
            request=request,
            facts=facts,
            weights=WEIGHTS,
            chunk_size=chunk_size(batch_size),
            replaces=existing.replaces,
        )
        if existing.finished:
            clean_run_folder(out)
            return existing.finished
        shard = RunShard(folder=out, frames=frames, place=place, workers=2)
        if journals := existing.journals.header:
            check_same_run(out, journals.compared(), header.compared())
            if not shard.pending_chunks(header, existing.journals):
                return finish_run(shard, existing.journals, progress)
        if fresh:
            remove_journals(out)
        with report_saved_frames(shard, progress, fresh=fresh):
            return compute_shard(detector, shard, header, PROCESS, existing.journals, progress)


def child(out: Path, images: Path, rank: int, world: int, pause: float) -> None:
    """Be one process of a run."""
    torch.set_num_threads(1)
    resume_run(out, images, TinyDetector(pause), place=ProcessRank(rank, world, rank))


def dying_child(out: Path, images: Path, step: int, changes: dict[str, Any]) -> None:
    """Be the one process of a run, and be killed just before the given step in its folder."""
    torch.set_num_threads(1)
    steps = count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.truncate", "os.mkdir"):
            return
        about = arguments[0] if isinstance(arguments[0], (str, os.PathLike)) else ""
        if os.fspath(about).startswith(str(out)) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    resume_run(out, images, **changes)
