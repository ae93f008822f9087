"""Run whole models on a GPU that does not exist, and count what they ask of it.

Tensors "on CUDA" are torch's fake tensors: they have a shape, a dtype, strides and a device, but no values. What stays
on the CPU is computed as usual. The model, its pipeline, autocast, layouts and copies are therefore those of a real
run, and every operator passes ``FakeCuda``, which counts it.

Counts are exact and repeatable for one version of torch and mmdet. They prove which operators start, with which dtypes
and layouts, and where the CPU waits. They prove nothing about time, memory, results, or whether a kernel exists for a
dtype. An operator counts as one launch, although some start several kernels.

Where a value would decide a size, it is invented: ``found`` elements satisfy a condition (or all, if there are fewer),
``unique`` finds one value (half of those that satisfied a condition), nothing is NaN, ``bool(tensor)`` is True
otherwise, and a number is 1. Tensors copied back to the CPU contain zeros. So the branches for "nothing was found" are
not taken. ``torch.inference_mode`` does not work with fake tensors; ``torch.no_grad``, which runs the same kernels,
replaces it.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch._library.custom_ops import OPDEFS
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bdd100k_zoo.backends.mmdet3 import import_backend
from bdd100k_zoo.registry import load_zoo

import_backend()

from mmdet.models.losses import focal_loss  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

from bdd100k_zoo.backends.common.config import load_config, mmdet_default_scope  # noqa: E402
from bdd100k_zoo.backends.common.precision import HALF_DTYPES, force_float32_boxes, use_precision  # noqa: E402
from bdd100k_zoo.backends.mmdet3 import detector as mmdet3_detector  # noqa: E402
from bdd100k_zoo.backends.mmdet3.detector import (  # noqa: E402
    MmdetDetector,
    build_model,
    build_pipeline,
    preprocess_batch,
)
from bdd100k_zoo.backends.mmdet3.streams import OneStream  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CUDA = torch.device("cuda", 0)
FRAME = np.zeros((720, 1280, 3), np.uint8)
FOUND = 300
PROPOSALS_PER_IMAGE = 100
"""What Sparse R-CNN finds by conditions are the regions of an image: as many as it has proposals."""

aten = torch.ops.aten
COUNTABLE = ("aten", "torchvision")
"""The namespaces whose operators are kernels. Others are made of several: they are counted inside, or refused."""
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"}
"""Operators that start no kernel, besides views, which their schemas reveal."""
POOLING = ("roi_align", "deform_conv2d", "modulated_deform_conv2d")
"""Functions of ``mmcv.ops`` whose arguments are recorded before this package converts them."""


@dataclass
class Counts:
    """What one batch asks of the GPU. Counters are by the line of code that calls torch, and the one that calls it."""

    launches: int = 0
    syncs: Counter[str] = field(default_factory=Counter)
    """The CPU waits for a value, or for a size that values decide."""
    blocking_copies: Counter[str] = field(default_factory=Counter)
    """Copies from pageable memory to the GPU, which the CPU waits for."""
    other_copies: Counter[str] = field(default_factory=Counter)
    """Copies to the GPU with ``non_blocking``. Their memory is assumed to be pinned."""
    copies_back: Counter[str] = field(default_factory=Counter)
    weight_casts: Counter[str] = field(default_factory=Counter)
    """Parameters that are converted to another dtype."""
    mixed: Counter[str] = field(default_factory=Counter)
    """Operators that read tensors on both devices. Indices and numbers (0-dimensional) are allowed to be on the CPU."""
    layouts: Counter[str] = field(default_factory=Counter)
    """Of the inputs of convolutions: ``channels_last``, ``nchw``, ``either`` (one pixel or channel), ``strided``."""
    nchw: Counter[str] = field(default_factory=Counter)
    """Convolutions whose input is contiguous as NCHW."""
    dtypes: dict[str, Counter[tuple[torch.dtype, ...]]] = field(default_factory=dict)
    """Of the tensors that an operator gets, by its name; of the boxes that coders return, by ``decode``."""

    def summary(self) -> dict[str, int]:
        """Return the totals."""
        parts = ("syncs", "blocking_copies", "other_copies", "copies_back", "weight_casts", "mixed")
        totals = {name: getattr(self, name).total() for name in parts}
        return {"launches": self.launches, **totals, "nchw": self.nchw.total(), "convs": self.layouts.total()}


# What is counted


def count_inference(name: str, precision: str, *batches: int, found: int | None = None) -> list[Counts]:
    """Count what the package's detector asks of a GPU, for batches of some sizes.

    Each is the second batch of its size, because the first one fills caches.

    Args:
        name: a model of the zoo.
        precision: fp32, tf32, fp16 or bf16.
        batches: the numbers of 1280×720 frames.
        found: see the module's description.
    """
    with fake_cuda(found or _found(name)) as cuda:
        model, pipeline = _build(name)
        detector = MmdetDetector(model, pipeline, CUDA, name=name, customised=False, precision=precision)
        _record_decoded_boxes(model, cuda)

        def run(batch: int) -> None:
            detector.detect_prepared([detector.prepare(FRAME) for _ in range(batch)])

        return [cuda.count_second(model, lambda batch=batch: run(batch)) for batch in batches]


def count_mmdet_loop(name: str, precision: str, *, images: int = 1) -> Counts:
    """Count the same for mmdet's own test loop, which takes the images one by one, with autocast for 16 bits."""
    with fake_cuda(_found(name)) as cuda:
        model, pipeline = _build(name)
        model.to(CUDA).eval()

        def run() -> None:
            for _ in range(images):
                with mmdet_default_scope(), torch.no_grad():
                    with _autocast(precision):
                        (sample,) = model.test_step(preprocess_batch(pipeline, [FRAME]))
                    sample.pred_instances.cpu()

        return cuda.count_second(model, run)


def count_training(name: str, precision: str, batch: int, *, backward: bool = False) -> Counts:
    """Count the forward pass of a training step, with its losses, and the backward pass if requested."""
    with fake_cuda(_found(name)) as cuda:
        model, pipeline = _build(name)
        model.to(CUDA).train()
        if precision in HALF_DTYPES:
            force_float32_boxes(model, CUDA)

        def run() -> None:
            data = preprocess_batch(pipeline, [FRAME] * batch)
            for sample in data["data_samples"]:
                boxes = torch.tensor([[100.0, 100.0, 200.0, 200.0]]).repeat(10, 1)
                sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.arange(10))
                sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=torch.arange(0))
            with mmdet_default_scope(), use_precision(precision, CUDA):
                loss, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode="loss"))
            if backward:
                run_backward(loss)

        return cuda.count_second(model, run)


def run_backward(loss: Tensor) -> None:
    """Call the nodes of a loss's graph one by one: torch's engine does not run if torch has CUDA and finds no GPU."""
    waiting: Counter[Any] = Counter()
    reached, stack = {loss.grad_fn}, [loss.grad_fn]
    while stack:
        for successor, _ in stack.pop().next_functions:  # type: ignore[union-attr]
            waiting[successor] += 1
            if successor and successor not in reached:
                reached.add(successor)
                stack.append(successor)
    gradients: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    ready = [loss.grad_fn]
    while ready:
        node: Any = ready.pop()
        incoming = gradients.pop(node, {})
        outgoing: Any = [None] * len(node.next_functions)
        if incoming:
            wanted = enumerate(node._input_metadata)
            # The engine converts gradients as well, and sums over dimensions that were broadcast.
            given = [
                incoming[i].to(like.dtype).sum_to_size(like.shape) if i in incoming else None for i, like in wanted
            ]
            found = node.apply(*given) if hasattr(node, "apply") else node(*given)
            outgoing = found if isinstance(found, tuple) else (found,)
        for (successor, place), gradient in zip(node.next_functions, outgoing, strict=False):
            if successor is None:
                continue
            if gradient is not None:
                others = gradients.setdefault(successor, {})
                others[place] = others[place] + gradient if place in others else gradient
            waiting[successor] -= 1
            if not waiting[successor]:
                ready.append(successor)


def _found(name: str) -> int:
    return PROPOSALS_PER_IMAGE if name.startswith("sparse") else FOUND


def _build(name: str) -> tuple[Any, Any]:
    """Return a model on the CPU, with arbitrary weights, and its test pipeline."""
    config = load_config(load_zoo()[name].config_path)
    with _WithoutRandomNumbers():
        model = build_model(config, name=name)
    return model, build_pipeline(config, name=name)


def _autocast(precision: str) -> Any:
    return torch.autocast("cuda", HALF_DTYPES[precision]) if precision in HALF_DTYPES else nullcontext()


def _record_decoded_boxes(model: nn.Module, cuda: FakeCuda) -> None:
    for coder in {
        id(part.bbox_coder): part.bbox_coder for part in model.modules() if hasattr(part, "bbox_coder")
    }.values():

        def decode(*arguments: Any, original: Any = coder.decode, **named: Any) -> Any:
            boxes = original(*arguments, **named)
            cuda.record_dtypes("decode", [boxes])
            return boxes

        coder.decode = decode


class _WithoutRandomNumbers(TorchFunctionMode):
    """Inside the block new weights keep the values of the memory that they were given: no test reads them."""

    def __torch_function__(self, function: Any, _: object, arguments: Any = (), settings: Any = None) -> Any:
        if function in (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_):
            return arguments[0]
        return function(*arguments, **(settings or {}))


# The device


@contextmanager
def fake_cuda(found: int = FOUND) -> Iterator[FakeCuda]:
    """Inside the block, tensors can be moved to a CUDA device, which is fake."""
    cuda = FakeCuda(found)
    with ExitStack() as stack:
        for owner, name, replacement in (
            (nn.Module, "_apply", _apply),
            (torch.inference_mode, "__enter__", lambda self: _enter_no_grad(self)),
            (torch.inference_mode, "__exit__", lambda self, *_: self.no_grad.__exit__(*_)),
            (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
            # mmdet has another focal loss for the CPU.
            (
                focal_loss,
                "torch",
                SimpleNamespace(**vars(torch) | {"cuda": SimpleNamespace(is_available=lambda: True)}),
            ),
            (torch.cuda, "is_bf16_supported", lambda *_: True),
            # A machine with a GPU has real streams.
            (mmdet3_detector, "streams_for", lambda _: OneStream()),
            (torch.cuda, "get_device_name", lambda *_: "a fake GPU"),
        ):
            stack.enter_context(mock.patch.object(owner, name, replacement))
        for module in [module for path, module in sys.modules.items() if f"{path}.".startswith("mmcv.ops.")]:
            for name in POOLING:
                if callable(function := vars(module).get(name)):
                    stack.enter_context(mock.patch.object(module, name, cuda.recording(f"mmcv.{name}", function)))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # torch deprecates some of what mmdet calls
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(cuda)
        yield cuda


def _enter_no_grad(mode: Any) -> None:
    mode.no_grad = torch.no_grad()
    mode.no_grad.__enter__()


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Replace parameters and buffers: torch's own function changes them in place, which fake tensors do not allow."""
    for child in module.children() if recurse else ():
        child._apply(function)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = nn.Parameter(function(parameter.detach()), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = function(buffer)
    return module


class FakeCuda(TorchDispatchMode):
    """Sees every operator: runs those of the CPU for real, and counts the others."""

    def __init__(self, found: int) -> None:
        super().__init__()
        self.found = found
        self._counts: Counts | None = None
        self._weights: set[int] = set()
        self._distinct: dict[int, Tensor] = {}
        """Results of ``nonzero``, by their storage."""

    def count(self, model: nn.Module, function: Callable[[], object]) -> Counts:
        """Return what a call asks of the GPU; the casts of a model's parameters are among it."""
        self._weights = {_storage(parameter) for parameter in model.parameters()}
        self._distinct.clear()
        self._counts = counts = Counts()
        try:
            function()
        finally:
            self._counts = None
        return counts

    def count_second(self, model: nn.Module, function: Callable[[], object]) -> Counts:
        """Call a function twice, and count the second call."""
        function()
        return self.count(model, function)

    def recording(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that also records the dtypes of its arguments."""

        def recorded(*arguments: Any, **named: Any) -> Any:
            self.record_dtypes(name, [*arguments, *named.values()])
            return function(*arguments, **named)

        return recorded

    def record_dtypes(self, name: str, values: list[Any]) -> None:
        if self._counts:
            dtypes = tuple(value.dtype for value in values if isinstance(value, Tensor))
            self._counts.dtypes.setdefault(name, Counter())[dtypes] += 1

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func.namespace == "prim":  # the device of a fake tensor is read
            return func(*args, **named)
        given = [leaf for leaf in tree_leaves((args, named)) if isinstance(leaf, Tensor)]
        on_gpu = any(isinstance(one, FakeTensor) for one in given)
        if not on_gpu and torch.device(named.get("device") or "cpu").type == "cpu":
            with unset_fake_temporarily():
                return func(*args, **named)
        if func.namespace not in COUNTABLE:
            return self._run_inside(func, args, named)
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_"):
            return self._copy(func, args, named)
        result = self._invent(func, name, args, named)
        if result is NotImplemented:
            result = func(*args, **named)
        if name == "isnan" or (name == "any" and hasattr(args[0], "is_false")):
            result.is_false = True
        if self._counts and not _starts_nothing(func, name):
            self._note(self._counts, name, given, args)
        return result

    def _run_inside(self, func: Any, args: Any, named: Any) -> Any:
        """Run the body of a custom operator, so that its parts are counted one by one."""
        definition = OPDEFS.get(func._schema.name)
        if definition is None:
            raise AssertionError(f"the kernels of {func} cannot be counted: it has no body in Python")
        with self:
            return definition._init_fn(*args, **named)

    def _note(self, counts: Counts, name: str, given: list[Tensor], args: Any) -> None:
        counts.launches += 1
        if not name.startswith(("index", "_index")) and any(one.device.type == "cpu" and one.dim() for one in given):
            counts.mixed[f"{name} @ {_place()}"] += 1
        if name == "convolution":
            counts.layouts[layout := _layout(args[0])] += 1
            if layout == "nchw":
                counts.nchw[_place()] += 1
        self.record_dtypes(name, given)

    def _copy(self, func: Any, args: Any, named: Any) -> Any:
        """Copy a tensor, and count it by its way. What arrives on the CPU is real, and zero."""
        in_place = func.overloadpacket is aten.copy_
        source = args[1] if in_place else args[0]
        result = func(*args, **named)
        way = source.device.type, result.device.type
        if counts := self._counts:
            if way == ("cuda", "cpu"):
                counts.copies_back[_place()] += 1
            elif way == ("cpu", "cuda"):
                asynchronous = named.get("non_blocking") or (in_place and len(args) > 2 and args[2])
                (counts.other_copies if asynchronous else counts.blocking_copies)[_place()] += 1
            else:
                counts.launches += 1
                if _storage(source) in self._weights and source.dtype != result.dtype:
                    counts.weight_casts[_place()] += 1
        if way == ("cuda", "cpu") and not in_place:
            with unset_fake_temporarily():
                return torch.zeros(result.shape, dtype=result.dtype)
        return result

    def _invent(self, func: Any, name: str, args: Any, named: Any) -> Any:
        """Return the result of an operator that needs values; NotImplemented for the others."""
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            return self._index(func, args, named)
        if func is aten._local_scalar_dense.default:
            self._wait("item")
            if args[0].dtype == torch.bool:
                return not hasattr(args[0], "is_false")
            return 1.0 if args[0].dtype.is_floating_point else 1
        if name == "repeat_interleave" and (named.get("output_size") is not None or len(args) > 1):
            return NotImplemented
        invented = {
            "equal": lambda: True,
            "nonzero": lambda: self._indices(args[0], args[0].dim()),
            "masked_select": lambda: args[0].new_empty(self._size(args[1])),
            "nms": lambda: self._indices(args[1]),
            "repeat_interleave": lambda: args[0].new_empty(self.found, dtype=torch.int64),
            **dict.fromkeys(("_unique2", "unique_dim", "unique_consecutive"), lambda: self._unique(args[0])),
        }
        if name not in invented:
            return NotImplemented
        self._wait(name)
        result = invented[name]()
        if name == "nonzero":
            self._distinct[_storage(result)] = result
        return result

    def _index(self, func: Any, args: Any, named: Any) -> Any:
        """Index, with invented places instead of a mask."""
        places: list[Tensor | None] = []
        for index in args[1]:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                self._wait("mask")
                places += [self._indices(index)] * index.dim()
            else:
                if self._counts and index is not None and index.device.type == "cpu" and index.dim():
                    self._counts.blocking_copies[_place()] += 1
                places.append(index)
        return func(args[0], places, *args[2:], **named)

    def _indices(self, of: Tensor, dimensions: int = 0) -> Tensor:
        size = self._size(of)
        return of.new_empty((size, dimensions) if dimensions else size, dtype=torch.int64)

    def _unique(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, the index of each element among them, and how often each occurs."""
        found = self.found // 2 if _storage(values) in self._distinct else min(values.numel(), 1)
        inverse = values.new_empty(values.shape, dtype=torch.int64)
        return values.new_empty(found), inverse, inverse.new_empty(found)

    def _size(self, of: Tensor) -> int:
        return min(of.numel(), self.found)

    def _wait(self, kind: str) -> None:
        if self._counts:
            self._counts.syncs[f"{kind} @ {_place()}"] += 1


@cache
def _starts_nothing(func: Any, name: str) -> bool:
    """Return whether an operator only reads a value, allocates, or returns a view."""
    is_view = any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns)
    return is_view or name in ALLOCATIONS or func is aten._local_scalar_dense.default


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _layout(features: Tensor) -> str:
    last, first = features.is_contiguous(memory_format=torch.channels_last), features.is_contiguous()
    return "either" if last and first else "channels_last" if last else "nchw" if first else "strided"


def _place() -> str:
    """Return the line that calls torch, and the line that calls into its file."""
    places: list[str] = []
    frame = sys._getframe(1)
    while frame and len(places) < 2:
        path = Path(frame.f_code.co_filename)
        library = {"torch", "torchvision"} & set(path.parts) or "mmengine/utils" in str(path) or path == Path(__file__)
        if not library and not (places and places[0].startswith(f"{path.name}:")):
            places.append(f"{path.name}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(places) or "torch"
