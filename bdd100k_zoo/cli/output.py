"""Where commands speak: data on stdout, everything else on stderr, failures in one message with the next step."""

from __future__ import annotations

import codecs
import functools
import io
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, RenderableType


MIN_WIDTH = 80
"""Columns that every table fits."""

P = ParamSpec("P")
R = TypeVar("R")


ASCII_FALLBACKS = {
    "…": "...",
    "–": "-",
    "—": "-",
    "×": "x",
    "→": "->",
    "·": ".",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""What is written for typographic characters where the encoding of stdout has none of them."""


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding cannot hold by a lookalike, or else an escape as in source code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    escaped = (ASCII_FALLBACKS.get(each) or each.encode("ascii", "backslashreplace").decode() for each in missing)
    return "".join(escaped), error.end


class StdoutError(OSError):
    """Nothing more can be written to stdout: its disk is full, or it is closed."""


class _Stdout(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StdoutError(error.errno, error.strerror) from error


class _Stderr(io.FileIO):
    """Loses messages that cannot be written, for no work should fail by them."""

    def write(self, data: Any, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(data)


def prepare_streams() -> None:
    """Let stdout and stderr take every character; what was started without them writes to nowhere.

    A failure to write to stdout is a StdoutError from here on.
    """
    codecs.register_error("readable", _readable)
    kinds: tuple[tuple[str, type[io.FileIO]], ...] = ("stdout", _Stdout), ("stderr", _Stderr)
    for name, kind in kinds:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
            continue
        # Others than these were asked for by PYTHONIOENCODING.
        errors = "readable" if stream.errors in ("strict", "surrogateescape", "backslashreplace") else stream.errors
        raw = io.BufferedWriter(kind(stream.fileno(), "wb", closefd=False))
        lines = stream.line_buffering
        setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, errors, line_buffering=lines))


def abandon_stdout() -> None:
    """Discard what stdout could not take: Python would try again at its end, and print a traceback."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def stdout_console() -> Console:
    """Give the console for data: at least as wide as our tables, so that no name is ever cut short."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    console.width = max(console.width, MIN_WIDTH)
    return console


def stderr_console(*, live: bool = True) -> Console:
    """Give the console for everything that is not data; unless ``live``, as if it were a file."""
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
    """Print one message on stderr; long addresses and paths stay whole for copying."""
    from rich.text import Text

    text = (
        Text.assemble((f"{label}: ", style), sanitize_text(message)) if label else Text(sanitize_text(message), style)
    )
    (console or stderr_console()).print(text, soft_wrap=True)


def print_renderable(renderable: RenderableType, *, soft_wrap: bool = False) -> None:
    """Print data for people on stdout."""
    stdout_console().print(renderable, soft_wrap=soft_wrap)


def print_field(label: str, value: str) -> None:
    """Print a value on a line that the terminal may wrap but we do not, so that it can be copied whole."""
    from rich.text import Text

    print_renderable(Text.assemble((f"{label:<11} ", "dim"), sanitize_text(value)), soft_wrap=True)


def write_text(text: str) -> None:
    """Print data on stdout, byte for byte."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_json(document: object) -> None:
    """Print one JSON document on stdout; what its encoding does not have is written as JSON's own escapes."""
    import json

    import msgspec

    try:
        text = msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode()
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # also a path of bytes that are no UTF-8
        text = json.dumps(msgspec.to_builtins(document, enc_hook=str), indent=2)
    write_text(text + "\n")


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what Ctrl-C would end is to end in the same way."""


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise Terminated in the block when SIGTERM comes, unless it is ignored. Python lets the main thread alone ask."""
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def handle_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a command raises into one message with a hint and an exit status.

    It is 1 for a failure, 130 for Ctrl-C, and 143 for SIGTERM where that is heeded.
    """

    @functools.wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            print_message(str(interrupt) or "interrupted", "yellow")
            raise typer.Exit(143 if isinstance(interrupt, Terminated) else 130) from None
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError, StdoutError):
            raise
        except Exception as error:
            if os.environ.get("BDD100K_ZOO_DEBUG") == "1":
                raise
            _fail(error, as_json=kwargs.get("as_json") is True, lenient=cast("bool | None", kwargs.get("lenient")))
            raise typer.Exit(1) from None

    return call


def _fail(error: Exception, *, as_json: bool, lenient: bool | None) -> None:
    from bdd100k_zoo.cli.hints import explain

    message, hint = explain(error, lenient=lenient)
    if as_json:
        write_json({"error": sanitize_text(message), "hint": hint})
        return
    print_message(message, "bold red", "error")
    if hint:
        print_message(hint, "bold cyan", "hint")


def complete_model(incomplete: str) -> list[str]:
    """Complete a model's name in the shell."""
    from bdd100k_zoo.registry import load_zoo

    try:
        models = load_zoo().models
    except Exception:  # noqa: BLE001  (completion must never disturb the shell)
        return []
    return [model.name for model in models if model.name.startswith(incomplete)]


def details_table(pairs: list[tuple[str, Any]]) -> RenderableType:
    """Lay out labels and values in two columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True, min_width=11)
    table.add_column(overflow="fold")
    for label, value in pairs:
        table.add_row(label, Text(sanitize_text(str(value))))
    return table
