"""Text from files as a page may show it."""

from __future__ import annotations

NOTHING = "–"


def visible(text: str) -> str:
    """Show characters that have no face, such as those that turn the direction of writing, by their code points."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"⟨U+{ord(each):04X}⟩" for each in text)


def shortened(text: str, length: int) -> str:
    """Keep the beginning and the end of a text that is longer than ``length`` characters."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[-end:]}"


def percent(value: float | None, digits: int = 2) -> str:
    """Write a number in percent; a dash for None and NaN."""
    return NOTHING if value is None or value != value else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Write a difference with its sign, minus as a minus; a dash for None and NaN."""
    return NOTHING if value is None or value != value else f"{value:+.{digits}f}".replace("-", "−")
