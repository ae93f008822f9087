"""How long heads take on this CPU to select the boxes of a batch: all images at once, and image by image as mmdet does.

    python benchmarks/batched_heads.py [MODEL…] [--batch 4] [--repeat 20]

Features of random pixels, random weights that find boxes, one thread. Both ways run in turn. A GPU has another ratio.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from bdd100k_zoo.backends.mmdet3 import import_backend, load
from bdd100k_zoo.registry import load_zoo

import_backend()

from bdd100k_zoo.backends.mmdet3.batched_heads import batch_heads, mmdet_heads  # noqa: E402
from bdd100k_zoo.backends.mmdet3.detector import collate_batch  # noqa: E402
from bdd100k_zoo.backends.mmdet3.random_weights import save_calibrated_random_weights  # noqa: E402

MODELS = ("faster_rcnn_r50_fpn_1x", "cascade_rcnn_r50_fpn_1x", "retinanet_r50_fpn_1x", "fcos_r50_fpn_1x")


def cache_outputs(forward: Any) -> Any:
    """Return a function that returns the outputs of a box head's first call for each stage of a cascade."""
    kept: dict[Any, Any] = {}

    def recall(*arguments: Any, **named: Any) -> Any:
        stage = named.get("stage", arguments[0] if len(arguments) == 3 else None)
        if stage not in kept:
            kept[stage] = forward(*arguments, **named)
        return kept[stage]

    return recall


def measure(name: str, batch: int, repeat: int) -> tuple[float, float]:
    """Return the milliseconds of an image, after the network: with batched heads, and with mmdet's."""
    config = load_zoo()[name].config_path
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        save_calibrated_random_weights(
            config, np.random.default_rng(1).integers(0, 256, (720, 1280, 3), np.uint8), weights
        )
        detector: Any = load(name, config, weights, "cpu")
    model = detector._model
    assert batch_heads(model), name
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 720, 1280, 3), np.uint8)
    data = collate_batch([detector.prepare(each) for each in pixels], torch.device("cpu"))
    seconds: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        data = model.data_preprocessor(data, False)
        features = model.extract_feat(data["inputs"])
        model.extract_feat = lambda _: features
        head = getattr(model, "rpn_head", None) or model.bbox_head
        outputs = head(features)
        head.forward = lambda _: outputs  # what is measured is the selection, not the network
        if head is not getattr(model, "bbox_head", None):
            model.roi_head._bbox_forward = cache_outputs(model.roi_head._bbox_forward)
        for _ in range(repeat):
            ways: tuple[Any, Any] = (nullcontext(), mmdet_heads())
            for way, times in zip(ways, seconds, strict=True):
                with way:
                    start = time.perf_counter()
                    model.predict(data["inputs"], data["data_samples"])
                    times.append(time.perf_counter() - start)
    batched, own = (1000 * median(times) / batch for times in seconds)
    return batched, own


def main() -> None:
    """Print one line per model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.models:
        batched, own = measure(name, given.batch, given.repeat)
        print(f"{name}: {batched:.1f} ms an image, mmdet's heads {own:.1f} ms, ratio {batched / own:.2f}")


if __name__ == "__main__":
    main()
