"""The command line: global options, and the list of commands."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from bdd100k_zoo import __version__
from bdd100k_zoo.cli.help_pages import HelpPage
from bdd100k_zoo.cli.options import Session
from bdd100k_zoo.cli.output import StdoutError, abandon_stdout, prepare_streams
from bdd100k_zoo.display.messages import print_message

CFG_OPTIONS = "--cfg-options"
GLOBAL_FLAGS = ("--offline", "--quiet", "-q", "--verbose")

COMMANDS = {
    "demo": "demo:demo",
    "list": "catalog:list_models",
    "info": "catalog:info",
    "table": "catalog:table",
    "new": "new:new",
    "download": "download:download",
    "digests": "digests:digests",
    "predict": "predict:predict",
    "eval": "evaluate:evaluate",
    "show": "show:show",
    "report": "report:report",
    "reproduce": "reproduce:reproduce",
    "site": "site:site",
    "submit": "exchange:submit",
    "convert": "exchange:convert",
    "train": "train:train",
    "bench": "bench:bench",
    "doctor": "doctor:doctor",
    "cache": "cache:cache_app",
}
"""Module and function of every command, in the order of the help; groups of commands come last."""


def build_app(*names: str, with_options: bool = True) -> typer.Typer:
    """Return the command line with these commands; without names, with all.

    Args:
        names: of the commands. Modules of other commands are not imported: that would take longer than `list` itself.
        with_options: False for commands without options, which suffice for the list of commands in the help.
    """
    app = typer.Typer(
        name="bdd100k-zoo",
        help="The BDD100K detection model zoo: list, download, verify and run its detectors.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(global_options)
    for name in names or COMMANDS:
        module, _, function = COMMANDS[name].partition(":")
        command = getattr(import_module(f"bdd100k_zoo.cli.{module}"), function)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        elif with_options:
            app.command(name, cls=HelpPage)(command)
        else:
            app.command(name, help=command.__doc__)(lambda: None)
    return app


def app_for(arguments: list[str]) -> typer.Typer:
    """Return the command line with the command that the arguments need; global options come first."""
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--zoo":
            next(remaining, None)
        elif argument in COMMANDS:
            return build_app(argument)
        elif argument not in GLOBAL_FLAGS and not argument.startswith("--zoo="):
            return build_app(with_options=argument not in ("-h", "--help"))
    # No command: the help is shown, or a shell asks by this variable for completions of any command.
    return build_app(with_options="_BDD100K_ZOO_COMPLETE" in os.environ)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bdd100k-zoo {__version__}")
        raise typer.Exit


def global_options(
    context: typer.Context,
    zoo: Annotated[
        list[Path] | None,
        typer.Option("--zoo", metavar="FILE", help="Add the models of another zoo file (also: BDD100K_ZOO_FILES)."),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", envvar="BDD100K_ZOO_OFFLINE", help="Disable the network.", show_envvar=True),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress and notes.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show warnings of the underlying libraries.")] = False,
    version: Annotated[  # noqa: ARG001  (its callback acts)
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """List, download, verify and run the detectors of the BDD100K model zoo."""
    if not verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")
    context.obj = Session(tuple(zoo or ()), offline=offline, quiet=quiet)


def move_globals_first(arguments: list[str]) -> list[str]:
    """Move global options before the command, so that users may write them anywhere."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument in GLOBAL_FLAGS or argument.startswith("--zoo="):
            front.append(argument)
        elif argument == "--zoo":
            front += [argument, *(value for value in (next(remaining, None),) if value is not None)]
        else:
            rest.append(argument)
    return front + rest


def expand_cfg_options(arguments: list[str]) -> list[str]:
    """Accept several KEY=VALUE after one --cfg-options, as the published script does: repeat the option before each."""
    expanded: list[str] = []
    is_value = False
    for argument in arguments:
        is_another = is_value and "=" in argument and not argument.startswith("-")
        if is_another and expanded[-1] != CFG_OPTIONS:
            expanded.append(CFG_OPTIONS)
        expanded.append(argument)
        is_value = is_another or argument == CFG_OPTIONS
    return expanded


def main() -> None:
    """Run the command line of this process."""
    prepare_streams()
    if "BDD100K_ZOO_STARTED" in os.environ:  # prediction.launch.LAUNCH_VARIABLE, which not every command should import
        from bdd100k_zoo.child_processes import exit_with_stdin

        exit_with_stdin()
    try:
        try:
            arguments = expand_cfg_options(move_globals_first(sys.argv[1:]))
            app_for(arguments)(args=arguments, prog_name="bdd100k-zoo")
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except StdoutError as error:
        abandon_stdout()
        print_message(f"cannot write to stdout: {error.strerror}", "bold red", "error")
        sys.exit(1)
