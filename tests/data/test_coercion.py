from __future__ import annotations

from math import inf, isnan
from typing import Any

import pytest

from bdd100k_zoo.data.formats import is_true, to_number


@pytest.mark.parametrize(
    "value", [True, 1, 1.0, 2, -1, 1.5, inf, "true", "TRUE", "Yes", "on", "1", "2", "0.5", "crowd"]
)
def test_values_that_are_true(value: object) -> None:
    assert is_true(value)


@pytest.mark.parametrize("value", [False, 0, 0.0, 0.5, -0.5, "false", "No", "off", "0", " 0 ", "0.0", "", None])
def test_values_that_are_false(value: object) -> None:
    assert not is_true(value)


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), (0.25, 0.25), ("0.25", 0.25), (" 1e3 ", 1000.0), (True, 1.0)])
def test_numbers_and_texts_that_say_numbers(value: object, number: float) -> None:
    assert to_number(value) == number


@pytest.mark.parametrize("value", [None, "", "high", [1], {}, 10**400])
def test_what_is_no_number(value: Any) -> None:
    assert to_number(value) is None


def test_not_a_number_is_a_number() -> None:
    assert isnan(to_number("nan") or 0)
