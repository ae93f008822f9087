"""The values that the pickle of a checkpoint may create, the functions that it may call, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_STEPS = 1_000_000
"""Instructions, and items of copied containers. A tensor takes about 40: HRNet's 1,856 with AdamW's state, 220,000."""
MAX_DEPTH = 100
"""Levels of containers within containers. A training checkpoint of mmengine has ten."""
MAX_DIMENSIONS = 64
"""Dimensions of a tensor; torch itself has no more in most operations."""
MAX_COPIED = 128 << 20
"""Bytes that are copied from texts: the arrays of a training run's log, at most twice."""
MAX_ODD_KEYS = 5000
"""Keys that are neither text nor small integers: an attacker can choose them so that all have the same hash."""
MAX_KEY = 16
"""Values in a tuple that is a key."""

DAMAGED = "it is damaged, or not a checkpoint"
NOT_PLAIN = "it holds more than tensors and plain values"

IGNORED_GLOBALS = (
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",
    "builtins.bytes",
)
"""Names in the logs of mmcv 1.x (numpy) and mmengine (its history, and getattr for its methods). None is called."""

STORAGE_ELEMENT_SIZES = {
    f"torch.{kind}Storage": size
    for size, kinds in {
        1: ("Byte", "Char", "Bool"),
        2: ("Short", "Half", "BFloat16"),
        4: ("Int", "Float"),
        8: ("Long", "Double", "ComplexFloat"),
        16: ("ComplexDouble",),
    }.items()
    for kind in kinds
} | {"torch.storage.UntypedStorage": 1}
"""Bytes of one element by kind of storage."""


UNSUPPORTED_TENSORS = {
    "torch._utils._rebuild_meta_tensor_no_storage": "has no values, it was saved from the device meta",
    "torch._utils._rebuild_nested_tensor": "is a nested tensor",
    "torch._utils._rebuild_qtensor": "is a quantised tensor",
    "torch._utils._rebuild_sparse_tensor": "is a sparse tensor",
}
"""Functions that rebuild tensors which no detector has, and whose arguments torch does not check."""


class PickleError(ValueError):
    """A pickle that is damaged, or creates something that no checkpoint needs."""

    def __init__(self, message: str, named: str = "") -> None:
        super().__init__(message)
        self.named = named
        """The function or class that it names and no checkpoint needs, if that is the reason."""


class Storage(NamedTuple):
    """The memory of tensors, as a pickle declares it."""

    kind: str
    elements: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.elements * STORAGE_ELEMENT_SIZES[self.kind]


@dataclass(slots=True, eq=False)
class Value:
    """A value that the pickle would create, other than numbers, short texts, True, False and None."""

    kind: str
    """global, text, bytes, list, tuple, dict, ordered, counter, set, size, storage, tensor, ignored or other."""
    content: Any = None
    """Of a global its name, of a tuple its items, of a storage the Storage, of a dictionary its keys."""
    length: int = 0
    """Bytes, or items: of a dictionary its keys and its values."""
    depth: int = 0
    """Levels of containers in it."""
    weight: int = 1
    """Values in it, each as often as it is referred to."""
    open: bool = True
    """Whether items may still be added: not after it has become an item itself, so that nothing contains itself."""


def require(condition: bool) -> None:
    """Raise PickleError unless a condition holds, as it does for every checkpoint."""
    if not condition:
        raise PickleError(NOT_PLAIN)


def kind_of(value: Any) -> str:
    """Return the kind of a Value; an empty text for anything else."""
    return value.kind if isinstance(value, Value) else ""


def are_sizes(*values: Any) -> bool:
    """Return whether all values are integers of 0 or more."""
    return all(type(value) is int and value >= 0 for value in values)


def element_size(path: str) -> int:
    """Return the bytes of one element of a dtype, by its path; 0 if it is not a dtype."""
    dtype = vars(torch).get(path.removeprefix("torch.")) if path.startswith("torch.") else None
    return dtype.itemsize if isinstance(dtype, torch.dtype) else 0


def add_items(holder: Value, items: Iterable[Any]) -> None:
    """Add items to a container."""
    for item in items:
        holder.length += 1
        if not isinstance(item, Value):
            holder.weight += 1
            continue
        require(item is not holder)
        item.open = False
        holder.weight += item.weight
        holder.depth = max(holder.depth, item.depth + 1)
    if holder.depth > MAX_DEPTH or holder.weight > MAX_STEPS:
        raise PickleError(f"its values are nested more than {MAX_DEPTH} deep, or refer to one another too often")


COUNT_LIMITS = {
    "steps": (MAX_STEPS, "its list of tensors takes more than {:,} steps to read"),
    "copied": (MAX_COPIED, "its list of tensors would create more than {:,} bytes from its texts"),
    "odd keys": (MAX_ODD_KEYS, "it has more than {:,} keys that are neither text nor small integers"),
}
"""The limit of everything that is counted, and the error; see the constants above."""


class Totals:
    """What the pickles of a file would create together."""

    def __init__(self) -> None:
        self.tensor_bytes = 0
        """Of all tensors; those that share a storage count each."""
        self._counts = dict.fromkeys(COUNT_LIMITS, 0)

    def count(self, what: str, number: int) -> None:
        """Count one of the ``COUNT_LIMITS``; raises PickleError above its limit."""
        self._counts[what] += number
        limit, message = COUNT_LIMITS[what]
        if self._counts[what] > limit:
            raise PickleError(message.format(limit))


# What the functions that a pickle may call would create.


def _tensor(
    totals: Totals,
    storage: Any,
    offset: Any,
    sizes: Any,
    strides: Any,
    grad: Any = False,
    hooks: Any = None,
    *flags: Any,
    element: int | None = None,
) -> Value:
    """``_rebuild_tensor`` and ``_rebuild_tensor_v2``; the last argument may be a dictionary of flags."""
    require(kind_of(storage) == "storage" and not flags[1:] and all(kind_of(x) == "dict" for x in flags if x))
    require(kind_of(sizes) == kind_of(strides) == "tuple" and len(sizes.content) == len(strides.content))
    shape, steps = sizes.content, strides.content
    require(len(shape) <= MAX_DIMENSIONS and are_sizes(offset, *shape, *steps))
    require(isinstance(grad, bool) and (hooks is None or (kind_of(hooks) == "ordered" and not hooks.length)))
    element = element or STORAGE_ELEMENT_SIZES[storage.content.kind]
    totals.tensor_bytes += prod(shape) * element
    last = offset + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    if prod(shape) and (needed := (last + 1) * element) > storage.content.size:
        raise PickleError(f"one of its tensors needs {needed:,} bytes of a storage of {storage.content.size:,}")
    return Value("tensor")


def _tensor_v3(
    totals: Totals, storage: Any, offset: Any, sizes: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *flags: Any
) -> Value:
    element = element_size(dtype.content) if kind_of(dtype) == "global" else 0
    require(element > 0)
    return _tensor(totals, storage, offset, sizes, strides, grad, hooks, *flags, element=element)


def _parameter(_: Totals, data: Any, grad: Any, hooks: Any) -> Value:
    require(kind_of(data) == "tensor" and isinstance(grad, bool) and kind_of(hooks) == "ordered" and not hooks.length)
    return Value("tensor")


def _ordered(totals: Totals, pairs: Any = None) -> Value:
    """An OrderedDict; Python 2 wrote one with a list of its pairs."""
    return Value("ordered") if pairs is None else _copy(totals, pairs, "list", "ordered", keys=True)


def _copy(totals: Totals, items: Any, kind: str, made: str, *, keys: bool = False) -> Value:
    """Another container made of a list, dictionary or tuple; with ``keys``, its items become keys."""
    require(kind_of(items) == kind)
    totals.count("steps", items.length)
    if keys:
        totals.count("odd keys", items.length)
    copy = Value(made)
    add_items(copy, [items])
    return copy


def _encode(totals: Totals, text: Any, encoding: Any) -> Value:
    """Bytes, as protocol 2 writes them."""
    require(encoding in ("latin1", "latin-1") and (isinstance(text, str) or kind_of(text) == "text"))
    size = len(text) if isinstance(text, str) else text.length
    totals.count("copied", size)
    return Value("bytes", length=size)


def _device(_: Totals, *arguments: Any) -> Value:
    require(len(arguments) <= 2 and not any(isinstance(each, Value) for each in arguments))
    return Value("other")


CALLS: dict[str, Callable[..., Value]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": _ordered,
    "collections.Counter": lambda totals, counts: _copy(totals, counts, "dict", "counter"),
    "builtins.set": lambda totals, items: _copy(totals, items, "list", "set", keys=True),
    "torch.device": _device,
    "torch.Size": lambda totals, items: _copy(totals, items, "tuple", "size"),
    "_codecs.encode": _encode,
    **dict.fromkeys(IGNORED_GLOBALS, lambda *_: Value("ignored")),
}
