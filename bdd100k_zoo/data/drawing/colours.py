"""Colours of classes, match outcomes, pages and plots.

Each class has its own colour, near one of Okabe and Ito's (https://jfly.uni-koeln.de/color/) or between two. They were
moved until any two of the ten differ by at least 16 in CIEDE2000, for normal vision and under full deuteranopia,
protanopia and tritanopia; Okabe and Ito's own eight reach 10.9. Where hues look alike, lightness differs.
"""

from __future__ import annotations

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
"""In the order of ``data.classes.CLASSES``."""

DARK_COLOUR: Colour = (17, 19, 24)
LIGHT_COLOUR: Colour = (255, 255, 255)

TRUE_COLOUR: Colour = (58, 160, 255)
FALSE_COLOUR: Colour = (255, 84, 28)
MISSED_COLOUR: Colour = (255, 226, 26)
IGNORED_COLOUR: Colour = (166, 172, 180)


def ink_on(plate: Colour) -> Colour:
    """Return the colour of text on a plate: dark or white, whichever has more contrast."""
    return max((DARK_COLOUR, LIGHT_COLOUR), key=lambda ink: contrast(ink, plate))


def contrast(first: Colour, second: Colour) -> float:
    """Return the contrast ratio of two colours, 1 to 21, as WCAG 2 defines it."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    """Return the relative luminance as WCAG 2 defines it: linear sRGB values, weighted by the eye's sensitivity."""
    shares = (value / 255 for value in colour)
    red, green, blue = (x / 12.92 if x <= 0.04045 else float(((x + 0.055) / 1.055) ** 2.4) for x in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


LEAST_CONTRAST, LEAST_CONTRAST_IN_THE_DARK = 3.0, 4.5
"""Least contrast of lines and areas with the background (WCAG 2.2, 1.4.11); thin lines need more in the dark."""

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
"""Colours of families, on light and on dark; reused from the start after the last. Any two differ by at least 19 in
CIEDE2000, for normal vision and under full deuteranopia, protanopia and tritanopia."""

_BY_THEME = {
    "back": ("#ffffff", "#14171b"),
    "raised": ("#f5f6f8", "#1e2329"),
    "text": ("#1b1f24", "#e6e9ed"),
    "soft": ("#555d68", "#a6afba"),
    "line": ("#d5d9df", "#3a424c"),
    "link": ("#0a58b0", "#7db7ff"),
    "good": ("#0b6b3a", "#5fce90"),
    "bad": ("#a3241b", "#ff8f85"),
    "heat": ("#2f6fb5", "#3f86d2"),
    **{f"family{family}": colours for family, colours in enumerate(FAMILY_COLOURS)},
}
LIGHT_THEME, DARK_THEME = ({role: colours[theme] for role, colours in _BY_THEME.items()} for theme in (0, 1))

RUN_COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (140, 109, 0),
    (86, 180, 233),
)
"""One for each run; reused from the start after the last."""

_SERIES = {f"class{index}": colour for index, colour in enumerate(CLASS_COLOURS)}
_SERIES |= {f"run{index}": colour for index, colour in enumerate(RUN_COLOURS)}
ROLES = (*LIGHT_THEME, *_SERIES)
"""What colours are used for. A page's style sheet gives each role its colour in the light and the dark theme."""


def shades(theme: dict[str, str]) -> dict[str, str]:
    """Return the colour of every role in a theme, as ``#rrggbb``."""
    back, least = parse_hex(theme["back"]), LEAST_CONTRAST_IN_THE_DARK if theme is DARK_THEME else LEAST_CONTRAST
    return theme | {role: format_hex(legible(colour, back, least)) for role, colour in _SERIES.items()}


def sentinel(role: str) -> str:
    """Return the placeholder colour of a role in a plot; ``figure_to_svg`` replaces it by a CSS class."""
    return f"#fe00{ROLES.index(role):02x}"


SENTINELS = {sentinel(role): role for role in ROLES}


def style_sheet() -> str:
    """Write the CSS rules that give each role its colour. Print uses the light theme."""
    light, dark = (
        ":root{" + "".join(f"--{role}:{colour};" for role, colour in shades(theme).items()) + "}"
        for theme in (LIGHT_THEME, DARK_THEME)
    )
    themes = (light, f"@media screen and (prefers-color-scheme:dark){{{dark}}}")
    rules = (f".s-{role}{{stroke:var(--{role})}}.f-{role}{{fill:var(--{role})}}" for role in ROLES)
    hiding = (f"body:has([data-hides={role}]:not(:checked)) .series-{role}{{display:none}}" for role in ROLES)
    return "\n".join((*themes, *rules, *hiding))


def legible(colour: Colour, back: Colour, least: float = LEAST_CONTRAST) -> Colour:
    """Return the nearest shade of a colour that contrasts enough with the background.

    It is darker on light backgrounds and lighter on dark ones.
    """
    end = max(((0, 0, 0), (255, 255, 255)), key=lambda end: contrast(end, back))
    for step in range(101):
        red, green, blue = (round(a + (b - a) * (step / 100)) for a, b in zip(colour, end, strict=True))
        if contrast((red, green, blue), back) >= least:
            return red, green, blue
    return end


def parse_hex(written: str) -> Colour:
    """Parse ``#rrggbb``."""
    red, green, blue = bytes.fromhex(written[1:])
    return red, green, blue


def format_hex(colour: Colour) -> str:
    """Write a colour as ``#rrggbb``."""
    return f"#{bytes(colour).hex()}"
