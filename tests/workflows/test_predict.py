"""The Python interface, and what happens when a run is cut short."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace

import numpy as np
import pytest

import bdd100k_zoo
from bdd100k_zoo.artifacts.store import Store
from bdd100k_zoo.errors import (
    ConfigError,
    DeviceError,
    OfflineError,
    OtherRunError,
    UnfinishedRunError,
    UnreadableImageError,
)
from bdd100k_zoo.inference.images import read_image
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.workflows import predict as job

MODEL = "faster_rcnn_r50_fpn_1x"


def test_three_lines_of_python_detect_in_a_path_and_in_an_array(trial):
    detector = bdd100k_zoo.load_detector(bdd100k_zoo.load_zoo()[MODEL], weights=trial.weights, device="cpu")
    image = trial.frames / "street.jpg"
    of_path = detector(str(image))
    of_array = detector(read_image(image))
    assert isinstance(of_path, bdd100k_zoo.Detections)
    assert len(of_path) > 0
    np.testing.assert_array_equal(of_path.boxes, of_array.boxes)
    np.testing.assert_array_equal(of_path.scores, of_array.scores)
    with pytest.raises(UnreadableImageError):
        detector(trial.weights)


class Interrupted:
    """Progress that is interrupted after a number of images."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.said: list[str] = []
        self.done_before: list[int] = []

    def task(self, title: str, total: int | None, unit: str, done: int = 0):
        self.done_before.append(done)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, _: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.said.append(message)

    warn = note


SMALL = {"test_dataloader.dataset.pipeline.1.scale": (160, 90)}


def test_an_interrupted_run_says_what_is_kept_and_goes_on_there(trial, zoo, tmp_path):
    frames = tmp_path / "three"
    frames.mkdir()
    for name in "abc":
        shutil.copy(trial.frames / "street.jpg", frames / f"{name}.jpg")
    request = job.Request(
        model=zoo[MODEL], images=(str(frames),), out=tmp_path / "out", weights=trial.weights, cfg_options=SMALL
    )
    progress = Interrupted(after=3)
    with pytest.raises(KeyboardInterrupt, match="interrupted: 2 of 3 images are done and kept") as caught:
        job.predict(request, Store(offline=True), progress)
    assert f"kept in {tmp_path / 'out'}; the same command goes on from there" in str(caught.value)
    assert not (tmp_path / "out" / "det.json").exists()
    with pytest.raises(UnfinishedRunError) as caught:
        job.merge(request, Store(offline=True), SILENT)
    assert caught.value.missing == ("3: c.jpg",)
    for changed in ({"cfg_options": {}}, {"batch_size": 2}, {"weights": trial.frames / "street.jpg"}):
        with pytest.raises(OtherRunError):
            job.predict(replace(request, **changed), Store(offline=True), SILENT)

    goes_on = Interrupted(after=100)
    job.predict(request, Store(offline=True), goes_on)
    assert goes_on.done_before == [2]
    assert "2 of them done already" in goes_on.said[0]
    again = job.predict(replace(request, out=tmp_path / "unbroken"), Store(offline=True), SILENT)
    assert (tmp_path / "out" / "det.json").read_bytes() == (tmp_path / "unbroken" / "det.json").read_bytes()
    assert job.merge(request, Store(offline=True), SILENT).counts == again.counts


def test_predictions_without_a_record_are_not_overwritten(trial, zoo, tmp_path):
    (tmp_path / "det.json").write_text("[]")
    request = job.Request(model=zoo[MODEL], images=(str(trial.frames),), out=tmp_path, weights=trial.weights)
    with pytest.raises(OtherRunError, match="nothing was changed"):
        job.predict(request, Store(offline=True), SILENT)
    assert (tmp_path / "det.json").read_text() == "[]"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"device": "cuda:99"}, DeviceError), ({"cfg_options": {"model.backbone.depth.x": 1}}, ConfigError)],
)
def test_what_is_wrong_is_found_before_the_weights_are_asked_for(zoo, wrong, error):
    with pytest.raises(error):
        bdd100k_zoo.load_detector(zoo[MODEL], store=Store(offline=True), **wrong)
    with pytest.raises(OfflineError):
        bdd100k_zoo.load_detector(zoo[MODEL], store=Store(offline=True), device="cpu")


def test_nothing_is_left_in_the_temporary_folder(trial, zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    request = job.Request(model=zoo[MODEL], images=(str(trial.frames),), out=tmp_path / "out", weights=trial.weights)
    job.predict(request, Store(offline=True), SILENT)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["det.json", "run.json"]
