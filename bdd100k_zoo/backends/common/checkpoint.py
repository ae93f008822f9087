"""Read checkpoints, check them against a model, and load them into it; write random ones. No code in them is run."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from bdd100k_zoo.backends.common.checkpoint_limits import (
    BROKEN_ZIP,
    SAVE_HINT,
    ZIP_MAGIC,
    check_limits,
    check_pickles,
    is_safetensors,
    read_errors,
    verify_crcs,
)
from bdd100k_zoo.backends.common.convnext_sizes import explain_other_size
from bdd100k_zoo.backends.common.pickle_values import DAMAGED, IGNORED_GLOBALS, PickleError
from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES
from bdd100k_zoo.errors import CheckpointError, UnsafeCheckpointError, join_first
from bdd100k_zoo.files import looks_like_html, storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "module.")
"""Prefixes of all names, outermost first: of data-parallel and averaged models, and of ``torch.compile``."""
AVERAGED_MODEL_COUNTERS = ("n_averaged", "steps")
"""Counters of torch's and mmengine's averaged models, beside the parameters."""
BATCHNORM_COUNTER = "num_batches_tracked"
"""Suffix of BatchNorm's counters, which evaluation does not use; torch before 0.4.1 saved none."""
EMA_PREFIX = "ema_"
"""Prefix of the buffers in which mmdet 2's EMA hooks keep a parameter's second copy, dots as underscores."""
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
RANDOM_WEIGHTS_KEY = "random_weights"
"""Key in ``meta`` by which a checkpoint states that its weights are random; see ``save_random_state_dict``."""
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files in torch's older format."""
OTHER_KINDS = (
    (rb"version https://git-lfs", "it is a Git LFS pointer, not the file itself", "`git lfs pull` fetches that file"),
    (rb"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes, not a checkpoint of torch", ""),
    (rb"\x08[\x01-\x20]\x12.(pytorch|onnx|tf2onnx|keras2onnx)", "it is an ONNX model, not a checkpoint of torch", ""),
    (rb"\x1f\x8b", "it is compressed with gzip", "unpack it first"),
)
"""The first bytes of files that are given instead of checkpoints, why they are refused, and a hint."""


class Checkpoint(NamedTuple):
    """The content of a checkpoint that a detector uses."""

    state_dict: dict[str, Tensor]
    classes: tuple[str, ...]
    """The class names that the file records, if any."""
    random: bool = False
    """Whether its metadata states that the weights are random."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of mmcv 1.x, mmengine or plain torch (zip or older format), or of safetensors, on the CPU.

    A file of torch holds a dictionary with a ``state_dict`` (in the files of some authors ``model``) and perhaps
    ``meta``, or the state dict itself. Only tensors and plain values are accepted; objects of numpy and mmengine in
    training logs are ignored.

    Raises:
        StorageError: the file is missing or cannot be read, or its tensors need more memory than is available.
        UnsafeCheckpointError: it is damaged, has another format, holds other objects, or exceeds a limit.
    """
    head = _check_and_read_head(path)
    if is_safetensors(head):
        return Checkpoint(_strip_wrappers(_load_safetensors(path)), ())
    content = _load_torch(path, head)
    state_dict = _find_state_dict(content)
    holds_tensors = (isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state_dict.items())
    if not state_dict or not all(holds_tensors):
        raise UnsafeCheckpointError(path, "it holds no state dict: expected tensors by parameter name")
    meta = content.get("meta")
    random = isinstance(meta, dict) and meta.get(RANDOM_WEIGHTS_KEY) is True
    return Checkpoint(_strip_wrappers(state_dict), _recorded_classes(meta), random)


def _find_state_dict(content: object) -> dict[Any, Any]:
    if not isinstance(content, dict):
        return {}
    found = content.get("state_dict", content.get("model", content))
    return found if isinstance(found, dict) else {}


def read_torch_file(path: Path) -> Any:
    """Return the tensors and plain values of a file of torch, on the CPU; raises as ``read_checkpoint`` does."""
    return _load_torch(path, _check_and_read_head(path))


def load_weights(model: nn.Module, path: Path, *, model_name: str) -> bool:
    """Read a checkpoint into a model, strictly, and return whether its metadata states that the weights are random.

    Raises:
        StorageError, CheckpointError: see ``read_checkpoint``, ``check_classes`` and ``load_strictly``.
    """
    weights = read_checkpoint(path)
    check_classes(weights.classes, path=path)
    load_strictly(model, weights.state_dict, model_name=model_name, path=path)
    return weights.random


def check_checkpoint_file(path: Path, build: Callable[[], nn.Module], *, model_name: str) -> dict[str, Tensor]:
    """Check that a file is a trained checkpoint of a model: parameters, shapes, values, classes, entries' checksums.

    ``build`` returns the model; it is called after the file has been read.

    Returns:
        The tensors that the model takes.

    Raises:
        UnsafeCheckpointError: also if its metadata states that the weights are random.
        StorageError, CheckpointError: see ``read_checkpoint``, ``check_classes``, ``verify_crcs`` and
            ``check_parameters``.
    """
    weights = read_checkpoint(path)
    if weights.random:
        raise UnsafeCheckpointError(
            path,
            "its metadata states that its weights are random, so it is not the checkpoint of a trained model",
            "`bdd100k-zoo predict --weights FILE` runs it without the cache",
        )
    check_classes(weights.classes, path=path)
    verify_crcs(path)
    return check_parameters(build(), weights.state_dict, model_name=model_name, path=path)


def load_strictly(model: nn.Module, state_dict: Mapping[str, Tensor], *, model_name: str, path: Path) -> None:
    """Copy tensors into a model; see ``check_parameters`` for which.

    Raises:
        CheckpointError: as ``check_parameters``. The model is unchanged.
    """
    taken = check_parameters(model, _strip_wrappers(state_dict), model_name=model_name, path=path)
    model.load_state_dict(taken, strict=False)  # BatchNorm's counters may be missing


def check_parameters(
    model: nn.Module, tensors: Mapping[str, Tensor], *, model_name: str, path: Path
) -> dict[str, Tensor]:
    """Check that tensors have exactly the names and shapes of a model's parameters and buffers, and usable values.

    Names without a learnt value are ignored: BatchNorm's counters may be missing, mmdet 2's ``ema_*`` buffers may be
    present, and so may ``data_preprocessor.mean`` and ``std`` if they are the config's numbers.

    Returns:
        The tensors that the model takes.

    Raises:
        CheckpointError: a name is missing or unexpected, has another shape, or values that cannot be used.
    """
    expected = model.state_dict()
    averages = {EMA_PREFIX + name.replace(".", "_") for name in expected}
    rest = {name: tensor for name, tensor in tensors.items() if name in expected or name not in averages}
    unusable = []
    for name, numbers in _read_normalisation(model).items():
        if name in rest:
            found = rest[name].flatten()[:16].tolist()
            # The rounding of bfloat16 is a little smaller than this.
            if len(found) != len(numbers) or not np.allclose(found, numbers, rtol=2e-3):
                shown = ", ".join(f"{number:.7g}" for number in found)
                unusable.append(f"{name}: {shown} instead of the config's {', '.join(map(str, numbers))}")
        if name not in expected:
            rest.pop(name, None)
    return match_state_dict(expected, rest, model_name=model_name, path=path, unusable=unusable)


def _read_normalisation(model: nn.Module) -> dict[str, tuple[float, ...]]:
    """Return mean and std of a model's config, by the names that checkpoints give them."""
    config: Any = getattr(model, "cfg", None) or {}
    settings = config.get("model", {}).get("data_preprocessor")
    if not settings:  # a config of mmdet 2, which normalises in a step of its test pipeline
        steps = config.get("data", {}).get("test", {}).get("pipeline", ())
        nested = (step for each in steps for step in (each, *each.get("transforms", ())))
        settings = next((step for step in nested if step.get("type") == "Normalize"), {})
    pairs = ((name, settings.get(name)) for name in ("mean", "std"))
    return {f"data_preprocessor.{name}": tuple(map(float, numbers)) for name, numbers in pairs if numbers is not None}


def match_state_dict(
    expected: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    *,
    model_name: str,
    path: Path,
    optional: tuple[str, ...] = (BATCHNORM_COUNTER,),
    unusable: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Return the tensors to copy into a state dict, after checking names, shapes, types and values.

    Args:
        expected: the state dict of the model, which may be on the meta device.
        given: the tensors of a file.
        model_name: what errors call the model.
        path: the file.
        optional: suffixes of names that may be missing.
        unusable: problems of other values of the file.

    Raises:
        CheckpointError: a name is missing or unexpected, has another shape, or values that cannot be used.
    """
    # A counter of a floating-point type, as after `.half()` on a whole state dict, is dropped.
    taken = {
        name: tensor
        for name, tensor in given.items()
        if not name.endswith(BATCHNORM_COUNTER) or name not in expected or tensor.dtype in INTEGER_DTYPES
    }
    missing = [name for name in expected if name not in taken and not name.endswith(optional)]
    unexpected = [name for name in taken if name not in expected]
    reshaped, misused = [], list(unusable)
    for name in (name for name in expected if name in taken):
        tensor, like = taken[name], expected[name]
        if problem := _dtype_problem(tensor, like):
            misused.append(f"{name} {problem}")
        elif tensor.shape != like.shape:
            reshaped.append(f"{name}: {tuple(tensor.shape)} instead of {tuple(like.shape)}")
        # In the model's type, because a float64 or bfloat16 may be too large for it.
        elif like.is_floating_point() and not all_finite(tensor.to(like.dtype)):
            misused.append(f"{name} holds NaN or infinity")
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": reshaped,
        "with values that cannot be used": misused,
    }
    if found := [join_first(names, kind) for kind, names in kinds.items() if names]:
        hint = "is this the checkpoint of that model? `bdd100k-zoo list` shows all models"
        if not (missing or unexpected or reshaped):
            hint = "use a checkpoint of finite floating-point numbers; after a training that diverged, an earlier one"
        elif other := explain_other_size(expected, given):
            problem, hint = other
            found = [problem, *found]
        raise CheckpointError(f"{path} does not fit {model_name}: {'; '.join(found)}", hint)
    return taken


def all_finite(tensor: Tensor) -> bool:
    """Return whether no number of a floating-point tensor is NaN or infinite."""
    # A sum is finite only if all its terms are, and takes a fifteenth of the time. If it overflows, each is checked.
    found = tensor.detach()
    return bool(found.sum().isfinite()) or bool(found.isfinite().all())


def check_classes(classes: Iterable[str], *, path: Path) -> None:
    """Check the class names that a checkpoint records: BDD100K's ten in their order, or none.

    Other numbers of names than ten are ignored: they are not about a model of ten classes.

    Raises:
        CheckpointError: there are ten names, and they are others or in another order.
    """
    found = tuple(classes)
    if len(found) == len(CLASSES) and tuple(CLASS_ALIASES.get(name, name) for name in found) != CLASSES:
        raise CheckpointError(
            f"{path}: expected the classes {', '.join(CLASSES)}; found {', '.join(found)}",
            "only checkpoints of the ten BDD100K classes, in their order, are supported; train or convert one",
        )


def save_random_state_dict(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict of random weights in the form of the published checkpoints; raises StorageError.

    All random weights are written here: ``meta`` states that they are random, so that none are mistaken for trained.
    """
    content = io.BytesIO()
    torch.save({"meta": {"CLASSES": CLASSES, RANDOM_WEIGHTS_KEY: True}, "state_dict": dict(state_dict)}, content)
    write_atomically(path, content.getvalue())


class _IgnoredGlobal:
    """A placeholder for the objects in a checkpoint's log: it keeps nothing and does nothing."""

    def __new__(cls, *_: object) -> _IgnoredGlobal:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


# All that is allowed in addition to torch's own list: empty classes under the names of ``IGNORED_GLOBALS``, so that
# neither a function of numpy nor getattr is ever called.
SAFE_GLOBALS: list[Any] = [
    type(name, (_IgnoredGlobal,), {"__module__": module})
    for module, _, name in (path.rpartition(".") for path in IGNORED_GLOBALS)
]


def _check_and_read_head(path: Path) -> bytes:
    check_limits(path)
    with storage_errors(path), path.open("rb") as file:
        return file.read(512)


def _load_torch(path: Path, head: bytes) -> Any:
    zipped = head.startswith(ZIP_MAGIC)
    if not zipped and not head.startswith(LEGACY_MAGIC):
        raise UnsafeCheckpointError(path, *_describe_other_kind(head))
    try:
        with read_errors(path, BROKEN_ZIP if zipped else DAMAGED), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_pickles(path)
            with torch.serialization.safe_globals(SAFE_GLOBALS):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except PickleError as error:
        raise UnsafeCheckpointError(path, str(error), SAVE_HINT if error.named else "") from None


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import safe_open
    except ImportError:
        reason = "reading this format needs the package safetensors"
        raise UnsafeCheckpointError(path, reason, "`pip install safetensors`") from None
    reason = "it is a safetensors file that is truncated or damaged"
    with read_errors(path, reason), safe_open(path, framework="pt", device="cpu") as file:
        state_dict = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    if not state_dict:
        raise UnsafeCheckpointError(path, "it is a safetensors file without a tensor")
    return state_dict


def _describe_other_kind(head: bytes) -> tuple[str, str]:
    """Return why a file that begins with these bytes is no checkpoint, and a hint."""
    if not head:
        return "the file is empty", ""
    if looks_like_html(head):
        return "it is a web page, not a checkpoint", "the download failed or needs a login: download the file itself"
    for start, reason, hint in OTHER_KINDS:
        if re.match(start, head, re.DOTALL):
            return reason, hint
    if head[:1] == b"\x80":
        return "it is a pickle, not a file as torch.save writes it by default", SAVE_HINT
    return DAMAGED, ""


def _strip_wrappers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the prefixes and counters that wrappers of a model add."""
    found = dict(state_dict)
    for prefix in WRAPPER_PREFIXES:
        inner = {name: tensor for name, tensor in found.items() if name not in AVERAGED_MODEL_COUNTERS}
        if inner and all(name.startswith(prefix) for name in inner):
            found = {name.removeprefix(prefix): tensor for name, tensor in inner.items()}
    return found


def _dtype_problem(tensor: Tensor, like: Tensor) -> str:
    """Return why a tensor's type cannot be copied into another one's; empty if it can."""
    if like.is_floating_point() and tensor.dtype not in FLOAT_DTYPES:
        return f"has the type {tensor.dtype}: expected floating-point numbers of 16, 32 or 64 bits"
    if not like.is_floating_point() and tensor.dtype not in (*INTEGER_DTYPES, like.dtype):
        return f"has the type {tensor.dtype}: expected {like.dtype}"
    return ""


def _recorded_classes(meta: object) -> tuple[str, ...]:
    """Return ``CLASSES``, as mmdet 2.x records them, or ``dataset_meta``, as mmdet 3.x does."""
    if not isinstance(meta, dict):
        return ()
    newer = meta.get("dataset_meta")
    listed = newer.get("classes", newer.get("CLASSES")) if isinstance(newer, dict) else meta.get("CLASSES")
    if not isinstance(listed, (tuple, list)) or not all(isinstance(name, str) for name in listed):
        return ()
    return tuple(listed)
