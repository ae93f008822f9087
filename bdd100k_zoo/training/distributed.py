"""Processes that train one model together: how they meet, and how they exchange numbers."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public, but not in its __all__
from torch.distributed.rendezvous import rendezvous

from bdd100k_zoo.errors import WorkerFailedError
from bdd100k_zoo.prediction.launch import launcher_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from bdd100k_zoo.prediction.launch import ProcessRank

PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others, as while the first one writes a checkpoint."""
DEFAULT_MASTER_PORT = 29500
"""torchrun's default as well."""
LOST_PEER_ERROR = re.compile(r"gloo|NCCL|ProcessGroup|process group|Connection (closed|reset)|TCPStore", re.IGNORECASE)
"""How torch reports that another process does not answer."""


@contextmanager
def process_group(place: ProcessRank, device: torch.device) -> Iterator[None]:
    """Join the other processes of a training; alone, do nothing.

    Raises:
        SettingsError: the address of the first process is not known.
        WorkerFailedError: another process has ended.
    """
    if place.world == 1:
        yield
        return
    host, port = rendezvous_address(os.environ, place)
    address = f"tcp://{host}:{port}" if "TORCHELASTIC_RUN_ID" not in os.environ else "env://"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, *_ = next(rendezvous(address, place.rank, place.world, timeout=PROCESS_GROUP_TIMEOUT))
    # The store of torchrun's agent outlives the processes, and still holds the addresses of those that have died.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(f"attempt-{attempt}", store),
        rank=place.rank,
        world_size=place.world,
        timeout=PROCESS_GROUP_TIMEOUT,
    )
    try:
        yield
    except RuntimeError as error:
        if not LOST_PEER_ERROR.search(str(error)):
            raise
        raise WorkerFailedError(
            f"process {place.rank} of the training lost the connection to another one: {str(error).splitlines()[0]}",
            "the messages of the lost process say why; the same command resumes from the last checkpoint",
        ) from error
    finally:
        distributed.destroy_process_group()


def rendezvous_address(environment: Mapping[str, str], place: ProcessRank) -> tuple[str, int]:
    """Return the address at which the first process waits for the others.

    Raises:
        SettingsError: the environment does not have it, and the processes may be on several machines.
    """
    # Two jobs of SLURM that share a machine must not share a port.
    default_port = DEFAULT_MASTER_PORT + int(environment.get("SLURM_JOB_ID", "0")) % 10000
    port = int(environment.get("MASTER_PORT") or default_port)
    if host := environment.get("MASTER_ADDR"):
        return host, port
    if nodes := environment.get("SLURM_STEP_NODELIST"):
        return _first_host(nodes), port
    if environment.get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(place.world):
        return "127.0.0.1", port
    raise launcher_error("mpi" if "OMPI_COMM_WORLD_SIZE" in environment else "pytorch", "MASTER_ADDR is not set")


def _first_host(nodes: str) -> str:
    if not set(nodes) & set("[,"):
        return nodes
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]  # noqa: S603
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise launcher_error("slurm", f"MASTER_ADDR is not set, and scontrol does not report it: {error}") from error


def all_reduce_mean(values: Sequence[float], place: ProcessRank, device: torch.device) -> list[float]:
    """Return the mean over all processes of each number; every process must call this with equally many."""
    if place.world == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return [value / place.world for value in total.tolist()]


def all_gather_rows(rows: Tensor, place: ProcessRank, device: torch.device) -> Tensor:
    """Return the rows [n, k] of all processes, in the order of their ranks; n may differ."""
    if place.world == 1:
        return rows
    rows = rows.to(device)
    # Collectives take equal shapes: shorter parts are padded, and the padding is dropped again.
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(place.world)]
    distributed.all_gather(lengths, torch.tensor([len(rows)], device=device))
    longest = max(int(length) for length in lengths)
    padded = torch.cat((rows, rows.new_zeros(longest - len(rows), rows.shape[1])))
    parts = [torch.empty_like(padded) for _ in range(place.world)]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(length)] for part, length in zip(parts, lengths, strict=True)]).cpu()


def broadcast_tensors(tensors: Sequence[Tensor], place: ProcessRank) -> None:
    """Copy the first process's values to all others, in place."""
    if place.world > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)
