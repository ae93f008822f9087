"""The steps of `gpu_session.py` that are not timed: equal bytes, lack of memory, and training with a kill."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_session import Session

LIMITS = (64, 128, 256, 512, 1024, 1536, 2048, 4096)
"""MiB of the device's memory that are left, for the texts of errors."""
TAKEN = 0.95
"""The share of the free memory that another program takes."""
SECONDS = 120
"""For each part of a training."""


def detect(model: str, taken: bool, session: Session) -> dict[str, Any]:
    """Detect objects in the frames in fp32, in this new process, and return a digest of all boxes.

    ``taken`` leaves 1 - TAKEN of the device's memory to the detector.
    """
    from bdd100k_zoo.benchmark.loops import run_pipeline, sum_chunk_times

    setup = session.setup(model)
    detector = setup.load()
    held = _take_memory(None if session.dry else 1 - TAKEN) if taken else None
    frames = [setup.frames[place % len(setup.frames)] for place in range(session.images)]
    done = run_pipeline(detector, frames, session.batch)
    digest, boxes = hashlib.sha256(), 0
    for frame in (frame for chunk in done for frame in chunk.frames):
        for part in (frame.detections.boxes, frame.detections.scores, frame.detections.classes):
            digest.update(part.tobytes())
        boxes += len(frame.detections)
    del held
    split = sum(sum_chunk_times(done)[1].values())
    return {"model": model, "taken": taken, "sha256": digest.hexdigest(), "boxes": boxes, "halved": split}


def _take_memory(share: float | None = None, left_mib: int | None = None) -> Any:
    """Take the device's free memory but a share or some MiB, and return what holds it; nothing without a device."""
    import torch

    if not torch.cuda.is_available() or share is left_mib is None:
        return None
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    keep = int(free * share) if share is not None else (left_mib or 0) * 2**20
    return torch.empty(max(free - keep, 0), dtype=torch.uint8, device="cuda")


def lack_memory(model: str, session: Session) -> dict[str, Any]:
    """Run batches with little memory left, and return what errors say, and whether they were recognised."""
    from bdd100k_zoo.benchmark.loops import run_pipeline, sum_chunk_times
    from bdd100k_zoo.data.image_files import read_image

    setup = session.setup(model)
    detector: Any = setup.load()
    frames = [setup.frames[place % len(setup.frames)] for place in range(2 * session.batch)]
    images = [detector.prepare(read_image(frame.path)) for frame in frames]
    tries = []
    for limit in LIMITS[:1] if session.dry else LIMITS:
        held = _take_memory(left_mib=None if session.dry else limit)
        found: dict[str, Any] = {"left_mib": limit, "one_batch": _outcome(lambda: detector.detect_prepared(images))}
        done: list[Any] = []
        found["run"] = _outcome(lambda done=done: done.extend(run_pipeline(detector, frames, session.batch)))
        found["halved"] = {str(size): times for size, times in sum_chunk_times(done)[1].items()}
        tries.append(found)
        del held
    return {"model": model, "tries": tries}


def _outcome(work: Any) -> dict[str, Any]:
    """Run something, and describe the error that it raised; empty if it raised none."""
    try:
        work()
    except Exception as error:  # noqa: BLE001  (any is to be reported)
        cause = error.__cause__ or error
        return {
            "error": type(error).__name__,
            "out_of_memory": getattr(error, "out_of_memory", None),
            "cause": f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}",
        }
    return {}


def train(model: str, session: Session) -> dict[str, Any]:
    """Train on the frames of the demo in fp16, kill the process after an epoch, and resume; return the steps."""
    from bdd100k_zoo.demo_run.steps import DATA

    folder = session.work / f"train-{model}"
    shutil.rmtree(folder, ignore_errors=True)
    words = [sys.executable, "-m", "bdd100k_zoo", "train", model, "--data", str(DATA), "--out", str(folder)]
    words += ["--device", session.device, "--from-scratch", "--epochs", "2", *session.training]
    log, limit = folder.with_suffix(".log"), SECONDS * (5 if session.dry else 1)
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        killed = subprocess.Popen(words, stdout=output, stderr=output)
        while killed.poll() is None and not list(folder.glob("checkpoint-*.pth")):
            if time.monotonic() - start > limit:
                break
            time.sleep(0.01)
        done_before = killed.poll() is not None
        killed.kill()
        killed.wait()
        lines_before = len(_lines(folder))
        status = subprocess.run(words, stdout=output, stderr=output, timeout=limit, check=False).returncode
    print(log.read_text(encoding="utf-8"))
    steps = [line for line in _lines(folder) if "step" in line]
    losses = [line["loss"] for line in steps if "loss" in line]
    return {
        "model": model,
        "status": status,
        "killed": not done_before,
        "lines_before_the_kill": lines_before,
        "steps": len({line["step"] for line in steps}),
        "losses": [losses[0], losses[-1]] if losses else [],
        "finite": bool(losses) and all(map(math.isfinite, losses)),
        "complete": (folder / "weights.pth").exists(),
        "seconds": round(time.monotonic() - start, 1),
        "cores": os.cpu_count(),
    }


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    complete = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in complete.splitlines()]
