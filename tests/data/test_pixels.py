"""Images as users pass them: the same pixels from every form, and an error with shape and dtype for anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from bdd100k_zoo.data.pixels import to_bgr, to_pil
from bdd100k_zoo.errors import ImagesError, UnreadableImageError

if TYPE_CHECKING:
    from pathlib import Path

BGR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
RGB = np.ascontiguousarray(BGR[..., ::-1])
GREY = BGR[..., 0].copy()
ALPHA = np.full((6, 8, 1), 7, np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), BGR)
    return path


def test_a_path_a_pil_image_an_array_and_a_tensor_give_the_same_pixels(file: Path) -> None:
    forms: list[Any] = [file, str(file), BGR, Image.fromarray(RGB), torch.from_numpy(RGB).permute(2, 0, 1)]
    forms.append(np.concatenate([BGR, ALPHA], axis=2))
    for form in forms:
        found = to_bgr(form)
        assert (found.dtype, found.flags["C_CONTIGUOUS"]) == (np.uint8, True)
        np.testing.assert_array_equal(found, BGR)
        np.testing.assert_array_equal(np.asarray(to_pil(form)), RGB)


def test_the_channels_of_an_array_may_be_rgb() -> None:
    np.testing.assert_array_equal(to_bgr(RGB, "rgb"), BGR)
    np.testing.assert_array_equal(to_bgr(np.concatenate([RGB, ALPHA], axis=2), "rgb"), BGR)
    np.testing.assert_array_equal(np.asarray(to_pil(RGB, "rgb")), RGB)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_a_pil_image_of_another_mode_is_converted_as_pillow_does(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    np.testing.assert_array_equal(to_bgr(image)[..., ::-1], np.asarray(image.convert("RGB")))


def test_a_grey_array_has_three_equal_channels() -> None:
    found = to_bgr(GREY)
    assert found.shape == (6, 8, 3)
    assert all((found[..., channel] == GREY).all() for channel in range(3))


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (BGR.astype(np.float32) / 255, "found float32 [6, 8, 3]"),
        (BGR.astype(np.int64), "found int64 [6, 8, 3]"),
        (BGR.transpose(2, 0, 1), "found uint8 [3, 6, 8]"),
        (np.zeros((6, 8, 5), np.uint8), "found uint8 [6, 8, 5]"),
        (np.zeros((2, 6, 8, 3), np.uint8), "found uint8 [2, 6, 8, 3]"),
        (np.zeros((0, 8, 3), np.uint8), "found uint8 [0, 8, 3]"),
        (np.zeros(6, np.uint8), "found uint8 [6]"),
        (torch.zeros(3, 6, 8), "found float32 [3, 6, 8]"),
        (torch.zeros(6, 8, 3, dtype=torch.uint8), "found uint8 [6, 8, 3]"),
        (torch.zeros(1, 3, 6, 8, dtype=torch.uint8), "found uint8 [1, 3, 6, 8]"),
        (Image.new("I;16", (8, 6)), "found mode I;16 (8, 6)"),
        (Image.new("F", (8, 6)), "found mode F (8, 6)"),
        ([BGR, BGR], "`detector.batch` takes several"),
        (None, "found NoneType"),
        (b"\xff\xd8", "found bytes"),
    ],
)
def test_what_is_not_an_image_of_8_bits_is_an_error_with_its_shape_and_dtype(image: Any, found: str) -> None:
    with pytest.raises(ImagesError) as caught:
        to_bgr(image)
    assert found in str(caught.value)
    assert "uint8" in caught.value.hint


def test_the_error_for_floats_shows_how_to_convert_them() -> None:
    with pytest.raises(ImagesError) as caught:
        to_bgr(np.zeros((6, 8, 3)))  # type: ignore[arg-type]
    assert "0 to 255" in caught.value.hint


def test_an_order_of_channels_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ImagesError, match="`bgr` or `rgb`, found 'RGB'"):
        to_bgr(BGR, "RGB")  # type: ignore[arg-type]


def test_a_file_that_is_not_an_image_is_an_error_about_the_file(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"image\.jpg"):
        to_bgr(path)


def test_a_pil_image_of_a_damaged_file_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    for convert in (to_bgr, to_pil):
        with Image.open(path) as image, pytest.raises(UnreadableImageError, match=r"cut\.png: is damaged"):
            convert(image)
