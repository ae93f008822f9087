"""Bootstrap and conditions: exactly what repeated or chosen frames would score."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.evaluation import analysis
from bdd100k_zoo.evaluation.analysis import Samples, bootstrap, score_frames
from bdd100k_zoo.evaluation.bdd100k import matches, score
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.tables import read_label_table, read_prediction_table

WEATHER = ("clear", "rainy", "snowy")


def scene(frames: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Labels and shaky predictions of them: true, false, doubled and crowd ones."""
    rng = np.random.default_rng(seed)
    labels, predictions = [], []
    for frame in range(frames):
        truth, found = [], []
        for index in range(int(rng.integers(1, 12))):
            x, y, size = rng.uniform(0, 1100), rng.uniform(0, 600), rng.choice([12.0, 50.0, 140.0])
            box = {"x1": x, "y1": y, "x2": x + size, "y2": y + size * rng.uniform(0.6, 1.4)}
            category = CLASSES[int(rng.integers(0, 4))]
            crowd = bool(rng.random() < 0.1)
            truth.append({"id": str(index), "category": category, "box2d": box, "attributes": {"crowd": crowd}})
            for _ in range(int(rng.integers(0, 3))):
                shaken = {key: value + rng.normal(0, 0.06 * size) for key, value in box.items()}
                shaken = {**shaken, "x2": max(shaken["x2"], shaken["x1"]), "y2": max(shaken["y2"], shaken["y1"])}
                score_ = round(float(rng.random()), 2)
                found.append({"id": f"{index}", "category": category, "score": score_, "box2d": shaken})
        name, weather = f"{frame:03}.jpg", WEATHER[frame % len(WEATHER)]
        labels.append({"name": name, "labels": truth, "attributes": {"weather": weather}})
        predictions.append({"name": name, "labels": found})
    return labels, predictions


def tables(labels: list[dict], predictions: list[dict], folder: Path = Path()):
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "det.json").write_text(json.dumps(predictions))
    return read_label_table(folder / "labels.json"), read_prediction_table(folder / "det.json")


def repeated(frames: list[dict], weights: list[int]) -> list[dict]:
    """Each frame as often as its weight says, under names of their own that keep the order."""
    return [
        {**frame, "name": f"{frame['name']}-{copy:03}"}
        for frame, weight in zip(frames, weights, strict=True)
        for copy in range(weight)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_resample_scores_as_a_list_in_which_frames_repeat(seed):
    labels, predictions = scene(12, seed)
    found = matches(*tables(labels, predictions))
    weights = np.bincount(np.random.default_rng(seed).integers(0, 12, 12), minlength=12)
    curves = [analysis._Curves(each) for each in found.classes]
    (measured,) = analysis._average_precisions(curves, weights[None].astype(np.int32))
    expected = score(*tables(repeated(labels, weights.tolist()), repeated(predictions, weights.tolist())))["AP"]
    np.testing.assert_allclose(measured, [*expected.by_class, expected.overall], rtol=1e-12, equal_nan=True)


def test_frames_of_a_condition_score_as_if_there_were_no_others():
    labels, predictions = scene(15, seed=3)
    found = matches(*tables(labels, predictions))
    for place in range(len(WEATHER)):
        chosen = range(place, 15, len(WEATHER))
        alone = score(*tables([labels[i] for i in chosen], [predictions[i] for i in chosen]))
        assert score_frames(found, chosen).official_json() == alone.official_json()


def test_frames_without_predictions_score_nothing():
    labels, predictions = scene(6, seed=4)
    predictions[0]["labels"] = []
    found = matches(*tables(labels, predictions))
    assert score_frames(found, [0]).ap == 0.0


def test_the_same_seed_gives_the_same_draws_and_another_does_not():
    found = matches(*tables(*scene(20, seed=5)))
    first, again, other = (bootstrap(found, 30, SILENT, seed=seed).ap for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


def test_an_interval_lies_around_its_score_and_shrinks_with_more_frames():
    def width(frames: int) -> float:
        label_table, prediction_table = tables(*scene(frames, seed=6))
        interval = bootstrap(matches(label_table, prediction_table), 100, SILENT).intervals()[-1]
        assert interval is not None
        assert interval.low < score(label_table, prediction_table).ap < interval.high
        return interval.high - interval.low

    assert width(160) < width(20)


def test_a_file_differs_from_itself_by_nothing_and_from_a_worse_one_for_sure():
    labels, predictions = scene(40, seed=7)
    worse = [{**frame, "labels": frame["labels"][: len(frame["labels"]) // 3]} for frame in predictions]
    good, bad = (bootstrap(matches(*tables(labels, each)), 100, SILENT) for each in (predictions, worse))
    nothing, much = good.minus(good), good.minus(bad)
    assert nothing == (0.0, 0.0)
    assert much is not None
    assert much.low > 0


def test_classes_without_objects_have_no_interval():
    intervals = bootstrap(matches(*tables(*scene(10, seed=8))), 20, SILENT).intervals()
    assert [interval is None for interval in intervals] == [*[False] * 4, *[True] * 6, False]
    assert Samples(np.full((3, 11), np.nan)).minus(Samples(np.zeros((3, 11)))) is None


def test_the_frozen_cases_weighted_once_give_the_official_ap(shared, tmp_path):
    cases = sorted((shared / "official" / "fuzz").glob("*.json.gz"))[:8]
    for case in cases:
        content = json.loads(gzip.decompress(case.read_bytes()))
        (tmp_path / "l.json").write_text(json.dumps(content["labels"]))
        (tmp_path / "p.json").write_text(json.dumps(content["predictions"]))
        label_table = read_label_table(tmp_path / "l.json", lenient=True)
        prediction_table = read_prediction_table(tmp_path / "p.json", lenient=True)
        found = matches(label_table, prediction_table, lenient=True)
        expected = score(label_table, prediction_table, lenient=True)
        if found.predictions:
            measured = score_frames(found, range(len(found.frames)))
            assert measured.official_json() == expected.official_json(), case.name
