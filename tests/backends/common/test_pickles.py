"""Pickles that would exhaust the machine are refused before torch reads them; those of checkpoints pass."""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from collections import Counter, OrderedDict, defaultdict
from datetime import datetime, timezone
from pathlib import PurePosixPath
from struct import pack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdd100k_zoo.backends.common import pickle_values
from bdd100k_zoo.backends.common.checkpoint import read_checkpoint, read_torch_file
from bdd100k_zoo.backends.common.pickle_values import COUNT_LIMITS, MAX_DEPTH, MAX_ODD_KEYS, MAX_STEPS, PickleError
from bdd100k_zoo.backends.common.pickles import PickleWalker
from bdd100k_zoo.errors import UnsafeCheckpointError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]

OLDER_START = b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))


def write(path: Path, body: bytes, *, zipped: bool = True) -> Path:
    """Write a file in one of torch's formats with the instructions of a pickle, without the bytes of tensors."""
    content = b"\x80\x02" + body + b"."
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", b"3\n")
    else:
        path.write_bytes(OLDER_START + content + pickle.dumps([], 2))
    return path


def integer(number: int) -> bytes:
    return pickle.dumps(number, 2)[2:-1]


def text(value: str) -> bytes:
    return b"X" + pack("<I", len(value.encode())) + value.encode()


def call(function: str, *arguments: bytes) -> bytes:
    module, name = function.rsplit(".", 1)
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def storage(elements: int, key: str = "0", kind: str = "FloatStorage") -> bytes:
    parts = text("storage"), f"ctorch\n{kind}\n".encode(), text(key), text("cpu"), integer(elements)
    return b"(" + b"".join(parts) + b"tQ"


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(elements: int, sizes: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    rest = integer(offset), numbers(*sizes), numbers(*strides), b"\x89", call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", storage(elements), *rest)


def attribute(key: bytes) -> bytes:
    """Return a tensor with an additional attribute."""
    rest = integer(0), numbers(3), numbers(1), b"\x89", call("collections.OrderedDict")
    arguments = b"(" + storage(3) + b"".join(rest) + b"t"
    names = b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nTensor\n"
    return call("torch._tensor._rebuild_from_type_v2", *names, arguments, b"}" + key + b"K\x01s")


LONG = 1 << 20
PLAIN = "it holds more than tensors and plain values"
STEPS = f"its list of tensors takes more than {MAX_STEPS:,} steps to read"
BYTEARRAY = "it names bytearray, which is neither a tensor nor a plain value"
NESTED = f"its values are nested more than {MAX_DEPTH} deep, or refer to one another too often"

ATTACKS = {
    "12 bytearrays of 768 MB": (b"](" + call("__builtin__.bytearray", integer(768 << 20)) * 12 + b"e", BYTEARRAY),
    "60 MB of dictionaries": (b"](" + b"}" * (60 << 20) + b"e", STEPS),
    "60 MB of lists": (b"](" + b"]" * (60 << 20) + b"e", STEPS),
    "60 MB of marks": (b"(" * (60 << 20), STEPS),
    "lists within lists": (b"]" * 500_000 + b"a" * 499_999, NESTED),
    "tuples within tuples": (b")" + b"\x85" * 500_000, NESTED),
    "a text encoded 9,999 times": (
        b"]("
        + text("x" * LONG)
        + b"q\0c_codecs\nencode\nq\1"
        + (b"h\1h\0" + text("latin1") + b"\x86R") * 100_000
        + b"e",
        "its list of tensors would create more than 134,217,728 bytes from its texts",
    ),
    "a text encoded by a slow codec": (call("_codecs.encode", text("é" * LONG), text("punycode")), PLAIN),
    "a list made into a set 100,000 times": (
        b"](](" + b"K\x01" * 4000 + b"eq\x00c__builtin__\nset\nq\x01" + b"h\x01h\x00\x85R" * 100_000 + b"e",
        f"it has more than {MAX_ODD_KEYS:,} keys that are neither text nor small integers",
    ),
    "a dictionary counted 100,000 times": (
        b"](}(" + b"K\x01K\x02" * 4000 + b"uq\x00ccollections\nCounter\nq\x01" + b"h\x01h\x00\x85R" * 100_000 + b"e",
        STEPS,
    ),
    "a tuple made into a size 100,000 times": (
        b"]((" + b"K\x01" * 4000 + b"tq\x00ctorch\nSize\nq\x01" + b"h\x01h\x00\x85R" * 100_000 + b"e",
        STEPS,
    ),
    "a state of many attributes": (
        call("collections.OrderedDict") + b"}(" + b"".join(text(f"k{n}") + b"K\x01" for n in range(5000)) + b"ub",
        PLAIN,
    ),
    "a key of tuples that hold the last one twice": (
        b"})" + b"q\x00h\x00\x86" * 40 + b"K\x01s",
        NESTED,
    ),
    "keys of one hash": (
        b"}(" + b"".join(integer(n * ((1 << 61) - 1)) + b"N" for n in range(1, 50_000)) + b"u",
        f"it has more than {MAX_ODD_KEYS:,} keys that are neither text nor small integers",
    ),
    "a long tuple as a key": (b"}(" + b"K\x01" * 1000 + b"tK\x01s", PLAIN),
    "a list that holds itself": (b"]q\x00h\x00a", PLAIN),
    "two lists that hold each other": (b"]q\x00]q\x01h\x00ah\x00h\x01a", PLAIN),
    "a tensor made by its class": (
        b"ctorch\nFloatTensor\n" + numbers(1 << 30) + b"\x81",
        "it is a pickled model or another object, not a state dict: it names torch.FloatTensor",
    ),
    "a new object of a size": (b"ctorch\nSize\n" + numbers(1) + b"\x85\x81", PLAIN),
    "a storage that is called": (call("torch.FloatStorage", integer(1 << 30)), PLAIN),
    "a type that is called": (call("torch.float32"), PLAIN),
    "an attribute that hides a method": (
        call("collections.OrderedDict") + b"}" + text("items") + b"K\x01sb",
        PLAIN,
    ),
    "a tensor with an attribute that hides its shape": (
        attribute(text("shape")),
        "it is a pickled model or another object, not a state dict: it names torch._tensor._rebuild_from_type_v2",
    ),
    "the class of tensors, called": (
        call("torch.Tensor", integer(1 << 40)),
        "it is a pickled model or another object, not a state dict: it names torch.Tensor",
    ),
    "a tensor larger than its storage": (
        tensor(3, (1 << 40,), (1,)),
        "one of its tensors needs 4,398,046,511,104 bytes of a storage of 12",
    ),
    "a tensor far into its storage": (
        tensor(3, (1,), (1,), 1 << 40),
        "one of its tensors needs 4,398,046,511,108 bytes of a storage of 12",
    ),
    "a tensor of negative size": (tensor(3, (-1,), (1,)), PLAIN),
    "a tensor of many dimensions": (tensor(1, (1,) * 100_000, (1,) * 100_000), PLAIN),
    "a storage of two sizes": (
        b"](" + storage(1) + storage(1 << 40) + b"e",
        "its tensors disagree on the storage 0",
    ),
    "an instruction that torch does not know": (b"N0", "it is damaged, or not a checkpoint"),
    "a reference to nothing": (b"h\x07", "it is damaged, or not a checkpoint"),
    "a text longer than the file": (b"X\xff\xff\xff\x7fabc", "it is damaged, or not a checkpoint"),
    "a global without end": (b"c" + b"a" * LONG, "it is damaged, or not a checkpoint"),
    "nothing": (b"", "it is damaged, or not a checkpoint"),
}

READ = """
import resource, sys
from pathlib import Path
from bdd100k_zoo.errors import UnsafeCheckpointError
from bdd100k_zoo.backends.common.checkpoint import read_checkpoint
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), used + (512 << 20)))
for path in sys.argv[1:]:
    try:
        read_checkpoint(Path(path))
    except UnsafeCheckpointError as error:
        print(error.reason)
    else:
        print("loaded")
"""


@pytest.mark.parametrize("zipped", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["zip", "older"])
def test_every_attack_is_refused_within_half_a_gigabyte(zipped: bool, tmp_path: Path, run_python: Run) -> None:
    paths = [
        write(tmp_path / f"{number}.pth", body, zipped=zipped) for number, (body, _) in enumerate(ATTACKS.values())
    ]
    told = run_python(READ, *paths).stdout.splitlines()
    assert dict(zip(ATTACKS, told, strict=True)) == {name: reason for name, (_, reason) in ATTACKS.items()}


def test_the_file_of_684_bytes_is_small(tmp_path: Path) -> None:
    body, _ = ATTACKS["12 bytearrays of 768 MB"]
    assert write(tmp_path / "weights.pth", body).stat().st_size < 1000


def refusal(path: Path) -> str:
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_checkpoint(path)
    return caught.value.reason


def test_expanded_tensors_that_together_exceed_the_file_many_times_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(1).expand(1 << 40)}, path)
    assert refusal(path).startswith("its tensors have 4,398,046,511,104 bytes, the file ")
    torch.save({"weight": torch.ones(1).expand(3, 1000)}, path)
    assert read_checkpoint(path).state_dict["weight"].shape == (3, 1000)


def test_a_storage_without_its_entry_or_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pth", b"}" + text("weight") + tensor(3, (3,), (1,)) + b"s")
    assert refusal(path) == "it is damaged: its entry data/0 is missing, expected 12 bytes"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(8))
    assert refusal(path) == "it is damaged: its entry data/0 is 8 bytes long, expected 12 bytes"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.ones(2, device="meta"), "has no values, it was saved from the device meta"),
        (lambda: torch.ones(2).to_sparse(), "is a sparse tensor"),
        (lambda: torch.ones(2, 2).to_sparse_csr(), "is a sparse tensor"),
        (lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "is a nested tensor"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "is a quantised tensor"),
    ],
    ids=["meta", "sparse", "sparse rows", "nested", "quantised"],
)
@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: torch.nn.Parameter(it, requires_grad=False)])
@pytest.mark.parametrize("older", [False, True])
def test_tensors_that_no_detector_has_are_refused_by_name(
    make: Callable[[], Any], kind: str, wrap: Callable[[Any], Any], older: bool, tmp_path: Path
) -> None:
    state_dict = OrderedDict(bias=torch.ones(2), weight=wrap(make()), last=torch.ones(1))
    torch.save(
        {"meta": {}, "state_dict": state_dict}, tmp_path / "weights.pth", _use_new_zipfile_serialization=not older
    )
    assert refusal(tmp_path / "weights.pth") == f"its parameter weight {kind}: expected a dense tensor of numbers"


@pytest.mark.parametrize("older", [False, True])
def test_a_tensor_with_attributes_is_refused_with_a_repair(older: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.nn.Buffer(torch.ones(2))}, path, _use_new_zipfile_serialization=not older)
    with pytest.raises(UnsafeCheckpointError, match=r"names torch\._tensor\._rebuild_from_type_v2, which") as caught:
        read_checkpoint(path)
    assert "torch.save(model.state_dict()" in caught.value.hint


# Readers of zip files differ: what is walked must be what torch reads.


def hidden_pickle(name: str, path: Path) -> Path:
    torch.save({"weight": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"\x80\x02" + ATTACKS["12 bytearrays of 768 MB"][0] + b".")
    return path


@pytest.mark.parametrize("name", ["weights/DATA.PKL", "weights/Data.pkl"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_second_pickle_under_a_name_in_another_case_is_refused(name: str, tmp_path: Path) -> None:
    assert "truncated, damaged" in refusal(hidden_pickle(name, tmp_path / "weights.pth"))


def test_a_zip_file_with_a_comment_or_trailing_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(3)}, path)
    whole = path.read_bytes()
    for content in (whole[:-2] + b"\x03\x00abc", whole + b"abc", whole + whole[-22:-2] + b"\x03\x00abc"):
        path.write_bytes(content)
        assert "truncated, damaged" in refusal(path)


def test_a_directory_in_64_bits_that_is_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(3)}, path)
    content = bytearray(path.read_bytes())
    assert content[-42:-38] == b"PK\x06\x07"
    content[-34:-26] = pack("<Q", 64)
    path.write_bytes(content)
    assert "truncated, damaged" in refusal(path)


def test_an_archive_of_the_oldest_format_is_refused_before_torch_reads_it(tmp_path: Path) -> None:
    import tarfile

    path = tmp_path / "weights.pth"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert refusal(path) == "it is damaged, or not a checkpoint"


# Valid checkpoints

FLOATS = ("float16", "float32", "float64", "bfloat16", "complex64", "complex128")
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8")
SAVED = [getattr(torch, name) for name in (*FLOATS, *INTEGERS)]


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64"])
def test_types_that_only_the_newer_format_knows_pass(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(3, 2, dtype=getattr(torch, name))[1:]}, path)
    assert read_checkpoint(path).state_dict["weight"].dtype == getattr(torch, name)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pickle_protocol_that_torch_cannot_read_is_named(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    content = {"meta": {"config": b"abc"}, "state_dict": {"weight": torch.ones(3)}}
    torch.save(content, path, pickle_protocol=protocol)
    assert refusal(path) == f"expected pickle protocol 2, the default of torch.save, found {protocol}"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert refusal(path) == "it is a pickle, not a file as torch.save writes it by default"


@pytest.mark.filterwarnings("error")
def test_a_checkpoint_of_protocol_3_that_torch_reads_passes(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(3)}, path, pickle_protocol=3)
    assert read_checkpoint(path).state_dict["weight"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (PurePosixPath("a"), "pathlib"),
        (datetime(2024, 1, 1, tzinfo=timezone.utc), "datetime.datetime"),
        (defaultdict(list), "collections.defaultdict"),
    ],
    ids=["Namespace", "path", "datetime", "defaultdict"],
)
def test_an_object_of_python_is_refused_by_name_with_a_repair(
    value: object, name: str, older: bool, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    content = {"args": value, "state_dict": {"weight": torch.ones(3)}}
    torch.save(content, path, _use_new_zipfile_serialization=not older)
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_checkpoint(path)
    assert name in caught.value.reason
    assert "torch.save(model.state_dict()" in caught.value.hint


shapes = st.lists(st.integers(0, 4), max_size=4)
tensors = st.builds(lambda dtype, shape: torch.zeros(shape, dtype=dtype), st.sampled_from(SAVED), shapes)
views = st.one_of(
    tensors,
    tensors.map(lambda each: each.t() if each.dim() == 2 else each[..., :1] if each.dim() else each),
    st.integers(0, 5).map(lambda number: torch.arange(100.0)[number :: number + 1]),
    st.builds(lambda grad: torch.nn.Parameter(torch.ones(2), requires_grad=grad), st.booleans()),
    st.just(torch.ones(2, dtype=torch.cfloat).conj()),
)
log = st.one_of(
    st.floats(width=64).map(np.float64),
    st.integers(-9, 9).map(np.int64),
    st.lists(st.floats(), max_size=300).map(np.array),
    st.just(np.array(["a", None], object)),
)
texts = st.text(max_size=300) | st.binary(max_size=300)
keys = st.one_of(texts, st.integers(), st.booleans(), st.none(), st.floats(), st.tuples(st.integers(), st.text()))
values = st.one_of(
    keys,
    st.sets(st.integers() | st.text(), max_size=5),
    st.lists(st.integers()).map(Counter),
    st.sampled_from(SAVED),
    st.sampled_from([torch.Size((2, 3)), torch.device("cpu"), torch.device("cuda", 1)]),
    views,
    log,
)
nested = st.recursive(
    values,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(keys, inner),
        st.dictionaries(st.text(), inner).map(OrderedDict),
        inner.map(lambda shared: [shared, {"again": shared}]),
    ),
    max_leaves=40,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(content=nested, zipped=st.booleans())
def test_what_torch_saves_of_tensors_and_plain_values_passes(content: Any, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"meta": content, "state_dict": {"weight": torch.ones(1)}}, path, _use_new_zipfile_serialization=zipped)
    assert list(read_checkpoint(path).state_dict) == ["weight"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
def test_the_checkpoint_of_a_large_training_is_far_within_the_limits(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmengine.logging import MessageHub
    from mmengine.optim import MultiStepLR

    layers = torch.nn.ModuleList(torch.nn.BatchNorm2d(1) for _ in range(400))
    optimizer = torch.optim.AdamW(layers.parameters())
    for parameter in layers.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    hub = MessageHub.get_instance("a large run")
    for step in range(2000):
        for name in ("loss", "loss_cls", "lr", "time"):
            hub.update_scalar(f"train/{name}", step / 3)
    hub.update_info("cfg", "x" * 100_000)
    path = tmp_path / "weights.pth"
    content = {
        "meta": {"epoch": 12, "iter": 1, "experiment_name": "a", "seed": 3},
        "state_dict": layers.state_dict(),
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [MultiStepLR(optimizer, [8, 11]).state_dict()],
        "message_hub": hub.state_dict(),
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    # 2,000 tensors of the model and 2,400 of its optimizer: HRNet has 1,856 and 5,568.
    limit, message = COUNT_LIMITS["steps"]
    monkeypatch.setitem(COUNT_LIMITS, "steps", (limit // 5, message))
    monkeypatch.setattr(pickle_values, "MAX_DEPTH", MAX_DEPTH // 5)
    loaded = read_torch_file(path)
    assert loaded["param_schedulers"][0]["milestones"] == Counter([8, 11])
    assert len(loaded["optimizer"]["state"]) == 800


def test_files_of_python_2_pass() -> None:
    """An OrderedDict of pairs, texts of bytes, and a view of a storage, as torch 0.3 wrote them."""
    named = b"(U\x07storage" + b"ctorch\nFloatStorage\nU\x03140U\x03cpuK\x06" + b"(U\x03141K\x02K\x03ttQ"
    made = b"ctorch._utils\n_rebuild_tensor\n(" + named + b"K\x00K\x03\x85K\x01\x85tR"
    walk = PickleWalker(b"\x80\x02ccollections\nOrderedDict\n](](U\x06weight" + made + b"ee\x85R.")
    assert walk.next().kind == "ordered"
    assert walk.totals.tensor_bytes == 12
    assert {key: storage.size for key, storage in walk.storages.items()} == {"140": 24}


def test_a_view_beyond_its_storage_is_refused() -> None:
    named = b"(U\x07storage" + b"ctorch\nFloatStorage\nU\x03140U\x03cpuK\x06" + b"(U\x03141K\x04K\x03ttQ"
    with pytest.raises(PickleError, match="more than tensors"):
        PickleWalker(b"\x80\x02" + named + b".").next()
