"""The files of the demo, and what ``convert`` makes of them."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bdd100k_zoo
from bdd100k_zoo.data.convert import convert_file

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(bdd100k_zoo.__file__).parent / "demo_run" / "data"
PREDICTIONS = Path(__file__).parents[1] / "data" / "demo" / "det.json.gz"
"""What the demo's detector found, as ``bdd100k-zoo demo`` wrote it. It is stored, so that torch is not needed here."""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as docs/interoperability.md prepares it: data and run of the demo, and both in COCO's format."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(DATA, folder / "demo" / "data")
    predictions = folder / "demo" / "run" / "det.json"
    predictions.parent.mkdir()
    predictions.write_bytes(gzip.decompress(PREDICTIONS.read_bytes()))
    convert_file(folder / "demo/data/labels/det_20/det_val.json", folder / "labels.json", "coco")
    convert_file(predictions, folder / "results.json", "coco", labels=folder / "labels.json")
    return folder


@pytest.fixture
def need() -> Callable[..., None]:
    """Skip the test where a package is absent, and say so."""

    def need(*packages: str) -> None:
        for package in packages:
            pytest.importorskip(package, reason=f"NOT COMPARED with {package}: it is not installed")

    return need
