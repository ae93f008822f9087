"""The command line as a whole: options anywhere, exit statuses, nothing heavy loaded in vain."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import bdd100k_zoo
from bdd100k_zoo import __version__
from bdd100k_zoo.cli.app import COMMANDS, app_for, build_app, expand_cfg_options, move_globals_first
from bdd100k_zoo.cli.download import FileKind
from bdd100k_zoo.cli.output import handle_errors
from bdd100k_zoo.display.messages import sanitize_text
from bdd100k_zoo.registry import ARTIFACT_KINDS

REPOSITORY = Path(__file__).resolve().parents[2]

SPY = """
import sys
from bdd100k_zoo.cli.app import main
sys.argv = ["bdd100k-zoo", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "numpy", "mmdet", "mmcv", "mmengine", "cv2", "requests"} & set(sys.modules)
    print("LOADED", sorted(heavy), file=sys.stderr)
"""


def run(*arguments: str, code: str = SPY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": str(REPOSITORY), "HOME": "."}, check=False
    )


@pytest.mark.parametrize(
    "command", ["--help", "list", "list --json", "table", "predict --help", "cache list --help", "train --help"]
)
def test_light_commands_load_nothing_heavy(command):
    done = run(*command.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "LOADED []" in done.stderr


def test_importing_the_package_loads_nothing_heavy():
    done = run(code="import sys, bdd100k_zoo, bdd100k_zoo.registry; assert not {'torch', 'numpy'} & set(sys.modules)")
    assert done.returncode == 0, done.stderr


def test_the_module_runs_as_the_script_does():
    command = [sys.executable, "-m", "bdd100k_zoo", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == f"bdd100k-zoo {__version__}\n"


def test_every_command_is_in_the_help(call):
    text = call("--help").stdout
    assert all(name in text for name in COMMANDS)
    assert all(call(name, "--help").exit_code == 0 for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], *([name, "--help"] for name in COMMANDS), ["lost"], ["list", "x"]]
)
def test_a_command_line_of_what_is_requested_shows_what_the_whole_one_shows(arguments):
    runner = CliRunner()
    part, whole = (runner.invoke(app, arguments, prog_name="bdd100k-zoo") for app in (app_for(arguments), build_app()))
    assert (part.exit_code, part.output) == (whole.exit_code, whole.output)


@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        (["list"], ["list"]),
        (["-q", "--zoo", "info", "--zoo=table", "list", "info"], ["list"]),
        (["-q", "--help", "list"], COMMANDS),
        (["-qq", "list"], COMMANDS),
        (["--zoo"], COMMANDS),
    ],
)
def test_only_the_command_that_is_requested_is_built(arguments, commands):
    app = app_for(arguments)
    assert [each.name for each in (*app.registered_commands, *app.registered_groups)] == list(commands)


def test_a_flag_that_is_given_twice_is_no_reason_to_do_nothing(call):
    assert len(json.loads(call("-qq", "list", "--json").stdout)) == 64


def test_shells_complete_every_command_and_its_options():
    for words, expected in (("bdd100k-zoo rep", "report reproduce"), ("bdd100k-zoo report --len", "--lenient")):
        env = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        env |= {"_BDD100K_ZOO_COMPLETE": "complete_bash"}
        command = [sys.executable, "-c", "from bdd100k_zoo.cli.app import main; main()"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.stdout.split() == expected.split(), done.stderr


def test_wrong_usage_exits_with_2(call):
    assert call("list", "--sort", "weight").exit_code == 2
    assert call("lost").exit_code == 2
    assert call("predict", "fcos_r50_fpn_1x").exit_code == 2


def test_kinds_of_files_are_those_of_the_manifest():
    assert tuple(what.value for what in FileKind) == ARTIFACT_KINDS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["list", "--zoo", "a.yaml", "--json"], ["--zoo", "a.yaml", "list", "--json"]),
        (["list", "--zoo=a.yaml", "-q"], ["--zoo=a.yaml", "-q", "list"]),
        (["info", "x", "--", "--quiet"], ["info", "x", "--", "--quiet"]),
        (["list", "--zoo"], ["--zoo", "list"]),
    ],
)
def test_global_options_may_be_anywhere(arguments, expected):
    assert move_globals_first(arguments) == expected


@given(st.lists(st.sampled_from(["list", "--zoo", "f", "--quiet", "--offline", "x=1", "--cfg-options", "--", "-q"])))
def test_moving_options_loses_and_invents_nothing(arguments):
    assert sorted(move_globals_first(arguments)) == sorted(arguments)
    assert [a for a in expand_cfg_options(arguments) if a != "--cfg-options"] == [
        a for a in arguments if a != "--cfg-options"
    ]


def test_one_cfg_options_takes_several_values():
    given_ = ["predict", "m", "--cfg-options", "a=1", "b.c=[1,2]", "--images", "d=ir"]
    expected = ["predict", "m", "--cfg-options", "a=1", "--cfg-options", "b.c=[1,2]", "--images", "d=ir"]
    assert expand_cfg_options(given_) == expected


def test_ctrl_c_exits_with_130(capsys):
    @handle_errors
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as caught:
        interrupted()
    assert caught.value.exit_code == 130
    assert "interrupted" in capsys.readouterr().err


@handle_errors
def buggy(as_json: bool = False) -> None:
    raise ZeroDivisionError("[red]boom[/red]\x1b[31m")


def test_a_bug_of_ours_is_called_one_without_a_traceback(capsys):
    with pytest.raises(typer.Exit) as caught:
        buggy()
    told = capsys.readouterr()
    assert caught.value.exit_code == 1
    assert told.out == ""
    assert "unexpected ZeroDivisionError: [red]boom[/red]" in told.err
    assert "bug of bdd100k-zoo" in told.err
    assert "Traceback" not in told.err
    assert "\x1b[31m" not in told.err


def test_a_path_that_the_system_refuses_is_no_bug(call):
    for command in (("table", "--runs", "n" * 300), ("site", "--runs", "n" * 300, "--out", "site")):
        done = call(*command)
        assert done.exit_code == 1
        assert "File name too long" in done.stderr
        assert "bug" not in done.stderr


def test_a_bug_of_ours_as_json_is_one_document(capsys):
    with pytest.raises(typer.Exit):
        buggy(as_json=True)
    assert set(json.loads(capsys.readouterr().out)) == {"error", "hint"}


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("BDD100K_ZOO_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        buggy()


SIGNALLED = """
import os, signal, sys
from bdd100k_zoo.cli.output import raise_on_sigterm
from bdd100k_zoo.training.job import GracefulStop, stop_on_signals
with raise_on_sigterm(), stop_on_signals(stop := GracefulStop()):
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
print(stop.asked)
"""


def test_signals_that_are_ignored_at_the_start_stay_ignored(tmp_path):
    command = ["sh", "-c", 'trap "" INT TERM; exec "$@"', "sh", sys.executable, "-c", SIGNALLED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@given(st.text())
def test_plain_text_has_no_control_characters(text):
    assert all(character.isprintable() or character == "\n" for character in sanitize_text(text))


def test_no_message_shows_the_password_of_an_address(call):
    result = call("info", "https://me:s3cr3t@far.example/x.pth?token=s3cr3t")
    assert result.exit_code == 1
    assert "s3cr3t" not in result.output
    assert "https://***@far.example/x.pth?token=***" in result.output


def test_messages_name_only_commands_that_exist():
    package = Path(bdd100k_zoo.__file__).parent
    sources = [path.read_text() for path in package.rglob("*.py")]
    named = {name for source in sources for name in re.findall(r"`bdd100k-zoo ([a-z]+)[ `]", source)}
    assert {"predict", "eval", "list"} <= named <= COMMANDS.keys()
