"""How processes of a training meet, agree on where it resumes, and end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from torch.distributed import HashStore

from bdd100k_zoo.errors import DeviceError, SettingsError
from bdd100k_zoo.prediction.launch import ProcessRank, read_process_rank
from bdd100k_zoo.training.distributed import PROCESS_GROUP_TIMEOUT, check_own_gpus, rendezvous_address

TWO = ProcessRank(0, 2, 0)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MASTER_ADDR": "far", "MASTER_PORT": "1234"}, ("far", 1234)),
        ({"MASTER_ADDR": "far"}, ("far", 29500)),
        ({"SLURM_STEP_NODELIST": "node7", "SLURM_JOB_ID": "12"}, ("node7", 29512)),
    ],
)
def test_launchers_say_where_processes_meet(environment: dict[str, str], expected: tuple[str, int]) -> None:
    assert rendezvous_address(environment, TWO) == expected


OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
MPICH = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}


@pytest.mark.parametrize("environment", [OPEN_MPI, MPICH])
def test_processes_of_mpi_on_one_machine_meet_there(environment: dict[str, str]) -> None:
    assert rendezvous_address(environment, read_process_rank(environment)) == ("127.0.0.1", 29500)


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "pytorch"),
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, "mpi"),
        (MPICH | {"MPI_LOCALNRANKS": "1"}, "mpi"),
    ],
)
def test_where_nothing_says_it_that_is_an_error(environment: dict[str, str], launcher: str) -> None:
    with pytest.raises(SettingsError, match=f"launcher {launcher}.*MASTER_ADDR is not set"):
        rendezvous_address(environment, read_process_rank(environment))


def test_a_port_that_is_no_number_is_an_error() -> None:
    with pytest.raises(SettingsError, match="MASTER_PORT is '29500a', expected a whole number"):
        rendezvous_address({"MASTER_ADDR": "far", "MASTER_PORT": "29500a"}, TWO)


# GPUs


def store_with(*gpus: str) -> HashStore:
    store = HashStore()
    store.set_timeout(timedelta(seconds=1))
    for rank, gpu in enumerate(gpus):
        store.set(f"gpu-{rank}", gpu)
    return store


def test_two_processes_with_one_gpu_are_refused_in_all_of_them() -> None:
    for rank, gpu in enumerate(["a", "b", "a"]):
        with pytest.raises(DeviceError, match="processes 0 and 2 of the training have the same GPU"):
            check_own_gpus(store_with("a", "b", "a"), ProcessRank(rank, 3), gpu)


@pytest.mark.parametrize("gpus", [["a", "b"], ["", ""]])
def test_processes_with_gpus_of_their_own_or_none_are_accepted(gpus: list[str]) -> None:
    check_own_gpus(store_with(*gpus), ProcessRank(1, 2), gpus[1])


# Processes

CHILD = """
import sys, time
from pathlib import Path
import torch
from torch import distributed
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.prediction.launch import ProcessRank
from bdd100k_zoo.training.distributed import agree_on_step, process_group

what, rank, cpu = sys.argv[1], int(sys.argv[2]), torch.device("cpu")
place = ProcessRank(rank, 2, rank)
try:
    with process_group(place, cpu):
        agree_on_step(7, Path("shared"), place, cpu)
        if what == "disagree":
            agree_on_step((7, None)[rank], Path("out"), place, cpu)
        if what != "succeed" and rank == int(what[-1]):
            raise ValueError("of this process")
        if what.startswith("busy"):
            time.sleep(3600)
        distributed.all_reduce(torch.zeros(1))
    assert not distributed.is_initialized()
except ZooError as error:
    print(error)
    sys.exit(1)
"""


def run_two(what: str) -> list[tuple[int, str, str]]:
    """Run two processes, and return the status, output and errors of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command, pipe = [sys.executable, "-c", CHILD, what], subprocess.PIPE
    running = [
        subprocess.Popen([*command, str(rank)], env=env, stdout=pipe, stderr=pipe, text=True) for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=PROCESS_GROUP_TIMEOUT.total_seconds() / 10) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    return [(process.returncode, *output) for process, output in zip(running, outputs, strict=True)]


@pytest.mark.slow
def test_processes_that_succeed_end_with_their_group_destroyed() -> None:
    assert [status for status, _, _ in run_two("succeed")] == [0, 0]


@pytest.mark.parametrize("failing", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_if_one_process_fails_another_that_waits_for_it_ends(failing: int) -> None:
    outcome = run_two(f"fail {failing}")
    # gloo's own threads may abort a process whose peer is gone, before it ends by itself.
    assert {status for status, _, _ in outcome} <= {1, -signal.SIGABRT}
    assert "ValueError: of this process" in outcome[failing][2]
    assert outcome[1 - failing][0] != 1 or "lost the connection to another one" in outcome[1 - failing][1]


@pytest.mark.parametrize("failing", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_if_one_process_fails_another_that_notices_nothing_is_ended(failing: int) -> None:
    outcome = run_two(f"busy {failing}")
    # gloo's own threads may abort a process whose peer is gone, before it ends by itself.
    assert {status for status, _, _ in outcome} <= {1, -signal.SIGABRT}
    assert "ValueError: of this process" in outcome[failing][2]


def test_processes_that_would_resume_from_different_steps_are_refused() -> None:
    for status, said, _ in run_two("disagree"):
        assert status == 1
        assert said.splitlines() == [
            "out: the processes see different last checkpoints, by step:",
            "  process 0: 7",
            "  process 1: none",
        ]
