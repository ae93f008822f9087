"""Folders of frozen results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import InvalidFileError, StorageError
from tools.fidelity.results import (
    Frozen,
    FrozenImage,
    Stack,
    read_frozen,
    read_rows,
    rows_of,
    write_frozen,
    write_rows,
)

if TYPE_CHECKING:
    from pathlib import Path

RECORD = Frozen(
    stack=Stack(
        backend="mmdet2", ops="mmcv", optimised=False, processor="a processor", threads=2, versions={"torch": "2.14.1"}
    ),
    images={"lying 400x48": FrozenImage(400, 48, "0" * 64)},
    weights={"fcos_r50_fpn_1x": "1" * 64},
    commit=None,
    time="2030-01-02T03:04:05+00:00",
)


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_frozen(tmp_path, RECORD)
    assert read_frozen(tmp_path) == RECORD


def test_boxes_are_read_back_to_the_bit_and_in_the_order_of_a_predictions_file(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [2, 0, 3, 1], [0.1, 0, 4, 1]], np.float32)
    found = Detections(boxes, np.array([0.5, 0.5, 0.7, 0.9], np.float32), np.array([1, 1, 1, 0]))
    write_rows(tmp_path, "a_model", {"an image 5x5": rows_of(found), "none": rows_of(Detections.empty())})
    rows = read_rows(tmp_path, "a_model")
    assert list(rows) == ["an image 5x5", "none"]
    assert np.array_equal(rows["an image 5x5"][:, :4], boxes[[3, 2, 0, 1]])
    assert rows["none"].shape == (0, 6)


def test_the_same_boxes_are_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_rows(tmp_path, name, {"x": np.ones((3, 6), np.float32)})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"stack": {}}', b"\xff"])
def test_a_file_that_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "frozen.json").write_bytes(content)
    with pytest.raises(InvalidFileError, match=r"frozen\.json: not a record of frozen results"):
        read_frozen(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04N.", b"text"])
def test_a_file_that_holds_no_boxes_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a_model.npz").write_bytes(content)
    with pytest.raises(InvalidFileError, match=r"a_model\.npz"):
        read_rows(tmp_path, "a_model")


@pytest.mark.parametrize("array", [np.ones((2, 5), np.float32), np.ones((2, 6)), np.ones(6, np.float32)])
def test_arrays_of_another_shape_or_type_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    write_rows(tmp_path, "a_model", {"an image": array})
    with pytest.raises(InvalidFileError, match="an image: expected float32"):
        read_rows(tmp_path, "a_model")


def test_one_array_in_place_of_several_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a_model.npz").open("wb") as file:
        np.save(file, np.ones((2, 6), np.float32))
    with pytest.raises(InvalidFileError):
        read_rows(tmp_path, "a_model")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a_model.npz", x=np.array([{}], object))
    with pytest.raises(InvalidFileError):
        read_rows(tmp_path, "a_model")


def test_files_that_are_missing_are_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_frozen(tmp_path)
    with pytest.raises(StorageError):
        read_rows(tmp_path, "a_model")
