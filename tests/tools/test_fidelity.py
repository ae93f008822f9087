"""Synthetic weights and images, and the comparison of two stacks' results with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.registry import load_zoo
from tools.fidelity.__main__ import main
from tools.fidelity.comparison import compare_folders
from tools.fidelity.freeze import all_images, architectures, small_images
from tools.fidelity.results import Frozen, FrozenImage, Stack, read_frozen, write_frozen, write_rows
from tools.fidelity.weights import Output, SyntheticWeights, architecture_of, outputs_of

if TYPE_CHECKING:
    from pathlib import Path

ZOO = load_zoo()
NAMES = [model.name for model in ZOO.models]
FIRST = [models[0].name for models in architectures(ZOO)]
STREET = "street 64x48"
ALL_SAME = r"\| 2 \| 2 \| 0 \| 0 \| 0 \| 0 \| 0 \| 0 \|"
DIGEST = "3fe6edb15f7880555b2148cf0c93f548b27aa410e4b87934d5851d9ff300ba0e"


# Weights


def test_every_entry_has_the_same_bits_everywhere() -> None:
    draw = SyntheticWeights({"bbox_head.conv_cls": Output(0.1, (0.5,) * 10)})
    entries = {
        "backbone.layer1.0.conv3.weight": (256, 64, 1, 1),
        "backbone.bn1.running_mean": (64,),
        "backbone.bn1.running_var": (64,),
        "bbox_head.conv_cls.weight": (10, 256, 3, 3),
        "bbox_head.conv_cls.bias": (10,),
        "bbox_head.conv_reg.bias": (4,),
        "bbox_head.scales.0.scale": (),
        "init_proposal_bboxes.weight": (100, 4),
    }
    assert {draw(name, shape).dtype for name, shape in entries.items()} == {np.dtype(np.float32)}
    assert draw.sha256 == DIGEST


def test_an_entry_does_not_depend_on_earlier_ones() -> None:
    one, other = (SyntheticWeights({}) for _ in range(2))
    one("a.weight", (3, 3))
    assert np.array_equal(one("b.weight", (2, 2)), other("b.weight", (2, 2)))
    other("a.weight", (3, 3))
    assert one.sha256 == other.sha256


def test_the_digest_depends_on_bits_and_names() -> None:
    digests = set()
    for name, outputs in (("a", {}), ("b", {}), ("a", {"a": Output(2.0)})):
        draw = SyntheticWeights(outputs)
        draw(f"{name}.weight", (2, 2))
        digests.add(draw.sha256)
    assert len(digests) == 3


def test_a_last_layer_is_scaled_and_gets_its_bias() -> None:
    plain = SyntheticWeights({})
    scaled = SyntheticWeights({"fc": Output(0.5, (1.0, -1.0)), "other": Output(2.0)})
    assert np.array_equal(scaled("fc.weight", (2, 3)), plain("fc.weight", (2, 3)) / 2)
    assert scaled("fc.bias", (2,)).tolist() == [1, -1]
    assert np.array_equal(scaled("other.bias", (2,)), 2 * plain("other.bias", (2,)))


@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_its_last_layers_scaled(name: str) -> None:
    assert all(output.factor > 0 for output in outputs_of(ZOO[name]).values())
    assert any("cls" in layer for layer in outputs_of(ZOO[name]))
    assert any("reg" in layer for layer in outputs_of(ZOO[name]))


def test_there_are_38_architectures() -> None:
    found = architectures(ZOO)
    assert len(found) == len({architecture_of(model) for model in ZOO.models}) == 38
    assert sorted(model.name for models in found for model in models) == sorted(NAMES)


# Images


def test_images_are_as_large_as_their_names_say() -> None:
    images = all_images()
    assert small_images().keys() <= images.keys()
    for name, pixels in images.items():
        height, width, channels = pixels.shape
        assert (name.split()[1], channels) == (f"{width}x{height}", 3)
        assert pixels.flags.c_contiguous
        assert pixels.std() > 10, name


# Comparing


def frozen(folder: Path, backend: str = "mmdet2", change: float = 0.0, **changes: Any) -> Path:
    """Write a folder with two boxes of every architecture, one of which is changed in the last model."""
    record = Frozen(
        stack=Stack(
            backend=backend, ops="mmcv", optimised=False, processor="a processor", threads=2, versions={"torch": "2.14"}
        ),
        images={STREET: FrozenImage(64, 48, "0" * 64)},
        weights=dict.fromkeys(FIRST, "1" * 64),
        commit="abc1234",
        time="2030-01-02T03:04:05+00:00",
    )
    write_frozen(folder, msgspec.structs.replace(record, **changes))
    for name in FIRST:
        rows = np.array([[1, 2, 30, 40, 0.9, 0], [5, 2, 34, 40, 0.8, 0]], np.float32)
        rows[1, 2] += change if name == FIRST[-1] else 0
        write_rows(folder, name, {STREET: rows})
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return frozen(tmp_path / "one"), frozen(tmp_path / "other", "mmdet3")


def test_equal_results_pass_and_the_page_lists_every_model(folders: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    page = tmp_path / "docs" / "fidelity.md"
    assert main(["compare", *map(str, folders), "--out", str(page)]) == 0
    assert capsys.readouterr().out == "38 of 38 architectures find the same boxes\n"
    text = page.read_text()
    assert [name for name in FIRST if not re.search(f"^\\| `{name}` .*{ALL_SAME}$", text, re.M)] == []
    assert {model for model in NAMES if f"`{model}`" in text} == set(NAMES)
    assert "**38 of 38 architectures find the same boxes** with `mmdet3` as with `mmdet2`" in text
    assert "| torch | 2.14 | 2.14 |" in text
    assert "Failures\n" not in text


def test_a_difference_fails_and_is_on_the_page(folders: tuple[Path, Path], capsys) -> None:
    frozen(folders[1], "mmdet3", change=0.02)
    assert main(["compare", *map(str, folders)]) == 1
    text = capsys.readouterr().out
    assert "**37 of 38 architectures find the same boxes**" in text
    assert f"- `{FIRST[-1]}`, {STREET}: lost class 0, score 0.800000, corners 5.00, 2.00, 34.00, 40.00\n" in text
    assert f"- `{FIRST[-1]}`, {STREET}: additional class 0, score 0.800000, corners 5.00, 2.00, 34.02, 40.00\n" in text


def test_a_box_that_ties_swap_passes_and_is_on_the_page(folders: tuple[Path, Path], capsys) -> None:
    frozen(folders[1], "mmdet3", change=1.5)
    assert main(["compare", *map(str, folders)]) == 0
    text = capsys.readouterr().out
    assert f"| `{FIRST[-1]}` | – | 2 | 1 | 0 | 1 | 0 | 0 | 0 | 0 |" in text
    assert "## Boxes swapped by ties" in text


def as_built(folder: Path, **changes: Any) -> Path:
    """Write the results of mmdet's own layers with the last model."""
    frozen(folder, "mmdet3", **{"weights": {FIRST[-1]: "1" * 64}, **changes})
    return folder


def faster(folder: Path, change: float) -> None:
    """Write results of a stack with optimised models, in which one box differs."""
    record = read_frozen(frozen(folder, "mmdet3", change=change))
    write_frozen(folder, msgspec.structs.replace(record, stack=msgspec.structs.replace(record.stack, optimised=True)))


def test_changes_by_rounding_pass_and_are_on_the_page(folders: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    faster(folders[1], 0.02)
    assert main(["compare", *map(str, folders)]) == 1
    capsys.readouterr()
    assert main(["compare", *map(str, folders), "--as-built", str(as_built(tmp_path / "built"))]) == 0
    text = capsys.readouterr().out
    assert "**38 of 38 architectures find the same boxes**" in text
    assert f"| `{FIRST[-1]}` | – | 2 | 1 | 0 | 0 | 2 | 0 | 0 | 0 |" in text
    assert "## Boxes changed by rounding" in text
    assert f"- `{FIRST[-1]}`, {STREET}: lost class 0" in text
    assert f"freeze {FIRST[-1]} \\\n  --backend mmdet3 --as-built --out frozen/mmdet3-as-built\n" in text


def test_the_share_of_boxes_that_rounding_decides_is_stated_for_two_processors(
    folders: tuple[Path, Path], tmp_path: Path, capsys
) -> None:
    other = frozen(tmp_path / "elsewhere", "mmdet3", change=1.5)
    record = read_frozen(other)
    stack = msgspec.structs.replace(record.stack, processor="another processor")
    write_frozen(other, msgspec.structs.replace(record, stack=stack))
    assert main(["compare", *map(str, folders), "--elsewhere", str(other)]) == 0
    text = capsys.readouterr().out
    assert "- a processor: 0 of 76 boxes (0 %)\n- another processor: 1 of 76 boxes (1.3 %)\n" in text


def test_rounding_is_not_the_cause_if_mmdets_own_layers_differ(folders: tuple[Path, Path], tmp_path: Path) -> None:
    faster(folders[1], 0.02)
    built = frozen(tmp_path / "built", "mmdet3", change=0.03)
    comparison = compare_folders(*folders, built)
    assert comparison.failed == [FIRST[-1]]
    assert comparison.rounded == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"weights": {FIRST[-1]: "2" * 64}}, f"the same weights as in the compared folder, which differ: {FIRST[-1]}"),
        ({"weights": {"a_stranger": "1" * 64}}, "the same weights as in the compared folder, which differ: a_stranger"),
        ({"images": {}}, f"the same images as in the compared folder, which differ: {STREET}"),
    ],
)
def test_results_of_mmdets_own_layers_are_of_the_same_weights_and_images(
    changes: dict[str, Any], named: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    faster(folders[1], 0.02)
    with pytest.raises(InvalidFileError, match=named):
        compare_folders(*folders, as_built(tmp_path / "built", **changes))


def test_results_of_faster_layers_excuse_nothing(folders: tuple[Path, Path]) -> None:
    faster(folders[1], 0.02)
    with pytest.raises(
        InvalidFileError, match="expected results of the compared stack with the layers that mmdet builds"
    ):
        compare_folders(*folders, folders[1])
    with pytest.raises(
        InvalidFileError, match="expected results of the compared stack with the layers that mmdet builds"
    ):
        compare_folders(*folders, folders[0])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"images": {STREET: FrozenImage(64, 48, "2" * 64)}},
            f"the same images as in the compared folder, which differ: {STREET}",
        ),
        ({"weights": {**dict.fromkeys(FIRST, "1" * 64), FIRST[3]: "2" * 64}}, f"the same weights .*: {FIRST[3]}"),
        ({"weights": {FIRST[0]: "1" * 64}}, f"the same weights .*: .*{FIRST[1]}"),
    ],
)
def test_results_of_other_images_weights_or_models_are_not_compared(
    changes: dict[str, Any], named: str, folders: tuple[Path, Path]
) -> None:
    frozen(folders[1], "mmdet3", **changes)
    with pytest.raises(InvalidFileError, match=named):
        compare_folders(*folders)


def test_results_that_lack_an_image_are_not_compared(folders: tuple[Path, Path]) -> None:
    write_rows(folders[1], FIRST[2], {})
    with pytest.raises(InvalidFileError, match=f"{FIRST[2]}.npz: expected the images {STREET}"):
        compare_folders(*folders)


def test_a_missing_folder_is_reported_in_one_line(folders: tuple[Path, Path], capsys) -> None:
    assert main(["compare", str(folders[0]), "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_folder_of_other_images_is_not_changed(folders: tuple[Path, Path], capsys) -> None:
    before = {file.name: file.read_bytes() for file in folders[0].iterdir()}
    assert main(["freeze", FIRST[0], "--small", "--out", str(folders[0])]) == 1
    assert "frozen.json: holds results of other images" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in folders[0].iterdir()} == before


def test_an_unknown_model_is_reported_in_one_line(tmp_path: Path, capsys) -> None:
    assert main(["freeze", "no_such_model", "--out", str(tmp_path / "frozen")]) == 1
    assert "no_such_model" in capsys.readouterr().err
    assert not (tmp_path / "frozen").exists()
