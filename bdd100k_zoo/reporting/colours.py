"""Colours of classes, verdicts, pages and plots.

Each class has a colour of its own, near one of Okabe and Ito's (https://jfly.uni-koeln.de/color/) or between two, moved
until any two of the ten differ by at least 16 in CIEDE2000, for normal vision and under full deuteranopia, protanopia
and tritanopia alike; Okabe and Ito's own eight reach 10.9. What hue cannot tell there, lightness does.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bdd100k_zoo.data.classes import CLASSES

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

DARK_COLOUR: Colour = (17, 19, 24)
LIGHT_COLOUR: Colour = (255, 255, 255)

TRUE_COLOUR: Colour = (58, 160, 255)
FALSE_COLOUR: Colour = (255, 84, 28)
MISSED_COLOUR: Colour = (255, 226, 26)
IGNORED_COLOUR: Colour = (166, 172, 180)


def ink_on(plate: Colour) -> Colour:
    """Give the colour of text on a plate: dark or white, whichever has more contrast."""
    return max((DARK_COLOUR, LIGHT_COLOUR), key=lambda ink: contrast(ink, plate))


def contrast(first: Colour, second: Colour) -> float:
    """Give the contrast ratio of two colours, 1 to 21, as WCAG 2 defines it."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(value / 255) for value in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


LEAST_CONTRAST, LEAST_CONTRAST_IN_THE_DARK = 3.0, 4.5
"""Of lines and areas against the background (WCAG 2.2, 1.4.11); thin lines need more in the dark."""

FAMILY_COLOURS = (
    ("#0c6f68", "#a0ffd1"),
    ("#af0007", "#ca0c06"),
    ("#00a786", "#6caa79"),
    ("#a08abe", "#f1d8ff"),
    ("#839e0c", "#defe47"),
    ("#5007ff", "#d27ffa"),
    ("#292b62", "#6e51bf"),
    ("#671d2d", "#8a596b"),
)
"""Colours of families, on light and on dark, over and over. Any two differ by at least 19 in CIEDE2000, for normal
vision and under full deuteranopia, protanopia and tritanopia alike."""

LIGHT_THEME = {
    "back": "#ffffff",
    "raised": "#f5f6f8",
    "text": "#1b1f24",
    "soft": "#555d68",
    "line": "#d5d9df",
    "link": "#0a58b0",
    "good": "#0b6b3a",
    "bad": "#a3241b",
    "heat": "#2f6fb5",
    **{f"family{family}": on_light for family, (on_light, _) in enumerate(FAMILY_COLOURS)},
}
DARK_THEME = {
    "back": "#14171b",
    "raised": "#1e2329",
    "text": "#e6e9ed",
    "soft": "#a6afba",
    "line": "#3a424c",
    "link": "#7db7ff",
    "good": "#5fce90",
    "bad": "#ff8f85",
    "heat": "#3f86d2",
    **{f"family{family}": on_dark for family, (_, on_dark) in enumerate(FAMILY_COLOURS)},
}

RUN_COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (140, 109, 0),
    (86, 180, 233),
)
"""One for each run, over and over."""


def shades(theme: dict[str, str]) -> dict[str, str]:
    """Give the colour of every role in a theme."""
    back, least = parse_hex(theme["back"]), LEAST_CONTRAST_IN_THE_DARK if theme is DARK_THEME else LEAST_CONTRAST
    return theme | {role: format_hex(legible(colour, back, least)) for role, colour in _SERIES.items()}


_SERIES = {f"class{index}": colour for index, colour in enumerate(CLASS_COLOURS)}
_SERIES |= {f"run{index}": colour for index, colour in enumerate(RUN_COLOURS)}
ROLES = (*LIGHT_THEME, *_SERIES)
"""What colours are for."""


def sentinel(role: str) -> str:
    """Give the colour that stands for a role in a drawing, until the page's style sheet colours it."""
    return f"#fe00{ROLES.index(role):02x}"


SENTINELS = {sentinel(role): role for role in ROLES}


def style_sheet() -> str:
    """Write the rules that give each role its colour, and drawings theirs; paper is light."""
    light, dark = f":root{{{_variables(LIGHT_THEME)}}}", f":root{{{_variables(DARK_THEME)}}}"
    themes = (light, f"@media screen and (prefers-color-scheme:dark){{{dark}}}")
    rules = (f".s-{role}{{stroke:var(--{role})}}.f-{role}{{fill:var(--{role})}}" for role in ROLES)
    hiding = (f"body:has([data-hides={role}]:not(:checked)) .series-{role}{{display:none}}" for role in ROLES)
    return "\n".join((*themes, *rules, *hiding))


def _variables(theme: dict[str, str]) -> str:
    return "".join(f"--{role}:{colour};" for role, colour in shades(theme).items())


def legible(colour: Colour, back: Colour, least: float = LEAST_CONTRAST) -> Colour:
    """Give the nearest shade of a colour that stands out from the background: darker on light, lighter on dark."""
    towards = max(((0, 0, 0), (255, 255, 255)), key=lambda end: contrast(end, back))
    for step in range(101):
        shade = _mixed(colour, towards, step / 100)
        if contrast(shade, back) >= least:
            return shade
    return towards


def _mixed(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def parse_hex(written: str) -> Colour:
    """Read ``#rrggbb``."""
    red, green, blue = bytes.fromhex(written[1:])
    return red, green, blue


def format_hex(colour: Colour) -> str:
    """Write ``#rrggbb``."""
    return f"#{bytes(colour).hex()}"
