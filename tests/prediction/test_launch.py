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

from bdd100k_zoo.errors import DeviceError, SettingsError
from bdd100k_zoo.prediction import launch
from bdd100k_zoo.prediction.launch import (
    AGENT_MODULE,
    LAUNCHER_VARIABLES,
    MAX_READERS,
    MAX_RESTARTS,
    SINGLE_PROCESS,
    Launcher,
    LaunchInfo,
    ProcessRank,
    default_workers,
    device_of_rank,
    read_launch_info,
    read_process_rank,
    torchrun_command,
)

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
MPICH = {"PMI_RANK": "6", "PMI_SIZE": "9", "PMI_FD": "8", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "3"}
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "6",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_LOCALID": "2",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "3(x2)",
}
BY_TORCHRUN, BY_OPEN_MPI = ProcessRank(3, 8, 1, 2, "pytorch"), ProcessRank(2, 4, 0, 2, "mpi")
BY_MPICH, BY_SLURM = ProcessRank(6, 9, 2, 3, "mpi"), ProcessRank(5, 6, 2, 3, "slurm")
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "6", "SLURM_LOCALID": "0"}
INTERACTIVE = STEP | {"SLURM_STEP_ID": str(0xFFFFFFFA), "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, SINGLE_PROCESS),
        (TORCHRUN, BY_TORCHRUN),
        ({"RANK": "3", "WORLD_SIZE": "8"}, ProcessRank(3, 8, launcher="pytorch")),
        ({"RANK": "3"}, SINGLE_PROCESS),
        ({"WORLD_SIZE": "8"}, SINGLE_PROCESS),
        (OPEN_MPI, BY_OPEN_MPI),
        (MPICH, BY_MPICH),
        ({"PMI_RANK": "6", "PMI_SIZE": "9"}, ProcessRank(6, 9, launcher="mpi")),
        (STEP, BY_SLURM),
        (STEP | {"SLURM_NODEID": "2"}, ProcessRank(5, 6, 2, None, "slurm")),
        (STEP | {"SLURM_STEP_TASKS_PER_NODE": "2,4(x3)"}, ProcessRank(5, 6, 2, 4, "slurm")),
        (STEP | {"PMI_RANK": "5", "PMI_SIZE": "6"}, BY_SLURM),  # srun --mpi=pmi2
        (BATCH_SCRIPT, SINGLE_PROCESS),
        (INTERACTIVE, SINGLE_PROCESS),
        (BATCH_SCRIPT | TORCHRUN, BY_TORCHRUN),
        (STEP | OPEN_MPI, BY_OPEN_MPI),
        (STEP | MPICH, BY_MPICH),
        (STEP | OPEN_MPI | TORCHRUN, BY_TORCHRUN),
    ],
)
def test_the_place_is_found_by_the_innermost_launchers_variables(
    environment: dict[str, str], place: ProcessRank
) -> None:
    assert read_process_rank(environment) == place
    assert read_process_rank(environment, "none") == SINGLE_PROCESS


@pytest.mark.parametrize(
    ("launcher", "place"),
    [("pytorch", BY_TORCHRUN), ("mpi", BY_OPEN_MPI), ("slurm", BY_SLURM)],
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
    for names in LAUNCHER_VARIABLES:
        environment = {names.rank: str(rank), names.world: str(world), "SLURM_STEP_ID": "0"}
        environment |= dict.fromkeys(names.required, "0")
        found = read_process_rank(environment, names.launcher)
        assert found == read_process_rank(environment)
        assert found[:2] == (rank, world)


# Devices and cores

VISIBLE = {"CUDA_VISIBLE_DEVICES": "0"}


@pytest.mark.parametrize(
    ("wanted", "place", "gpus", "expected"),
    [
        ("auto", SINGLE_PROCESS, 8, "auto"),
        ("cuda:5", SINGLE_PROCESS, 8, "cuda:5"),
        ("auto", BY_TORCHRUN, 0, "auto"),
        ("cpu", BY_TORCHRUN, 1, "cpu"),
        ("auto", BY_TORCHRUN, 2, "cuda:1"),
        ("cuda", BY_SLURM, 8, "cuda:2"),
        ("cuda", BY_MPICH, 3, "cuda:2"),
        # Where srun or a script under mpirun makes one GPU visible to each process
        ("auto", BY_SLURM, 1, "auto"),
        ("cuda:0", BY_OPEN_MPI, 1, "cuda:0"),
        # Started by hand: all of them may be here, or each on a machine of its own
        ("auto", ProcessRank(3, 4, launcher="pytorch"), 4, "cuda:3"),
        ("auto", ProcessRank(1, 2, launcher="pytorch"), 1, "cuda:0"),
        ("cuda:1", ProcessRank(9, 16, launcher="pytorch"), 8, "cuda:1"),
    ],
)
def test_every_process_has_a_gpu_of_its_own(wanted: str, place: ProcessRank, gpus: int, expected: str) -> None:
    assert device_of_rank(wanted, place, gpus, VISIBLE) == expected


@pytest.mark.parametrize(
    ("wanted", "place", "gpus", "problem", "hint"),
    [
        ("cuda:1", BY_TORCHRUN, 8, "2 processes on this machine would share it", "leave out --device"),
        ("cuda:0", BY_TORCHRUN, 1, "2 processes on this machine would share it", "leave out --device"),
        ("auto", BY_TORCHRUN, 1, "2 processes on this machine would share 1 GPU,", "one process per GPU"),
        ("cuda", BY_SLURM, 2, "3 processes on this machine would share 2 GPUs,", "--gpus-per-task=1"),
        ("auto", BY_OPEN_MPI._replace(local_world=None, local_rank=4), 4, "5 processes", "one process per GPU"),
        (
            "auto",
            ProcessRank(5, 8, launcher="pytorch"),
            4,
            "nothing says which of 4 GPUs belongs to rank 5 of 8",
            "LOCAL_RANK",
        ),
    ],
)
def test_processes_that_would_share_a_gpu_are_refused(
    wanted: str, place: ProcessRank, gpus: int, problem: str, hint: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        device_of_rank(wanted, place, gpus, VISIBLE)
    assert problem in str(caught.value)
    assert hint in caught.value.hint


def test_with_one_gpu_that_nothing_limits_mpirun_starts_one_process() -> None:
    with pytest.raises(DeviceError, match="2 processes on this machine would share 1 GPU"):
        device_of_rank("auto", BY_OPEN_MPI, 1, {})


@pytest.mark.parametrize(
    ("usable", "place", "cores"),
    [
        (64, SINGLE_PROCESS, 64),
        (64, BY_TORCHRUN._replace(local_world=8), 8),
        (16, BY_TORCHRUN._replace(local_world=8), 2),
        (4, BY_TORCHRUN._replace(local_world=8), 1),
        (64, BY_SLURM._replace(local_world=8), 8),
        (8, BY_SLURM._replace(local_world=8), 8),  # bound to cores of its own
    ],
)
def test_readers_are_as_many_as_the_cores_of_a_process(
    usable: int, place: ProcessRank, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "usable_cores", lambda: usable)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert place.cores == cores
    assert default_workers("cuda:0", place) == min(MAX_READERS, cores)
    assert default_workers("cuda", place, 2) == min(2, cores)
    assert [default_workers("cpu", place, most) for most in (0, 8)] == [0, 1]


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
