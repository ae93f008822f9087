"""Colours of classes and verdicts, told apart by colour-blind readers too.

Each class has a colour of its own, near one of Okabe and Ito's (https://jfly.uni-koeln.de/color/) or between two, moved
until any two of the ten differ by at least 16 in CIEDE2000, for normal vision and under full deuteranopia, protanopia
and tritanopia alike; Okabe and Ito's own eight reach 10.9. What hue cannot tell there, lightness does.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bdd100k_zoo.categories import CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255, in sRGB."""

CLASS_COLOURS: tuple[Colour, ...] = (
    (251, 108, 25),
    (206, 141, 178),
    (103, 215, 255),
    (26, 109, 145),
    (29, 163, 121),
    (125, 95, 50),
    (167, 117, 238),
    (176, 213, 148),
    (251, 232, 28),
    (250, 252, 247),
)
"""In the order of ``categories.CLASSES``."""

COLOUR_OF: Mapping[str, Colour] = MappingProxyType(dict(zip(CLASSES, CLASS_COLOURS, strict=True)))

DARK: Colour = (17, 19, 24)
LIGHT: Colour = (255, 255, 255)

TRUE: Colour = (58, 160, 255)
FALSE: Colour = (255, 84, 28)
MISSED: Colour = (255, 226, 26)
IGNORED: Colour = (166, 172, 180)


def ink_on(plate: Colour) -> Colour:
    """Give the colour of text on a plate: dark or white, whichever has more contrast."""
    return max((DARK, LIGHT), key=lambda ink: contrast(ink, plate))


def contrast(first: Colour, second: Colour) -> float:
    """Give the contrast ratio of two colours, 1 to 21, as WCAG 2 defines it."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(value / 255) for value in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
