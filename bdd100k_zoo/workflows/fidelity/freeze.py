"""What one stack finds in drawn images with drawn weights, written down."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.benchmark.bench import read_checkout_commit
from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.evaluation.frozen import (
    PARITY_FILE,
    ParityImage,
    ParityResults,
    Stack,
    read_parity_results,
    to_box_rows,
    write_box_rows,
    write_parity_results,
)
from bdd100k_zoo.workflows.fidelity.weights import DrawnWeights, architecture_of, outputs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bdd100k_zoo.backends.protocol import Detector, DetectorFacts
    from bdd100k_zoo.registry import Model, Zoo
    from bdd100k_zoo.workflows.fidelity.images import Pixels


def architectures(zoo: Zoo) -> list[Model]:
    """Give the first model of every architecture: a family's head on a backbone."""
    return list({architecture_of(model): model for model in reversed(zoo.models)}.values())[::-1]


def freeze(folder: Path, model: Model, images: Mapping[str, Pixels], backend: str, *, as_built: bool = False) -> None:
    """Let a backend find boxes with one model; a folder of the same stack and images gets further models.

    Args:
        folder: where the results are written.
        model: of the zoo.
        images: uint8 [height, width, 3], BGR, by name.
        backend: ``mmdet3``, ``mmdet2`` or ``auto``.
        as_built: compute by the layers that mmdet builds, without what makes them faster.

    Raises:
        RecordError: the folder holds results of another stack, or of other images.
        ZooError: whatever else is in the way.
    """
    described = {name: _image(pixels) for name, pixels in images.items()}
    before = _held(folder, described)
    detector, digest = load_drawn(model, backend, as_built=as_built)
    stack = _stack(detector.facts)
    if before and before.stack != stack:
        raise RecordError(folder / PARITY_FILE, "is of another stack: expected a folder of its own")
    write_box_rows(folder, model.name, {name: to_box_rows(detector.detect(image)) for name, image in images.items()})
    record = ParityResults(
        stack=stack,
        images=described,
        weights={**(before.weights if before else {}), model.name: digest},
        commit=read_checkout_commit(),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    write_parity_results(folder, record)


def load_drawn(model: Model, backend: str, *, as_built: bool = False) -> tuple[Detector, str]:
    """Load a model with drawn weights on the CPU; give their digest, too; raises ZooError."""
    chosen, draw = select_backend(backend), DrawnWeights(outputs_of(model))
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-fidelity-") as name:
        weights = Path(name) / "weights.pth"
        chosen.save_drawn_weights(model.config_path, weights, draw)
        detector = chosen.load(model.name, model.config_path, weights, "cpu", as_built=as_built)
        return detector, draw.sha256


def _held(folder: Path, images: Mapping[str, ParityImage]) -> ParityResults | None:
    """Give what a folder holds already, of these images; None for nothing."""
    if not (folder / PARITY_FILE).exists():
        return None
    before = read_parity_results(folder)
    if before.images != images:
        raise RecordError(folder / PARITY_FILE, "is of other images: expected a folder of its own")
    return before


def _stack(facts: DetectorFacts) -> Stack:
    return Stack(
        backend=facts.backend,
        ops=facts.ops,
        optimised=bool(facts.optimised),
        processor=facts.device_name,
        threads=facts.threads,
        versions=facts.versions,
    )


def _image(pixels: Pixels) -> ParityImage:
    height, width = pixels.shape[:2]
    return ParityImage(width, height, hashlib.sha256(pixels.tobytes()).hexdigest())
