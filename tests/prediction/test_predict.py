"""The Python interface, and what happens when a run is interrupted."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch

import bdd100k_zoo
from bdd100k_zoo.backends.mmdet3.random_weights import save_random_weights
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.demo_run.steps import bundled_weights
from bdd100k_zoo.errors import (
    ConfigError,
    DeviceError,
    InvalidFileError,
    NotFiniteError,
    OfflineError,
    RunMismatchError,
    UnreadableImageError,
)
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction import predict as job
from bdd100k_zoo.prediction.run import RunRecord, read_run
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.sample_data import draw_sample_frame

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.registry import Model

MODEL = "faster_rcnn_r50_fpn_1x"


def test_three_lines_of_python_detect_in_a_path_and_in_an_array(trial):
    with pytest.warns(UserWarning, match="are random, as their metadata states"):
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


# Whose weights


DEMO = bdd100k_zoo.load_zoo()["demo_fcos_r18_fpn"]
PUBLISHED = bundled_weights(bdd100k_zoo.load_zoo())
"""The demo's weights: the zoo file records their digest."""


def demo_with(**known: Any) -> Model:
    """The demo's model, with other facts recorded of its weights."""
    return msgspec.structs.replace(DEMO, weights=msgspec.structs.replace(DEMO.weights, **known))


def scaled(path: Path, factor: float = 1.001, parameter: str = "bbox_head.conv_cls.weight") -> Path:
    """Write trained weights that are others than the published ones."""
    content = torch.load(PUBLISHED, weights_only=True)
    content["state_dict"][parameter] = content["state_dict"][parameter].float() * factor
    torch.save(content, path)
    return path


def run_with(weights: Path, folder: Path, store: Store | None = None, model: Model = DEMO, **more: Any) -> RunRecord:
    if not folder.exists():
        folder.mkdir()
        draw_sample_frame().save(folder / "street.png")
    request = job.PredictRequest(
        model=model, images=(str(folder / "street.png"),), out=folder / "run", weights=weights, device="cpu", **more
    )
    record = job.predict(job.plan_run(request, NO_PROGRESS), store or Store(offline=True), NO_PROGRESS)
    assert record
    return record


@pytest.mark.parametrize("own", [False, True])
def test_weights_of_ones_own_are_run_whatever_digest_is_recorded_and_the_record_says_whose_they_are(own, tmp_path):
    weights = run_with(scaled(tmp_path / "mine.pth") if own else PUBLISHED, tmp_path / "a").weights
    assert (weights.published, weights.verified, weights.random) == (not own, not own, False)
    assert weights.verified_by == (None if own else "zoo file")
    assert weights.unverified_because == ("it is your own file, not the published one" if own else None)
    assert read_run(tmp_path / "a" / "run").weights == weights


def test_where_no_digest_is_known_it_is_unknown_whether_the_weights_are_the_published_ones(tmp_path):
    weights = run_with(PUBLISHED, tmp_path / "a", model=demo_with(digest=None, size=None)).weights
    assert (weights.published, weights.verified) == (None, False)
    assert "no digest of the published file is known" in str(weights.unverified_because)


def test_a_size_that_is_another_shows_that_the_weights_are_not_the_published_ones(tmp_path):
    mine = scaled(tmp_path / "mine.pth")
    assert mine.stat().st_size != PUBLISHED.stat().st_size
    assert run_with(mine, tmp_path / "a", model=demo_with(digest=None)).weights.published is False


def test_other_weights_than_those_of_the_run_are_noticed(tmp_path):
    run_with(scaled(tmp_path / "mine.pth"), tmp_path / "a")
    scaled(tmp_path / "mine.pth", 1.002)
    with pytest.raises(RunMismatchError, match="weights' SHA-256"):
        run_with(tmp_path / "mine.pth", tmp_path / "a")


def test_random_weights_are_run_with_a_warning_and_recorded_as_random(tmp_path):
    save_random_weights(DEMO.config_path, tmp_path / "random.pth")
    weights = run_with(tmp_path / "random.pth", tmp_path / "a").weights
    assert (weights.published, weights.random, weights.other) == (False, True, "random weights")


def test_python_is_warned_of_weights_that_no_digest_verifies_and_of_no_others(tmp_path):
    mine = scaled(tmp_path / "mine.pth")
    for known in (mine, PUBLISHED):
        assert bdd100k_zoo.load_detector(DEMO, weights=known, device="cpu").weights.published is (known == PUBLISHED)
    unknown = demo_with(digest=None, size=None)
    with pytest.warns(UserWarning, match="the weights of demo_fcos_r18_fpn are unverified: it is your own file"):
        bdd100k_zoo.load_detector(unknown, weights=mine, device="cpu")
    with Store(tmp_path / "cache", offline=True) as store:
        path = store.path(unknown.artifact("weights"))
        path.parent.mkdir(parents=True)
        path.write_bytes(mine.read_bytes())
        with pytest.warns(UserWarning, match="the weights of demo_fcos_r18_fpn are unverified: it was put into"):
            bdd100k_zoo.load_detector(unknown, device="cpu", store=store)


def test_an_image_for_which_the_model_gives_no_finite_numbers_is_named(tmp_path):
    mine = scaled(tmp_path / "mine.pth", 1e38)
    message = r"demo_fcos_r18_fpn gave NaN or infinite scores or boxes for \S*street.png, computing in fp32"
    with pytest.raises(NotFiniteError, match=message):
        run_with(mine, tmp_path / "a")
    with pytest.raises(NotFiniteError, match=message):
        bdd100k_zoo.load_detector(DEMO, weights=mine, device="cpu")(tmp_path / "a" / "street.png")


def test_a_network_that_overflows_in_16_bits_is_an_error_and_not_an_image_without_boxes(tmp_path):
    mine = scaled(tmp_path / "mine.pth", 1e5, "neck.lateral_convs.1.conv.weight")
    with pytest.raises(NotFiniteError, match=r"for street.png, computing in fp16"):
        run_with(mine, tmp_path / "a", precision="fp16")
    assert run_with(mine, tmp_path / "b").counts.detections


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


def test_an_interrupted_run_says_what_is_kept_and_resumes_there(trial, zoo, tmp_path):
    frames = tmp_path / "three"
    frames.mkdir()
    for name in "abc":
        shutil.copy(trial.frames / "street.jpg", frames / f"{name}.jpg")
    request = job.PredictRequest(
        model=zoo[MODEL], images=(str(frames),), out=tmp_path / "out", weights=trial.weights, cfg_options=SMALL
    )
    progress = Interrupted(after=3)
    with pytest.raises(KeyboardInterrupt, match="interrupted: 2 of 3 images are done and kept") as caught:
        job.predict(job.plan_run(request, NO_PROGRESS), Store(offline=True), progress)
    assert f"kept in {tmp_path / 'out'}; the same command resumes from there" in str(caught.value)
    assert not (tmp_path / "out" / "det.json").exists()
    with pytest.raises(InvalidFileError) as caught:
        job.merge_run(job.plan_run(request, NO_PROGRESS), Store(offline=True), NO_PROGRESS)
    assert str(caught.value) == f"{tmp_path / 'out'}: 1 of 3 frames are missing:\n  3: c.jpg"
    for changed in ({"cfg_options": {}}, {"batch_size": 2}, {"weights": trial.frames / "street.jpg"}):
        with pytest.raises(RunMismatchError):
            job.predict(job.plan_run(replace(request, **changed), NO_PROGRESS), Store(offline=True), NO_PROGRESS)

    goes_on = Interrupted(after=100)
    job.predict(job.plan_run(request, NO_PROGRESS), Store(offline=True), goes_on)
    assert goes_on.done_before == [2]
    assert "2 of them done already" in goes_on.said[0]
    again = job.predict(
        job.plan_run(replace(request, out=tmp_path / "unbroken"), NO_PROGRESS), Store(offline=True), NO_PROGRESS
    )
    assert (tmp_path / "out" / "det.json").read_bytes() == (tmp_path / "unbroken" / "det.json").read_bytes()
    assert job.merge_run(job.plan_run(request, NO_PROGRESS), Store(offline=True), NO_PROGRESS).counts == again.counts


def test_predictions_without_a_record_are_not_overwritten(trial, zoo, tmp_path):
    (tmp_path / "det.json").write_text("[]")
    request = job.PredictRequest(model=zoo[MODEL], images=(str(trial.frames),), out=tmp_path, weights=trial.weights)
    with pytest.raises(RunMismatchError, match="nothing was changed"):
        job.predict(job.plan_run(request, NO_PROGRESS), Store(offline=True), NO_PROGRESS)
    assert (tmp_path / "det.json").read_text() == "[]"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"device": "cuda:99"}, DeviceError), ({"cfg_options": {"model.backbone.depth.x": 1}}, ConfigError)],
)
def test_what_is_wrong_is_found_before_the_weights_are_requested(zoo, wrong, error):
    with pytest.raises(error):
        bdd100k_zoo.load_detector(zoo[MODEL], store=Store(offline=True), **wrong)
    with pytest.raises(OfflineError):
        bdd100k_zoo.load_detector(zoo[MODEL], store=Store(offline=True), device="cpu")


@pytest.mark.slow
def test_nothing_is_left_in_the_temporary_folder(trial, zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    request = job.PredictRequest(
        model=zoo[MODEL], images=(str(trial.frames),), out=tmp_path / "out", weights=trial.weights
    )
    job.predict(job.plan_run(request, NO_PROGRESS), Store(offline=True), NO_PROGRESS)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["det.json", "run.json"]
