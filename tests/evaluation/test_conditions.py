"""Conditions: the scores of the chosen frames alone."""

from __future__ import annotations

import gzip
import json

from cases import WEATHER, match_predictions, scene, tables

from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.evaluation.analysis import score_frames
from bdd100k_zoo.evaluation.scoring import score_predictions


def test_frames_of_a_condition_score_as_if_there_were_no_others():
    labels, predictions = scene(15, seed=3)
    found = match_predictions(*tables(labels, predictions))
    for place in range(len(WEATHER)):
        chosen = range(place, 15, len(WEATHER))
        alone = score_predictions(*tables([labels[i] for i in chosen], [predictions[i] for i in chosen]))
        assert score_frames(found, chosen).official_json() == alone.official_json()


def test_frames_without_predictions_score_0():
    labels, predictions = scene(6, seed=4)
    predictions[0]["labels"] = []
    found = match_predictions(*tables(labels, predictions))
    assert score_frames(found, [0]).ap == 0.0


def test_all_frames_of_the_frozen_cases_score_as_the_whole_case(shared, tmp_path):
    cases = sorted((shared / "official" / "fuzz").glob("*.json.gz"))[:8]
    for case in cases:
        content = json.loads(gzip.decompress(case.read_bytes()))
        (tmp_path / "l.json").write_text(json.dumps(content["labels"]))
        (tmp_path / "p.json").write_text(json.dumps(content["predictions"]))
        label_table = read_label_table(tmp_path / "l.json", lenient=True)
        prediction_table = read_prediction_table(tmp_path / "p.json", lenient=True)
        found = match_predictions(label_table, prediction_table, lenient=True)
        expected = score_predictions(label_table, prediction_table, lenient=True)
        if found.predictions:
            measured = score_frames(found, range(len(found.frames)))
            assert measured.official_json() == expected.official_json(), case.name
