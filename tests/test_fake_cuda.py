"""The fake GPU runs models and counts what they ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from fake_cuda import CUDA, Counts, fake_cuda, run_backward
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


def counts_of(function: Callable[[Any], object], model: nn.Module | None = None) -> Counts:
    """Count what a function does with a model on the fake GPU."""
    with fake_cuda(found=3) as cuda:
        model = (model or nn.Identity()).to(CUDA)
        return cuda.count(model, lambda: function(model))


def test_operators_start_kernels_and_views_do_not() -> None:
    counts = counts_of(lambda _: (torch.ones(4, 4, device=CUDA).t().reshape(2, 8) * 2)[:1])
    assert counts.launches == 3  # ones, the copy by reshape, the product
    assert counts.summary() | {"launches": 0} == dict.fromkeys(counts.summary(), 0)


def test_copies_are_told_apart() -> None:
    def copy(_: object) -> None:
        pixels = torch.zeros(3)
        pixels.to(CUDA, non_blocking=True)
        torch.ones(3, device=CUDA) * pixels.to(CUDA)
        torch.ones(3, device=CUDA).new_tensor([1.0, 2.0])
        assert torch.ones(3, device=CUDA).cpu().tolist() == [0, 0, 0]

    counts = counts_of(copy)
    assert (counts.blocking_copies.total(), counts.other_copies.total(), counts.copies_back.total()) == (2, 1, 1)
    assert all(place.startswith("test_fake_cuda.py:") for place in counts.blocking_copies)


def test_what_waits_for_values_is_found() -> None:
    def wait(_: object) -> None:
        values = torch.ones(5, device=CUDA)
        assert values.sum().item() == 1
        assert (values > 0).all()
        assert not values.isnan().any()
        assert values[values > 0].shape == (3,)
        assert (values > 0).nonzero().shape == (3, 1)
        values[values > 0] = torch.zeros(3, device=CUDA)

    counts = counts_of(wait)
    assert [kind.partition(" @ ")[0] for kind in counts.syncs.elements()] == ["item"] * 3 + ["mask", "nonzero", "mask"]


def test_an_operator_that_mixes_devices_fails_as_on_a_gpu() -> None:
    assert not counts_of(lambda _: torch.ones(3, device=CUDA) + torch.tensor(1.0)).mixed
    with pytest.raises(RuntimeError, match=r"two different devices|same device"):
        counts_of(lambda _: torch.ones(3, device=CUDA) + torch.ones(3))
    counts = counts_of(lambda _: torch.ones(3, device=CUDA)[torch.tensor([0, 1])])
    assert counts.blocking_copies.total() == 1  # torch copies indices by itself


def test_autocast_casts_weights_and_layouts_are_those_of_cudnn() -> None:
    def layers() -> nn.Module:
        return nn.Sequential(nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3, bias=False))

    def run(given: Any) -> None:
        features = torch.ones(1, 8, 9, 9, device=CUDA).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.float16), torch.no_grad():
            given(features)

    counts = counts_of(run, layers().to(memory_format=torch.channels_last))
    assert counts.weight_casts.total() == 3
    assert dict(counts.layouts) == {"channels_last": 1, "nchw": 1}  # torch's group normalisation returns NCHW
    half = counts_of(run, layers().half())
    assert half.weight_casts.total() == 2  # those of the normalisation, which autocast computes in float32


@torch.library.custom_op("bdd100k_zoo_tests::cube", mutates_args=())
def cube(values: Tensor) -> Tensor:
    return values * values * values


def test_custom_operators_are_counted_inside() -> None:
    assert counts_of(lambda _: cube(torch.empty(3, device=CUDA))).launches == 2


def test_operators_whose_kernels_cannot_be_counted_are_refused() -> None:
    library = torch.library.Library("bdd100k_zoo_tests", "FRAGMENT")
    library.define("opaque(Tensor values) -> Tensor")
    library.impl("opaque", lambda values: values * values, "CompositeExplicitAutograd")
    with pytest.raises(AssertionError, match=r"opaque.* cannot be counted"):
        counts_of(lambda _: torch.ops.bdd100k_zoo_tests.opaque(torch.empty(3, device=CUDA)))


def test_a_backward_pass_is_counted() -> None:
    def train(model: Any) -> None:
        loss = (model(torch.ones(2, 8, device=CUDA)).relu() ** 2).sum()
        run_backward(loss)
        assert [parameter.grad.shape for parameter in model.parameters()] == [(4, 8), (4,)]

    assert counts_of(train, nn.Linear(8, 4)).launches > 6
