"""Output of the commands: data on stdout, everything else on stderr; failures as one message with the next step."""

from __future__ import annotations

import codecs
import functools
import io
import os
import shutil
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import typer

from bdd100k_zoo.display.messages import print_message, sanitize_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console, RenderableType

P = ParamSpec("P")
R = TypeVar("R")

MIN_WIDTH = 80
"""Columns that every table fits into."""

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
"""Replacements of typographic characters that the encoding of stdout lacks."""

# Streams --------------------------------------------------------------------------------------------------------------


class StdoutError(OSError):
    """Stdout cannot be written: its disk is full, or it is closed."""


class _Stdout(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StdoutError(error.errno, error.strerror) from error


class _Stderr(io.FileIO):
    """Drops messages that cannot be written: no command should fail because of them."""

    def write(self, data: Any, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(data)


def prepare_streams() -> None:
    """Make stdout and stderr accept every character; replace a stream that the process lacks by the null device.

    Afterwards, a failure to write to stdout raises StdoutError.
    """
    codecs.register_error("readable", _encode_readably)
    kinds: tuple[tuple[str, type[io.FileIO]], ...] = ("stdout", _Stdout), ("stderr", _Stderr)
    for name, kind in kinds:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
            continue
        # Any other error handler was set by PYTHONIOENCODING.
        errors = "readable" if stream.errors in ("strict", "surrogateescape", "backslashreplace") else stream.errors
        raw = io.BufferedWriter(kind(stream.fileno(), "wb", closefd=False))
        lines = stream.line_buffering
        setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, errors, line_buffering=lines))


def _encode_readably(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding cannot hold by similar characters, or by an escape as in source code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    escaped = (ASCII_FALLBACKS.get(each) or each.encode("ascii", "backslashreplace").decode() for each in missing)
    return "".join(escaped), error.end


def abandon_stdout() -> None:
    """Discard what stdout could not take: Python would try again at exit, and print a traceback."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


# Printing -------------------------------------------------------------------------------------------------------------


def stdout_console() -> Console:
    """Return the console for data: at least as wide as our tables, so that no name is truncated."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    console.width = max(console.width, MIN_WIDTH)
    return console


def terminal_width() -> float:
    """Return the columns of the terminal that stdout is; infinity if it is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else float("inf")


def print_renderable(renderable: RenderableType, *, soft_wrap: bool = False) -> None:
    """Print data for people on stdout."""
    stdout_console().print(renderable, soft_wrap=soft_wrap)


LABEL_WIDTH = 11
"""Columns of a label, before the space that separates it from its value."""


def print_field(label: str, value: str) -> None:
    """Print a label and its value on stdout, without wrapping, so that the value can be copied."""
    from rich.text import Text

    print_renderable(Text.assemble((f"{label:<{LABEL_WIDTH}} ", "dim"), sanitize_text(value)), soft_wrap=True)


def find_indent(addresses: Sequence[str]) -> int:
    """Return how far addresses may be indented so that as many as possible fit into a line of the terminal."""
    width = stdout_console().width
    longest = max((len(address) for address in addresses if len(address) <= width), default=0)
    return next(columns for columns in (LABEL_WIDTH + 1, 2, 0) if columns + longest <= width)


def print_addresses(label: str, addresses: Sequence[str], notes: Sequence[str] = (), *, indent: int) -> None:
    """Print a label, its addresses and notes on them on stdout, one a line, without wrapping.

    Args:
        label: beside the first address, or on a line of its own where ``indent`` leaves no room for it.
        addresses: the values.
        notes: what is known about them.
        indent: of the addresses, as ``find_indent`` returns it.
    """
    from rich.text import Text

    if indent > LABEL_WIDTH:
        for number, value in enumerate((*addresses, *notes)):
            print_field("" if number else label, value)
        return
    lines = [Text(label, style="dim"), *(Text(" " * indent + sanitize_text(address)) for address in addresses)]
    for line in (*lines, *(Text(f"  {sanitize_text(note)}") for note in notes)):
        print_renderable(line, soft_wrap=True)


def details_table(pairs: list[tuple[str, Any]]) -> RenderableType:
    """Return labels and values in two columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True, min_width=LABEL_WIDTH)
    table.add_column(overflow="fold")
    for label, value in pairs:
        table.add_row(label, Text(sanitize_text(str(value))))
    return table


def write_text(text: str) -> None:
    """Write data to stdout, byte for byte."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_json(document: object) -> None:
    """Write one JSON document to stdout; characters that its encoding lacks become JSON escapes."""
    import json

    import msgspec

    try:
        text = msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode()
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # also a path of bytes that are not UTF-8
        text = json.dumps(msgspec.to_builtins(document, enc_hook=str), indent=2)
    write_text(text + "\n")


# Signals --------------------------------------------------------------------------------------------------------------

SIGINT_STATUS, SIGTERM_STATUS = 130, 143
"""Exit statuses after Ctrl-C and SIGTERM."""


def raise_on_sigterm() -> AbstractContextManager[None]:
    """Raise Terminated in the block when SIGTERM arrives."""
    from bdd100k_zoo.child_processes import Terminated, handle_signals

    def end(*_: object) -> None:
        raise Terminated

    return handle_signals({signal.SIGTERM: end})


@contextmanager
def translate_signal_exits(*, hushed: bool) -> Iterator[None]:
    """Turn the failure of a process that a signal ended into that signal's exception.

    If hushed, a signal ends this process without a message: the processes that it started print theirs.
    """
    from bdd100k_zoo.child_processes import Terminated
    from bdd100k_zoo.errors import WorkerFailedError

    try:
        yield
    except WorkerFailedError as error:
        if error.status in (SIGINT_STATUS, SIGTERM_STATUS):
            raise (Terminated if error.status == SIGTERM_STATUS else KeyboardInterrupt) from None
        raise
    except KeyboardInterrupt as interrupt:
        if hushed:
            raise typer.Exit(_exit_status(interrupt)) from None
        raise


def _exit_status(interrupt: KeyboardInterrupt) -> int:
    from bdd100k_zoo.child_processes import Terminated

    return SIGTERM_STATUS if isinstance(interrupt, Terminated) else SIGINT_STATUS


# Failures -------------------------------------------------------------------------------------------------------------


def handle_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a command raises into one message with a hint, and an exit status.

    It is 1 for a failure, 130 for Ctrl-C, and 143 for SIGTERM where a command handles it.
    """

    @functools.wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            print_message(str(interrupt) or "interrupted", "yellow")
            raise typer.Exit(_exit_status(interrupt)) from None
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError, StdoutError):
            raise
        except Exception as error:
            if os.environ.get("BDD100K_ZOO_DEBUG") == "1":
                raise
            as_json = kwargs.get("as_json") is True or kwargs.get("form") == "json"
            _report_failure(error, as_json=as_json, lenient=cast("bool | None", kwargs.get("lenient")))
            raise typer.Exit(1) from None

    return call


def _report_failure(error: Exception, *, as_json: bool, lenient: bool | None) -> None:
    message, hint = explain(error, lenient=lenient)
    if as_json:
        write_json({"error": sanitize_text(message), "hint": hint})
        return
    print_message(message, "bold red", "error")
    if hint:
        print_message(hint, "bold cyan", "hint")


def explain(error: Exception, *, lenient: bool | None = None) -> tuple[str, str]:
    """Return the message and the hint for an error; one that is neither ours nor about a file is reported as a bug.

    Args:
        error: what was raised.
        lenient: whether the command was given ``--lenient``; None where it has no such option.
    """
    from bdd100k_zoo import errors

    if isinstance(error, OSError) and isinstance(error.filename, (str, os.PathLike)):
        error = errors.StorageError.from_os_error(Path(error.filename), error)
    if not isinstance(error, errors.ZooError):
        message = f"unexpected {type(error).__name__}: {error}"
        return message, "this is a bug of bdd100k-zoo; BDD100K_ZOO_DEBUG=1 shows where, please report it"
    hint = error.hint
    if isinstance(error, errors.MissingPackageError):
        from bdd100k_zoo.diagnostics.repairs import suggest_repairs

        hint = f"repair it with `{suggest_repairs(error.reason, error.extra)[0]}`; `bdd100k-zoo doctor` examines all"
    if lenient is False and isinstance(error, errors.InputsError) and error.lenient_hint:
        hint = f"{hint}; {error.lenient_hint}"
    return str(error), hint


def complete_model(incomplete: str) -> list[str]:
    """Complete a model's name in the shell."""
    from bdd100k_zoo.registry import load_zoo

    try:
        models = load_zoo().models
    except Exception:  # noqa: BLE001  (completion must never disturb the shell)
        return []
    return [model.name for model in models if model.name.startswith(incomplete)]
