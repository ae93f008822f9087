from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from bdd100k_zoo.backends.common.checkpoint import (
    RANDOM_WEIGHTS_KEY,
    SAFE_GLOBALS,
    all_finite,
    check_checkpoint_file,
    check_classes,
    load_strictly,
    load_weights,
    read_checkpoint,
    save_random_state_dict,
)
from bdd100k_zoo.backends.common.checkpoint_limits import MAX_DIRECTORY
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import (
    CheckpointError,
    StorageError,
    UnsafeCheckpointError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Save = Callable[[Any], Path]


@pytest.fixture(params=["zip", "older"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Save:
    """Write a file of either of torch's two formats."""

    def write(content: Any) -> Path:
        path = tmp_path / f"{request.param}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


WEB_PAGE = "it is a web page, not a checkpoint"


def linear() -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(3, 2)


# Reading


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


def test_the_prefix_of_a_parallel_model_is_removed(save: Save) -> None:
    assert list(read_checkpoint(save(nn.DataParallel(linear()).state_dict())).state_dict) == ["weight", "bias"]
    kept = {"module.weight": torch.ones(1), "other": torch.ones(1)}
    assert list(read_checkpoint(save(kept)).state_dict) == list(kept)


@pytest.mark.parametrize(
    "value",
    [np.float64(0.5), np.int64(3), np.bool_(1), np.arange(3.0), np.array(["a", None], object)],
    ids=["float", "integer", "bool", "array", "objects"],
)
def test_values_of_numpy_in_the_log_are_ignored(value: object, save: Save) -> None:
    path = save({"meta": {"CLASSES": CLASSES, "best": value}, "state_dict": linear().state_dict()})
    assert read_checkpoint(path).classes == CLASSES


def test_the_allow_list_holds_only_while_a_file_is_read(save: Save) -> None:
    read_checkpoint(save({"state_dict": linear().state_dict(), "meta": {"x": np.float64(1)}}))
    assert not set(SAFE_GLOBALS) & set(torch.serialization.get_safe_globals())
    assert all(vars(allowed).keys() <= {"__module__", "__doc__"} for allowed in SAFE_GLOBALS)


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


# Refusals


class Hostile:
    """Creates a file when it is unpickled without protection."""

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
    refusal = r"it is a pickled model or another object, not a state dict: it names torch\.nn\.modules\.linear\.Linear"
    with pytest.raises(UnsafeCheckpointError, match=refusal) as caught:
        read_checkpoint(save(linear()))
    assert "torch.save(model.state_dict()" in caught.value.hint


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
        (b"\n<!DOCTYPE html>\n<html><title>404", WEB_PAGE),
        (b"<html>moved</html>", WEB_PAGE),
        (b"\xef\xbb\xbf<!doctype html><html>", WEB_PAGE),
        ("\ufeff<html>moved</html>".encode("utf-16-le"), WEB_PAGE),
        (b"<!-- " + b"x" * 600 + b" --><html>", WEB_PAGE),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">', WEB_PAGE),
        (b'<HTML lang="en">', WEB_PAGE),
        (b"<head><title>Sign in</title>", WEB_PAGE),
        (b"<script>location='/login'</script>", WEB_PAGE),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 277042151\n",
            "it is a Git LFS pointer, not the file itself",
        ),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file, as Keras writes, not a checkpoint of torch"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "it is an ONNX model, not a checkpoint of torch"),
        (b"\x1f\x8b\x08" + bytes(100), "it is compressed with gzip"),
        (b"model weights", "it is damaged, or not a checkpoint"),
        (pickle.dumps({"weight": 1.0}), "it is a pickle, not a file as torch.save writes it by default"),
    ],
)
def test_files_of_other_kinds_are_refused_by_name(content: bytes, reason: str, tmp_path: Path) -> None:
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


# Loading


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
    with pytest.raises(CheckpointError) as caught:
        load_strictly(model, given, model_name="a model", path=tmp_path / "w.pth")
    assert str(caught.value) == (
        f"{tmp_path / 'w.pth'} does not fit a model: 1 missing: first.bias; 1 unexpected: head.weight; "
        "1 of another shape: first.weight: (2, 4) instead of (2, 3)"
    )
    assert "`bdd100k-zoo list`" in caught.value.hint
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
def test_valid_class_names_pass(names: tuple[str, ...], tmp_path: Path) -> None:
    check_classes(names, path=tmp_path)


def test_another_order_of_the_classes_is_refused(tmp_path: Path) -> None:
    swapped = ("rider", "pedestrian", *CLASSES[2:])
    with pytest.raises(CheckpointError) as caught:
        check_classes(swapped, path=tmp_path)
    assert str(caught.value) == f"{tmp_path}: expected the classes {', '.join(CLASSES)}; found {', '.join(swapped)}"


def test_the_log_of_a_checkpoint_of_mmdet_3_is_ignored(save: Save) -> None:
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
    with torch.serialization.safe_globals(SAFE_GLOBALS):
        log = torch.load(path, weights_only=True)["log"]
    assert not callable(log)


# Names that carry no learnt value


def normalised(std: float = 1.0) -> nn.Module:
    """Return a model with the usual layer names, and the normalisation as in mmdet 3's configs."""
    model = nn.Sequential(OrderedDict(backbone=nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 2, 1), bn1=norm()))))
    model.cfg = {"model": {"data_preprocessor": {"mean": [123.675, 116.28, 103.53], "std": [std] * 3}}}
    return model


def norm() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(2)


def as_mmdet_2(model: nn.Module) -> nn.Module:
    """Move the normalisation to its place in mmdet 2's configs."""
    step = {"type": "Normalize", **model.cfg["model"]["data_preprocessor"], "to_rgb": True}
    steps = [{"type": "LoadImageFromWebcam"}, {"type": "MultiScaleFlipAug", "transforms": [{"type": "Pad"}, step]}]
    model.cfg = {"model": {}, "data": {"test": {"pipeline": steps}}}
    return model


def load(model: nn.Module, given: dict[str, Any]) -> None:
    load_strictly(model, given, model_name="a model", path=Path("w.pth"))


def test_the_averages_that_mmdet_2_keeps_as_buffers_are_ignored() -> None:
    model, source = normalised(), normalised()
    given = source.state_dict()
    averages = {"ema_" + name.replace(".", "_"): torch.full_like(tensor, 7) for name, tensor in given.items()}
    load(model, given | averages)
    assert torch.equal(model.backbone.conv1.weight, source.backbone.conv1.weight)
    with pytest.raises(CheckpointError, match=r"a model: 1 unexpected: ema_head_weight$"):
        load(model, given | averages | {"ema_head_weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"a model: 6 missing: backbone\.conv1\.weight, "):
        load(model, averages)


def test_the_averages_that_mmengine_keeps_with_the_weights_are_ignored(save: Save) -> None:
    average = {f"module.{name}": torch.zeros_like(tensor) for name, tensor in linear().state_dict().items()}
    path = save({"state_dict": linear().state_dict(), "ema_state_dict": average | {"steps": torch.tensor(5)}})
    assert torch.equal(read_checkpoint(path).state_dict["weight"], linear().weight)


@pytest.mark.parametrize("counter", ["n_averaged", "steps"])
def test_an_averaged_model_is_read_without_its_counter(counter: str, save: Save) -> None:
    given = {counter: torch.tensor(5)} | {f"module.{name}": each for name, each in linear().state_dict().items()}
    assert list(read_checkpoint(save(given)).state_dict) == ["weight", "bias"]


def test_a_compiled_model_is_read_under_its_own_names(save: Save) -> None:
    given = {f"module._orig_mod.{name}": each for name, each in linear().state_dict().items()}
    assert list(read_checkpoint(save(given)).state_dict) == ["weight", "bias"]


@pytest.mark.parametrize("build", [normalised, lambda *std: as_mmdet_2(normalised(*std))], ids=["mmdet3", "mmdet2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_means_and_deviations_of_pixels_are_compared_with_the_config(
    build: Callable[..., nn.Module], dtype: torch.dtype
) -> None:
    mean = torch.tensor([123.675, 116.28, 103.53], dtype=dtype).view(3, 1, 1)
    pixels = {"data_preprocessor.mean": mean, "data_preprocessor.std": torch.ones(3, 1, 1, dtype=dtype)}
    load(build(), build().state_dict() | pixels)
    refusal = r"data_preprocessor\.std: 1, 1, 1 instead of the config's 57\.0, 57\.0, 57\.0$"
    with pytest.raises(CheckpointError, match=refusal):
        load(build(57.0), build().state_dict() | pixels)


def test_means_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"data_preprocessor\.mean: 5 instead of the config's 123"):
        load(normalised(), normalised().state_dict() | {"data_preprocessor.mean": torch.tensor([5.0])})


@pytest.mark.parametrize("change", ["missing", "half"])
def test_counters_of_batches_are_not_needed(change: str) -> None:
    given = dict(normalised().state_dict())
    counter = given.pop("backbone.bn1.num_batches_tracked")
    load(normalised(), given if change == "missing" else given | {"backbone.bn1.num_batches_tracked": counter.half()})


# Values


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda w: w.index_fill(1, torch.tensor([1]), float("nan")), "holds NaN or infinity"),
        (lambda w: w.index_fill(1, torch.tensor([1]), float("inf")), "holds NaN or infinity"),
        (lambda w: w.index_fill(1, torch.tensor([1]), -float("inf")).half(), "holds NaN or infinity"),
        (lambda w: w.double() * 1e300, "holds NaN or infinity"),
        (lambda w: w.long(), "has the type torch.int64: expected floating-point numbers of 16, 32 or 64 bits"),
        (lambda w: w.bool(), "has the type torch.bool: expected floating-point numbers of 16, 32 or 64 bits"),
        (lambda w: w + 1j, "has the type torch.complex64: expected floating-point numbers of 16, 32 or 64 bits"),
        (
            lambda w: w.to(torch.float8_e4m3fn),
            "has the type torch.float8_e4m3fn: expected floating-point numbers of 16, 32 or 64 bits",
        ),
    ],
)
def test_values_that_cannot_be_used_are_refused_and_the_parameter_named(
    make: Callable[[Any], Any], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": linear().state_dict() | {"weight": make(linear().weight.detach())}}, path)
    model = linear()
    before = model.weight.detach().clone()
    refusal = f"{path} does not fit a model: 1 with values that cannot be used: weight {problem}"
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, path, model_name="a model")
    assert str(caught.value) == refusal
    assert "use a checkpoint of finite" in caught.value.hint
    assert torch.equal(model.weight, before)
    with pytest.raises(CheckpointError) as caught:
        check_checkpoint_file(path, lambda: nn.Linear(3, 2, device="meta"), model_name="a model")
    assert str(caught.value) == refusal


def test_fractions_in_place_of_whole_numbers_are_refused() -> None:
    model = nn.Module()
    model.register_buffer("index", torch.arange(3))
    with pytest.raises(CheckpointError, match=r"index has the type torch\.float32: expected torch\.int64"):
        load(model, {"index": torch.rand(3)})
    load(model, {"index": torch.tensor([5, 6, 7], dtype=torch.int32)})
    assert model.index.tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    "make",
    [
        lambda w: w.half(),
        lambda w: w.bfloat16(),
        lambda w: w.double(),
        lambda w: w.t().contiguous().t(),
        lambda _: torch.ones(()).expand(2, 3),
        lambda _: torch.ones(9)[3:].view(2, 3),
        lambda w: nn.Parameter(w),
        lambda w: torch.full_like(w, 3e38),  # whose sum is infinite
    ],
    ids=["fp16", "bf16", "fp64", "transposed", "expanded", "shared", "parameter", "huge"],
)
def test_every_dense_floating_point_tensor_is_loaded(make: Callable[[Any], Any], tmp_path: Path) -> None:
    weight = make(linear().weight.detach())
    torch.save({"state_dict": linear().state_dict() | {"weight": weight}}, tmp_path / "w.pth")
    model = linear()
    load_weights(model, tmp_path / "w.pth", model_name="a model")
    assert torch.equal(model.weight, weight.float())


@given(st.lists(st.floats(width=32), max_size=8), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_numbers_are_finite_if_each_of_them_is(numbers: list[float], dtype: torch.dtype) -> None:
    tensor = torch.tensor(numbers, dtype=torch.float32).to(dtype)
    assert all_finite(tensor) == all(map(math.isfinite, tensor.tolist()))


# Random weights


def test_random_weights_are_loaded_and_recognised_but_never_pass_as_trained_ones(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    save_random_state_dict(linear().state_dict(), path)
    assert torch.load(path, weights_only=True)["meta"][RANDOM_WEIGHTS_KEY] is True
    assert load_weights(linear(), path, model_name="a model") is True
    with pytest.raises(UnsafeCheckpointError, match="its metadata states that its weights are random"):
        check_checkpoint_file(path, linear, model_name="a model")
    torch.save({"state_dict": linear().state_dict(), "meta": {RANDOM_WEIGHTS_KEY: 0}}, path)
    assert load_weights(linear(), path, model_name="a model") is False


# safetensors


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_safetensors_file_is_loaded_whatever_it_is_called(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    expected = {name: tensor.to(dtype) for name, tensor in linear().state_dict().items()}
    save_file(expected, tmp_path / name, metadata={"format": "pt"})
    model = nn.Linear(3, 2)
    load_weights(model, tmp_path / name, model_name="a model")
    check_checkpoint_file(tmp_path / name, linear, model_name="a model")
    assert torch.equal(model.weight, expected["weight"].float())


def test_a_safetensors_file_is_checked_against_the_model_like_any_other(tmp_path: Path) -> None:
    save_file({"weight": torch.full((2, 3), float("nan")), "other": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_weights(linear(), tmp_path / "w.safetensors", model_name="a model")
    problems = "1 missing: bias; 1 unexpected: other; 1 with values that cannot be used: weight holds NaN or infinity"
    assert str(caught.value).endswith(f"does not fit a model: {problems}")


def test_a_safetensors_file_that_is_truncated_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(linear().state_dict(), path)
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UnsafeCheckpointError):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("header", "claimed", "reason"),
    [
        (b"{}", None, "without a tensor"),
        (b"{", MAX_DIRECTORY + 1, f"its header has {MAX_DIRECTORY + 1:,} bytes, more than"),
        (b"{", 1 << 40, "its header has 1,099,511,627,776 bytes, more than"),
        (b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}', None, "truncated or damaged"),
        (b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}', None, "truncated or damaged"),
        (b'{"w":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}', None, "truncated or damaged"),
        (b"{" * 5000, None, "truncated or damaged"),
    ],
)
def test_a_hostile_safetensors_file_is_refused(header: bytes, claimed: int | None, reason: str, tmp_path: Path) -> None:
    path, body = tmp_path / "w.safetensors", b"" if header == b"{}" else bytes(4)
    path.write_bytes((claimed or len(header)).to_bytes(8, "little") + header + body)
    with pytest.raises(UnsafeCheckpointError, match=reason):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore")  # of torch.jit, which is deprecated
def test_a_torchscript_archive_is_named(tmp_path: Path) -> None:
    torch.jit.trace(linear(), torch.ones(1, 3)).save(tmp_path / "w.pth")
    with pytest.raises(UnsafeCheckpointError, match="it is a TorchScript archive, not a state dict") as caught:
        read_checkpoint(tmp_path / "w.pth")
    assert "torch.save(model.state_dict()" in caught.value.hint
