"""Which process of how many this one is, by its launcher's environment; and starting several on one machine.

The processes of a prediction run do not communicate: each computes its share, and they meet in the run's folder.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from bdd100k_zoo.child_processes import handle_signals, usable_cores
from bdd100k_zoo.errors import DeviceError, SettingsError, WorkerFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.registry import Model

Launcher = Literal["none", "pytorch", "slurm", "mpi"]

AGENT_MODULE = "bdd100k_zoo.backends.common.torchrun_agent"
MAX_RESTARTS = 3


MAX_READERS = 8
"""More threads that read images do not make a GPU wait less."""


class ProcessRank(NamedTuple):
    """The number of a process among those of its run."""

    rank: int = 0
    world: int = 1
    """How many processes there are."""
    local_rank: int | None = None
    """Its number on its machine; None if its launcher does not say, or if it was started by hand."""
    local_world: int | None = None
    """How many processes there are on its machine; None if that is not known."""
    launcher: Launcher = "none"

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"

    @property
    def cores(self) -> int:
        """How many CPU cores the process may use, those of other processes on its machine left out."""
        cores, processes = usable_cores(), self.local_world or 1
        # srun and mpirun bind every process to cores of its own, if they are configured to; torchrun binds none.
        if self.launcher in ("slurm", "mpi") and cores * processes <= (os.cpu_count() or 1):
            return cores
        return max(1, cores // processes)


SINGLE_PROCESS = ProcessRank()


def default_workers(device: str, place: ProcessRank, most: int = MAX_READERS) -> int:
    """Return how many threads or processes read ahead: a CPU needs one, a GPU as many as there are cores.

    Args:
        device: ``cpu`` or another one.
        place: which process reads, of those that share the machine's cores.
        most: the limit on a GPU; with 0, the process reads itself.
    """
    return min(most, 1 if device == "cpu" else place.cores)


LAUNCH_VARIABLE = "BDD100K_ZOO_STARTED"
"""Environment variable of the processes that ``launch_processes`` starts: ``LaunchInfo`` as text."""


class LaunchInfo(NamedTuple):
    """What the process that started this one and others has decided for all of them."""

    folder: Path
    """Where they write."""
    replaceable: str | None
    """The SHA-256 of a run.json that is to be replaced, whatever run it is of; None where nothing is."""


def read_launch_info(environment: Mapping[str, str]) -> LaunchInfo | None:
    """Return what the process that started this one decided; None if a user, or another launcher, started it."""
    text = environment.get(LAUNCH_VARIABLE)
    if text is None:
        return None
    folder, replaceable = json.loads(text)
    return LaunchInfo(Path(folder), replaceable)


@dataclass(frozen=True, kw_only=True)
class Command:
    """The command line that runs a job: alone, as one of several processes, or to start them."""

    arguments: tuple[str, ...]
    place: ProcessRank = SINGLE_PROCESS
    started: LaunchInfo | None = None
    """Set if a process of this package started this one."""
    gpus: int | Literal["all"] | None = None
    """How many processes to start on this machine; None to start none."""

    @property
    def starts_processes(self) -> bool:
        """Whether it leaves the work to processes that it starts."""
        return self.gpus is not None and self.started is None

    @property
    def processes(self) -> int | None:
        """How many processes to start; None for as many as there are GPUs."""
        return None if self.gpus == "all" else self.gpus


def read_command(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    launcher: Launcher | None = None,
    gpus: int | Literal["all"] | None = None,
) -> Command:
    """Return what this process's environment says of it; raises SettingsError, see ``read_process_rank``."""
    return Command(
        arguments=tuple(arguments),
        place=read_process_rank(environment, launcher),
        started=read_launch_info(environment),
        gpus=gpus,
    )


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """The settings that prediction and training share."""

    model: Model
    out: Path | None = None
    """The folder to write to; None for the default one."""
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    """Images at once in each process; None for what suits the device, or for the recipe's number."""
    workers: int | None = None
    """Threads or processes that read ahead, for each process; None for ``default_workers``."""
    cfg_options: Mapping[str, object] = field(default_factory=dict)
    """Settings of the model's config to override, by dotted key."""
    fresh: bool = False
    """Start over, and replace what the folder holds."""
    place: ProcessRank = SINGLE_PROCESS
    started: LaunchInfo | None = None
    """Set if a process of this package started this one; it has validated what is the same for all of them."""


class _Variables(NamedTuple):
    """The environment variables that a launcher sets."""

    launcher: Launcher
    rank: str
    world: str
    local_rank: str = ""
    """Empty if the launcher has none."""
    local_world: str = ""
    required: tuple[str, ...] = ()
    """Variables that must be set as well: the launcher is recognised by them."""


SLURM_STEP_VARIABLE = "SLURM_STEP_ID"
SLURM_RESERVED_STEPS = 0xFFFFFFF0
"""SLURM gives these numbers to the steps of batch scripts and interactive shells, whose tasks are not ranks."""
HYDRA = _Variables("mpi", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", ("MPI_LOCALRANKID",))
"""The launcher of MPICH and Intel MPI."""
# In the order of the search, the innermost launcher first: torchrun may run inside a step of SLURM or under mpirun, and
# mpirun starts its processes inside a step. srun itself sets PMI_RANK and PMI_SIZE, too (--mpi=pmi2).
LAUNCHER_VARIABLES = (
    _Variables("pytorch", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    _Variables(
        "mpi",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    HYDRA,
    _Variables("slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    _Variables("mpi", "PMI_RANK", "PMI_SIZE"),
)
VISIBLE_GPUS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Environment variables that limit the GPUs of a process."""
LAUNCHER_NAMES: Mapping[Launcher, str] = {"pytorch": "torchrun", "mpi": "mpirun", "slurm": "srun"}


def read_process_rank(environment: Mapping[str, str], launcher: Launcher | None = None) -> ProcessRank:
    """Return the number of a process among those of its run.

    Args:
        environment: its variables.
        launcher: what started it; None to detect that by the variables, and for a single process without any.

    Raises:
        SettingsError: the launcher's variables are missing or invalid.
    """
    if launcher == "none":
        return SINGLE_PROCESS
    known = [each for each in LAUNCHER_VARIABLES if launcher in (None, each.launcher)]
    names = next((each for each in known if not _missing(each, environment)), None)
    if names is None:
        if launcher is None:
            return SINGLE_PROCESS
        missing = _missing(known[0], environment)
        raise launcher_error(launcher, f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not set")
    found = names.launcher

    def number(name: str) -> int | None:
        text = environment.get(name)
        if text is not None and not text.isdecimal():
            raise launcher_error(found, f"{name} is {text!r}, expected a whole number")
        return None if text is None else int(text)

    rank, world, local_rank, local_world = map(number, names[1:5])
    if rank is None or world is None or rank >= world:
        raise launcher_error(found, f"{names.rank} is {rank} and {names.world} is {world}")
    if found == "slurm":
        local_world = _slurm_tasks_here(environment)
    return ProcessRank(rank, world, local_rank, local_world, found)


def _missing(names: _Variables, environment: Mapping[str, str]) -> Sequence[str]:
    """Return the variables that a process of this launcher would have, and this one does not."""
    missing = [name for name in (names.rank, names.world, *names.required) if name not in environment]
    # Batch scripts have most variables of a step, too.
    step = environment.get(SLURM_STEP_VARIABLE, "")
    if names.launcher == "slurm" and not (step.isdecimal() and int(step) < SLURM_RESERVED_STEPS):
        missing.append(SLURM_STEP_VARIABLE)
    return missing


def _slurm_tasks_here(environment: Mapping[str, str]) -> int | None:
    """Return the number of a step's tasks on this node, from a list such as ``4(x2),3``; None if it is not known."""
    listed = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    counts = [int(tasks) for tasks, nodes in listed for _ in range(int(nodes or 1))]
    node = environment.get("SLURM_NODEID", "")
    return counts[int(node)] if node.isdecimal() and int(node) < len(counts) else None


def launcher_error(launcher: Launcher, problem: str) -> SettingsError:
    """Return the error for a launcher's variables that are missing or invalid."""
    hint = (
        f"start this process with {LAUNCHER_NAMES[launcher]}; or leave out --launcher, to detect the launcher by its "
        "variables; --launcher none runs a single process"
    )
    return SettingsError(f"launcher {launcher}", "", problem, hint)


def device_of_rank(wanted: str, place: ProcessRank, gpus: int, environment: Mapping[str, str]) -> str:
    """Return the device of one of the processes of a run: for ``auto`` and ``cuda``, a GPU of its own.

    Args:
        wanted: the requested device.
        place: which process this is.
        gpus: how many GPUs are visible to this process.
        environment: its variables.

    Raises:
        DeviceError: it would share a GPU with another process, or nothing says which GPU is its own.
    """
    if place.world == 1 or wanted == "cpu" or not gpus:
        return wanted
    here = max(place.local_world or 1, (place.local_rank or 0) + 1)
    listed = f"{gpus} GPU{'' if gpus == 1 else 's'}"
    # srun, or a script under mpirun, can make a single GPU visible to each process, which all of them know as cuda:0.
    is_limited = place.launcher in ("slurm", "mpi") and any(environment.get(name) for name in VISIBLE_GPUS)
    if gpus == 1 and is_limited:
        return wanted
    if wanted not in ("auto", "cuda"):
        if here > 1:
            raise _shared_gpu(wanted, f"{here} processes on this machine would share it", "leave out --device")
        return wanted
    if here > gpus:
        hint = "start one process per GPU, or make one GPU visible to each, as by srun's --gpus-per-task=1"
        raise _shared_gpu(wanted, f"{here} processes on this machine would share {listed}", hint)
    if place.local_rank is not None:
        return f"cuda:{place.local_rank}"
    if gpus == 1:
        return "cuda:0"
    if place.world > gpus:
        problem = f"nothing says which of {listed} belongs to {place}"
        raise _shared_gpu(wanted, problem, "set LOCAL_RANK, from 0 on each machine, or pass --device cuda:N")
    return f"cuda:{place.rank}"  # all ranks have different ones, whichever of them are on this machine


def _shared_gpu(device: str, problem: str, hint: str) -> DeviceError:
    return DeviceError(device, f"{problem}, and each process needs a GPU of its own", hint=hint)


def torchrun_command(processes: int, arguments: Sequence[str]) -> list[str]:
    """Return the command that starts this command line several times here, under torchrun's elastic agent."""
    agent = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={MAX_RESTARTS}"]
    return [sys.executable, "-m", AGENT_MODULE, *agent, "-m", "bdd100k_zoo", *arguments]


def launch_processes(processes: int, arguments: Sequence[str], folder: Path, replaceable: str | None = None) -> None:
    """Start this command line several times on this machine, and wait.

    When one dies, the agent restarts all of them, and they resume. The first Ctrl-C or SIGTERM is forwarded. When this
    process is killed, they end at once: their stdin is a pipe that it holds open, see
    ``child_processes.exit_with_stdin``.

    Args:
        processes: how many.
        arguments: those of the command line.
        folder: where they write, for the error.
        replaceable: see ``LaunchInfo``.

    Raises:
        WorkerFailedError: they failed; after a signal that was forwarded, its status is 128 plus the signal's number.
    """
    decided = json.dumps([str(folder), replaceable])
    defaults = {"OMP_NUM_THREADS": str(max(1, usable_cores() // processes))}
    received: list[int] = []
    agent: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: object) -> None:
        if agent and not received:
            agent.send_signal(number)
        received.append(number)

    with handle_signals(dict.fromkeys((signal.SIGINT, signal.SIGTERM), forward)):
        # In a session of its own: Ctrl-C in the terminal would reach every process there, and be forwarded once more.
        agent = subprocess.Popen(  # noqa: S603  (this very command line)
            torchrun_command(processes, arguments),
            env={**defaults, **os.environ, LAUNCH_VARIABLE: decided},
            start_new_session=True,
            stdin=subprocess.PIPE,
        )
        if received:  # before there was an agent
            agent.send_signal(received[0])
        status = agent.wait()
    if status := 128 + received[0] if received else status:
        raise WorkerFailedError(
            f"the processes that shared the run in {folder} ended with status {status}",
            "the first error above says why; the same command resumes with what is missing",
            status,
        )
