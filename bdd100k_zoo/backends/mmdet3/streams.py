"""Two batches under way on a GPU: pixels, networks and boxes of different batches in streams of their own.

A stream computes in order, and streams run side by side. Copies of pixels have one, so that they do not wait for the
network of the batch before. Networks (backbone and neck) use the caller's stream. Heads have one with a high priority,
because the host waits at least once while they select boxes: it then waits for them only, and the GPU computes the
network of the next batch in the time that they leave.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn


class OneStream:
    """The streams of a device that computes everything in order, as a CPU does."""

    @contextmanager
    def copying(self) -> Iterator[list[Tensor]]:
        """Copy pixels inside the block, beside what the device computes.

        Yields:
            A list to which the block adds the copies. What is queued after the block waits for them.
        """
        yield []

    def mark(self, features: Sequence[Tensor]) -> Any:  # noqa: ARG002
        """Return the moment at which the network that was queued last is done; ``features`` are its results."""
        return None

    @contextmanager
    def selecting(self, ready: Any) -> Iterator[None]:  # noqa: ARG002
        """Compute heads and boxes inside the block, after ``ready``, beside the networks of later batches."""
        yield


class CudaStreams(OneStream):
    """The streams of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._heads: torch.cuda.Stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    @contextmanager
    def copying(self) -> Iterator[list[Tensor]]:
        """See ``OneStream``."""
        copies: list[Tensor] = []
        with torch.cuda.stream(self._copies):
            yield copies
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._copies)
        for each in copies:  # else their memory could be used again as soon as the host lets go of them
            each.record_stream(current)

    def mark(self, features: Sequence[Tensor]) -> torch.cuda.Event:
        """See ``OneStream``."""
        for each in features:
            each.record_stream(self._heads)
        event: torch.cuda.Event = torch.cuda.current_stream(self._device).record_event()
        return event

    @contextmanager
    def selecting(self, ready: torch.cuda.Event) -> Iterator[None]:
        """See ``OneStream``."""
        self._heads.wait_event(ready)
        with torch.cuda.stream(self._heads):
            yield


class StartedBatch(NamedTuple):
    """A batch whose network is queued."""

    features: tuple[Tensor, ...]
    """By level: [images, channels, height, width]."""
    data_samples: list[Any]
    streams: OneStream
    ready: Any
    """When the features are computed; see ``OneStream.mark``."""


def streams_for(device: torch.device) -> OneStream:
    """Return the streams of a device; one where torch has no CUDA, as for the fake device of tests."""
    return CudaStreams(device) if device.type == "cuda" and torch.cuda.is_available() else OneStream()


def split_after_features(model: nn.Module) -> bool:
    """Let a detector's ``predict`` take features instead of pixels, and return whether it can.

    Only the ``predict`` of mmdet's one-stage and two-stage detectors can: it reads pixels by ``extract_feat`` alone.
    """
    detector: Any = model
    kinds = (SingleStageDetector.predict, TwoStageDetector.predict)
    if getattr(type(model), "predict", None) not in kinds:
        return False
    # A model that refers to itself would stay in the device's memory until a garbage collection.
    extract, itself = type(detector).extract_feat, weakref.ref(detector)
    detector.extract_feat = lambda inputs: inputs if isinstance(inputs, tuple) else extract(itself(), inputs)
    return True
