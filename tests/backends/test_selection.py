"""Which backend is chosen, by what is installed."""

from __future__ import annotations

import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.cli.hints import explain
from bdd100k_zoo.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Let a version of mmdet seem to be installed; none without one."""

    def seem(version: str = "") -> None:
        standard = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
        monkeypatch.setattr(sys, "path", [str(tmp_path), *standard])
        if version:
            info = tmp_path / f"mmdet-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mmdet\nVersion: {version}\n")

    return seem


@pytest.mark.parametrize(
    ("version", "name"), [("2.28.2", "mmdet2"), ("3.3.0", "mmdet3"), ("", "mmdet3"), ("1.2.0", "mmdet3")]
)
def test_auto_takes_what_is_installed_and_else_the_default(version: str, name: str, install) -> None:
    install(version)
    assert name == select_backend().NAME


@pytest.mark.parametrize(("version", "name"), [("2.28.2", "mmdet2"), ("3.3.0", "mmdet3")])
def test_what_is_installed_may_be_asked_for(version: str, name: str, install) -> None:
    install(version)
    assert name == select_backend(name).NAME


@pytest.mark.parametrize(
    ("version", "name", "told", "hint"),
    [
        ("3.3.0", "mmdet2", "it needs mmdet 2, and mmdet 3.3.0 is installed", ".ci/classic"),
        ("2.28.2", "mmdet3", "it needs mmdet 3, and mmdet 2.28.2 is installed", "pip install 'bdd100k-zoo[predict]'"),
        ("", "mmdet2", "no mmdet is installed", ".ci/classic"),
        ("3.3.0", "mmdet4", "expected auto, mmdet3 or mmdet2", "leave it out"),
    ],
)
def test_what_is_not_installed_is_refused_with_the_way_to_it(
    version: str, name: str, told: str, hint: str, install
) -> None:
    install(version)
    with pytest.raises(BackendError) as caught:
        select_backend(name)
    message, advice = explain(caught.value)
    assert told in message
    assert hint in advice
