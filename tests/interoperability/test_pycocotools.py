"""Scores of pycocotools for files that ``convert`` wrote: all 132 numbers are ours, bit for bit."""

from __future__ import annotations

import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from math import isnan
from typing import TYPE_CHECKING, Any

import pytest
from cases import Case, crowded_case, scene

from bdd100k_zoo.data.coco import CocoLabels, read_coco
from bdd100k_zoo.data.convert import convert_file
from bdd100k_zoo.data.detections import read_detections
from bdd100k_zoo.data.export import to_coco_results
from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.evaluation.scores import OFFICIAL_METRICS
from bdd100k_zoo.evaluation.scoring import score_predictions, summarise_scores
from bdd100k_zoo.prediction.exports import write_exports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores


def evaluate(labels: Path, results: Path | list[dict[str, Any]]) -> Any:
    """Run ``COCOeval`` as its users do; what it prints is dropped."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(StringIO()):
        truth = COCO(str(labels))
        found = truth.loadRes(results if isinstance(results, list) else str(results))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_equal(scores: Scores, evaluation: Any) -> None:
    """Compare 12 totals with those that pycocotools prints, and 132 numbers with what it accumulated."""
    totals = [scores[metric].overall for metric in OFFICIAL_METRICS]
    # pycocotools has -1 where there is nothing to score.
    assert [-100 if isnan(total) else total for total in totals] == (evaluation.stats * 100).tolist()
    accumulated = summarise_scores(evaluation.eval["precision"][..., 2], evaluation.eval["recall"])
    assert scores.official_json() == accumulated.official_json()


def score(labels: Path, predictions: Path) -> Scores:
    return score_predictions(read_label_table(labels), read_prediction_table(predictions))


def test_the_demos_scores_are_equal(demo: Path, need: Callable[..., None]) -> None:
    need("pycocotools")
    scores = score(demo / "demo/data/labels/det_20/det_val.json", demo / "demo/run/det.json")
    assert scores.ap > 30
    assert_equal(scores, evaluate(demo / "labels.json", demo / "results.json"))


def test_detections_in_memory_give_the_results_that_convert_writes(demo: Path) -> None:
    ids = {image.file_name: image.id for image in read_coco(demo / "labels.json", CocoLabels).images}
    found = read_detections(demo / "demo/run/det.json")
    results = [row for name, each in found for row in to_coco_results(each, ids[name])]
    assert results == json.loads((demo / "results.json").read_bytes())


def test_the_export_of_a_run_has_equal_scores(demo: Path, tmp_path: Path, need: Callable[..., None]) -> None:
    need("pycocotools")
    shutil.copy(demo / "demo/run/det.json", tmp_path)
    write_exports(tmp_path, ["coco"], [])
    labels = demo / "demo/data/labels/det_20/det_val.json"
    assert_equal(score(labels, demo / "demo/run/det.json"), evaluate(demo / "labels.json", tmp_path / "det.coco.json"))


RANDOM = {f"scene {seed}": Case(*scene(30, seed)) for seed in range(8)}
TIED = {f"tied scores {seed}": crowded_case(seed) for seed in range(3)}


@pytest.mark.parametrize("case", [*RANDOM.values(), *TIED.values()], ids=[*RANDOM, *TIED])
def test_random_scenes_have_equal_scores(case: Case, tmp_path: Path, need: Callable[..., None]) -> None:
    need("pycocotools")

    def compare(labels: Path, predictions: Path) -> None:
        convert_file(labels, tmp_path / "labels.json", "coco")
        convert_file(predictions, tmp_path / "results.json", "coco", labels=labels)
        assert_equal(score(labels, predictions), evaluate(tmp_path / "labels.json", tmp_path / "results.json"))

    case.within(compare)
