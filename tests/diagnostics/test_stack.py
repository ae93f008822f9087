"""Which distributions belong together."""

from __future__ import annotations

import pytest

from bdd100k_zoo.diagnostics.repairs import (
    find_mmcv_conflict,
    installed_backend,
    installed_versions,
    parse_version_numbers,
)


@pytest.mark.parametrize(
    ("mmdet", "generation"),
    [("3.3.0", "mmdet3"), ("3.0.0rc1", "mmdet3"), ("2.28.2", "mmdet2"), ("4.0", None), (None, None)],
)
def test_the_installed_mmdet_decides_the_backend(mmdet, generation):
    assert installed_backend({"mmdet": mmdet}) == generation
    assert installed_backend({}) is None


@pytest.mark.parametrize(
    "right",
    [
        {"mmdet": "3.3.0", "mmcv-lite": "2.1.0"},
        {"mmdet": "3.3.0", "mmcv": "2.1.0"},
        {"mmdet": "3.3.0", "mmcv": "2.0.0rc4", "mmcv-full": None},
        {"mmdet": "2.28.2", "mmcv-full": "1.7.2"},
        {"mmdet": "2.25.0", "mmcv-full": "1.5.3"},
        {"mmdet": "3.3.0"},
        {"mmcv-full": "1.7.2"},
        {"mmcv": "2.2.0"},
        {},
    ],
)
def test_what_belongs_together_is_not_called_wrong(right):
    assert find_mmcv_conflict(right) == ""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mmdet": "3.3.0", "mmcv-lite": "2.2.0"}, "mmcv-lite 2.2.0 beside mmdet 3.3.0, which needs mmcv-lite or mmcv"),
        ({"mmdet": "3.3.0", "mmcv": "2.2.0rc1"}, "2.0 or 2.1"),
        ({"mmdet": "3.3.0", "mmcv-full": "1.7.2"}, "mmcv-full 1.7.2 beside mmdet 3.3.0"),
        ({"mmdet": "2.28.2", "mmcv-lite": "2.1.0"}, "which needs mmcv-full 1.x"),
        ({"mmdet": "2.28.2", "mmcv": "1.7.2"}, "which needs mmcv-full 1.x"),
        ({"mmdet": "3.3.0", "mmcv-lite": "2.1.0", "mmcv": "2.1.0"}, "mmcv-lite 2.1.0, mmcv 2.1.0: they overwrite"),
        ({"mmcv-lite": "2.1.0", "mmcv-full": "1.7.2"}, "they overwrite each other"),
    ],
)
def test_mixtures_are_told(wrong, told):
    assert told in find_mmcv_conflict(wrong)


@pytest.mark.parametrize(
    ("version", "expected"), [("2.1.0", (2, 1, 0)), ("2.2.0rc1", (2, 2, 0)), ("2.14.1+cu130", (2, 14, 1)), ("x", ())]
)
def test_versions_are_compared_by_their_numbers(version, expected):
    assert parse_version_numbers(version) == expected


def test_what_is_not_installed_has_no_version():
    versions = installed_versions()
    assert versions["numpy"]
    assert versions["python"]
    assert "mmcv-full" in versions
