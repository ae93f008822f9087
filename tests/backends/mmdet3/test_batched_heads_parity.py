"""Heads that select the boxes of a batch at once get the classic boxes. What they ask of a GPU: test_cuda_counts.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from reference import differences_from_frozen

from bdd100k_zoo.backends.mmdet3 import detector as detectors
from bdd100k_zoo.backends.mmdet3.batched_heads import batch_heads
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name",
    [
        "retinanet_r50_fpn_1x",
        *[
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "faster_rcnn_r50_fpn_1x",
                "cascade_rcnn_r50_fpn_1x",
                "fcos_tricks_r50_fpn_1x",
                "atss_r50_fpn_1x",
            )
        ],
    ],
)
def test_batched_heads_get_the_classic_boxes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batched = []

    def speed_up(self: detectors.MmdetDetector, *_: object) -> bool:
        batched.append(batch_heads(self._model))
        return True

    monkeypatch.setattr(detectors.MmdetDetector, "_speed_up", speed_up)
    assert differences_from_frozen(load_zoo()[name], "mmdet3", tmp_path) == []
    assert batched == [True]
