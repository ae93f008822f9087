"""The results of a batch are split by image."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bdd100k_zoo.backends.mmdet3.detector import split_detections


def sample(number: int, seed: int, dtype: torch.dtype = torch.float32) -> Any:
    chance = torch.Generator().manual_seed(seed)
    corners = torch.rand(number, 4, generator=chance).cumsum(1) * 300
    scores, labels = torch.rand(number, generator=chance), torch.randint(0, 10, (number,), generator=chance)
    return SimpleNamespace(
        pred_instances=SimpleNamespace(bboxes=corners.to(dtype), scores=scores.to(dtype), labels=labels)
    )


@pytest.mark.parametrize("numbers", [(3,), (0,), (2, 0, 5), (0, 0), (0, 4), (4, 0), (100, 1, 100)])
def test_each_image_gets_its_own_to_the_bit(numbers: tuple[int, ...]) -> None:
    samples = [sample(number, seed) for seed, number in enumerate(numbers)]
    found = split_detections(samples)
    assert [len(each) for each in found] == list(numbers)
    for one, given in zip(found, samples, strict=True):
        expected = given.pred_instances
        assert np.array_equal(one.boxes, expected.bboxes.numpy())
        assert np.array_equal(one.scores, expected.scores.numpy())
        assert np.array_equal(one.classes, expected.labels.numpy())
        assert (one.boxes.dtype, one.scores.dtype, one.classes.dtype) == (np.float32, np.float32, np.int64)


def test_an_image_keeps_nothing_of_its_neighbours_in_memory() -> None:
    one, other = split_detections([sample(2, 0), sample(90, 1)])
    arrays = (one.boxes, one.scores, one.classes, other.boxes, other.scores, other.classes)
    assert all(array.base is None and array.flags.c_contiguous for array in arrays)


def test_other_floats_become_float32() -> None:
    (found,) = split_detections([sample(3, 0, torch.float64)])
    assert found.boxes.dtype == found.scores.dtype == np.float32
