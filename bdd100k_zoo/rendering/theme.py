"""Colours of pages and plots, light and dark: each colour has a role, and each theme its shade of it."""

from __future__ import annotations

from bdd100k_zoo.rendering.palette import CLASS_COLOURS, Colour, contrast

LEAST_CONTRAST, LEAST_CONTRAST_IN_THE_DARK = 3.0, 4.5
"""Of lines and areas against the background (WCAG 2.2, 1.4.11); thin lines need more in the dark."""

FAMILIES = (
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
    **{f"family{family}": on_light for family, (on_light, _) in enumerate(FAMILIES)},
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
    **{f"family{family}": on_dark for family, (_, on_dark) in enumerate(FAMILIES)},
}

RUNS: tuple[Colour, ...] = (
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
    back, least = parse(theme["back"]), LEAST_CONTRAST_IN_THE_DARK if theme is DARK else LEAST_CONTRAST
    return theme | {role: write(legible(colour, back, least)) for role, colour in _SERIES.items()}


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
    towards = max(((0, 0, 0), (255, 255, 255)), key=lambda end: contrast(end, back))
    for step in range(101):
        shade = _mixed(colour, towards, step / 100)
        if contrast(shade, back) >= least:
            return shade
    return towards


def _mixed(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def parse(written: str) -> Colour:
    """Read ``#rrggbb``."""
    red, green, blue = bytes.fromhex(written[1:])
    return red, green, blue


def write(colour: Colour) -> str:
    """Write ``#rrggbb``."""
    return f"#{bytes(colour).hex()}"
