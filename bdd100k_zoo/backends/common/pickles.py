"""Check the pickles of a checkpoint before torch reads them, without creating the objects that they describe.

Torch's ``weights_only`` mode restricts which functions a pickle calls, but neither how often nor with which arguments:
``bytearray(768 << 20)``, encoding one text a million times, a million empty dictionaries, a tuple that holds the last
one twice. The walker follows the same instructions (Python's ``pickletools`` describes them), accepts those that a
checkpoint needs, and counts what they would create.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.backends.common.pickle_values import (
    CALLS,
    DAMAGED,
    IGNORED_GLOBALS,
    MAX_KEY,
    NOT_PLAIN,
    STORAGE_ELEMENT_SIZES,
    UNSUPPORTED_TENSORS,
    PickleError,
    Storage,
    Totals,
    Value,
    add_items,
    are_sizes,
    element_size,
    kind_of,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_TEXT = 200
"""Texts of this many bytes or more are not kept: no name or storage key is that long."""


class PickleWalker:
    """One or several pickles of a file, one after the other, and what they would create together."""

    def __init__(self, data: bytes | memoryview, position: int = 0) -> None:
        self.position = position
        self.storages: dict[str, Storage] = {}
        """The storages by their keys."""
        self.totals = Totals()
        self._data = data
        self._protocol = 2
        self._views: dict[str, tuple[Any, ...]] = {}
        self._memo: dict[int, Any] = {}
        self._marked: list[list[Any]] = []
        self._stack: list[Any] = []

    def next(self) -> Any:
        """Follow the next pickle and return its value, or a Value in its place.

        Raises:
            PickleError: it is damaged, names or calls something that no checkpoint needs, or exceeds a limit.
        """
        self._memo, self._marked, self._stack, self._protocol = {}, [], [], 2
        try:
            while (code := self._data[self.position]) != STOP:
                self.position += 1
                self.totals.count("steps", 1)
                if code not in _HANDLERS and self._protocol > 2:
                    raise PickleError(f"expected pickle protocol 2, the default of torch.save, found {self._protocol}")
                _HANDLERS[code](self)
            self.position += 1
            return self._stack.pop()
        except PickleError:
            raise
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise PickleError(DAMAGED) from error

    # Arguments of instructions

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
        return Value("text", length=size)

    # Instructions

    def _read_protocol(self) -> None:
        self._protocol = self._number(UINT1)

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self, number: int) -> list[Any]:
        if len(self._stack) < number:
            raise PickleError(DAMAGED)
        items = self._stack[-number:]
        del self._stack[-number:]
        return items

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _pop_marked(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _put(self, form: Struct) -> None:
        self._memo[self._number(form)] = self._stack[-1]

    def _global(self) -> None:
        module, name = self._line(), self._line()
        # Pickles of protocol 2 name modules as Python 2 did.
        path = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if kind := UNSUPPORTED_TENSORS.get(path):
            values = (value for stack in (self._stack, *reversed(self._marked)) for value in reversed(stack))
            key = next((value for value in values if isinstance(value, str)), "without a name")
            raise PickleError(f"its parameter {key} {kind}: expected a dense tensor of numbers")
        if path not in CALLS and path not in STORAGE_ELEMENT_SIZES and not element_size(path):
            name = path.removeprefix("builtins.")
            # The class of a whole model comes first; in torch's older format behind the text "module".
            if self._stack == ["module"] or not (self._stack or self._marked):
                raise PickleError(f"it is a pickled model or another object, not a state dict: it names {name}", name)
            raise PickleError(f"it names {name}, which is neither a tensor nor a plain value", name)
        self._push(Value("global", path))

    def _push_tuple(self, items: list[Any]) -> None:
        value = Value("tuple", tuple(items))
        add_items(value, items)
        self._push(value)

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        require(kind_of(target) == "list" and target.open)
        add_items(target, items)

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        require(kind_of(target) in ("dict", "ordered") and target.open)
        for key in pairs[::2]:
            self._check_key(key)
            if target.kind == "dict":
                target.content.append(key)
        add_items(target, pairs)

    def _check_key(self, key: Any) -> None:
        usual = key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 60)
        if not usual and kind_of(key) not in ("text", "bytes"):
            require(not isinstance(key, Value) or key.weight <= MAX_KEY)
            self.totals.count("odd keys", 1)

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        require(kind_of(function) == "global" and kind_of(arguments) == "tuple" and function.content in CALLS)
        try:
            self._push(CALLS[function.content](self.totals, *arguments.content))
        except TypeError:  # another number of arguments
            raise PickleError(NOT_PLAIN) from None

    def _new_object(self) -> None:
        function = self._stack[-2]
        require(kind_of(function) == "global" and function.content in IGNORED_GLOBALS)
        self._reduce()

    def _build(self) -> None:
        state, built = self._stack.pop(), self._stack[-1]
        # The state of an OrderedDict becomes its attributes. Others than those of a state dict could hide its methods.
        described = kind_of(state) == "dict" and state.content == ["_metadata"]
        if kind_of(built) == "ordered" and built.open and described:
            add_items(built, [state])
        else:
            require(kind_of(built) == "ignored")

    def _push_storage(self) -> None:
        identity = self._stack.pop()
        require(kind_of(identity) == "tuple")
        tag, kind, key, location, elements, *view = identity.content
        require(tag == "storage" and kind_of(kind) == "global" and kind.content in STORAGE_ELEMENT_SIZES)
        require(isinstance(key, str) and isinstance(location, str) and are_sizes(elements))
        storage = Storage(kind.content, elements)
        if self.storages.setdefault(key, storage) != storage or key in self._views:
            raise PickleError(f"its tensors disagree on the storage {key}")
        self._push(Value("storage", self._view(key, storage, *view)))

    def _view(self, key: str, storage: Storage, view: Any = None) -> Storage:
        """Return the part of a storage that files of old releases of torch name."""
        if view is None:
            return storage
        view_key, offset, elements = view.content
        require(isinstance(view_key, str) and are_sizes(offset, elements) and offset + elements <= storage.elements)
        if view_key in self.storages or self._views.setdefault(view_key, (key, offset, elements))[0] != key:
            raise PickleError(f"its tensors disagree on the storage {view_key}")
        return Storage(storage.kind, elements)


UINT1, UINT2, INT4, UINT4 = Struct("<B"), Struct("<H"), Struct("<i"), Struct("<I")
STOP = ord(".")

# All that torch knows except EMPTY_SET, which belongs to a later protocol.
_HANDLERS: dict[int, Callable[[PickleWalker], object]] = {
    ord(code): handler
    for code, handler in {
        "\x80": PickleWalker._read_protocol,
        "c": PickleWalker._global,
        "R": PickleWalker._reduce,
        "\x81": PickleWalker._new_object,
        "b": PickleWalker._build,
        "Q": PickleWalker._push_storage,
        "(": PickleWalker._mark,
        ")": lambda walker: walker._push_tuple([]),
        "\x85": lambda walker: walker._push_tuple(walker._pop(1)),
        "\x86": lambda walker: walker._push_tuple(walker._pop(2)),
        "\x87": lambda walker: walker._push_tuple(walker._pop(3)),
        "t": lambda walker: walker._push_tuple(walker._pop_marked()),
        "]": lambda walker: walker._push(Value("list")),
        "}": lambda walker: walker._push(Value("dict", [])),
        "a": lambda walker: walker._append([walker._stack.pop()]),
        "e": lambda walker: walker._append(walker._pop_marked()),
        "s": lambda walker: walker._set_items([walker._stack.pop(-2), walker._stack.pop()]),
        "u": lambda walker: walker._set_items(walker._pop_marked()),
        "N": lambda walker: walker._push(None),
        "\x88": lambda walker: walker._push(True),
        "\x89": lambda walker: walker._push(False),
        "J": lambda walker: walker._push(walker._number(INT4)),
        "K": lambda walker: walker._push(walker._number(UINT1)),
        "M": lambda walker: walker._push(walker._number(UINT2)),
        "\x8a": lambda walker: walker._push(int.from_bytes(walker._take(walker._number(UINT1)), "little", signed=True)),
        "G": lambda walker: walker._push(float(len(walker._take(8)))),
        "X": lambda walker: walker._push(walker._text(walker._number(UINT4))),
        "U": lambda walker: walker._push(walker._text(walker._number(UINT1))),
        "h": lambda walker: walker._push(walker._memo[walker._number(UINT1)]),
        "j": lambda walker: walker._push(walker._memo[walker._number(UINT4)]),
        "q": lambda walker: walker._put(UINT1),
        "r": lambda walker: walker._put(UINT4),
    }.items()
}
