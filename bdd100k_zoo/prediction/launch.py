"""Which process of how many this one is, from its launcher's environment; and starting several on one machine.

The processes of a run do not communicate: each computes its share, and they meet in the run's folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bdd100k_zoo.child_processes import usable_cores
from bdd100k_zoo.errors import LauncherError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import FrameType

    from bdd100k_zoo.registry import Model

Launcher = Literal["none", "pytorch", "slurm", "mpi"]

AGENT_MODULE = "bdd100k_zoo.backends.common.torchrun_agent"
MAX_RESTARTS = 3


class ProcessRank(NamedTuple):
    """The number of a process among those of its run."""

    rank: int = 0
    world: int = 1
    """How many processes there are."""
    local_rank: int | None = None
    """Its number on its machine; None for a process that no launcher started."""

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"


SINGLE_PROCESS = ProcessRank()

LAUNCH_VARIABLE = "BDD100K_ZOO_STARTED"
"""Set for the processes that ``launch_processes`` starts: ``LaunchInfo`` as text."""


class LaunchInfo(NamedTuple):
    """What the process that started this one, and others, has decided for all of them."""

    replaceable: str | None
    """The SHA-256 of a run.json that is to be replaced, whatever it is of; None where nothing is."""


def read_launch_info(environment: Mapping[str, str]) -> LaunchInfo | None:
    """Read what the process that started this one decided; None if a user, or another launcher, started it."""
    text = environment.get(LAUNCH_VARIABLE)
    if text is None:
        return None
    return LaunchInfo(text.partition(":")[2] if text.startswith("replacing:") else None)


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What prediction and training are asked alike."""

    model: Model
    out: Path | None = None
    """The folder to write to; None for the default one."""
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    """Images at once in each process; None for what suits the device, or for the recipe's."""
    workers: int | None = None
    """Threads or processes that read ahead, for each process; None for what suits the device."""
    cfg_options: Mapping[str, object] = field(default_factory=dict)
    """Settings of the model's config to override, by dotted key."""
    fresh: bool = False
    """Start over, and replace what the folder holds."""
    place: ProcessRank = SINGLE_PROCESS
    started: LaunchInfo | None = None
    """Set if a process of this package started this one, and validated what is validated once for all."""


class _Variables(NamedTuple):
    """The environment variables that a launcher sets."""

    rank: str
    world: str
    local_rank: str


# In the order of the search: torchrun may run inside a step of SLURM or under mpirun, and mpirun starts
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
    """Return the number of a process among those of its run.

    Args:
        environment: its variables.
        launcher: what started it; None to find out by the variables, and for a single process without any.

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
    """Return whether srun started the process: batch scripts have most variables of a step, too."""
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
    """Return the command that starts this command line several times here, under torchrun's elastic agent."""
    agent = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={MAX_RESTARTS}"]
    return [sys.executable, "-m", AGENT_MODULE, *agent, "-m", "bdd100k_zoo", *arguments]


def launch_processes(processes: int, arguments: Sequence[str], replaceable: str | None = None) -> int:
    """Start this command line several times on this machine, wait, and return their common exit status.

    When one dies, the agent restarts all of them, and they resume. The first Ctrl-C or SIGTERM is forwarded, and the
    status is then 128 plus the signal's number. When this process is killed, they end at once: their stdin is a pipe
    that it holds open, see ``child_processes.exit_with_stdin``.

    Args:
        processes: how many.
        arguments: those of the command line.
        replaceable: see ``LaunchInfo``.
    """
    begun = "going on" if replaceable is None else f"replacing:{replaceable}"
    defaults = {"OMP_NUM_THREADS": str(max(1, usable_cores() // processes))}
    with _SignalForwarder() as signals:
        # In a session of its own: Ctrl-C in the terminal would reach every process there, and be forwarded once more.
        agent = subprocess.Popen(  # noqa: S603  (this very command line)
            torchrun_command(processes, arguments),
            env={**defaults, **os.environ, LAUNCH_VARIABLE: begun},
            start_new_session=True,
            stdin=subprocess.PIPE,
        )
        signals.forward_to(agent)
        status = agent.wait()
    return 128 + signals.received if signals.received else status


class _SignalForwarder:
    """Forwards the first Ctrl-C or SIGTERM to another process; a signal that is ignored stays ignored."""

    def __init__(self) -> None:
        self.received = 0
        self._agent: subprocess.Popen[bytes] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _SignalForwarder:
        heeded = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
        self._before = {each: signal.signal(each, self._take) for each in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def forward_to(self, agent: subprocess.Popen[bytes]) -> None:
        """Choose the process; a signal that came before is forwarded at once."""
        self._agent = agent
        if self.received:
            agent.send_signal(self.received)

    def _take(self, number: int, _: FrameType | None) -> None:
        if not self.received and self._agent:
            self._agent.send_signal(number)
        self.received = self.received or number
