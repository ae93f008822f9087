"""Which process of how many: by the variables of launchers, as they set them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.errors import SettingsError
from bdd100k_zoo.prediction.launch import (
    AGENT_MODULE,
    LAUNCHER_VARIABLES,
    MAX_RESTARTS,
    SINGLE_PROCESS,
    Launcher,
    LaunchInfo,
    ProcessRank,
    read_launch_info,
    read_process_rank,
    torchrun_command,
)

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "6",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_LOCALID": "2",
}
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "6", "SLURM_LOCALID": "0"}
INTERACTIVE = STEP | {"SLURM_STEP_ID": str(0xFFFFFFFA), "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, SINGLE_PROCESS),
        (TORCHRUN, ProcessRank(3, 8, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, ProcessRank(3, 8, 0)),
        ({"RANK": "3"}, SINGLE_PROCESS),
        ({"WORLD_SIZE": "8"}, SINGLE_PROCESS),
        (OPEN_MPI, ProcessRank(2, 4, 0)),
        (STEP, ProcessRank(5, 6, 2)),
        (BATCH_SCRIPT, SINGLE_PROCESS),
        (INTERACTIVE, SINGLE_PROCESS),
        (BATCH_SCRIPT | TORCHRUN, ProcessRank(3, 8, 1)),
        (STEP | OPEN_MPI, ProcessRank(2, 4, 0)),
        (STEP | OPEN_MPI | TORCHRUN, ProcessRank(3, 8, 1)),
    ],
)
def test_the_place_is_found_by_the_innermost_launchers_variables(
    environment: dict[str, str], place: ProcessRank
) -> None:
    assert read_process_rank(environment) == place
    assert read_process_rank(environment, "none") == SINGLE_PROCESS


@pytest.mark.parametrize(
    ("launcher", "place"),
    [("pytorch", ProcessRank(3, 8, 1)), ("mpi", ProcessRank(2, 4, 0)), ("slurm", ProcessRank(5, 6, 2))],
)
def test_a_launcher_that_is_insisted_on_is_taken_whatever_else_there_is(launcher: Launcher, place: ProcessRank) -> None:
    assert read_process_rank(STEP | OPEN_MPI | TORCHRUN, launcher) == place


@pytest.mark.parametrize(
    ("launcher", "environment", "message"),
    [
        ("pytorch", {}, "RANK and WORLD_SIZE are not set"),
        ("pytorch", {"RANK": "0"}, "WORLD_SIZE is not set"),
        ("mpi", TORCHRUN, "OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE are not set"),
        ("slurm", BATCH_SCRIPT | {"SLURM_STEP_NUM_TASKS": "1"}, "SLURM_STEP_ID is not set"),
        ("pytorch", TORCHRUN | {"RANK": "x"}, "RANK is 'x', expected a whole number"),
        ("pytorch", TORCHRUN | {"RANK": "-1"}, "RANK is '-1'"),
        ("pytorch", TORCHRUN | {"RANK": "8"}, "RANK is 8 and WORLD_SIZE is 8"),
        (None, TORCHRUN | {"WORLD_SIZE": "0"}, "RANK is 3 and WORLD_SIZE is 0"),
        (None, TORCHRUN | {"LOCAL_RANK": ""}, "LOCAL_RANK is ''"),
    ],
)
def test_what_is_missing_or_makes_no_sense_is_reported(
    launcher: Launcher | None, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_process_rank(environment, launcher)
    assert message in str(caught.value)
    assert str(caught.value).startswith("launcher ")
    assert "start this process with" in caught.value.hint


@given(world=st.integers(1, 500), data=st.data())
def test_every_rank_of_every_launcher_is_found(world: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, world - 1))
    for launcher, names in LAUNCHER_VARIABLES.items():
        environment = {names.rank: str(rank), names.world: str(world), "SLURM_STEP_ID": "0"}
        assert read_process_rank(environment, launcher) == read_process_rank(environment) == ProcessRank(rank, world, 0)


def test_what_the_starting_process_has_decided_is_handed_on() -> None:
    assert read_launch_info({}) is None
    for decided in (LaunchInfo(Path("a b"), None), LaunchInfo(Path("x"), ""), LaunchInfo(Path("x"), "abc")):
        text = json.dumps([str(decided.folder), decided.replaceable])
        assert read_launch_info({"BDD100K_ZOO_STARTED": text}) == decided


def test_torchrun_is_requested_the_same_command() -> None:
    command = torchrun_command(8, ["predict", "m", "--images", "--gpus", "8"])
    assert command[:3] == [sys.executable, "-m", AGENT_MODULE]
    assert find_spec(AGENT_MODULE)
    assert command[3:6] == ["--standalone", "--nproc-per-node=8", f"--max-restarts={MAX_RESTARTS}"]
    assert command[6:] == ["-m", "bdd100k_zoo", "predict", "m", "--images", "--gpus", "8"]


# In place of torchrun, a process that tells of itself and waits for a signal, or ends with a status.
STAND_IN = """\
import os, sys
from pathlib import Path
from bdd100k_zoo.errors import WorkerFailedError
from bdd100k_zoo.prediction import launch

child = '''
import os, signal, sys, time
from pathlib import Path
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: (Path(sys.argv[1], "came").write_text(str(number)), sys.exit(3)))
Path(sys.argv[1], "ready").write_text(os.environ["OMP_NUM_THREADS"] + " " + os.environ[launch])
if sys.argv[2] != "wait":
    sys.exit(int(sys.argv[2]))
time.sleep(60)
'''.replace("launch", repr(launch.LAUNCH_VARIABLE))
launch.torchrun_command = lambda processes, arguments: [sys.executable, "-c", child, *arguments]
try:
    launch.launch_processes(2, sys.argv[1:], Path("out"), "abc")
except WorkerFailedError as error:
    sys.exit(error.status)
"""


def _start(folder: Path, how: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", STAND_IN, str(folder), how], start_new_session=True)


@pytest.mark.parametrize("status", [0, 1, 7])
def test_the_status_of_the_processes_is_given_back(tmp_path: Path, status: int) -> None:
    assert _start(tmp_path, str(status)).wait() == status
    threads, decided = (tmp_path / "ready").read_text().split(maxsplit=1)
    assert threads == os.environ.get("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // 2)))
    assert json.loads(decided) == ["out", "abc"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on_once_and_are_the_status(tmp_path: Path, number: signal.Signals) -> None:
    process = _start(tmp_path, "wait")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal does: all of its group
    assert process.wait() == 128 + number
    assert (tmp_path / "came").read_text() == str(int(number))
