"""The official viewer, installed or missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from PIL import Image

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.boxes import BoxMark
from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.reporting import official_viewer

CAR, PEDESTRIAN = CLASSES.index("car"), CLASSES.index("pedestrian")


@pytest.fixture
def viewer() -> None:
    """The official packages."""
    try:
        official_viewer.import_viewer()
    except MissingPackageError as error:
        pytest.skip(f"NOT DRAWN by the official viewer: {error}")


@pytest.mark.usefixtures("viewer")
@pytest.mark.parametrize("size", [(1280, 720), (161, 91), (3, 5)])
def test_a_picture_has_the_size_of_its_image(size: tuple[int, int]) -> None:
    drawn = official_viewer.draw_with_official_viewer(
        Image.new("RGB", size, (90, 120, 90)), [BoxMark((0, 0, 2, 3), CAR, 0.5, "detection")]
    )
    assert (drawn.size, drawn.mode) == (size, "RGB")


@pytest.mark.usefixtures("viewer")
def test_a_box_is_drawn_where_it_is_in_the_colour_of_its_class() -> None:
    marks = [
        BoxMark((20, 20, 60, 60), CAR, 0.9, "detection"),
        BoxMark((100, 20, 140, 60), PEDESTRIAN, 0.5, "detection"),
    ]
    drawn = official_viewer.draw_with_official_viewer(Image.new("RGB", (160, 80), (255, 255, 255)), marks)
    car, pedestrian, ground = (drawn.getpixel(place) for place in ((40, 59), (120, 59), (80, 40)))
    assert ground == (255, 255, 255)
    assert car[2] > car[0] + 50  # dark blue in bdd100k's table
    assert pedestrian[0] > pedestrian[1] + 50  # red


@pytest.mark.usefixtures("viewer")
def test_an_image_without_detections_is_unchanged_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    drawn = official_viewer.draw_with_official_viewer(Image.new("RGB", (160, 80), (10, 200, 30)), [])
    assert drawn.getpixel((80, 40)) == (10, 200, 30)
    assert capfd.readouterr() == ("", "")


def test_without_the_packages_the_extra_is_named() -> None:
    if importlib.util.find_spec("scalabel"):
        pytest.skip("the official packages are installed")
    program = (
        "from bdd100k_zoo.errors import MissingPackageError\n"
        "from bdd100k_zoo.reporting import official_viewer as official\n"
        "try:\n"
        "    official.import_viewer()\n"
        "except MissingPackageError as error:\n"
        "    print(error.package, error.extra)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["scalabel", "official"]
