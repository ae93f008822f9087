"""WebP, BMP and TIFF: the pixels that OpenCV gives, and the pictures that `show` draws into."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from bdd100k_zoo.data.image_files import check_image_complete, read_image
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.data.pixels import to_bgr
from bdd100k_zoo.errors import UnreadableImageError
from bdd100k_zoo.reporting.picture_files import read_picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    """Smooth colours without any symmetry."""
    down, right = np.mgrid[0:height, 0:width]
    return np.stack([right * 6 % 256, down * 9 % 256, (right + 2 * down) * 3 % 256], axis=-1).astype(np.uint8)


RGB = Image.fromarray(picture())
MODES = {
    "RGB": RGB,
    "L": RGB.convert("L"),
    "1": RGB.convert("1"),
    "P": RGB.quantize(8),
    "RGBA": Image.fromarray(np.dstack([picture(), picture()[..., 0]])),
    "LA": Image.fromarray(picture()[..., :2]),
    "CMYK": RGB.convert("CMYK"),
    "YCbCr": RGB.convert("YCbCr"),
    "I;16": Image.fromarray(picture()[..., 0].astype(np.uint16) * 257),
}


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def rotated(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def forms() -> Iterator[tuple[str, str, bytes]]:
    """Name, suffix and content of files of every kind."""
    for mode, image in MODES.items():
        if mode in ("RGB", "L", "1", "P", "RGBA"):
            yield f"BMP {mode}", ".bmp", encoded(image, "BMP")
        yield f"TIFF {mode}", ".tif", encoded(image, "TIFF")
        yield f"TIFF {mode} deflated", ".TIFF", encoded(image, "TIFF", compression="tiff_adobe_deflate")
        if mode in ("RGB", "L", "RGBA", "LA"):
            yield f"WebP {mode}", ".webp", encoded(image, "WEBP")
            yield f"WebP {mode} lossless", ".WEBP", encoded(image, "WEBP", lossless=True)
            yield f"TIFF {mode} JPEG", ".tiff", encoded(image, "TIFF", compression="jpeg")
    for orientation in range(1, 9):
        yield f"WebP turned {orientation}", ".webp", encoded(RGB, "WEBP", exif=rotated(orientation))
        yield f"TIFF turned {orientation}", ".tiff", encoded(RGB, "TIFF", exif=rotated(orientation))
        yield f"PNG turned {orientation}", ".png", encoded(RGB, "PNG", exif=rotated(orientation))
    yield "TIFF of 16 bits and three channels", ".tif", cv2.imencode(".tif", picture().astype(np.uint16) * 257)[1]
    more = {"save_all": True, "append_images": [RGB.rotate(180)]}
    yield "TIFF of two pages", ".tif", encoded(RGB, "TIFF", **more)
    yield "animated WebP", ".webp", encoded(RGB, "WEBP", lossless=True, **more)
    yield "JPEG named .jfif", ".jfif", encoded(RGB, "JPEG")
    yield "JPEG named .jpe", ".JPE", encoded(RGB, "JPEG")


FORMS = [pytest.param(suffix, bytes(content), id=name) for name, suffix, content in forms()]


def write(tmp_path: Path, suffix: str, content: bytes) -> Path:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("suffix", "content"), FORMS)
def test_every_form_has_the_pixels_that_opencv_gives(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = write(tmp_path, suffix, content)
    (frame,) = find_images([str(tmp_path)]).frames
    found = read_image(frame.path)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, decoded)
    of_file = cv2.imread(str(path))
    if of_file is not None:  # OpenCV 5.0 refuses TIFF that are rotated by a quarter, as files only
        assert np.array_equal(found, of_file)
    assert np.array_equal(to_bgr(str(path)), found)
    check_image_complete(path)


@pytest.mark.parametrize(("suffix", "content"), FORMS)
def test_pictures_are_drawn_into_the_same_pixels(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = write(tmp_path, suffix, content)
    drawn_into = np.asarray(read_picture(path))[..., ::-1].astype(int)
    # Pillow and OpenCV round the colours of YCbCr and 16 bits differently.
    assert np.abs(drawn_into - read_image(path)).max() <= 1


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_a_tiff_with_32_bits_a_sample_is_unreadable(tmp_path: Path, kind: type) -> None:
    path = write(tmp_path, ".tif", encoded(Image.fromarray(picture()[..., 0].astype(kind)), "TIFF"))
    with pytest.raises(UnreadableImageError, match="cannot be decoded"):
        read_image(path)
    with pytest.raises(UnreadableImageError, match="has 32 bits a sample, which prediction cannot read either"):
        read_picture(path)


def test_a_tiff_that_pillow_does_not_know_is_read_by_opencv(tmp_path: Path) -> None:
    content = cv2.imencode(".tif", picture().astype(np.int16))[1].tobytes()
    assert read_image(write(tmp_path, ".tif", content)).shape == (24, 40, 3)


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_a_truncated_file_is_refused_or_has_all_its_pixels(tmp_path: Path, suffix: str, mode: str) -> None:
    options = {"compression": "tiff_lzw"} if suffix == ".tif" else {}
    large = Image.fromarray(np.random.default_rng(7).integers(0, 255, (64, 96, 3), np.uint8)).convert(mode)
    whole = encoded(large, {".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}[suffix], **options)
    expected = read_image(write(tmp_path, suffix, whole))
    refused = 0
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        try:
            found = read_image(write(tmp_path, suffix, whole[:length]))
        except UnreadableImageError:
            refused += 1
        else:  # the rest holds no pixel and no tag
            assert np.array_equal(found, expected)
    assert refused >= 58
    assert np.array_equal(read_image(write(tmp_path, suffix, whole + bytes(9))), expected)


def test_opencv_prints_nothing_about_unknown_tags_and_damage(tmp_path: Path, run_python: Any) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550] = (1.0, 1.0, 0.0)
    tags.tagtype[33550] = 12
    write(tmp_path, ".tif", encoded(RGB, "TIFF", tiffinfo=tags))
    (tmp_path / "y.bmp").write_bytes(encoded(RGB, "BMP")[:500])
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bdd100k_zoo.data.image_files import read_image\n"
        "from bdd100k_zoo.errors import UnreadableImageError\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    try:\n"
        "        print(read_image(path).shape)\n"
        "    except UnreadableImageError as error:\n"
        "        print(error.reason)\n"
    )
    done = run_python(program, tmp_path / "x.tif", tmp_path / "y.bmp")
    assert done.stdout.splitlines() == ["(24, 40, 3)", "cannot be decoded"]
    assert done.stderr == ""
