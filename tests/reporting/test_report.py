"""Reports from files: the evaluation's numbers, pictures of limited size, and no overwritten files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from documents import Document, check
from PIL import Image
from scenes import Inputs, make_inputs

pytest.importorskip("jinja2", reason="NOT TESTED: reports, as Jinja2 is not installed")
pytest.importorskip("matplotlib", reason="NOT TESTED: reports, as matplotlib is not installed")

from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.errors import ImagesError, InputsError, StorageError
from bdd100k_zoo.evaluation.scoring import score_predictions
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.reporting import report as job
from bdd100k_zoo.reporting.report import ReportRequest, WrittenReport, write_report


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return make_inputs(tmp_path / "data")


def write(inputs: Inputs, **changes: Any) -> WrittenReport:
    facts: dict[str, Any] = {
        "zoo": load_zoo(),
        "names": tuple(map(str, inputs.runs)),
        "labels": inputs.labels,
        "out": Path("report.html"),
    }
    return write_report(ReportRequest(**(facts | changes)), NO_PROGRESS)


def test_the_page_has_the_scores_of_the_evaluation_bit_for_bit(inputs: Inputs) -> None:
    written = write(inputs)
    labels = read_label_table(inputs.labels)
    for run, folder in zip(written.report.runs, inputs.runs, strict=True):
        expected = score_predictions(labels, read_prediction_table(folder / "det.json"))
        assert run.analysis.scores.official_json() == expected.official_json()
    found = Document(written.path.read_bytes())
    check(found)
    for run in written.report.runs:
        assert f"{run.ap:.2f}" in found.all("main")[0].words
    assert written.size == written.path.stat().st_size


def test_runs_are_known_by_their_records_and_models(inputs: Inputs) -> None:
    first, _ = write(inputs).report.runs
    assert (first.name, first.published_ap) == ("faster_rcnn_r50_fpn_1x", 31.04)
    assert first.family is not None
    assert first.record is not None
    (alone,) = write(inputs, names=(str(inputs.runs[0] / "det.json"),)).report.runs
    assert alone.record == first.record
    (inputs.runs[0] / "run.json").unlink()
    (nameless,) = write(inputs, names=(str(inputs.runs[0] / "det.json"),)).report.runs
    assert (nameless.record, nameless.published_ap) == (None, None)


def test_the_same_inputs_give_the_same_bytes(inputs: Inputs) -> None:
    options = {"images": inputs.images, "resamples": 10}
    first = write(inputs, **options).path.read_bytes()
    assert write(inputs, **options).path.read_bytes() == first


def test_files_are_compared_with_the_first_on_the_same_draws(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path / "more", frames=40, images=0)
    twice = (str(inputs.runs[0]), str(inputs.runs[1]), str(inputs.runs[0]))
    report = write(inputs, names=twice, resamples=10).report
    assert len(report.comparisons) == 2
    same = [each for each in report.comparisons[1] if each.interval]
    assert same
    assert {each.interval for each in same} == {(0.0, 0.0)}


def test_pictures_show_the_worst_and_random_frames_that_have_an_image(inputs: Inputs) -> None:
    report = write(inputs, images=inputs.images).report
    worst, others, *_ = report.albums
    with_image = {path.name for path in inputs.images.iterdir()}
    assert {each.frame for each in worst.pictures} == {each.frame for each in others.pictures} == with_image
    costs = [float(each.caption.split("costs ")[1].split()[0]) for each in worst.pictures]
    assert costs == sorted(costs, reverse=True)
    for each in worst.pictures:
        picture = Image.open(io.BytesIO(each.jpeg))
        assert (picture.format, picture.size) == ("JPEG", (each.width, each.height)) == ("JPEG", (960, 540))
    assert any("6 of the labelled frames have no image" in note for note in report.notes)


def test_marks_lie_where_the_boxes_are_in_the_smaller_picture(inputs: Inputs) -> None:
    mark = job.BoxMark((100, 50, 300, 250), 2, None, "missed")
    smaller, (moved,) = job._scale(Image.new("RGB", (1280, 720)), [mark], 640)
    assert smaller.size == (640, 360)
    assert moved.box == (50, 25, 150, 125)
    same, (kept,) = job._scale(Image.new("RGB", (600, 400)), [mark], 640)
    assert (same.size, kept) == ((600, 400), mark)


def test_pictures_shrink_and_thin_out_until_the_page_is_small_enough(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pictures(most: int) -> tuple[int, set[int], tuple[str, ...]]:
        monkeypatch.setattr(job, "MAX_PAGE_BYTES", most)
        report = write(inputs, images=inputs.images).report
        found = [picture for album in report.albums for picture in album.pictures]
        assert sum(len(each.jpeg) for each in found) <= most
        return len(found), {each.width for each in found}, report.notes

    assert pictures(10_000_000)[:2] == (24, {960})
    number, widths, notes = pictures(500_000)
    assert widths == {640}
    assert number <= 24
    assert "fewer or smaller pictures" in " ".join(notes)
    assert pictures(100_000)[1] < {480, 320, 640}
    assert pictures(10)[0] == 0


def test_an_image_that_cannot_be_read_is_named_and_passed_over(inputs: Inputs) -> None:
    broken = min(inputs.images.iterdir())
    broken.write_bytes(broken.read_bytes()[:2000])
    report = write(inputs, images=inputs.images).report
    assert broken.name not in {picture.frame for album in report.albums for picture in album.pictures}
    assert any("cannot be read" in note and broken.name in note for note in report.notes)


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/hostname", "..\\outside.jpg", "C:\\x.jpg", "\x1b[2J.jpg"])
def test_a_frames_name_never_leads_out_of_the_folder_of_images(tmp_path: Path, name: str) -> None:
    hostile = make_inputs(tmp_path / "data", names=[name])
    Image.new("RGB", (64, 36)).save(tmp_path / "data" / "outside.jpg")
    report = write(hostile, images=hostile.images).report
    shown = {picture.frame for album in report.albums for picture in album.pictures}
    assert shown == {path.name for path in hostile.images.iterdir()}


def test_a_folder_without_the_images_is_an_error_before_anything_is_computed(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    Image.new("RGB", (64, 36)).save(tmp_path / "others" / "x.jpg")
    with pytest.raises(ImagesError, match="none of the labelled frames"):
        write(inputs, images=tmp_path / "others")
    assert not Path("report.html").exists()


def test_only_pages_of_this_package_are_overwritten(inputs: Inputs) -> None:
    write(inputs)
    write(inputs)
    before = inputs.labels.read_bytes()
    with pytest.raises(StorageError):
        write(inputs, out=inputs.labels)
    assert inputs.labels.read_bytes() == before
    with pytest.raises(StorageError):
        write(inputs, out=inputs.images)


def test_predictions_that_cannot_be_scored_give_no_page(inputs: Inputs) -> None:
    frames = json.loads((inputs.runs[1] / "det.json").read_text())
    (inputs.runs[1] / "det.json").write_text(json.dumps(frames[1:]))
    with pytest.raises(InputsError):
        write(inputs)
    assert not Path("report.html").exists()
    lenient = write(inputs, lenient=True)
    assert "frames without predictions" in Document(lenient.path.read_bytes()).all("main")[0].words
