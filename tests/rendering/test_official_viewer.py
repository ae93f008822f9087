"""The official viewer, called or missing."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from PIL import Image

from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.rendering.official import draw
from bdd100k_zoo.rendering.pictures import Mark

MARK = Mark((40, 20, 120, 60), 2, 0.9, "detection")
BLACK = Image.new("RGB", (250, 170))


def test_the_viewer_draws_boxes_where_they_are():
    try:
        drawn = draw(BLACK, [MARK])
    except MissingPackageError as error:
        pytest.skip(f"NOT DRAWN with scalabel: {error}")
    assert drawn.size == (250, 170)
    assert drawn.getpixel((80, 40)) != (0, 0, 0)
    assert drawn.getpixel((200, 120)) == (0, 0, 0)


@pytest.mark.skipif(importlib.util.find_spec("scalabel") is not None, reason="scalabel is installed")
def test_without_its_package_the_extra_is_named():
    pytest.importorskip("matplotlib")
    with pytest.raises(MissingPackageError) as caught:
        draw(BLACK, [MARK])
    assert (caught.value.package, caught.value.extra) == ("scalabel", "official")


def test_a_package_that_refuses_to_be_imported_counts_as_missing(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    for package in ("bdd100k", "scalabel"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise TypeError('made for pydantic 1')")
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match="made for pydantic 1"):
        draw(BLACK, [MARK])
