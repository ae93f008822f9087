"""download --unpack --out: the visuals of a model as a folder of files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

FRAMES = {"val/a.jpg": b"a picture", "val/b.jpg": b"another"}


@pytest.fixture
def zoo(served, write_zoo) -> str:
    with zipfile.ZipFile(served.folder / "mine.zip", "w") as zipped:
        for name, content in FRAMES.items():
            zipped.writestr(name, content)
    (served.folder / "weights.pth").write_bytes(b"weights")
    file = write_zoo()
    file.write_text(file.read_text().replace("visuals: null", f"visuals: {served.address}/mine.zip"))
    return str(file)


def test_visuals_are_unpacked_below_the_model_s_name_and_kept_in_the_cache(call, zoo):
    result = call(
        "--zoo", zoo, "download", "mine", "--what", "weights", "--what", "visuals", "--unpack", "--out", "seen"
    )
    assert result.exit_code == 0, result.stderr
    assert {name: Path("seen/mine", name).read_bytes() for name in FRAMES} == FRAMES
    assert "unpacked 2 files (16 bytes) into seen/mine" in result.stderr
    assert list(Path("cache").rglob("mine.zip"))
    assert len(result.stdout.splitlines()) == 2


def test_a_model_that_is_named_twice_is_unpacked_once(call, zoo):
    result = call("--zoo", zoo, "download", "mine", "mine", "--what", "visuals", "--unpack", "--out", "seen")
    assert result.exit_code == 0, result.stderr


def test_the_json_document_stays_alone_on_stdout(call, zoo):
    result = call("--zoo", zoo, "download", "mine", "--what", "visuals", "--unpack", "--out", "seen", "--json")
    assert [file["size"] for file in json.loads(result.stdout)] == [Path("served/mine.zip").stat().st_size]
    assert Path("seen/mine/val/a.jpg").is_file()


def test_an_existing_folder_is_reported_before_anything_is_downloaded(call, zoo):
    Path("seen/mine").mkdir(parents=True)
    result = call("--zoo", zoo, "download", "mine", "--what", "visuals", "--unpack", "--out", "seen")
    assert result.exit_code == 1
    assert "seen/mine: already exists, and was not changed" in result.stderr
    assert not list(Path("cache").rglob("mine.zip"))


def test_a_harmful_zip_is_reported_and_stays_in_the_cache(call, zoo, served):
    with zipfile.ZipFile(served.folder / "mine.zip", "w") as zipped:
        zipped.writestr("../outside.jpg", b"")
    result = call("--zoo", zoo, "download", "mine", "--what", "visuals", "--unpack", "--out", "seen")
    assert result.exit_code == 1
    assert "'../outside.jpg'" in result.stderr
    assert "hint" in result.stderr
    assert not Path("seen/mine").exists()
    assert list(Path("cache").rglob("mine.zip"))


@pytest.mark.parametrize(
    "options",
    [
        ["--unpack", "--out", "seen"],
        ["--unpack", "--what", "visuals"],
        ["--what", "visuals", "--out", "seen"],
        ["--what", "visuals", "--unpack", "--out", ""],
    ],
)
def test_visuals_are_unpacked_only_where_all_three_options_ask_for_it(call, options):
    assert call("download", "fcos_r50_fpn_1x", *options).exit_code == 2
