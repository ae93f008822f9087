"""The rectangle of Scalabel's format."""

from __future__ import annotations

import msgspec


class Box2D(msgspec.Struct, frozen=True, gc=False):
    """Corners in pixels; x2 and y2 belong to the box (the format's convention)."""

    x1: float
    y1: float
    x2: float
    y2: float
