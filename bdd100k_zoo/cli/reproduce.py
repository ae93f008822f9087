"""reproduce: published models → their APs, measured again, beside the published ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.options import (
    Backend,
    BatchSize,
    DatasetRoot,
    Device,
    Gpus,
    Json,
    Launcher,
    Precision,
    RunsFolder,
    Split,
    Workers,
    get_session,
    path_option,
)
from bdd100k_zoo.cli.output import (
    complete_model,
    handle_errors,
    print_field,
    print_renderable,
    raise_on_sigterm,
    stdout_console,
    translate_signal_exits,
    write_json,
)
from bdd100k_zoo.display.messages import print_message, sanitize_text, stderr_console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.table import Table

    from bdd100k_zoo.cli.options import Session
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.reproduction.reproduce import Step
    from bdd100k_zoo.reproduction.results import ModelResult, Reproduction

WIDE_TERMINAL = 100
"""Columns from which on the table has the speeds."""
LINES_BELOW = 6
"""Lines of the terminal that a table under way leaves free, for progress and warnings."""
MAX_REASONS = 10
STYLES = {"reproduced": "green", "differs": "bold red", "failed": "bold red", "not run": "dim", "running": "bold cyan"}
"""Of the verdicts; the others are in yellow."""


@handle_errors
def reproduce(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Names or aliases.", autocompletion=complete_model),
    ] = None,
    family: Annotated[list[str] | None, typer.Option(help="Add the models of this family (repeatable).")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every model of the zoo.")] = False,
    data: DatasetRoot = None,
    split: Split = "val",
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many images at most; gives 95 % intervals of the APs, no verdicts."),
    ] = None,
    published_predictions: Annotated[
        bool,
        typer.Option("--published-predictions", help="Score the publishers' prediction files: no weights, no GPU."),
    ] = False,
    weights_dir: Annotated[
        Path | None, path_option("DIR", "Weights that you have, named as published; they are verified and imported.")
    ] = None,
    out: Annotated[Path, path_option("DIR", "Folder of the results.")] = Path("reproduction"),
    runs: RunsFolder = Path("runs"),
    device: Device = "auto",
    gpus: Gpus = None,
    launcher: Launcher = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    precision: Precision = "auto",
    backend: Backend = "auto",
    as_json: Json = False,
) -> None:
    """Measure the APs of published models again, and compare them with the published ones.

    The same command resumes a reproduction that is interrupted.

    Exits with 0 if all are reproduced, 1 if one differs or failed, 3 otherwise.
    """
    if everything == bool(models or family):
        raise typer.BadParameter("name models or a --family, or give --all")
    if published_predictions and (limit or weights_dir or gpus):
        raise typer.BadParameter("--published-predictions needs no --limit, --weights-dir or --gpus")
    if data is None:
        raise typer.BadParameter("--data ROOT (or BDD100K_ROOT) is needed: the folder that holds images and labels")
    from bdd100k_zoo.api.reproduction import reproduce_steps
    from bdd100k_zoo.prediction.launch import read_command

    here = get_session(context)
    command = read_command(sys.argv[1:], os.environ, launcher, gpus)
    world = command.place.world
    if world > 1 and command.starts_processes:
        raise typer.BadParameter(f"--gpus starts processes itself, and this is one of {world} already")
    if world > 1 and published_predictions:
        raise typer.BadParameter(f"--published-predictions needs one process, and this is one of {world}")

    def steps(progress: Progress) -> Iterator[Step]:
        return reproduce_steps(
            models or (),
            family=family or (),
            data=data,
            split=split,
            limit=limit,
            published_predictions=published_predictions,
            weights_dir=weights_dir,
            out=out,
            runs=runs,
            device=device,
            batch_size=batch_size,
            workers=workers,
            precision=precision,
            backend=backend,
            zoo=here.zoo(),
            offline=here.offline,
            progress=progress,
            command=command,
        )

    console = stderr_console(live=world == 1 and not command.starts_processes)
    with raise_on_sigterm(), translate_signal_exits(hushed=command.started is not None):
        if console.is_terminal and not here.quiet:
            last = _follow_in_terminal(steps, console)
        else:
            last = _follow_in_log(steps, here)
    if world > 1 and not last.reports:  # another process reports for all
        return
    if as_json:
        write_json(last.found)
    else:
        _show(last.found, out)
    if world == 1:  # launchers take another status for a crash, and end the other processes
        raise typer.Exit(last.found.exit_status)


def _follow_in_terminal(steps: Callable[[Progress], Iterator[Step]], console: Console) -> Step:
    """Do the work below a table that shows what is done; return the last step."""
    from bdd100k_zoo.display.table import TableProgress

    with TableProgress(console) as progress:
        for step in steps(progress):
            progress.show(_table(step.found, console.width, step.running, max(3, console.height - LINES_BELOW)))
    return step


def _follow_in_log(steps: Callable[[Progress], Iterator[Step]], here: Session) -> Step:
    """Do the work, with a line when the result of a model is known; return the last step."""
    for step in steps(here.progress(live=False, notes=False)):
        if step.done:
            here.note(_describe(step.done))
    return step


def _describe(result: ModelResult) -> str:
    """Return a result as a line of a log."""
    from bdd100k_zoo.registry.models import format_ap

    line = f"{result.model}: {result.verdict or 'measured'}"
    if result.measured_ap is not None:
        line += f", AP {format_ap(result.measured_ap)}, published {format_ap(result.published_ap)}"
    return f"{line}: {result.reason}" if result.reason else line


def _table(found: Reproduction, width: int, running: str | None = None, height: int | None = None) -> Table:
    """Return the results as a table; of more rows than ``height`` those around the running model."""
    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.registry.models import format_ap
    from bdd100k_zoo.reporting.tables import format_speed
    from bdd100k_zoo.reproduction.markdown import describe_counts, format_difference

    results, names = found.models, [each.model for each in found.models]
    if height is not None and len(results) > height:
        place = names.index(running) if running else len(names) - 1
        begin = min(max(0, place - height // 2), len(names) - height)
        results = results[begin : begin + height]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left", title_justify="left")
    table.add_column("model", overflow="fold")
    headers = ("publ.", "AP", "95 % interval" if found.limit else "diff.")
    for header in (*headers, *(["img/s"] if width >= WIDE_TERMINAL else [])):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for each in results:
        verdict = "running" if each.model == running else each.verdict or "measured"
        interval = "{:.2f} to {:.2f}".format(*each.interval) if each.interval else ""
        table.add_row(
            each.model,
            format_ap(each.published_ap),
            format_ap(each.measured_ap),
            interval if found.limit else format_difference(each.difference),
            *([format_speed(each.images_per_second)] if width >= WIDE_TERMINAL else []),
            Text(verdict, STYLES.get(verdict, "" if verdict == "measured" else "yellow")),
        )
    if height is not None:
        table.caption = Text(f"{len(found.models)} models: {describe_counts(found)}", "dim")
    return table


def _show(found: Reproduction, out: Path) -> None:
    from bdd100k_zoo.reproduction.markdown import describe_counts
    from bdd100k_zoo.reproduction.results import REPORT_FILE, RESULTS_FILE, TABLE_FILE

    print_renderable(_table(found, stdout_console().width))
    print_renderable("")
    reasons = [each for each in found.models if each.reason]
    for each in reasons[:MAX_REASONS]:
        print_field("reason", f"{each.model}: {each.reason}")
    if len(reasons) > MAX_REASONS:
        print_field("reason", f"and {len(reasons) - MAX_REASONS} more, in {out / TABLE_FILE}")
    print_field("models", describe_counts(found))
    print_field("table", str(out / TABLE_FILE))
    print_field("results", str(out / RESULTS_FILE))
    if found.reported:
        print_field("report", str(out / REPORT_FILE))
    hints = dict.fromkeys(each.hint for each in reasons if each.hint)
    for hint in list(hints)[:3]:
        print_message(sanitize_text(hint), "bold cyan", "hint")
