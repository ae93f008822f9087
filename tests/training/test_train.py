from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from small_training import MODEL, SMALL, command, finished, make_root, start, steps
from surroundings import Told

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.data.tables import read_label_table
from bdd100k_zoo.errors import (
    ConfigError,
    ImagesError,
    InputsError,
    InvalidFileError,
    NotFiniteError,
    RunMismatchError,
    StorageError,
    UnsafeCheckpointError,
)
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction import predict
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.training.job import GracefulStop
from bdd100k_zoo.training.record import read_training
from bdd100k_zoo.training.train import TrainRequest, train

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from bdd100k_zoo.training.record import TrainingRecord

EPOCHS, STEPS = 2, 8
"""What the small training takes: 8 images in batches of 2."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data") / "root")


@pytest.fixture
def own_root(root: Path, tmp_path: Path) -> Path:
    """A copy of the dataset that a test may spoil."""
    return Path(shutil.copytree(root, tmp_path / "own"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Equal numbers of threads give equal results."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def request(root: Path, out: Path, **changes: Any) -> TrainRequest:
    settings = {
        "model": load_zoo()[MODEL],
        "epochs": EPOCHS,
        "batch_size": 2,
        "workers": 0,
        "device": "cpu",
        "cfg_options": SMALL,
    } | changes
    return TrainRequest(data=root, out=out, **settings)


def run(root: Path, out: Path, stop: GracefulStop | None = None, **changes: Any) -> TrainingRecord | None:
    return train(request(root, out, **changes), Store(offline=True), NO_PROGRESS, stop or GracefulStop())


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing has disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run(root, out)
    return out


def small(root: Path, out: Path, *more: str) -> list[str]:
    return command(root, out, "--epochs", str(EPOCHS), "--batch-size", "2", *more)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "weights.pth", weights_only=True)
    return dict(content["state_dict"])


def check_same(found: Path, expected: Path) -> None:
    """Every loss and rate, every AP and every weight, to the last bit."""
    assert steps(found) == steps(expected)
    assert read_epochs(found) == read_epochs(expected)
    pairs = weights_of(found), weights_of(expected)
    assert pairs[0].keys() == pairs[1].keys()
    assert all(torch.equal(pairs[0][name], pairs[1][name]) for name in pairs[0])


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    record = json.loads((folder / "train.json").read_text())
    return [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in record["epochs"]]


def test_a_training_leaves_weights_record_metrics_and_a_picture(whole: Path) -> None:
    record = read_training(whole)
    assert record is not None
    assert record.finished
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]
    assert all(epoch.ap is not None for epoch in record.epochs)
    assert [line["step"] for line in steps(whole)] == list(range(1, STEPS + 1))
    assert (record.learning_rate, record.published_learning_rate) == (0.01 * 2 / 32, 0.01)
    assert sorted(path.name for path in whole.iterdir()) == [
        "best.pth",
        "checkpoint-00000004.pth",
        "checkpoint-00000008.pth",
        "curve.png",
        "metrics.jsonl",
        "train.json",
        "weights.pth",
    ]


def test_predict_takes_the_weights(whole: Path, root: Path, tmp_path: Path) -> None:
    model = load_zoo()[MODEL]
    overrides = {key: value for key, value in SMALL.items() if "train_dataloader" not in key}
    detector = mmdet3.load(model.name, model.config_path, whole / "best.pth", "cpu", overrides)
    from bdd100k_zoo.data.image_files import read_image

    assert len(detector.detect(read_image(root / "images/100k/val/val0.jpg")).scores)


def wait_for_step(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    while len(steps_so_far(out)) < step:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def steps_so_far(out: Path) -> list[bytes]:
    path = out / "metrics.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def test_after_a_kill_it_resumes_as_if_nothing_had_happened(root: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = start(small(root, out))
    wait_for_step(out, 6, killed)
    killed.kill()
    killed.communicate()
    assert not (out / "weights.pth").exists()
    run(root, out, workers=2, resume=True)
    check_same(out, whole)


@pytest.mark.parametrize(
    ("number", "status"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_asked_to_end_it_keeps_the_step_and_names_the_command_that_resumes(
    root: Path, whole: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    out = tmp_path / "out"
    asked = start(small(root, out, "--fresh"))
    wait_for_step(out, 1, asked)
    asked.send_signal(number)
    _, said = finished(asked, status)
    taken = len(steps(out))
    assert taken < STEPS
    assert f"interrupted after step {taken}, which is saved" in said
    assert f"  bdd100k-zoo train {MODEL} --data {root}" in said.splitlines()[-1]
    assert "--fresh" not in said.splitlines()[-1]
    assert (out / f"checkpoint-{taken:08}.pth").exists()
    run(root, out)
    check_same(out, whole)


def test_averaged_weights_go_on_as_if_nothing_had_happened(root: Path, tmp_path: Path) -> None:
    averaging = {"type": "EMAHook", "ema_type": "ExpMomentumEMA", "gamma": 2, "update_buffers": True}
    options = SMALL | {"custom_hooks": [averaging]}
    unbroken, out = tmp_path / "unbroken", tmp_path / "out"
    run(root, unbroken, cfg_options=options)
    shutil.copytree(unbroken, out)
    for name in ("weights.pth", "train.json", "checkpoint-00000008.pth"):
        (out / name).unlink()
    run(root, out, cfg_options=options)
    check_same(out, unbroken)


def test_two_equal_trainings_are_equal_and_another_seed_is_another(root: Path, whole: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "a")
    check_same(tmp_path / "a", whole)
    run(root, tmp_path / "b", seed=1, epochs=1)
    assert steps(tmp_path / "b")[0]["loss"] != steps(whole)[0]["loss"]


def test_what_the_caller_has_asked_of_torch_changes_no_training(root: Path, whole: Path, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            run(root, tmp_path / "out")
            assert torch.is_autocast_enabled("cpu")
        assert (torch.get_default_dtype(), torch.get_float32_matmul_precision()) == (torch.float64, "medium")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
    check_same(tmp_path / "out", whole)


def test_nothing_is_loaded_but_by_weights_only(
    whole: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    for name in ("weights.pth", "train.json", "checkpoint-00000008.pth"):
        (out / name).unlink()
    asked = []
    original = torch.load

    def load(*arguments: Any, **settings: Any) -> Any:
        asked.append(settings.get("weights_only"))
        return original(*arguments, **settings)

    monkeypatch.setattr(torch, "load", load)
    run(root, out)
    assert asked
    assert set(asked) == {True}


@pytest.mark.parametrize(
    "named", [{"load_from": "x.pth"}, {"model.neck.init_cfg": {"type": "Pretrained", "checkpoint": "x.pth"}}]
)
def test_settings_that_name_weights_to_load_are_refused(root: Path, tmp_path: Path, named: dict[str, Any]) -> None:
    torch.save({}, "x.pth")
    with pytest.raises(ConfigError, match="load"):
        run(root, tmp_path / "out", cfg_options=SMALL | named)


def test_a_complete_training_is_left_as_it_is(whole: Path, root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    record = run(root, whole)
    assert record == read_training(whole)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 7}, "seed: 0 there, 7 now"),
        ({"batch_size": 4}, "batch size: 2 there, 4 now"),
        ({"epochs": 3}, "epochs: 2 there, 3 now"),
        ({"from_scratch": True}, "start: config there, random now"),
        ({"precision": "bf16"}, "precision: fp32 there, bf16 now"),
    ],
)
def test_another_training_in_its_folder_is_an_error_that_names_what_differs(
    whole: Path, root: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunMismatchError, match=message):
        run(root, whole, **change)


def test_resuming_where_there_is_nothing_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError):
        run(root, tmp_path / "out", resume=True)
    assert not (tmp_path / "out").exists()


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(whole: Path, root: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    last = out / "checkpoint-00000008.pth"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    mark_unfinished(out)
    run(root, out)
    check_same(out, whole)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_with_fewer_bits_it_resumes_too(root: Path, tmp_path: Path, precision: str) -> None:
    run(root, tmp_path / "whole", precision=precision)
    out = Path(shutil.copytree(tmp_path / "whole", tmp_path / "out"))
    (out / "checkpoint-00000008.pth").unlink()
    mark_unfinished(out)
    run(root, out, precision=precision)
    check_same(out, tmp_path / "whole")


def test_an_average_of_the_weights_resumes_too(root: Path, tmp_path: Path) -> None:
    average = {"type": "EMAHook", "ema_type": "ExpMomentumEMA", "momentum": 0.05, "update_buffers": True}
    options = SMALL | {"custom_hooks": [average], "param_scheduler": []}
    run(root, tmp_path / "whole", cfg_options=options)
    out = Path(shutil.copytree(tmp_path / "whole", tmp_path / "out"))
    (out / "checkpoint-00000008.pth").unlink()
    mark_unfinished(out)
    run(root, out, cfg_options=options)
    check_same(out, tmp_path / "whole")
    last = torch.load(out / "checkpoint-00000008.pth", weights_only=True)
    learnt = "bbox_head.conv_cls.weight"
    assert torch.equal(last["state_dict"][learnt], weights_of(out)[learnt])
    assert not torch.equal(last["ema_state_dict"][f"module.{learnt}"], weights_of(out)[learnt])


def test_rates_that_decay_from_layer_to_layer_resume_too_and_the_full_rate_is_reported(
    root: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"model": load_zoo()["faster_rcnn_convnext-t_fpn_fp16_3x"], "epochs": 2}
    changes["cfg_options"] = {
        **{key: value for key, value in SMALL.items() if "dataloader" in key},
        "model.backbone.arch": {"depths": [1, 1, 1, 1], "channels": [8, 16, 32, 64]},
        "model.backbone.init_cfg": None,
        "model.neck.in_channels": [8, 16, 32, 64],
        "model.neck.out_channels": 16,
        "model.rpn_head.in_channels": 16,
        "model.rpn_head.feat_channels": 16,
        "model.roi_head.bbox_roi_extractor.out_channels": 16,
        "model.roi_head.bbox_head.in_channels": 16,
        "model.roi_head.bbox_head.fc_out_channels": 32,
        "model.train_cfg.rpn_proposal.max_per_img": 50,
        "model.test_cfg.rpn.max_per_img": 50,
        "param_scheduler": [],
    }
    run(root, tmp_path / "whole", **changes)
    out = Path(shutil.copytree(tmp_path / "whole", tmp_path / "out"))
    (out / "checkpoint-00000008.pth").unlink()
    mark_unfinished(out)
    run(root, out, **changes)
    check_same(out, tmp_path / "whole")
    assert [step["rate"] for step in steps(out)] == pytest.approx([1e-4 * 2 / 32] * STEPS)


def test_where_no_checkpoint_is_whole_nothing_is_begun_anew(whole: Path, root: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    mark_unfinished(out)
    for path in out.glob("checkpoint-*.pth"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnsafeCheckpointError):
        run(root, out)


def mark_unfinished(out: Path) -> None:
    record = json.loads((out / "train.json").read_text())
    (out / "train.json").write_text(json.dumps(record | {"finished": False}))


def test_fresh_replaces_a_training_and_nothing_else(whole: Path, root: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    (out / "notes.txt").write_text("mine")
    run(root, out, fresh=True, epochs=1, seed=3)
    record = read_training(out)
    assert record is not None
    assert (record.plan.seed, len(record.epochs)) == (3, 1)
    assert not (out / "checkpoint-00000008.pth").exists()
    assert (out / "notes.txt").read_text() == "mine"


def test_missing_labels_are_reported_before_anything_is_done(own_root: Path, tmp_path: Path) -> None:
    (own_root / "labels/det_20/det_val.json").unlink()
    with pytest.raises(InputsError, match="training needs the labels of val"):
        run(own_root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_that_are_missing_or_damaged_are_all_reported_before_the_first_step(
    own_root: Path, tmp_path: Path
) -> None:
    images = own_root / "images/100k/train"
    (images / "train1.jpg").unlink()
    (images / "train2.jpg").write_bytes((images / "train2.jpg").read_bytes()[:-200])
    (images / "train3.jpg").write_bytes(b"")
    with pytest.raises(ImagesError) as caught:
        run(own_root, tmp_path / "out")
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("3 of 8 images of ")
    assert [number for number in (1, 2, 3) if f"train{number}.jpg: " in lines[number - 1]] == [1, 2, 3]


def test_a_category_that_is_none_is_reported_before_the_first_step(own_root: Path, tmp_path: Path) -> None:
    path = own_root / "labels/det_20/det_train.json"
    path.write_text(path.read_text().replace('"pedestrian"', '"tram"'))
    with pytest.raises(InvalidFileError, match="unknown category 'tram'"):
        run(own_root, tmp_path / "out")


def test_labels_without_a_box_are_no_training(own_root: Path, tmp_path: Path) -> None:
    path = own_root / "labels/det_20/det_train.json"
    path.write_text(json.dumps([{**frame, "labels": []} for frame in json.loads(path.read_text())]))
    with pytest.raises(InvalidFileError, match="expected a box inside a frame"):
        run(own_root, tmp_path / "out")


def with_reversed(path: Path) -> None:
    """Swap the corners of three boxes of a label file, in one direction or both."""
    frames = json.loads(path.read_text())
    for frame, label, axes in ((1, 2, "x"), (1, 0, "y"), (2, 1, "xy")):
        box = frames[frame]["labels"][label]["box2d"]
        for axis in axes:
            box[f"{axis}1"], box[f"{axis}2"] = box[f"{axis}2"], box[f"{axis}1"]
    path.write_text(json.dumps(frames))


def test_reversed_boxes_are_reported_once_with_the_first_of_them(own_root: Path, tmp_path: Path) -> None:
    labels = own_root / "labels/det_20/det_train.json"
    with_reversed(labels)
    reports = Told()
    train(request(own_root, tmp_path / "out", epochs=1), Store(offline=True), reports, GracefulStop())  # type: ignore[arg-type]
    assert [message for message in reports.warnings if "x2 < x1" in message] == [
        f"{labels}: 3 boxes have x2 < x1 or y2 < y1 and are ignored in training; "
        "the first: frame train1.jpg: label 0 (no. 1)"
    ]
    assert len(steps(tmp_path / "out")) == STEPS // EPOCHS


def test_reversed_boxes_of_val_are_refused_as_eval_refuses_them(own_root: Path, tmp_path: Path) -> None:
    labels = own_root / "labels/det_20/det_val.json"
    with_reversed(labels)
    with pytest.raises(InputsError, match=r"val1\.jpg: label 0 \(no\. 1\)") as by_train:
        run(own_root, tmp_path / "out")
    with pytest.raises(InputsError) as by_eval:
        read_label_table(labels)
    assert str(by_train.value) == str(by_eval.value)
    assert not steps(tmp_path / "out")


def test_a_file_of_start_values_that_is_missing_is_reported(root: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        run(root, tmp_path / "out", pretrained=tmp_path / "none.pth")


def test_a_model_that_gives_no_finite_numbers_in_validation_is_an_error_about_it_and_the_images(
    root: Path, tmp_path: Path
) -> None:
    far = {"optim_wrapper.optimizer.lr": 1e37, "optim_wrapper.clip_grad": None, "auto_scale_lr": None}
    with pytest.raises(NotFiniteError, match=rf"{MODEL} gave NaN or infinite .* for val0.jpg.*, computing in fp32"):
        run(root, tmp_path / "out", epochs=1, batch_size=8, cfg_options=SMALL | far)


def test_the_weights_of_a_training_are_run_although_a_digest_is_recorded_of_the_published_ones(
    root: Path, tmp_path: Path
) -> None:
    demo = load_zoo()["demo_fcos_r18_fpn"]
    assert demo.weights.digest
    train(
        request(root, tmp_path / "out", model=demo, epochs=1, cfg_options={}),
        Store(offline=True),
        NO_PROGRESS,
        GracefulStop(),
    )
    images = root / "images" / "100k" / "val"
    wanted = predict.PredictRequest(
        model=demo, images=(str(images),), out=tmp_path / "run", weights=tmp_path / "out" / "weights.pth", device="cpu"
    )
    record = predict.predict(predict.plan_run(wanted, NO_PROGRESS), Store(offline=True), NO_PROGRESS)
    assert record
    assert (record.weights.published, record.weights.verified, record.weights.random) == (False, False, False)
