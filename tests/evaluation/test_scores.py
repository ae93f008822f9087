"""Scores as the official file, byte for byte, and as a plain document."""

from __future__ import annotations

import json
from math import isnan
from typing import TYPE_CHECKING

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.scores import METRICS, OVERALL, MetricScores, Scores, parse_official_scores

if TYPE_CHECKING:
    from pathlib import Path

NAN = float("nan")
SCORES = Scores(
    {metric: MetricScores((0.1 + 0.2, NAN, *(float(n) for n in range(8))), 100 / 3) for n, metric in enumerate(METRICS)}
)


def test_an_official_file_is_parsed_and_written_again_byte_for_byte(shared: Path) -> None:
    original = (shared / "official/scalabel_det/scores.json").read_bytes()
    assert parse_official_scores(json.loads(original)).official_json() == original


def test_the_official_file_has_two_objects_per_metric_and_literal_nan() -> None:
    written = SCORES.official_json()
    assert written.startswith(b'{\n  "AP": [\n    {\n      "pedestrian": 0.30000000000000004,\n      "rider": NaN,\n')
    assert written.endswith(b'\n    {\n      "OVERALL": 33.333333333333336\n    }\n  ]\n}')
    document = json.loads(written)
    assert tuple(document) == METRICS
    assert [tuple(part) for part in document["ARl"]] == [CLASSES, (OVERALL,)]
    assert parse_official_scores(document).official_json() == written


def test_the_plain_document_has_none_for_nan_and_can_be_reversed() -> None:
    plain = SCORES.to_dict()
    assert plain["AP"]["rider"] is None
    assert plain["AP"][OVERALL] == SCORES.ap == 100 / 3
    assert list(plain["AP50"]) == [*CLASSES, OVERALL]
    again = Scores.from_dict(json.loads(json.dumps(plain, allow_nan=False)))
    assert again.official_json() == SCORES.official_json()
    assert isnan(again["AR10"].by_class[1])
