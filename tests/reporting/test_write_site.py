"""The zoo's page on disk."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo import __version__
from bdd100k_zoo.errors import FilesExistError, NoRunsError, RecordError, StorageError
from bdd100k_zoo.reporting.site import write_site

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.registry import Zoo


def test_the_page_of_the_packaged_zoo_is_one_file(zoo: Zoo, tmp_path: Path) -> None:
    written = write_site(zoo, tmp_path / "new" / "site")
    assert written.path == tmp_path / "new" / "site" / "index.html"
    assert [path.name for path in written.path.parent.iterdir()] == ["index.html"]
    assert written.size == written.path.stat().st_size < 500_000
    assert f"bdd100k-zoo {__version__}".encode() in written.path.read_bytes()


def test_a_page_of_ours_is_replaced_and_other_files_stay(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "CNAME").write_text("zoo.example")
    first = write_site(zoo, tmp_path).path.read_bytes()
    (tmp_path / "index.html").write_bytes(first.replace(b"33.72", b"33.99"))
    assert write_site(zoo, tmp_path).path.read_bytes() == first
    assert (tmp_path / "CNAME").read_text() == "zoo.example"


def test_a_page_of_another_is_left_alone(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>mine</h1>")
    with pytest.raises(FilesExistError):
        write_site(zoo, tmp_path)
    assert (tmp_path / "index.html").read_text() == "<h1>mine</h1>"


def test_a_file_where_the_folder_should_be_is_an_error_about_it(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("")
    with pytest.raises(StorageError):
        write_site(zoo, tmp_path / "site")


def test_runs_without_scores_and_speeds_that_are_none_are_errors_that_write_nothing(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "speed.jsonl").write_text("{}\n")
    with pytest.raises(RecordError):
        write_site(zoo, tmp_path / "site", speed=tmp_path / "speed.jsonl")
    with pytest.raises(NoRunsError):
        write_site(zoo, tmp_path / "site", runs=tmp_path)
    assert not (tmp_path / "site").exists()


def test_torch_is_not_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bdd100k_zoo import load_zoo;"
        "from bdd100k_zoo.reporting.site import write_site; write_site(load_zoo(), Path('site'));"
        "print([name for name in ('torch', 'mmdet', 'cv2', 'requests', 'matplotlib.pyplot') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout == "[]\n", told.stderr
