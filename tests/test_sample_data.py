"""Random weights and a synthetic frame, complete or not at all."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from bdd100k_zoo import sample_data as job
from bdd100k_zoo.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Make writing fail in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_weights_that_do_not_fit_on_the_disk_are_a_storage_error_and_leave_nothing(zoo, tmp_path):
    with no_file_larger_than(1_000_000), pytest.raises(StorageError, match=r"weights\.pth"):
        job.write_sample_data(zoo[job.DEFAULT_MODEL], tmp_path / "trial")
    assert list((tmp_path / "trial").iterdir()) == []


def test_a_folder_that_is_a_file_is_a_storage_error(zoo, tmp_path):
    (tmp_path / "trial").write_text("")
    with pytest.raises(StorageError):
        job.write_sample_data(zoo[job.DEFAULT_MODEL], tmp_path / "trial")


def test_the_sample_is_a_checkpoint_and_a_frame_of_the_datasets_size(trial):
    assert trial.weights.read_bytes().startswith(b"PK")
    (frame,) = trial.frames.iterdir()
    with Image.open(frame) as image:
        assert (image.format, image.size) == ("JPEG", (1280, 720))


def test_the_command_prints_how_to_run_the_model(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["trial", job.DEFAULT_MODEL, str(tmp_path / "here")])
    assert job.main() == 0
    out = capsys.readouterr().out
    assert f"predict {job.DEFAULT_MODEL} --images {tmp_path / 'here' / 'frames'}" in out
    assert (tmp_path / "here" / "weights.pth").is_file()


def test_the_command_fails_for_an_unknown_model(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["trial", "no_such_model"])
    assert job.main() == 1
    assert "no_such_model" in capsys.readouterr().err
