"""Colours of pages and plots, light and dark: each colour has a role, and each theme its shade of it."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

LEAST_CONTRAST = 3.0
"""Of lines and areas against the background (WCAG 2.2, 1.4.11)."""

LIGHT = {
    "back": "#ffffff",
    "raised": "#f5f6f8",
    "text": "#1b1f24",
    "soft": "#555d68",
    "line": "#d5d9df",
    "link": "#0a58b0",
    "good": "#0b6b3a",
    "bad": "#a3241b",
    "heat": "#2f6fb5",
}
DARK = {
    "back": "#14171b",
    "raised": "#1e2329",
    "text": "#e6e9ed",
    "soft": "#a6afba",
    "line": "#3a424c",
    "link": "#7db7ff",
    "good": "#5fce90",
    "bad": "#ff8f85",
    "heat": "#3f86d2",
}

RUNS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9")
"""One for each run, over and over."""

CLASS_COLOURS = (
    "#e69f00",
    "#d55e00",
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#332288",
    "#cc79a7",
    "#aa4499",
    "#f0e442",
    "#882255",
)


def shades(theme: dict[str, str]) -> dict[str, str]:
    """Give the colour of every role in a theme."""
    back = parse(theme["back"])
    return theme | {role: write(legible(parse(colour), back)) for role, colour in _SERIES.items()}


_SERIES = {f"class{index}": colour for index, colour in enumerate(CLASS_COLOURS)}
_SERIES |= {f"run{index}": colour for index, colour in enumerate(RUNS)}
ROLES = (*LIGHT, *_SERIES)
"""What colours are for."""


def sentinel(role: str) -> str:
    """Give the colour that stands for a role in a drawing, until the page's style sheet colours it."""
    return f"#fe00{ROLES.index(role):02x}"


SENTINELS = {sentinel(role): role for role in ROLES}


def style_sheet() -> str:
    """Write the rules that give each role its colour, and drawings theirs; paper is light."""
    light, dark = f":root{{{_variables(LIGHT)}}}", f":root{{{_variables(DARK)}}}"
    themes = (light, f"@media screen and (prefers-color-scheme:dark){{{dark}}}")
    rules = (f".s-{role}{{stroke:var(--{role})}}.f-{role}{{fill:var(--{role})}}" for role in ROLES)
    hiding = (f"body:has([data-hides={role}]:not(:checked)) .series-{role}{{display:none}}" for role in ROLES)
    return "\n".join((*themes, *rules, *hiding))


def _variables(theme: dict[str, str]) -> str:
    return "".join(f"--{role}:{colour};" for role, colour in shades(theme).items())


def legible(colour: Colour, back: Colour, least: float = LEAST_CONTRAST) -> Colour:
    """Give the nearest shade of a colour that stands out from the background: darker on light, lighter on dark."""
    towards = (0, 0, 0) if luminance(back) > 0.5 else (255, 255, 255)
    for step in range(101):
        shade = _mixed(colour, towards, step / 100)
        if contrast(shade, back) >= least:
            return shade
    return towards


def _mixed(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def contrast(colour: Colour, other: Colour) -> float:
    """Give the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(colour), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: Colour) -> float:
    """Give the relative luminance of a colour of sRGB, 0 to 1 (WCAG 2.2)."""
    red, green, blue = (_linear(channel / 255) for channel in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def parse(written: str) -> Colour:
    """Read ``#rrggbb``."""
    red, green, blue = bytes.fromhex(written[1:])
    return red, green, blue


def write(colour: Colour) -> str:
    """Write ``#rrggbb``."""
    return f"#{bytes(colour).hex()}"
