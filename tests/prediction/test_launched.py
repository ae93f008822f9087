"""The command line under the launchers themselves, with a small model of mmdet's on the CPU, kills included."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from launched import IMAGES, Job, cli, finished, lacks_slurm, make_job, pid_of, slurm, start, wait_for_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: processes are found by Linux's /proc")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_job(tmp_path_factory.mktemp("launched"))


@pytest.fixture(scope="module")
def alone(job: Job, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of one process that nothing disturbs."""
    out = tmp_path_factory.mktemp("alone")
    finished(start(cli(job.into(out)), BDD100K_ZOO_CACHE=str(out / "cache")))
    return (out / "det.json").read_bytes()


def check(out: Path, alone: bytes, processes: int) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["det.json", "run.json"]
    assert (out / "det.json").read_bytes() == alone
    run = json.loads((out / "run.json").read_text())
    assert run["counts"]["images"] == IMAGES
    assert [image["name"] for image in run["unreadable"]] == ["5.png"]
    assert run["processes"] == processes


def test_sigterm_keeps_what_is_done_and_the_same_command_resumes(job: Job, alone: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(cli(job.into(out)))
    wait_for_chunk(out, 0, process)
    process.terminate()
    _, err = finished(process, 143)
    assert f"of {IMAGES} images are done and kept in {out}; the same command resumes from there" in err
    assert "Traceback" not in err
    _, err = finished(start(cli(job.into(out))))
    assert "of them done already" in err
    check(out, alone, 1)


def test_a_process_for_each_gpu_and_one_that_is_killed_is_started_again(job: Job, alone: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(cli(job.into(out, "--gpus", "2", "--json")))
    wait_for_chunk(out, 1, process)
    os.kill(pid_of(out, "RANK=1"), signal.SIGKILL)
    output, err = finished(process)
    assert "exitcode: -9" in err
    assert json.loads(output)["processes"] == 2
    check(out, alone, 2)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NOT TESTED: needs two GPUs")
def test_a_process_for_each_of_two_gpus(job: Job, tmp_path: Path) -> None:
    documents = []
    for gpus in ("1", "2"):
        out = tmp_path / gpus
        output, _ = finished(start(cli(job.into(out, "--gpus", gpus, "--device", "cuda", "--json"))))
        assert json.loads(output)["processes"] == int(gpus)
        documents.append((out / "det.json").read_bytes())
    assert documents[0] == documents[1]


@pytest.mark.slow
def test_three_processes_under_torchrun(job: Job, alone: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    output, err = finished(start([*torchrun, *cli(job.into(out, "--launcher", "pytorch"))[1:]]))
    assert output.count("predictions ") == 1
    assert err.count("still missing") <= 2  # fewer, if others are done in the same moment
    check(out, alone, 3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    if problem := lacks_slurm():
        pytest.skip(f"NOT TESTED with SLURM: {problem} (apt-get install slurm-wlm munge)")
    with slurm(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.mark.slow
def test_two_tasks_of_slurm_one_killed_and_the_step_run_again(
    job: Job, alone: bytes, cluster: Mapping[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    srun = ["srun", "--ntasks=2", "--overcommit", "--kill-on-bad-exit=0", *cli(job.into(out, "--launcher", "slurm"))]
    process = start(srun, **cluster)
    wait_for_chunk(out, 1, process)
    os.kill(pid_of(out, "SLURM_PROCID=1"), signal.SIGKILL)
    output, err = finished(process, 137)
    assert "rank 0 of 2 is done" in err
    assert output == ""
    output, _ = finished(start(srun, **cluster))
    assert output.count("predictions ") == 1
    check(out, alone, 2)


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("mpirun"), reason="NOT TESTED with Open MPI: no mpirun (apt-get install openmpi-bin)"
)
def test_two_processes_of_open_mpi_one_killed_and_all_run_again(job: Job, alone: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mpirun = ["mpirun", "-n", "2", "--allow-run-as-root", "--oversubscribe", *cli(job.into(out, "--launcher", "mpi"))]
    process = start(mpirun)
    wait_for_chunk(out, 1, process)
    os.kill(pid_of(out, "OMPI_COMM_WORLD_RANK=1"), signal.SIGKILL)
    finished(process, 137)
    output, _ = finished(start(mpirun))
    assert output.count("predictions ") == 1
    check(out, alone, 2)
