"""Write the boxes that one stack finds in synthetic images with synthetic weights."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.benchmark.bench import read_checkout_commit
from bdd100k_zoo.errors import InvalidFileError
from tools.fidelity.results import (
    FROZEN,
    Frozen,
    FrozenImage,
    Stack,
    read_frozen,
    rows_of,
    write_frozen,
    write_rows,
)
from tools.fidelity.weights import SyntheticWeights, architecture_of, outputs_of, save_weights
from tools.scenes.scene import draw_scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from bdd100k_zoo.backends.protocol import BackendDetector, DetectorFacts
    from bdd100k_zoo.registry import Model, Zoo

    Pixels = npt.NDArray[np.uint8]


def architectures(zoo: Zoo) -> list[list[Model]]:
    """Return the models of a zoo by architecture: a family's head on a backbone."""
    found: dict[str, list[Model]] = {}
    for model in zoo.models:
        found.setdefault(architecture_of(model), []).append(model)
    return list(found.values())


def freeze(folder: Path, model: Model, images: Mapping[str, Pixels], backend: str, *, as_built: bool = False) -> None:
    """Write the boxes that a backend finds with one model; further models are added to the same folder.

    Args:
        folder: where the results are written.
        model: of the zoo.
        images: uint8 [height, width, 3], BGR, by name.
        backend: ``mmdet3``, ``mmdet2`` or ``auto``.
        as_built: compute with the layers that mmdet builds, without optimisation.

    Raises:
        InvalidFileError: the folder holds results of another stack, or of other images.
        ZooError: the model cannot be loaded or run, or a file cannot be written.
    """
    described = {name: _image(pixels) for name, pixels in images.items()}
    before = _read_record(folder, described)
    detector, digest = load_detector(model, backend, as_built=as_built)
    stack = _stack(detector.facts)
    if before and before.stack != stack:
        raise InvalidFileError(
            folder / FROZEN, "holds results of another stack", "write these to another folder with --out"
        )
    write_rows(folder, model.name, {name: rows_of(detector.detect(image)) for name, image in images.items()})
    record = Frozen(
        stack=stack,
        images=described,
        weights={**(before.weights if before else {}), model.name: digest},
        commit=read_checkout_commit(),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    write_frozen(folder, record)


def load_detector(model: Model, backend: str, *, as_built: bool = False) -> tuple[BackendDetector, str]:
    """Load a model with synthetic weights on the CPU, and return it with their digest; raises ZooError."""
    chosen, draw = select_backend(backend), SyntheticWeights(outputs_of(model))
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-fidelity-") as name:
        weights = Path(name) / "weights.pth"
        save_weights(chosen, model.config_path, weights, draw)
        detector = chosen.load(model.name, model.config_path, weights, "cpu", as_built=as_built)
        return detector, draw.sha256


def _read_record(folder: Path, images: Mapping[str, FrozenImage]) -> Frozen | None:
    """Return the record of a folder with results of these images; None if there is none."""
    if not (folder / FROZEN).exists():
        return None
    before = read_frozen(folder)
    if before.images != images:
        raise InvalidFileError(
            folder / FROZEN, "holds results of other images", "write these to another folder with --out"
        )
    return before


def _stack(facts: DetectorFacts) -> Stack:
    return Stack(
        backend=facts.backend,
        ops=facts.ops,
        optimised=bool(facts.optimised),
        processor=f"{facts.device_name}, {torch.backends.cpu.get_cpu_capability()}",
        threads=facts.threads,
        versions=facts.versions,
    )


def _image(pixels: Pixels) -> FrozenImage:
    height, width = pixels.shape[:2]
    return FrozenImage(width, height, hashlib.sha256(pixels.tobytes()).hexdigest())


def small_images() -> dict[str, Pixels]:
    """Return images that a detector processes quickly: narrow parts, which it enlarges to a frame's height or width.

    Returns:
        uint8 [height, width, 3], BGR, by name.
    """
    upright, lying = _street(11), _street(12)
    return {
        "upright 64x320": _part(upright, 300, 620, 560, 624),
        "lying 400x48": _part(lying, 336, 384, 430, 830),
    }


def all_images() -> dict[str, Pixels]:
    """Return the small images and others: a frame, enlarged and reduced ones, a square, a portrait, odd sizes.

    Returns:
        uint8 [height, width, 3], BGR, by name.
    """
    frame, other = _street(13), _street(14)
    return {
        **small_images(),
        "frame 1280x720": frame,
        "reduced 640x360": np.ascontiguousarray(other[::2, ::2]),
        "enlarged 1920x1080": np.ascontiguousarray(frame.repeat(3, 0)[::2].repeat(3, 1)[:, ::2]),
        "square 720x720": _part(other, 0, 720, 280, 1000),
        "portrait 405x720": _part(frame, 0, 720, 437, 842),
        "odd 311x237": _part(other, 301, 538, 403, 714),
    }


def _street(seed: int) -> Pixels:
    return np.ascontiguousarray(draw_scene(seed).pixels[..., ::-1])


def _part(image: Pixels, top: int, bottom: int, left: int, right: int) -> Pixels:
    return np.ascontiguousarray(image[top:bottom, left:right])
