"""Which process of how many this one is, by the variables of what started it; and starting several on one machine.

The processes of a run never talk to one another: each does its share, and they meet in the run's folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bdd100k_zoo.errors import LauncherError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

Launcher = Literal["none", "pytorch", "slurm", "mpi"]

AGENT_MODULE = "bdd100k_zoo.backends.common.torchrun_agent"
MAX_RESTARTS = 3


class ProcessRank(NamedTuple):
    """Where a process stands among those of its run."""

    rank: int = 0
    world: int = 1
    """How many processes there are."""
    local_rank: int | None = None
    """Its number on its machine; None for a process that nobody started as one of several."""

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"


SINGLE_PROCESS = ProcessRank()

LAUNCH_VARIABLE = "BDD100K_ZOO_STARTED"
"""Set for the processes that ``start`` starts: ``Started`` as text."""


class LaunchInfo(NamedTuple):
    """What has been seen to once for all processes by the one that started them."""

    replaceable: str | None
    """The SHA-256 of a run.json that is to be replaced, whatever it is of; None where nothing is."""


def read_launch_info(environment: Mapping[str, str]) -> LaunchInfo | None:
    """Read what the process that started this one has seen to; None where a user, or another launcher, started it."""
    text = environment.get(LAUNCH_VARIABLE)
    if text is None:
        return None
    return LaunchInfo(text.partition(":")[2] if text.startswith("replacing:") else None)


class _Variables(NamedTuple):
    """What a launcher tells its processes by."""

    rank: str
    world: str
    local_rank: str


# In the order in which they are looked for: torchrun may run inside a step of SLURM or under mpirun, and mpirun starts
# its processes inside a step.
LAUNCHER_VARIABLES: Mapping[Launcher, _Variables] = {
    "pytorch": _Variables("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "mpi": _Variables("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "slurm": _Variables("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
}
LAUNCHER_NAMES: Mapping[Launcher, str] = {"pytorch": "torchrun", "mpi": "mpirun", "slurm": "srun"}
SLURM_STEP_VARIABLE = "SLURM_STEP_ID"
SLURM_RESERVED_STEPS = 0xFFFFFFF0
"""SLURM numbers the steps of batch scripts, interactive shells and the like from here on: their tasks are no ranks."""


def read_process_rank(environment: Mapping[str, str], launcher: Launcher | None = None) -> ProcessRank:
    """Find the place of a process.

    Args:
        environment: its variables.
        launcher: what has started it; None to find out by its variables, and to be alone where there are none.

    Raises:
        LauncherError: the launcher's variables are missing, or make no sense.
    """
    if launcher == "none":
        return SINGLE_PROCESS
    if launcher:
        return _read(launcher, environment)
    found = next((each for each in LAUNCHER_VARIABLES if _is_there(each, environment)), None)
    return _read(found, environment) if found else SINGLE_PROCESS


def _is_there(launcher: Launcher, environment: Mapping[str, str]) -> bool:
    names = LAUNCHER_VARIABLES[launcher]
    return {names.rank, names.world} <= environment.keys() and (launcher != "slurm" or _in_step(environment))


def _in_step(environment: Mapping[str, str]) -> bool:
    """Tell whether srun started the process: batch scripts have most variables of a step, too."""
    step = environment.get(SLURM_STEP_VARIABLE, "")
    return step.isdecimal() and int(step) < SLURM_RESERVED_STEPS


def _read(launcher: Launcher, environment: Mapping[str, str]) -> ProcessRank:
    names = LAUNCHER_VARIABLES[launcher]
    missing = [name for name in (names.rank, names.world) if name not in environment]
    if launcher == "slurm" and not _in_step(environment):
        missing.append(SLURM_STEP_VARIABLE)
    if missing:
        raise LauncherError(launcher, f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not set")
    rank, world = (_number(launcher, name, environment[name]) for name in (names.rank, names.world))
    local_rank = _number(launcher, names.local_rank, environment.get(names.local_rank, "0"))
    if rank >= world:
        raise LauncherError(launcher, f"{names.rank} is {rank} and {names.world} is {world}")
    return ProcessRank(rank, world, local_rank)


def _number(launcher: Launcher, name: str, text: str) -> int:
    if not text.isdecimal():
        raise LauncherError(launcher, f"{name} is {text!r}, expected a whole number")
    return int(text)


def torchrun_command(processes: int, arguments: Sequence[str]) -> list[str]:
    """Give the command that starts this command line several times on this machine, under torchrun's elastic agent."""
    agent = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={MAX_RESTARTS}"]
    return [sys.executable, "-m", AGENT_MODULE, *agent, "-m", "bdd100k_zoo", *arguments]


def launch_processes(processes: int, arguments: Sequence[str], replaceable: str | None = None) -> int:
    """Start this command line several times on this machine and give the exit status of all together.

    When one dies, the agent starts all of them again, and they go on where they were. Ctrl-C and SIGTERM are passed on,
    once, and the status is then 128 and the signal's number. When this process is killed, they end at once: their stdin
    is a pipe that it holds open, see ``parents.end_with_stdin``.

    Args:
        processes: how many.
        arguments: those of the command line.
        replaceable: see ``Started``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    begun = "going on" if replaceable is None else f"replacing:{replaceable}"
    defaults = {"OMP_NUM_THREADS": str(max(1, cores // processes))}
    with _SignalForwarder() as signals:
        # A session of its own: what the terminal sends would reach every process there, and be passed on once more.
        agent = subprocess.Popen(  # noqa: S603  (this very command line)
            torchrun_command(processes, arguments),
            env={**defaults, **os.environ, LAUNCH_VARIABLE: begun},
            start_new_session=True,
            stdin=subprocess.PIPE,
        )
        signals.pass_to(agent)
        status = agent.wait()
    return 128 + signals.came if signals.came else status


class _SignalForwarder:
    """Passes the first Ctrl-C or SIGTERM on to another process; one that is ignored stays ignored."""

    def __init__(self) -> None:
        self.came = 0
        self._agent: subprocess.Popen[bytes] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _SignalForwarder:
        heeded = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
        self._before = {each: signal.signal(each, self._take) for each in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def pass_to(self, agent: subprocess.Popen[bytes]) -> None:
        """Say who is to be told."""
        self._agent = agent
        if self.came:
            agent.send_signal(self.came)

    def _take(self, number: int, _: FrameType | None) -> None:
        if not self.came and self._agent:
            self._agent.send_signal(number)
        self.came = self.came or number
