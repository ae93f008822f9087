"""How Scalabel's reader takes values of other types than the format's: numbers as text, text as truth.

Rules of ``scalabel`` 0.3.1, whose records are read by pydantic 1: an attribute is the first of bool, int, float and
text that takes its value, and what counts is whether that is true.
"""

from __future__ import annotations

from typing import Any

_TRUE = (1, "1", "on", "t", "true", "y", "yes")
_FALSE = (0, "0", "off", "f", "false", "n", "no")


def is_true(value: Any) -> bool:
    """Whether an attribute's value is true: 1, "true", "yes" and "crowd" are; 0, "0", "false", "" and 0.5 are not."""
    value = value.lower() if isinstance(value, str) else value
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    for kind in (int, float):
        try:
            return bool(kind(value))
        except (TypeError, ValueError, OverflowError):
            continue
    return bool(value)


def to_mapping(value: object) -> dict[str, Any] | None:
    """An object, or what ``dict`` makes of a list of pairs or of an empty value, as pydantic does; else None."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, (list, str)):
        return None
    try:
        return dict(value)  # type: ignore[arg-type]  # whether these are pairs is what is tried
    except (TypeError, ValueError):
        return None


def to_number(value: object) -> float | None:
    """A number, or text that says one, as float64; None for anything else."""
    if not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
