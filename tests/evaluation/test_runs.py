"""Runs that are shown beside the published scores, and why others are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from surroundings import Told

from bdd100k_zoo.data.validation import IssueSummary
from bdd100k_zoo.errors import InputsError
from bdd100k_zoo.evaluation.runs import (
    describe_limits,
    find_runs,
    note_limits,
    read_measured_results,
    read_measured_scores,
    resolve_file,
    resolve_name,
)
from bdd100k_zoo.evaluation.scores import (
    SCORING_VERSION,
    FileFingerprint,
    StoredScores,
    fingerprint_file,
    write_stored_scores,
)
from bdd100k_zoo.prediction.run import (
    OTHER_VERSION_HINT,
    RunCounts,
    RunRecord,
    RunSeconds,
    WeightsUsed,
    parse_run,
    write_run,
)
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL, OTHER = "fcos_r50_fpn_1x", "fcos_r50_fpn_3x"
MODELS = {MODEL, OTHER}


def record(weights: dict[str, Any] | None = None, **changes: Any) -> RunRecord:
    """A finished run of published weights on val."""
    used: dict[str, Any] = {
        "path": "w.pth", "size": 1, "md5": "0", "sha256": "0", "verified": False, "verified_by": None,
        "unverified_because": "no digest is recorded", "address": "https://weights.example/w.pth",
    } | (weights or {})  # fmt: skip
    fields: dict[str, Any] = {
        "model": MODEL, "config": "c.py", "config_sha256": "0", "cfg_options": {}, "weights": WeightsUsed(**used),
        "backend": "mmdet3", "device": "cpu", "device_name": "cpu", "precision": "fp32", "ops": "torchvision",
        "versions": {}, "split": "val", "image_roots": (), "counts": RunCounts(images=1, unreadable=0, detections=0),
        "seconds": RunSeconds(load=0, decode=0, detect=1, write=0, total=1), "unreadable": (),
        "started": "2030-01-02T03:04:05+00:00",
    } | changes  # fmt: skip
    return parse_run(fields)


def run(folder: Path, ap: float | None = 30.0, run_record: RunRecord | None = None, **scores: Any) -> Path:
    """Write a scored run."""
    folder.mkdir(parents=True)
    write_run(folder, run_record or record())
    (folder / "det.json").write_text("[]")
    score(folder, ap, **scores)
    return folder


def score(folder: Path, ap: float | None, labels: str = "labels/det_20/det_val.json", **scores: Any) -> None:
    fields: dict[str, Any] = {
        "predictions": fingerprint_file(folder / "det.json"),
        "labels": FileFingerprint(labels, 1, 0, f"digest of {labels}"),
        "engine": "fast",
        "lenient": False,
        "rules": SCORING_VERSION,
        "scores": {"AP": {"OVERALL": ap}},
    }
    write_stored_scores(folder, StoredScores(**(fields | scores)))


def left_out(root: Path) -> dict[str, str]:
    return {each.name: each.reason for each in read_measured_scores(root, MODELS)[1]}


def spoil(file: str, content: str | None) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink() if content is None else (folder / file).write_text(content) and None


ACCEPTED = (IssueSummary("frames missing from the predictions", 1234, ()),)
AFTERWARDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no run.json": (spoil("run.json", None), "is no run: it has no run.json"),
    "no det.json": (spoil("det.json", None), "is no run: it has no det.json"),
    "an unreadable run.json": (
        spoil("run.json", "{"),
        "its run.json is not a run record of this version: Input data was truncated",
    ),
    "no scores.json": (spoil("scores.json", None), "is not scored: `bdd100k-zoo eval` scores it"),
    "an unreadable scores.json": (
        spoil("scores.json", "{}"),
        "its scores.json is unreadable or of an earlier version: `bdd100k-zoo eval` scores it",
    ),
    "another det.json": (
        spoil("det.json", "[ ]"),
        "its scores are of another det.json: `bdd100k-zoo eval` scores it again",
    ),
    "no objects": (lambda folder: score(folder, None), "has no AP: its labels hold no object"),
    "lenient": (
        lambda folder: score(folder, 30.0, lenient=True, let_through=ACCEPTED),
        "is scored with --lenient, which accepted 1,234 frames missing from the predictions",
    ),
    "other labels": (
        lambda folder: score(folder, 30.0, labels="some/mine.json"),
        "is scored against mine.json, other labels than those of the runs shown",
    ),
}
RECORDS: dict[str, tuple[RunRecord, str]] = {
    "unknown model": (record(model="gone_1x"), "its model gone_1x is not among those shown"),
    "another split": (record(split="test"), "is on test, not on val"),
    "settings": (
        record(cfg_options={"model.test_cfg.score_thr": 0.5}),
        "has other settings: model.test_cfg.score_thr",
    ),
    "limits": (record(min_score=0.3, classes=["car", "bus"]), "was made with min_score 0.3, classes car, bus"),
    "own weights": (record({"published": False}), f"has own weights, not the published ones of {MODEL}"),
    "a file of the user's": (record({"address": None}), f"has own weights, not the published ones of {MODEL}"),
    "random weights": (record({"random": True}), f"has random weights, not the published ones of {MODEL}"),
}


@pytest.mark.parametrize("fault", AFTERWARDS)
def test_an_incomplete_or_unscored_run_is_left_out(fault: str, tmp_path: Path) -> None:
    run(tmp_path / "shown", run_record=record(model=OTHER))
    change, reason = AFTERWARDS[fault]
    change(run(tmp_path / "a" / "val", 99.0))
    scores, _ = read_measured_scores(tmp_path, MODELS)
    assert set(scores) == {OTHER}
    (found,) = left_out(tmp_path).items()
    assert found[0] == "a/val"
    assert found[1].startswith(reason)


@pytest.mark.parametrize("fault", RECORDS)
def test_a_run_of_another_model_split_or_setting_is_left_out(fault: str, tmp_path: Path) -> None:
    run(tmp_path / "shown", run_record=record(model=OTHER))
    run_record, reason = RECORDS[fault]
    run(tmp_path / "a", 99.0, run_record)
    assert set(read_measured_scores(tmp_path, MODELS)[0]) == {OTHER}
    assert left_out(tmp_path) == {"a": reason}


def test_predictions_with_limits_are_named_so_have_no_published_ap_and_are_reported(tmp_path: Path) -> None:
    zoo = load_zoo()
    plain, limited = run(tmp_path / "a"), run(tmp_path / "b", run_record=record(min_score=0.3, max_per_image=5))
    told = Told()
    found = [resolve_file(folder / "det.json", zoo, "val") for folder in (plain, limited)]
    assert [each.name for each in found] == [MODEL, f"{MODEL} (with limits)"]
    assert [each.published_ap for each in found] == [zoo[MODEL].ap_val, None]
    note_limits(found, told)
    assert told.notes == [
        f"{limited / 'det.json'} was made with min_score 0.3, max_per_image 5; the official numbers need a run with "
        "the defaults"
    ]
    assert [describe_limits(folder, "x") for folder in (plain, tmp_path / "none")] == ["", ""]
    assert describe_limits(limited, "x").startswith("x was made with min_score 0.3")


def test_a_run_of_another_version_is_left_out_with_what_to_do(tmp_path: Path) -> None:
    run(tmp_path / "a")
    (run(tmp_path / "b") / "run.json").write_text('{"format": 9}')
    told = Told()
    assert [folder.name for folder, _ in find_runs(tmp_path, told)] == ["a"]
    (warning,) = told.warnings
    assert warning.startswith(f"left out: {tmp_path / 'b' / 'run.json'}: is not a run record of this version: ")
    assert warning.endswith(f"; {OTHER_VERSION_HINT}")
    (found,) = resolve_name(MODEL, load_zoo(), "val", tmp_path, told)
    assert found.folder == tmp_path / "a"
    assert len(told.warnings) == 2


def test_an_unfinished_run_is_left_out(tmp_path: Path) -> None:
    run(tmp_path / "shown")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "journal-0.jsonl").write_text("{}\n")
    assert left_out(tmp_path) == {"begun": "is not complete: the command that began it resumes it"}


def test_lenient_scores_without_issues_and_runs_without_a_split_are_shown(tmp_path: Path) -> None:
    run(tmp_path / "a", 30.0, record(split=None), lenient=True)
    scores, without = read_measured_scores(tmp_path, MODELS)
    assert scores[MODEL].scores["AP"]["OVERALL"] == 30.0
    assert without == ()


def test_of_several_runs_of_a_model_the_last_by_path_is_shown(tmp_path: Path) -> None:
    for name, ap in (("b", 32.0), ("a", 31.0), ("c", 33.0)):
        run(tmp_path / name, ap)
    run(tmp_path / "d", 34.0, record(model="gone_1x"))
    found = read_measured_results(MODELS, tmp_path, None)
    assert found.aps == {MODEL: 33.0}
    assert {each.name: each.reason for each in found.left_out} == {
        "a": f"c is shown for {MODEL}",
        "b": f"c is shown for {MODEL}",
        "d": "its model gone_1x is not among those shown",
    }


def test_labels_of_the_split_are_preferred_to_those_of_more_runs(tmp_path: Path) -> None:
    for number in range(3):
        run(tmp_path / f"mine{number}", labels="part.json")
    run(tmp_path / "val", 31.0, record(model=OTHER))
    assert set(read_measured_scores(tmp_path, MODELS)[0]) == {OTHER}
    run(tmp_path / "two" / "a", labels="x.json")
    run(tmp_path / "two" / "b", labels="y.json")
    run(tmp_path / "two" / "c", labels="x.json", run_record=record(model=OTHER))
    assert set(read_measured_scores(tmp_path / "two", MODELS)[0]) == MODELS


def test_if_no_run_can_be_shown_the_error_lists_them_all(tmp_path: Path) -> None:
    spoil("scores.json", None)(run(tmp_path / "a"))
    run(tmp_path / "b", run_record=record(split="test"))
    with pytest.raises(InputsError) as caught:
        read_measured_scores(tmp_path, MODELS)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: holds no run with scores that can be shown",
        "  a: is not scored: `bdd100k-zoo eval` scores it",
        "  b: is on test, not on val",
    ]
    with pytest.raises(InputsError) as caught:
        read_measured_scores(tmp_path / "none", MODELS)
    assert str(caught.value) == f"{tmp_path / 'none'}: holds no run with scores that can be shown"
