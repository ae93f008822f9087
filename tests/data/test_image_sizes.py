"""Sizes from headers are those of the decoded pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bdd100k_zoo.data.image_sizes import FrameSizes, read_image_size, size_by_name
from bdd100k_zoo.data.images import Frame, find_images, read_image
from bdd100k_zoo.data.scalabel import ImageSize
from bdd100k_zoo.errors import ImagesError, UnreadableImageError

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


def decoded_size(path: Path) -> ImageSize:
    height, width, _ = read_image(path).shape
    return ImageSize(width, height)


@pytest.mark.parametrize("orientation", [None, *range(10)])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_size_is_that_after_rotation(suffix: str, orientation: int | None) -> None:
    path, exif = Path(f"a{suffix}"), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert read_image_size(path) == decoded_size(path)
    assert (decoded_size(path) == ImageSize(20, 40)) == (orientation in (5, 6, 7, 8))


@pytest.mark.parametrize("options", [{"xmp": XMP}, {"exif": b"Exif\0\0not exif"}, {"exif": b"Exif\0\0"}])
def test_other_metadata_does_not_rotate(options: dict[str, Any]) -> None:
    Image.new("RGB", (40, 20)).save("a.jpg", **options)
    assert read_image_size(Path("a.jpg")) == decoded_size(Path("a.jpg")) == ImageSize(40, 20)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_the_mode_does_not_matter(mode: str) -> None:
    Image.new(mode, (40, 20)).save("a.jpg")
    assert read_image_size(Path("a.jpg")) == ImageSize(40, 20)


def test_what_is_no_image_is_an_error() -> None:
    Path("a.jpg").write_text("no image")
    for path in (Path("a.jpg"), Path("missing.jpg"), Path()):
        with pytest.raises(UnreadableImageError):
            read_image_size(path)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("b1c66a42-6f7d68ca.jpg", True),
        ("val/b1c66a42-6f7d68ca.jpg", True),
        ("b1c66a42-6f7d68ca-0000001.jpg", True),
        ("b1c66a42-6f7d68ca", True),
        ("b1c66a42-6f7d68ca.png", False),
        ("b1c66a42-6f7d68c.jpg", False),
        ("B1C66A42-6F7D68CA.jpg", False),
        ("0000001.jpg", False),
    ],
)
def test_only_names_of_bdd100k_have_a_known_size(name: str, known: bool) -> None:
    assert size_by_name(name) == (ImageSize(1280, 720) if known else None)


def test_frames_have_the_sizes_of_their_images() -> None:
    Path("in/day").mkdir(parents=True)
    Image.new("RGB", (40, 20)).save("in/a.jpg")
    Image.new("RGB", (30, 50)).save("in/day/b.jpg")
    sizes = FrameSizes(find_images(["in"]).frames)
    assert (sizes["a.jpg"], sizes["day/b.jpg"]) == (ImageSize(40, 20), ImageSize(30, 50))
    with pytest.raises(ImagesError, match=r"'b\.jpg' is not among the images"):
        sizes["b.jpg"]


def test_the_frames_of_a_video_share_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    read: list[int | None] = []

    def decode(_: object, frame: Frame) -> Any:
        read.append(frame.index)
        return np.zeros((20, 40, 3), np.uint8)

    monkeypatch.setattr("bdd100k_zoo.data.image_sizes.FrameReader.read", decode)
    sizes = FrameSizes(Frame(f"x-{n:07}.jpg", Path("x.mp4"), n) for n in range(3))
    assert {sizes[f"x-{n:07}.jpg"] for n in (1, 2)} == {ImageSize(40, 20)}
    assert read == [1]
