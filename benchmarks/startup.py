"""What the command line costs before it does anything, as ratios of CPU time against a floor in the same run.

    python benchmarks/startup.py [--runs 20]

`list` and `table` are compared with the bare import of the libraries that they need (goals: at most 1.4 and 1.3 times),
`--help` with an empty Typer application that has as many commands (goal: at most 1.2 times). Runs alternate, so that a
drifting machine changes both; medians of pairwise ratios are printed.
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

FLOOR = [sys.executable, "-c", "import typer, rich.table, msgspec, yaml"]
ZOO = [sys.executable, "-m", "bdd100k_zoo"]


def empty_application(commands: int) -> str:
    """Write a Typer application of so many commands that do nothing."""
    function = '@app.command("c{n}")\ndef c{n}() -> None:\n    """Do nothing."""\n'
    functions = "\n".join(function.format(n=number) for number in range(commands))
    return f"import typer\napp = typer.Typer()\n{functions}\napp()\n"


def cpu_seconds(command: list[str]) -> float:
    """Run a command and give the CPU time of it and its children, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def compare(label: str, command: list[str], floor: list[str], goal: float, runs: int) -> None:
    """Print the median CPU times of a command and its floor, and their ratio."""
    cpu_seconds(command), cpu_seconds(floor)
    pairs = [(cpu_seconds(command), cpu_seconds(floor)) for _ in range(runs)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
    verdict = "met" if ratio <= goal else "MISSED"
    print(f"{label:<8} {ours:6.0f} ms  floor {theirs:6.0f} ms  ratio {ratio:.2f}  goal {goal:.1f}: {verdict}")


def number_of_commands() -> int:
    """Count the commands of the command line."""
    from bdd100k_zoo.cli.app import COMMANDS

    return len(COMMANDS)


def main() -> None:
    """Compare list, table and --help with their floors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {runs} runs")
    compare("list", [*ZOO, "list"], FLOOR, 1.4, runs)
    compare("table", [*ZOO, "table"], FLOOR, 1.3, runs)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty.py")
        empty.write_text(empty_application(number_of_commands()))
        compare("--help", [*ZOO, "--help"], [sys.executable, str(empty), "--help"], 1.2, runs)


if __name__ == "__main__":
    main()
