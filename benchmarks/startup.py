"""What the command line costs before it does anything, as ratios of CPU time against a floor in the same run.

    python benchmarks/startup.py [--runs 20] [--python PYTHON]

PYTHON is that of an environment with the wheel; an editable install reads the zoo as YAML, which takes longer.

`list` and `table` are compared with the bare import of the libraries that they may need (goals: at most 1.4 and 1.3
times), `--help` with an empty Typer application that has as many commands (goal: at most 1.2 times). Runs alternate, so
that a drifting machine changes both; medians of pairwise ratios are printed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FLOOR = ["-c", "import typer, rich.table, msgspec, yaml"]
ZOO = ["-m", "bdd100k_zoo"]


def empty_application(commands: int) -> str:
    """Write a Typer application of so many commands that do nothing."""
    function = '@app.command("c{n}")\ndef c{n}() -> None:\n    """Do nothing."""\n'
    functions = "\n".join(function.format(n=number) for number in range(commands))
    return f"import typer\napp = typer.Typer()\n{functions}\napp()\n"


def cpu_seconds(command: list[str], folder: str) -> float:
    """Run a command in a folder and give the CPU time of it and its children, in seconds."""
    # All modules are compiled in the first run, as an installation does, even where this process may not write them.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def compare(label: str, command: list[str], floor: list[str], goal: float, runs: int, folder: str) -> None:
    """Print the median and the least CPU times of a command and its floor, and the ratios of both."""
    cpu_seconds(command, folder), cpu_seconds(floor, folder)
    pairs = [(cpu_seconds(command, folder), cpu_seconds(floor, folder)) for _ in range(runs)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
    our_least, their_least = (1000 * min(times) for times in zip(*pairs, strict=True))
    verdict = "met" if ratio <= goal else "MISSED"
    print(
        f"{label:<8} {ours:6.0f} ms  floor {theirs:6.0f} ms  ratio {ratio:.2f}  goal {goal:.1f}: {verdict}"
        f"  (least: {our_least:.0f} and {their_least:.0f} ms, {our_least / their_least:.2f})"
    )


def number_of_commands() -> int:
    """Count the commands of the command line."""
    from bdd100k_zoo.cli.app import COMMANDS

    return len(COMMANDS)


def main() -> None:
    """Compare list, table and --help with their floors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument(
        "--python", type=os.path.abspath, default=sys.executable, help="of an environment with the wheel"
    )
    given = parser.parse_args()
    python, runs = given.python, given.runs
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {runs} runs")
    with tempfile.TemporaryDirectory() as folder:
        compare("list", [python, *ZOO, "list"], [python, *FLOOR], 1.4, runs, folder)
        compare("table", [python, *ZOO, "table"], [python, *FLOOR], 1.3, runs, folder)
        Path(folder, "empty.py").write_text(empty_application(number_of_commands()))
        compare("--help", [python, *ZOO, "--help"], [python, "empty.py", "--help"], 1.2, runs, folder)


if __name__ == "__main__":
    main()
