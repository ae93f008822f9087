"""The rule of the verdict, and the exit status."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.registry.models import format_ap
from bdd100k_zoo.reproduction.results import (
    ModelResult,
    Reproduction,
    compare_ap,
    read_results,
    write_results,
)

APS = st.floats(0, 100)


@pytest.mark.parametrize(
    ("measured", "difference", "verdict"),
    [
        (31.05, 0.05, "reproduced"),
        (31.0549, 0.05, "reproduced"),
        (31.0551, 0.06, "differs"),
        (30.95, -0.05, "reproduced"),
        (30.9451, -0.05, "reproduced"),
        (30.9449, -0.06, "differs"),
        (31.0, 0.0, "reproduced"),
    ],
)
def test_the_edges_of_the_verdict(measured: float, difference: float, verdict: str) -> None:
    assert compare_ap(measured, 31.0) == (difference, verdict)


@given(APS, APS)
def test_the_verdict_follows_from_the_numbers_that_are_shown(measured: float, published: float) -> None:
    difference, verdict = compare_ap(measured, published)
    hundredths = round(Decimal(format_ap(measured)) * 100) - round(Decimal(format_ap(published)) * 100)
    assert round(difference * 100) == hundredths
    assert (verdict == "reproduced") == (-5 <= hundredths <= 5)


@given(st.integers(0, 9990), st.integers(-5, 5), st.floats(-0.0049, 0.0049))
def test_what_rounds_to_within_five_hundredths_is_reproduced(published: int, off: int, rest: float) -> None:
    assert compare_ap((published + off) / 100 + rest, published / 100)[1] == "reproduced"


def reproduction(*verdicts: Any) -> Reproduction:
    rows = [
        ModelResult(
            model=f"m{place}",
            published_ap=31.04,
            verdict=verdict,
            measured_ap=31.0 if verdict in ("reproduced", "differs", None) else None,
        )
        for place, verdict in enumerate(verdicts)
    ]
    return Reproduction(
        version="1", split="val", limit=None, published_predictions=False, labels="val.json", models=tuple(rows)
    )


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["reproduced"], 0),
        (["reproduced", "not run"], 0),
        ([None], 0),  # with a limit
        (["reproduced", "differs", "weights not available"], 1),
        (["reproduced", "failed"], 1),
        (["reproduced", "weights not available"], 3),
        (["predictions not available"], 3),
        ([None, "weights not available"], 3),
        (["not run"], 3),
    ],
)
def test_the_exit_status(verdicts: list[Any], status: int) -> None:
    assert reproduction(*verdicts).exit_status == status


def test_the_results_are_read_as_they_were_written(tmp_path) -> None:
    found = reproduction("reproduced", None, "failed")
    write_results(tmp_path, found)
    assert read_results(tmp_path) == found
    (tmp_path / "reproduction.json").write_text('{"models": 3}')
    assert read_results(tmp_path) is None


def test_counts_are_in_the_order_of_the_words() -> None:
    found = reproduction("not run", "differs", "reproduced", "differs", None)
    assert list(found.counts.items()) == [("reproduced", 1), ("differs", 2), ("measured", 1), ("not run", 1)]
