"""The steps of a batch on a GPU's streams: with whole models on the CPU, and with stand-ins for torch's streams."""

from __future__ import annotations

import gc
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from mmdet.models.detectors import SingleStageDetector
from reference import HERE
from test_detector import SMALL

from bdd100k_zoo.backends.mmdet3.streams import (
    CudaStreams,
    OneStream,
    StartedBatch,
    split_after_features,
    streams_for,
)
from bdd100k_zoo.data.image_files import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bdd100k_zoo.data.detections import Detections


class RecordedStreams(OneStream):
    """Records what is done where; the moments are numbers."""

    def __init__(self, model: Any) -> None:
        self.events: list[Any] = []
        self.copies: list[torch.Tensor] = []
        self.moments = 0
        self._watch(model.backbone, "network")
        self._watch(model.rpn_head if hasattr(model, "rpn_head") else model.bbox_head, "heads")

    def _watch(self, part: torch.nn.Module, name: str) -> None:
        part.register_forward_pre_hook(lambda *_: self.events.append(name))

    @contextmanager
    def copying(self) -> Iterator[list[torch.Tensor]]:
        self.events.append("copy")
        yield self.copies
        self.events.append("copied")

    def mark(self, features: Sequence[torch.Tensor]) -> int:
        self.features = features
        self.moments += 1
        return self.moments

    @contextmanager
    def selecting(self, ready: int) -> Iterator[None]:
        self.events.append(ready)
        yield
        self.events.append("selected")


@pytest.fixture(params=["retinanet_r50_fpn_1x", "faster_rcnn_r50_fpn_1x"])
def detector(request: pytest.FixtureRequest, load_detector: Callable[..., Any]) -> Any:
    return load_detector(request.param, SMALL)


def rows(found: Sequence[Detections]) -> list[Any]:
    return [np.column_stack((each.boxes, each.scores, each.classes)).tolist() for each in found]


def test_a_batch_is_copied_and_its_network_queued_before_the_boxes_of_the_one_before_are_selected(
    detector: Any,
) -> None:
    image = read_image(HERE / "street.png")
    batches = [[detector.prepare(each)] * 2 for each in (image, image[:, ::-1])]
    expected = [detector.detect_prepared(batch) for batch in batches]
    assert sum(map(len, expected[0])) > 0

    assert split_after_features(detector._model)
    streams = detector._streams = RecordedStreams(detector._model)
    started = [detector.start(batch) for batch in batches]
    found = [detector.finish(each) for each in started]
    network = ["copy", "copied", "network"]
    assert streams.events == [*network, *network, 1, "heads", "selected", 2, "heads", "selected"]
    assert [rows(each) for each in found] == [rows(each) for each in expected]
    assert [each.dtype for each in streams.copies] == [torch.uint8] * 4
    assert all(one is other for one, other in zip(streams.features, started[1].features, strict=True))
    assert rows(detector.detect_prepared(batches[0])) == rows(expected[0])


def test_on_the_cpu_nothing_is_started_ahead(detector: Any) -> None:
    batch = [detector.prepare(read_image(HERE / "street.png"))]
    assert detector.batches_in_flight == 1
    assert detector.start(batch) is batch


def test_a_detector_of_another_kind_is_not_split() -> None:
    class Other(torch.nn.Module):
        def predict(self, inputs: Any, data_samples: Any) -> Any: ...

    assert not split_after_features(Other())
    assert not split_after_features(torch.nn.Identity())


def test_a_split_detector_is_freed_as_soon_as_nobody_has_it() -> None:
    class Shifting(SingleStageDetector):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        def extract_feat(self, batch_inputs: Any) -> Any:
            return (batch_inputs + 1,)

    model = Shifting()
    assert split_after_features(model)
    features = model.extract_feat(torch.zeros(2))
    assert features[0].tolist() == [1, 1]
    assert model.extract_feat(features) is features
    left = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert left() is None
    finally:
        gc.enable()


# Streams


class Stream:
    """A stand-in for torch's streams and events."""

    def __init__(self, log: list[tuple[Any, ...]], name: str) -> None:
        self.log, self.name = log, name

    def wait_stream(self, other: Stream) -> None:
        self.log.append((self.name, "waits for all of", other.name))

    def record_event(self) -> str:
        return f"now of {self.name}"

    def wait_event(self, event: str) -> None:
        self.log.append((self.name, "waits for", event))


class OnDevice:
    """A stand-in for a tensor."""

    def __init__(self, log: list[tuple[Any, ...]], name: str) -> None:
        self.log, self.name = log, name

    def record_stream(self, stream: Stream) -> None:
        self.log.append((self.name, "is used by", stream.name))


def test_streams_wait_for_one_another_and_keep_the_memory_that_they_read(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[Any, ...]] = []
    current = [Stream(log, "the caller's")]

    @contextmanager
    def use(stream: Stream) -> Iterator[None]:
        current.append(stream)
        yield
        current.pop()

    names = {0: "copies", -1: "heads"}
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device, priority=0: Stream(log, names[priority]))
    monkeypatch.setattr(torch.cuda, "stream", use)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: current[-1])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    streams: Any = streams_for(torch.device("cuda", 0))
    assert isinstance(streams, CudaStreams)

    with streams.copying() as copies:
        assert current[-1].name == "copies"
        copies.append(OnDevice(log, "pixels"))
    assert log == [("the caller's", "waits for all of", "copies"), ("pixels", "is used by", "the caller's")]
    log.clear()
    ready = streams.mark([OnDevice(log, "features")])
    with streams.selecting(ready):
        assert current[-1].name == "heads"
    assert len(current) == 1
    assert log == [("features", "is used by", "heads"), ("heads", "waits for", "now of the caller's")]


def test_a_device_without_cuda_has_one_stream() -> None:
    assert type(streams_for(torch.device("cpu"))) is OneStream
    with OneStream().copying() as copies:
        copies.append(torch.zeros(1))
    with OneStream().selecting(OneStream().mark(())):
        assert StartedBatch((), [], OneStream(), None).ready is None
