"""Walk the pickles of a checkpoint before torch reads them, without building what they describe.

torch's ``weights_only`` mode restricts which functions a pickle calls, but neither how often nor with which arguments:
``bytearray(768 << 20)``, encoding one text a million times, a million empty dictionaries, a tuple that holds the last
one twice. The walk follows the same instructions, accepts what a checkpoint needs, and counts what they would make.
"""

from __future__ import annotations

from math import prod
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_STEPS = 1_000_000
"""Instructions, and items of what is copied. A tensor takes some 40: 1,856 of HRNet, with AdamW's state, 220,000."""
MAX_DEPTH = 100
"""Levels of containers within containers. A training checkpoint of mmengine has ten."""
MAX_DIMENSIONS = 64
"""Dimensions of a tensor; torch itself has no more in most operations."""
MAX_COPIED = 128 << 20
"""Bytes that are made from texts: the arrays of a training run's log, at most twice."""
MAX_ODD_KEYS = 5000
"""Keys that are neither text nor small integers: they can be chosen such that all have the same hash."""
MAX_KEY = 16
"""Values in a tuple that is a key."""
LONG_TEXT = 200
"""Bytes from which on a text is not kept: no name or storage key is that long."""

DAMAGED = "it is damaged, or no checkpoint"
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
"""What the logs of mmcv 1.x (numpy) and mmengine (its history) name: getattr for its methods, bytes for none at all.

Only the names are known: none is called.
"""

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
"""Kinds of storages, and the bytes of one element."""


UNSUPPORTED_TENSORS = {
    "torch._utils._rebuild_meta_tensor_no_storage": "has no values, it was saved from the device meta",
    "torch._utils._rebuild_nested_tensor": "is a nested tensor",
    "torch._utils._rebuild_qtensor": "is a quantised tensor",
    "torch._utils._rebuild_sparse_tensor": "is a sparse tensor",
}
"""Functions of tensors that no detector has, and whose arguments torch does not check."""

TENSOR = "torch.Tensor"
"""The class that a tensor with attributes of its own names, a ``torch.nn.Buffer`` too. It cannot be called."""


class PickleError(ValueError):
    """A pickle that is damaged, or makes more than a checkpoint needs: the message says what."""

    def __init__(self, message: str, named: str | None = None) -> None:
        super().__init__(message)
        self.named = named
        """The function or class that it names and no checkpoint needs; None where that is not what is wrong."""


class Storage(NamedTuple):
    """The memory of tensors, as a pickle declares it."""

    kind: str
    elements: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.elements * STORAGE_ELEMENT_SIZES[self.kind]


class _Value:
    """A value that the pickle would make, other than numbers, short texts, True, False and None."""

    __slots__ = ("content", "depth", "kind", "length", "open", "weight")

    def __init__(self, kind: str, content: Any = None, length: int = 0, depth: int = 0, weight: int = 1) -> None:
        self.kind = kind
        """global, text, bytes, list, tuple, dict, ordered, counter, set, size, storage, tensor, passed or other."""
        self.content = content
        """Of a global its name, of a tuple its items, of a storage the Storage, of a dictionary its keys."""
        self.length = length
        """Bytes, or items: of a dictionary its keys and its values."""
        self.depth = depth
        self.weight = weight
        """Values in it, each as often as it is referred to."""
        self.open = True
        """Whether items may still be added: not once it is an item itself, so that nothing holds itself."""


class PickleWalker:
    """One or several pickles of a file, one behind the other, and what they would make together."""

    def __init__(self, data: bytes | memoryview, position: int = 0) -> None:
        self.position = position
        self.storages: dict[str, Storage] = {}
        """The storages by their keys."""
        self.tensor_bytes = 0
        """Of all tensors together, those that share a storage counted each."""
        self._data = data
        self._protocol = 2
        self._steps = self._copied = self._odd_keys = 0
        self._views: dict[str, tuple[Any, ...]] = {}
        self._memo: dict[int, Any] = {}
        self._marked: list[list[Any]] = []
        self._stack: list[Any] = []

    def next(self) -> Any:
        """Walk the next pickle and return its value, or a stand-in for it.

        Raises:
            PickleError: it is damaged, names or calls what no checkpoint needs, or exceeds a limit.
        """
        self._memo, self._marked, self._stack, self._protocol = {}, [], [], 2
        try:
            while (code := self._data[self.position]) != STOP:
                self.position += 1
                self._charge(1)
                if code not in _HANDLERS and self._protocol > 2:
                    found = f"it was saved with pickle protocol {self._protocol}"
                    raise PickleError(f"{found}: expected 2, the default of torch.save")
                _HANDLERS[code](self)
            self.position += 1
            return self._stack.pop()
        except PickleError:
            raise
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise PickleError(DAMAGED) from error

    def _charge(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise PickleError(f"its list of tensors takes more than {MAX_STEPS:,} steps to read")

    def _copy(self, size: int) -> None:
        self._copied += size
        if self._copied > MAX_COPIED:
            raise PickleError(f"its list of tensors would make more than {MAX_COPIED:,} bytes of its texts")

    # Reading

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[self.position : self.position + size])
        if len(taken) != size:
            raise PickleError(DAMAGED)
        self.position += size
        return taken

    def _number(self, form: Struct) -> Any:
        return form.unpack(self._take(form.size))[0]

    def _line(self) -> str:
        start = self.position
        line, end, _ = bytes(self._data[start : start + LONG_TEXT]).partition(b"\n")
        if not end:
            raise PickleError(DAMAGED)
        self.position += len(line) + 1
        return line.decode("ascii")

    def _text(self, size: int) -> Any:
        if size < LONG_TEXT:
            return self._take(size).decode("utf-8", "surrogatepass")
        if size > len(self._data) - self.position:
            raise PickleError(DAMAGED)
        self.position += size
        return _Value("text", length=size)

    # Instructions

    def _proto(self) -> None:
        self._protocol = self._number(UINT1)

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_marked(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _get(self, form: Struct) -> None:
        self._stack.append(self._memo[self._number(form)])

    def _put(self, form: Struct) -> None:
        self._memo[self._number(form)] = self._stack[-1]

    def _long(self) -> None:
        self._push(int.from_bytes(self._take(self._number(UINT1)), "little", signed=True))

    def _global(self) -> None:
        module, name = self._line(), self._line()
        # As pickles of protocol 2 name it, whatever Python wrote them.
        path = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if kind := UNSUPPORTED_TENSORS.get(path):
            raise PickleError(f"its parameter {self._parameter_name()} {kind}: expected a dense tensor of numbers")
        if path not in _CALLS and path not in STORAGE_ELEMENT_SIZES and path != TENSOR and not _dtype(path):
            name = path.removeprefix("builtins.")
            raise PickleError(f"it names {name}, which is neither tensor nor plain value", name)
        self._push(_Value("global", path))

    def _parameter_name(self) -> str:
        """Return the key whose value is being made: the last text that waits for one."""
        waiting = (value for stack in (self._stack, *reversed(self._marked)) for value in reversed(stack))
        return next((value for value in waiting if isinstance(value, str)), "without a name")

    def _tuple(self, items: Iterable[Any]) -> None:
        value = _Value("tuple", tuple(items))
        self._hold(value, value.content)
        self._push(value)

    def _last_as_tuple(self, number: int) -> None:
        if len(self._stack) < number:
            raise PickleError(DAMAGED)
        items = self._stack[-number:]
        del self._stack[-number:]
        self._tuple(items)

    def _append(self, items: Iterable[Any]) -> None:
        self._hold(self._target("list"), items)

    def _set(self, pairs: list[Any]) -> None:
        target = self._target("dict", "ordered")
        for key in pairs[::2]:
            self._check_key(key)
            if target.kind == "dict":
                target.content.append(key)
        self._hold(target, pairs)

    def _target(self, *kinds: str) -> _Value:
        target = self._stack[-1]
        if not isinstance(target, _Value) or target.kind not in kinds or not target.open:
            raise PickleError(NOT_PLAIN)
        return target

    def _hold(self, holder: _Value, items: Iterable[Any]) -> None:
        for item in items:
            holder.length += 1
            if not isinstance(item, _Value):
                holder.weight += 1
                continue
            if item is holder:
                raise PickleError(NOT_PLAIN)
            item.open = False
            holder.weight += item.weight
            holder.depth = max(holder.depth, item.depth + 1)
        if holder.depth > MAX_DEPTH or holder.weight > MAX_STEPS:
            raise PickleError(f"its values are nested more than {MAX_DEPTH} deep, or refer to one another too often")

    def _check_key(self, key: Any) -> None:
        usual = key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 60)
        if usual or _kind(key) in ("text", "bytes"):
            return
        if isinstance(key, _Value) and key.weight > MAX_KEY:
            raise PickleError(NOT_PLAIN)
        self._count_odd_keys(1)

    def _count_odd_keys(self, number: int) -> None:
        self._odd_keys += number
        if self._odd_keys > MAX_ODD_KEYS:
            raise PickleError(f"it has more than {MAX_ODD_KEYS:,} keys that are neither text nor small integers")

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if _kind(function) != "global" or _kind(arguments) != "tuple" or function.content not in _CALLS:
            raise PickleError(NOT_PLAIN)
        try:
            self._push(_CALLS[function.content](self, *arguments.content))
        except TypeError:  # another number of arguments
            raise PickleError(NOT_PLAIN) from None

    def _new_object(self) -> None:
        function = self._stack[-2]
        if _kind(function) != "global" or function.content not in IGNORED_GLOBALS:
            raise PickleError(NOT_PLAIN)
        self._reduce()

    def _build(self) -> None:
        state, built = self._stack.pop(), self._stack[-1]
        # An OrderedDict takes its state as attributes: others than a state dict's could hide its methods.
        described = _kind(state) == "dict" and state.content == ["_metadata"]
        if _kind(built) == "ordered" and built.open and described:
            self._hold(built, [state])
        elif _kind(built) != "passed":
            raise PickleError(NOT_PLAIN)

    def _storage(self) -> None:
        identity = self._stack.pop()
        if _kind(identity) != "tuple":
            raise PickleError(NOT_PLAIN)
        tag, kind, key, location, elements, *view = identity.content
        known = tag == "storage" and _kind(kind) == "global" and kind.content in STORAGE_ELEMENT_SIZES
        if not known or not isinstance(key, str) or not isinstance(location, str) or not _are_sizes(elements):
            raise PickleError(NOT_PLAIN)
        storage = Storage(kind.content, elements)
        if self.storages.setdefault(key, storage) != storage or key in self._views:
            raise PickleError(f"its tensors disagree on the storage {key}")
        self._push(_Value("storage", self._view(key, storage, *view)))

    def _view(self, key: str, storage: Storage, view: Any = None) -> Storage:
        """Return the part of a storage that files of old releases of torch name."""
        if view is None:
            return storage
        view_key, offset, elements = view.content
        if not isinstance(view_key, str) or not _are_sizes(offset, elements) or offset + elements > storage.elements:
            raise PickleError(NOT_PLAIN)
        if view_key in self.storages or self._views.setdefault(view_key, (key, offset, elements))[0] != key:
            raise PickleError(f"its tensors disagree on the storage {view_key}")
        return Storage(storage.kind, elements)

    # What may be called

    def _tensor(
        self, storage: Any, offset: Any, sizes: Any, strides: Any, grad: Any = False, hooks: Any = None, *more: Any
    ) -> _Value:
        """``_rebuild_tensor`` and ``_rebuild_tensor_v2``; the last argument may be a dictionary of flags."""
        if _kind(storage) != "storage" or more[1:] or not all(_kind(flags) == "dict" for flags in more if flags):
            raise PickleError(NOT_PLAIN)
        return self._tensor_of(
            STORAGE_ELEMENT_SIZES[storage.content.kind], storage.content, offset, sizes, strides, grad, hooks
        )

    def _tensor_v3(
        self, storage: Any, offset: Any, sizes: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *more: Any
    ) -> _Value:
        element = _dtype(dtype.content) if _kind(dtype) == "global" else 0
        if _kind(storage) != "storage" or not element or more[1:] or not all(_kind(x) == "dict" for x in more if x):
            raise PickleError(NOT_PLAIN)
        return self._tensor_of(element, storage.content, offset, sizes, strides, grad, hooks)

    def _tensor_of(
        self, element: int, storage: Storage, offset: Any, sizes: Any, strides: Any, grad: Any, hooks: Any
    ) -> _Value:
        if _kind(sizes) != "tuple" or _kind(strides) != "tuple" or len(sizes.content) != len(strides.content):
            raise PickleError(NOT_PLAIN)
        shape, steps = sizes.content, strides.content
        if len(shape) > MAX_DIMENSIONS or not _are_sizes(offset, *shape, *steps):
            raise PickleError(NOT_PLAIN)
        if not isinstance(grad, bool) or not (hooks is None or (_kind(hooks) == "ordered" and not hooks.length)):
            raise PickleError(NOT_PLAIN)
        self.tensor_bytes += prod(shape) * element
        last = offset + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        if prod(shape) and (last + 1) * element > storage.size:
            raise PickleError(f"a tensor of it needs {(last + 1) * element:,} bytes, of a storage of {storage.size:,}")
        return _Value("tensor")

    def _parameter(self, data: Any, grad: Any, hooks: Any) -> _Value:
        if _kind(data) != "tensor" or not isinstance(grad, bool) or _kind(hooks) != "ordered" or hooks.length:
            raise PickleError(NOT_PLAIN)
        return _Value("tensor")

    def _parameter_with_state(self, data: Any, grad: Any, hooks: Any, state: Any) -> _Value:
        return self._with_attributes(self._parameter(data, grad, hooks), state)

    def _tensor_with_state(self, function: Any, made: Any, arguments: Any, state: Any) -> _Value:
        """``_rebuild_from_type_v2``, of a plain tensor."""
        if _kind(function) != "global" or function.content not in (TENSOR_V2, TENSOR_V3):
            raise PickleError(NOT_PLAIN)
        if _kind(made) != "global" or made.content != TENSOR or _kind(arguments) != "tuple":
            raise PickleError(NOT_PLAIN)
        return self._with_attributes(_CALLS[function.content](self, *arguments.content), state)

    def _with_attributes(self, tensor: _Value, state: Any) -> _Value:
        if _kind(state) != "dict":
            raise PickleError(NOT_PLAIN)
        self._charge(state.length)
        for key in state.content:
            # Torch sets them as attributes: some would change the tensor, or hide its methods.
            if not isinstance(key, str) or not key.isidentifier() or key.startswith("__"):
                raise PickleError(NOT_PLAIN)
            if hasattr(torch.nn.Parameter, key):
                raise PickleError(f"a tensor of it has an attribute {key} of its own, which would hide that of torch")
        self._hold(tensor, [state])
        return tensor

    def _ordered(self, pairs: Any = None) -> _Value:
        """An OrderedDict, from a list of pairs where Python 2 wrote it."""
        return _Value("ordered") if pairs is None else self._copy_of(pairs, "list", "ordered", keys=True)

    def _counter(self, counts: Any) -> _Value:
        return self._copy_of(counts, "dict", "counter")

    def _set_of(self, items: Any) -> _Value:
        return self._copy_of(items, "list", "set", keys=True)

    def _size(self, items: Any) -> _Value:
        return self._copy_of(items, "tuple", "size")

    def _copy_of(self, items: Any, kind: str, made: str, *, keys: bool = False) -> _Value:
        """Return what a list, dictionary or tuple is made into; whether its items, unseen so far, become keys."""
        if _kind(items) != kind:
            raise PickleError(NOT_PLAIN)
        self._charge(items.length)
        if keys:
            self._count_odd_keys(items.length)
        copy = _Value(made)
        self._hold(copy, [items])
        return copy

    def _encode(self, text: Any, encoding: Any) -> _Value:
        """Bytes, as protocol 2 writes them."""
        if encoding not in ("latin1", "latin-1") or not (isinstance(text, str) or _kind(text) == "text"):
            raise PickleError(NOT_PLAIN)
        size = len(text) if isinstance(text, str) else text.length
        self._copy(size)
        return _Value("bytes", length=size)

    def _bytearray(self, content: Any = None) -> _Value:
        if content is not None:
            if _kind(content) != "bytes":
                raise PickleError(NOT_PLAIN)
            self._copy(content.length)
        return _Value("other")

    def _plain(self, *arguments: Any) -> _Value:
        """A complex number or a device."""
        if len(arguments) > 2 or any(isinstance(each, _Value) for each in arguments):
            raise PickleError(NOT_PLAIN)
        return _Value("other")

    def _passed(self, *_: Any) -> _Value:
        return _Value("passed")


def _kind(value: Any) -> str:
    return value.kind if isinstance(value, _Value) else ""


def _are_sizes(*values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _dtype(path: str) -> int:
    """Return the bytes of one element of a dtype, by its path; 0 where it is none."""
    dtype = vars(torch).get(path.removeprefix("torch.")) if path.startswith("torch.") else None
    return dtype.itemsize if isinstance(dtype, torch.dtype) else 0


TENSOR_V2 = "torch._utils._rebuild_tensor_v2"
TENSOR_V3 = "torch._utils._rebuild_tensor_v3"

_CALLS: dict[str, Callable[..., _Value]] = {
    "torch._utils._rebuild_tensor": PickleWalker._tensor,
    TENSOR_V2: PickleWalker._tensor,
    TENSOR_V3: PickleWalker._tensor_v3,
    "torch._utils._rebuild_parameter": PickleWalker._parameter,
    "torch._utils._rebuild_parameter_with_state": PickleWalker._parameter_with_state,
    "torch._tensor._rebuild_from_type_v2": PickleWalker._tensor_with_state,
    "collections.OrderedDict": PickleWalker._ordered,
    "collections.Counter": PickleWalker._counter,
    "builtins.set": PickleWalker._set_of,
    "builtins.bytearray": PickleWalker._bytearray,
    "builtins.complex": PickleWalker._plain,
    "torch.device": PickleWalker._plain,
    "torch.Size": PickleWalker._size,
    "_codecs.encode": PickleWalker._encode,
    **dict.fromkeys(IGNORED_GLOBALS, PickleWalker._passed),
}

UINT1, UINT2, INT4, UINT4 = Struct("<B"), Struct("<H"), Struct("<i"), Struct("<I")
STOP = ord(".")

# Those that torch knows, but EMPTY_SET, which belongs to a later protocol.
_HANDLERS: dict[int, Callable[[PickleWalker], object]] = {
    ord(code): handler
    for code, handler in {
        "\x80": PickleWalker._proto,
        "c": PickleWalker._global,
        "R": PickleWalker._reduce,
        "\x81": PickleWalker._new_object,
        "b": PickleWalker._build,
        "Q": PickleWalker._storage,
        "(": PickleWalker._mark,
        ")": lambda walk: walk._tuple(()),
        "\x85": lambda walk: walk._last_as_tuple(1),
        "\x86": lambda walk: walk._last_as_tuple(2),
        "\x87": lambda walk: walk._last_as_tuple(3),
        "t": lambda walk: walk._tuple(walk._pop_marked()),
        "]": lambda walk: walk._push(_Value("list")),
        "}": lambda walk: walk._push(_Value("dict", [])),
        "a": lambda walk: walk._append([walk._stack.pop()]),
        "e": lambda walk: walk._append(walk._pop_marked()),
        "s": lambda walk: walk._set([walk._stack.pop(-2), walk._stack.pop()]),
        "u": lambda walk: walk._set(walk._pop_marked()),
        "N": lambda walk: walk._push(None),
        "\x88": lambda walk: walk._push(True),
        "\x89": lambda walk: walk._push(False),
        "J": lambda walk: walk._push(walk._number(INT4)),
        "K": lambda walk: walk._push(walk._number(UINT1)),
        "M": lambda walk: walk._push(walk._number(UINT2)),
        "\x8a": PickleWalker._long,
        "G": lambda walk: walk._push(float(len(walk._take(8)))),
        "X": lambda walk: walk._push(walk._text(walk._number(UINT4))),
        "U": lambda walk: walk._push(walk._text(walk._number(UINT1))),
        "h": lambda walk: walk._get(UINT1),
        "j": lambda walk: walk._get(UINT4),
        "q": lambda walk: walk._put(UINT1),
        "r": lambda walk: walk._put(UINT4),
    }.items()
}
