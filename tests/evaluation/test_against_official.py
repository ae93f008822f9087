"""The official packages as oracle: every number, to the last bit, on cases that provoke differences."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cases import Case, Document, cases, crowded_case, frame, label
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bdd100k_zoo.errors import InputsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores

    Engine = Callable[[Path, Path], Scores]

thorough = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@thorough
@given(case=st.one_of(cases(), cases(finite=True)))
def test_lenient_scores_of_any_case_equal_the_official_ones(official: Engine, case: Case) -> None:
    assert case.scores(lenient=True).official_json() == case.within(official).official_json()


@thorough
@given(case=cases(sound=True))
def test_strict_scores_of_valid_cases_equal_the_official_ones(official: Engine, case: Case) -> None:
    try:
        ours = case.scores()
    except InputsError:
        assume(False)
    assert ours.official_json() == case.within(official).official_json()


BROKEN: list[Document] = [
    label(score=None),
    label("lane", score=0.5),
    label("lane", box=None, score=0.5),
    {"category": "car", "score": 0.5, "box2d": None},
    label(box=(1, 2, None, 4), score=0.5),  # type: ignore[arg-type]
    label(box=(1, 2, "wide", 4), score=0.5),  # type: ignore[arg-type]
    label(score="high"),
    label(score=[1]),
    {"id": "1", "category": "car", "score": 0.5, "box2d": {"x1": 1, "y1": 2, "x2": 3}},
]


@pytest.mark.parametrize("broken", BROKEN, ids=json.dumps)
def test_labels_that_the_evaluator_refuses_are_reported_with_their_place(official: Engine, broken: Any) -> None:
    case = Case([frame("a", label())], [frame("a", label(score=0.5), broken)])
    with pytest.raises(InputsError) as theirs:
        case.within(official)
    with pytest.raises(InputsError) as ours:
        case.scores(lenient=True)
    for caught in (ours.value, theirs.value):
        assert caught.path.name == "predictions.json"
        assert "frame a: label" in str(caught)
        assert "no. 2" in str(caught)


def test_a_frame_without_a_name_is_refused_by_both(official: Engine) -> None:
    case = Case([frame("a", label())], [{"labels": []}])
    with pytest.raises(InputsError):
        case.within(official)
    with pytest.raises(InputsError):
        case.tables(lenient=True)


@pytest.mark.parametrize("value", [True, 0, 0.5, 1.5, "yes", "0", "0.5", "", "crowd", " 0 ", 1e300])
@pytest.mark.parametrize("attribute", ["crowd", "ignored", "occluded"])
def test_attributes_of_any_type_count_as_in_the_evaluator(official: Engine, attribute: str, value: Any) -> None:
    region = label(box=(0, 0, 90, 90), attributes={attribute: value})
    found = [label(box=(0, 0, 40, 40), score=0.9), label(box=(45, 45, 89, 89), score=0.8)]
    case = Case([frame("a", region, label(box=(200, 200, 240, 240)))], [frame("a", *found)])
    assert case.scores().official_json() == case.within(official).official_json()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_more_than_a_hundred_detections_of_a_class_score_as_officially(official: Engine, seed: int) -> None:
    case = crowded_case(seed)
    assert case.scores().official_json() == case.within(official).official_json()
