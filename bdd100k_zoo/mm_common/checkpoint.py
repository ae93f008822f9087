"""Files of weights → tensors, and into a model. Nothing in such a file is ever run."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bdd100k_zoo.categories import ALIASES, CLASSES
from bdd100k_zoo.errors import (
    CheckpointClassesError,
    CheckpointMismatchError,
    StorageError,
    UnsafeCheckpointError,
)
from bdd100k_zoo.mm_common.limits import NO_WHOLE_ZIP, ZIP_MAGIC, check_limits, check_pickles, check_sums
from bdd100k_zoo.mm_common.pickles import DAMAGED, PASSED_OVER, PickleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

PARALLEL_PREFIX = "module."
"""What a model wrapped for several devices puts before every name."""


class Checkpoint(NamedTuple):
    """What a file of weights holds that a detector needs."""

    state_dict: dict[str, Tensor]
    classes: tuple[str, ...]
    """The class names that the file records; none where it records none."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of mmcv 1.x, mmengine or plain torch (zip or older format), on the CPU.

    It is a dictionary with a ``state_dict`` and perhaps ``meta``, or the state dict itself. Only tensors and plain
    values are accepted; those of numpy and mmengine that training logs hold are passed over.

    Raises:
        StorageError: the file is missing or cannot be read, or its tensors need more memory than there is.
        UnsafeCheckpointError: it is damaged, is something else, holds more than that, or exceeds a limit.
    """
    content = read_plain(path)
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state_dict, dict) or not _holds_tensors(state_dict):
        raise UnsafeCheckpointError(path, "it holds no state dict: expected tensors by parameter name")
    return Checkpoint(_without_prefix(state_dict), _classes(content.get("meta")))


def read_plain(path: Path) -> Any:
    """Read whatever tensors and plain values a file holds, on the CPU; raises as ``read_checkpoint`` does."""
    check_limits(path)
    return _load(path)


def load_weights(model: nn.Module, path: Path, *, model_name: str) -> None:
    """Read a checkpoint into a model, strictly.

    Raises:
        StorageError, CheckpointError: see ``read_checkpoint``, ``check_classes`` and ``load_strictly``.
    """
    weights = read_checkpoint(path)
    check_classes(weights.classes, path=path)
    load_strictly(model, weights.state_dict, model_name=model_name, path=path)


def check_file(path: Path, build: Callable[[], nn.Module], *, model_name: str) -> None:
    """Hold a checkpoint against a model, with nothing copied: parameters, shapes, classes, each entry's checksum.

    ``build`` gives the model; it is called once the file has been read and its classes are right.

    Raises:
        StorageError, CheckpointError: see ``read_checkpoint``, ``check_classes``, ``check_parameters``, ``check_sums``.
    """
    weights = read_checkpoint(path)
    check_classes(weights.classes, path=path)
    check_parameters(build().state_dict(), weights.state_dict, model_name=model_name, path=path)
    check_sums(path)


def load_strictly(model: nn.Module, state_dict: Mapping[str, Tensor], *, model_name: str, path: Path) -> None:
    """Copy tensors into a model that has exactly those parameters and buffers, in those shapes.

    Raises:
        CheckpointMismatchError: a name is missing or unexpected, or has another shape. The model is left as it was.
    """
    given = _without_prefix(state_dict)
    check_parameters(model.state_dict(), given, model_name=model_name, path=path)
    model.load_state_dict(given)


def check_parameters(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], *, model_name: str, path: Path
) -> None:
    """Check that tensors have exactly the names and shapes of a model's parameters and buffers.

    Raises:
        CheckpointMismatchError: a name is missing or unexpected, or has another shape.
    """
    missing = tuple(name for name in expected if name not in given)
    unexpected = tuple(name for name in given if name not in expected)
    reshaped = tuple(_reshaped(given, expected))
    if missing or unexpected or reshaped:
        raise CheckpointMismatchError(model_name, path, missing, unexpected, reshaped)


def check_classes(classes: Iterable[str], *, path: Path) -> None:
    """Check the class names that a checkpoint records: BDD100K's ten in their order, or none.

    A number of names other than ten tells nothing about a model of ten outputs, and is passed over.

    Raises:
        CheckpointClassesError: ten names, and they are others or in another order.
    """
    found = tuple(classes)
    if len(found) == len(CLASSES) and tuple(ALIASES.get(name, name) for name in found) != CLASSES:
        raise CheckpointClassesError(path, CLASSES, found)


class _PassedOver:
    """Takes the place of what a checkpoint's log holds beside plain values: keeps nothing, does nothing."""

    def __new__(cls, *_: object) -> _PassedOver:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _stand_in(path: str) -> type[_PassedOver]:
    module, _, name = path.rpartition(".")
    return type(name, (_PassedOver,), {"__module__": module})


# The whole allow-list beyond torch's own. Of these only the names are known here; no function of numpy, and no getattr,
# is ever called.
ALLOWED: list[Any] = [_stand_in(path) for path in PASSED_OVER]


def _load(path: Path) -> Any:
    head = _head(path)
    zipped = head.startswith(ZIP_MAGIC)
    if not zipped and not head.startswith(LEGACY_MAGIC):
        raise UnsafeCheckpointError(path, _reason(head, None))
    try:
        check_pickles(path)
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (StorageError, UnsafeCheckpointError):
        raise
    except OSError as error:
        raise StorageError(path, error.strerror or str(error)) from error
    # Bytes that anybody may have written can make the reader stumble in any way; none of it is a fault of ours.
    except Exception as error:  # noqa: BLE001
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise StorageError(path, "its tensors need more memory than there is") from None
        # Torch's own words advise to load the file without this check: they are not passed on, not even as a cause.
        raise UnsafeCheckpointError(path, _reason(head, error)) from None


LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files in torch's older format begin."""


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise StorageError(path, error.strerror or str(error)) from error


def _reason(head: bytes, error: Exception | None) -> str:
    if not head:
        return "the file is empty"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page, not a checkpoint"
    if isinstance(error, PickleError):
        return str(error)
    return NO_WHOLE_ZIP if head.startswith(ZIP_MAGIC) else DAMAGED


def _holds_tensors(state_dict: Mapping[Any, Any]) -> bool:
    entries = state_dict.items()
    return bool(entries) and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in entries)


def _without_prefix(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith(PARALLEL_PREFIX) for name in state_dict):
        return {name.removeprefix(PARALLEL_PREFIX): tensor for name, tensor in state_dict.items()}
    return dict(state_dict)


def _reshaped(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterable[str]:
    for name in (name for name in expected if name in given):
        found, wanted = tuple(given[name].shape), tuple(expected[name].shape)
        if found != wanted:
            yield f"{name}: {found} instead of {wanted}"


def _classes(meta: object) -> tuple[str, ...]:
    """``CLASSES`` as mmdet 2.x records them, ``dataset_meta`` as mmdet 3.x does."""
    if not isinstance(meta, dict):
        return ()
    newer = meta.get("dataset_meta")
    listed = newer.get("classes", newer.get("CLASSES")) if isinstance(newer, dict) else meta.get("CLASSES")
    if not isinstance(listed, (tuple, list)) or not all(isinstance(name, str) for name in listed):
        return ()
    return tuple(listed)
