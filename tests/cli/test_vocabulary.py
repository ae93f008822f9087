"""One vocabulary in all commands: an option has one meaning and one kind of value, wherever it appears."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from typer.main import get_command

from bdd100k_zoo.cli.app import COMMANDS, build_app

if TYPE_CHECKING:
    from collections.abc import Iterator


class Use(NamedTuple):
    """An option of a command."""

    command: str
    metavar: str
    """What stands for its value in the help; empty for a flag or where the help lists the choices."""
    kind: str
    """``boolean``, ``text``, ``path``, ``integer``, ``float``, ``choice``, or the name of a parser."""
    help: str


class Meaning(NamedTuple):
    """What an option means wherever it appears."""

    metavars: tuple[str, ...]
    keyword: str
    """A pattern that the help of each command contains, in any case."""
    kinds: tuple[str, ...]


def meaning(metavar: str, keyword: str, *kinds: str) -> Meaning:
    """Return the meaning of an option that has one metavar."""
    return Meaning((metavar,), keyword, kinds)


SHARED = {
    # Results
    "--out": Meaning(("DIR", "FILE", "PATH"), "file|folder", ("path",)),
    "--format": Meaning(("",), "format", ("choice",)),
    "--json": meaning("", "^print one json document", "boolean"),
    # Inputs
    "--images": Meaning(("PATH",), "images", ("text", "path")),
    "--data": meaning("ROOT", "^root of the dataset", "path"),
    "--split": Meaning(("",), "split", ("text", "choice")),
    "--labels": meaning("FILE", "labels", "path"),
    "--runs": meaning("DIR", "runs", "path"),
    "--speed": meaning("FILE", "speeds.*`bench --out", "path"),
    "--every": meaning("N", "every nth", "integer"),
    # Which models, files and detections
    "--family": meaning("", "family", "text"),
    "--all": meaning("", "^every model of the zoo", "boolean"),
    "--limit": meaning("N", "^how many images", "integer"),
    "--edition": meaning("DATE", "published by the end of", "text"),
    "--what": meaning("", "which .*files", "choice"),
    "--include-unverified": meaning("", "unverified|no digest verifies", "boolean"),
    "--min-score": meaning("X", "lower scores", "float"),
    "--classes": meaning("NAME,...", "classes", "parse_classes"),
    # Scores
    "--lenient": meaning("", "official evaluator accepts", "boolean"),
    "--confidence": meaning("", "intervals", "boolean"),
    "--resamples": meaning("N", "--confidence", "integer"),
    # Models, devices, processes
    "--weights": Meaning(("FILE", "FILE|ADDRESS"), "weights|checkpoint", ("path", "text")),
    "--cfg-options": meaning("KEY=VALUE...", "settings of the model's config", "text"),
    "--device": meaning("", "cpu, cuda", "text"),
    "--precision": meaning("NAME", "precision of the network", "choice"),
    "--backend": meaning("NAME", "mmdet3, mmdet2", "choice"),
    "--batch-size": meaning("N", "^images per batch", "integer"),
    "--workers": meaning("N", "^(threads|processes) that (read|draw)", "integer"),
    "--gpus": meaning("N|all", "local gpus", "parse_process_count"),
    "--launcher": meaning("NAME", "what started this process", "choice"),
    "--fresh": meaning("", "start over|again", "boolean"),
}
"""The options that several commands have. One without a row fails the tests: give it one, or another spelling."""

CLONE = Path(__file__).parents[2]
PAGES = [CLONE / "README.md", *sorted((CLONE / "docs").glob("*.md"))]

KINDS = {"nonempty_path": "path", "str": "text", "int": "integer"}
"""Names of types that the table calls otherwise."""

REMOVED = {"--out-file", "--keep", "--write", "--record"}


def parameters(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each parameter of each command with the command's name, such as ``cache export``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from parameters(command, f"{name} ")
        else:
            yield from ((prefix + name, parameter) for parameter in command.params)


@pytest.fixture(scope="module")
def uses() -> dict[str, list[Use]]:
    """All options of all commands by their long spelling, and all arguments by their metavar."""
    found: dict[str, list[Use]] = {}
    for command, parameter in parameters(get_command(build_app())):
        spelling = max(parameter.opts, key=len) if parameter.opts[0].startswith("-") else parameter.metavar
        kind = parameter.type.name.removesuffix(" range").lstrip("_")
        found.setdefault(spelling, []).append(
            Use(command, parameter.metavar or "", KINDS.get(kind, kind), parameter.help or "")
        )
    return found


@pytest.fixture(scope="module")
def options(uses) -> dict[str, list[Use]]:
    return {spelling: found for spelling, found in uses.items() if spelling.startswith("-")}


def test_the_walk_finds_every_command(uses):
    commands = {use.command for use in uses["--json"]}
    assert {"predict", "table", "cache export", "cache prune"} <= commands
    assert len(commands) >= 22


def test_an_option_of_several_commands_has_one_meaning(options):
    shared = {option for option, found in options.items() if len(found) > 1}
    assert shared <= SHARED.keys(), "a second command has an option of this spelling: what does it mean in both?"
    for option in shared:
        metavars, keyword, kinds = SHARED[option]
        for use in options[option]:
            assert use.metavar in metavars, (option, use)
            assert use.kind in kinds, (option, use)
            assert re.search(keyword, use.help, re.IGNORECASE), (option, use)


def test_every_option_is_explained(options):
    assert not [(option, use.command) for option, found in options.items() for use in found if not use.help]


def test_a_number_a_path_and_a_class_are_named_alike(options):
    """Also where one command alone has the option."""
    for option, found in options.items():
        for use in found:
            if use.kind == "integer":
                assert use.metavar == "N", (option, use)
            if use.kind == "path":
                assert use.metavar in ("DIR", "FILE", "PATH", "ROOT"), (option, use)


def test_results_go_to_out_alone(uses):
    assert not REMOVED & uses.keys()
    writers = {use.command for use in uses["--out"]}
    assert {"eval", "demo", "bench", "table", "digests", "convert", "cache export", "download"} <= writers
    assert {"predict", "train", "show", "report", "site", "submit"} <= writers
    arguments = {use.command for spelling in ("OUT", "DIR", "FILE") for use in uses.get(spelling, ())}
    assert arguments <= {"cache import"}, "a result goes to --out, not to an argument"


def test_counts_have_their_own_words(uses):
    transfers, readers = ({use.command for use in uses[option]} for option in ("--jobs", "--workers"))
    assert "download" in transfers
    assert not transfers & readers
    assert "bench" in {use.command for use in uses["--limit"]}
    assert "bench" not in {use.command for use in uses["--images"]}
    for use in uses["--limit"]:
        assert use.metavar == "N"
        assert use.help.startswith("How many")


def documented_commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield every command in a page's blocks of code and code spans, and what follows it."""
    fence = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    lines = [line for block in fence.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    parts = [part for line in lines for part in re.split(r" && | \| ", line.partition(" #")[0])]
    spoken = [part.partition("bdd100k-zoo ")[2] for part in parts]
    spoken += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", fence.sub("", text))]
    for each in spoken:
        found = re.match(r"(?:bdd100k-zoo )?(?:--zoo \S+ )?(cache [a-z]+|[a-z]+)(?= |$)(.*)", each)
        if found and found[1].split()[0] in COMMANDS:
            yield found[1], found[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_in_the_pages_is_one_of_its_command(page, options):
    everywhere = {option for parameter in get_command(build_app()).params for option in parameter.opts} | {"--help"}
    for command, rest in documented_commands(page.read_text(encoding="utf-8")):
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest):
            known = option in everywhere or command in {use.command for use in options.get(option, ())}
            assert known, f"{command} {rest}: {option}"
