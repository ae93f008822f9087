"""Scores on disk: the official file byte for byte, and a clean document."""

from __future__ import annotations

import json
from math import isnan
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import InvalidFileError, StorageError
from bdd100k_zoo.evaluation.scores import METRICS, OVERALL, MetricScores, Scores, read_official_scores

if TYPE_CHECKING:
    from pathlib import Path

NAN = float("nan")
SCORES = Scores(
    {metric: MetricScores((0.1 + 0.2, NAN, *(float(n) for n in range(8))), 100 / 3) for n, metric in enumerate(METRICS)}
)


def test_an_official_file_is_read_and_written_again_byte_for_byte(shared: Path, tmp_path: Path) -> None:
    original = shared / "official/scalabel_det/scores.json"
    assert read_official_scores(original).official_json() == original.read_bytes()


def test_the_official_file_has_two_objects_a_metric_and_literal_nan(tmp_path: Path) -> None:
    written = SCORES.official_json()
    assert written.startswith(b'{\n  "AP": [\n    {\n      "pedestrian": 0.30000000000000004,\n      "rider": NaN,\n')
    assert written.endswith(b'\n    {\n      "OVERALL": 33.333333333333336\n    }\n  ]\n}')
    document = json.loads(written)
    assert tuple(document) == METRICS
    assert [tuple(part) for part in document["ARl"]] == [CLASSES, (OVERALL,)]
    file = tmp_path / "scores.json"
    file.write_bytes(written)
    assert read_official_scores(file).official_json() == written


def test_the_clean_document_says_none_for_nan_and_can_be_undone() -> None:
    plain = SCORES.plain()
    assert plain["AP"]["rider"] is None
    assert plain["AP"][OVERALL] == SCORES.ap == 100 / 3
    assert list(plain["AP50"]) == [*CLASSES, OVERALL]
    again = Scores.from_plain(json.loads(json.dumps(plain, allow_nan=False)))
    assert again.official_json() == SCORES.official_json()
    assert isnan(again["AR10"].by_class[1])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"AP": []}', '{"AP": [{}, {}]}', "NaN", '{"AP": [[], []]}'])
def test_what_is_no_file_of_scores_is_an_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "scores.json"
    file.write_text(content)
    with pytest.raises(InvalidFileError, match="official"):
        read_official_scores(file)


def test_a_missing_file_of_scores_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_official_scores(tmp_path / "none.json")
