from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.errors import (
    CheckpointClassesError,
    CheckpointMismatchError,
    StorageError,
    UnsafeCheckpointError,
)
from bdd100k_zoo.mm_common.checkpoint import (
    ALLOWED,
    check_classes,
    load_strictly,
    read_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Save = Callable[[Any], Path]


@pytest.fixture(params=["zip", "older"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Save:
    """Write a file of either of torch's two formats."""

    def write(content: Any) -> Path:
        path = tmp_path / f"{request.param}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


def linear() -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(3, 2)


# What is read


def test_tensors_of_a_published_checkpoint_are_read(save: Save) -> None:
    expected = linear().state_dict()
    meta = {
        "CLASSES": CLASSES,
        "epoch": 12,
        "time": "Sat Aug  7",
        "seed": None,
        "hook_msgs": {},
        "mmcv_version": "1.3.8",
    }
    path = save({"meta": meta, "state_dict": expected, "optimizer": {"state": {}, "param_groups": []}})
    checkpoint = read_checkpoint(path)
    assert checkpoint.classes == CLASSES
    assert list(checkpoint.state_dict) == ["weight", "bias"]
    assert all(torch.equal(checkpoint.state_dict[name], expected[name]) for name in expected)


def test_a_bare_state_dict_is_read(save: Save) -> None:
    assert list(read_checkpoint(save(linear().state_dict())).state_dict) == ["weight", "bias"]


def test_the_prefix_of_a_parallel_model_is_taken_off(save: Save) -> None:
    assert list(read_checkpoint(save(nn.DataParallel(linear()).state_dict())).state_dict) == ["weight", "bias"]
    kept = {"module.weight": torch.ones(1), "other": torch.ones(1)}
    assert list(read_checkpoint(save(kept)).state_dict) == list(kept)


@pytest.mark.parametrize(
    "value",
    [np.float64(0.5), np.int64(3), np.bool_(1), np.arange(3.0), np.array(["a", None], object)],
    ids=["float", "integer", "bool", "array", "objects"],
)
def test_values_of_numpy_in_the_log_are_passed_over(value: object, save: Save) -> None:
    path = save({"meta": {"CLASSES": CLASSES, "best": value}, "state_dict": linear().state_dict()})
    assert read_checkpoint(path).classes == CLASSES


def test_the_allow_list_holds_only_while_a_file_is_read(save: Save) -> None:
    read_checkpoint(save({"state_dict": linear().state_dict(), "meta": {"x": np.float64(1)}}))
    assert not set(ALLOWED) & set(torch.serialization.get_safe_globals())
    assert all(vars(allowed).keys() <= {"__module__", "__doc__"} for allowed in ALLOWED)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"CLASSES": ["a", "b"]}, ("a", "b")),
        ({"dataset_meta": {"classes": ("a",)}}, ("a",)),
        ({"dataset_meta": {"CLASSES": ("a",)}}, ("a",)),
        ({"CLASSES": None}, ()),
        ({"CLASSES": (1, 2)}, ()),
        ({}, ()),
        ("text", ()),
    ],
)
def test_class_names_are_read_where_they_are_recorded(meta: Any, expected: tuple[str, ...], save: Save) -> None:
    assert read_checkpoint(save({"meta": meta, "state_dict": linear().state_dict()})).classes == expected


# What is refused


class Hostile:
    """Makes a file when it is unpickled in the ordinary way."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.target)!r}, 'w').close()",)


@pytest.mark.parametrize("place", ["meta", "state_dict", "alone"])
def test_a_hostile_pickle_is_refused_and_not_run(place: str, save: Save, tmp_path: Path) -> None:
    target = tmp_path / "owned"
    content: Any = {"meta": {}, "state_dict": {"weight": torch.ones(1)}}
    path = save(Hostile(target) if place == "alone" else {**content, place: {"weight": Hostile(target)}})
    with pytest.raises(UnsafeCheckpointError, match="names exec") as caught:
        read_checkpoint(path)
    assert caught.value.path == path
    assert not target.exists()


def test_the_hostile_pickle_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Hostile(tmp_path / "owned")))
    assert (tmp_path / "owned").exists()


def test_a_module_in_place_of_tensors_is_refused(save: Save) -> None:
    with pytest.raises(UnsafeCheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(save(linear()))


@pytest.mark.parametrize(
    "content", [[torch.ones(1)], {"state_dict": {}}, {"state_dict": {"weight": 1}}, {}, {1: torch.ones(1)}, 7]
)
def test_a_file_without_a_state_dict_is_refused(content: Any, save: Save) -> None:
    with pytest.raises(UnsafeCheckpointError, match="no state dict"):
        read_checkpoint(save(content))


def test_a_truncated_file_is_refused_wherever_it_ends(save: Save) -> None:
    path = save({"meta": {"CLASSES": CLASSES}, "state_dict": linear().state_dict()})
    whole = path.read_bytes()
    for length in range(1, len(whole), 41):
        path.write_bytes(whole[:length])
        with pytest.raises(UnsafeCheckpointError):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE html>\n<html><title>404", "it is a web page, not a checkpoint"),
        (b"<html>moved</html>", "it is a web page, not a checkpoint"),
        (b"model weights", "it is damaged, or no checkpoint"),
        (pickle.dumps({"weight": 1.0}), "it is damaged, or no checkpoint"),
    ],
)
def test_something_else_is_refused_with_its_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_checkpoint(path)
    assert caught.value.reason == reason


def test_a_zip_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(UnsafeCheckpointError, match="zip file of something else"):
        read_checkpoint(path)


def test_no_refusal_advises_to_load_without_the_check(save: Save, tmp_path: Path) -> None:
    path = save(Hostile(tmp_path / "owned"))
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_checkpoint(path)
    said = f"{caught.value} {caught.value.__cause__}"
    assert "weights_only" not in said
    assert "safe_globals" not in said
    assert caught.value.__suppress_context__


def test_a_missing_file_and_a_folder_are_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        read_checkpoint(tmp_path / "missing.pth")
    with pytest.raises(StorageError, match="directory"):
        read_checkpoint(tmp_path)


# What is loaded


def test_tensors_are_copied_into_the_model(tmp_path: Path) -> None:
    model, given = linear(), {"weight": torch.ones(2, 3, dtype=torch.float16), "bias": torch.zeros(2)}
    load_strictly(model, given, model_name="m", path=tmp_path)
    assert model.weight.dtype == torch.float32
    assert bool((model.weight == 1).all())
    assert bool((model.bias == 0).all())


def test_every_difference_is_named_and_nothing_is_copied(tmp_path: Path) -> None:
    model = nn.Sequential(OrderedDict(first=nn.Linear(3, 2), norm=nn.BatchNorm2d(2)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = {**before, "first.weight": torch.ones(2, 4), "head.weight": torch.ones(1)}
    del given["norm.num_batches_tracked"], given["first.bias"]
    with pytest.raises(CheckpointMismatchError) as caught:
        load_strictly(model, given, model_name="a model", path=tmp_path / "w.pth")
    error = caught.value
    assert error.missing == ("first.bias", "norm.num_batches_tracked")
    assert error.unexpected == ("head.weight",)
    assert error.reshaped == ("first.weight: (2, 4) instead of (2, 3)",)
    assert "a model" in str(error)
    assert "w.pth" in str(error)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_tensors_by_the_names_of_a_parallel_model_are_loaded(tmp_path: Path) -> None:
    model, source = linear(), nn.DataParallel(nn.Linear(3, 2))
    load_strictly(model, source.state_dict(), model_name="m", path=tmp_path)
    assert torch.equal(model.weight, source.module.weight)


# Classes


@pytest.mark.parametrize(
    "names",
    [CLASSES, (), ("person", "rider", "car", "truck", "bus", "train", "motor", "bike", *CLASSES[8:]), ("a",) * 80],
    ids=["ours", "none", "aliases", "eighty"],
)
def test_fitting_class_names_pass(names: tuple[str, ...], tmp_path: Path) -> None:
    check_classes(names, path=tmp_path)


def test_another_order_of_the_classes_is_refused(tmp_path: Path) -> None:
    swapped = ("rider", "pedestrian", *CLASSES[2:])
    with pytest.raises(CheckpointClassesError, match="found rider, pedestrian, car") as caught:
        check_classes(swapped, path=tmp_path)
    assert caught.value.found == swapped


def test_a_checkpoint_of_mmdet_3_is_read_past_its_log(save: Save) -> None:
    from mmengine.logging import MessageHub

    hub = MessageHub.get_instance("a run")
    hub.update_scalar("train/loss", 0.5)
    meta = {"dataset_meta": {"classes": CLASSES}, "epoch": 12, "seed": np.int64(3)}
    path = save({"meta": meta, "state_dict": linear().state_dict(), "message_hub": hub.state_dict()})
    checkpoint = read_checkpoint(path)
    assert list(checkpoint.state_dict) == ["weight", "bias"]
    assert checkpoint.classes == CLASSES


class GetsAttribute:
    """Pickles as a call of getattr that finds a tensor's method."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return getattr, (torch.ones(1), "numpy")


def test_getattr_in_a_checkpoint_is_named_but_never_called(save: Save) -> None:
    path = save({"state_dict": linear().state_dict(), "log": GetsAttribute()})
    assert list(read_checkpoint(path).state_dict) == ["weight", "bias"]
    with torch.serialization.safe_globals(ALLOWED):
        log = torch.load(path, weights_only=True)["log"]
    assert not callable(log)
