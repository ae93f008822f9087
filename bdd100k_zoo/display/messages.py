"""Messages on stderr.

Every command loads this module, so it does not import rich before something is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def stderr_console(*, live: bool = True) -> Console:
    """Return the console for everything that is not data; unless ``live``, it behaves like a file."""
    from rich.console import Console

    terminal = None if live else False
    return Console(stderr=True, force_terminal=terminal, highlight=False, emoji=False, markup=False)


def sanitize_text(text: str) -> str:
    """Make text from files and servers harmless: no control characters for the terminal, no passwords in addresses."""
    if ":/" in text:
        from bdd100k_zoo.registry.addresses import redact_text

        text = redact_text(text)
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def print_message(message: str, style: str = "", label: str = "", console: Console | None = None) -> None:
    """Print one message on stderr, without wrapping, so that addresses and paths can be copied."""
    from rich.text import Text

    clean = sanitize_text(message)
    text = Text.assemble((f"{label}: ", style), clean) if label else Text(clean, style)
    (console or stderr_console()).print(text, soft_wrap=True)
