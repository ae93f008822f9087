"""Processes that train one model together: how they meet, and how they exchange numbers."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public, but not in its __all__
from torch.distributed.rendezvous import rendezvous

from bdd100k_zoo.backends.common.devices import gpu_identity
from bdd100k_zoo.errors import DeviceError, InvalidFileError, WorkerFailedError, list_first
from bdd100k_zoo.prediction.launch import launcher_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor
    from torch.distributed import Store  # type: ignore[attr-defined]  # public, but not in its __all__

    from bdd100k_zoo.prediction.launch import Launcher, ProcessRank

PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others, as while the first one writes a checkpoint."""
DEFAULT_MASTER_PORT = 29500
"""torchrun's default as well."""
LOST_PEER_ERROR = re.compile(r"gloo|NCCL|ProcessGroup|process group|Connection (closed|reset)|TCPStore", re.IGNORECASE)
"""How torch reports that another process does not answer."""
FAILED_KEY = "failed"
"""Key of the store of all processes, set by the first one that fails."""
WATCH_INTERVAL, EXIT_GRACE = 1.0, 5.0
"""Seconds between looks at that key, and for a process to end by itself once it is set."""


@contextmanager
def process_group(place: ProcessRank, device: torch.device) -> Iterator[None]:
    """Join the other processes of a training; alone, do nothing.

    If the block fails in one process, all of them end within seconds.

    Raises:
        SettingsError: the address of the first process is not known.
        DeviceError: two processes have the same GPU.
        WorkerFailedError: another process has ended.
    """
    if place.world == 1:
        yield
        return
    host, port = rendezvous_address(os.environ, place)
    address = f"tcp://{host}:{port}" if "TORCHELASTIC_RUN_ID" not in os.environ else "env://"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    joined, *_ = next(rendezvous(address, place.rank, place.world, timeout=PROCESS_GROUP_TIMEOUT))
    # The store of torchrun's agent outlives the processes, and still holds the addresses of those that have died.
    store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", joined)
    check_own_gpus(store, place, gpu_identity(device))
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world,
        timeout=PROCESS_GROUP_TIMEOUT,
    )
    done = threading.Event()
    # A store of its own, if torch has that: a process that waits for a value keeps others from asking.
    watched = store.clone() if hasattr(store, "clone") else store
    watcher = threading.Thread(target=_exit_after_failure, args=(watched, done), name="failures", daemon=True)
    watcher.start()
    try:
        yield
    except BaseException as error:
        with suppress(RuntimeError):  # the store has ended with the first process
            store.set(FAILED_KEY, str(place.rank))
        # NCCL would wait for the others to destroy the group, and they may wait for this process. Gloo waits for
        # nobody, but aborts a process that ends while its threads run.
        if distributed.get_backend() == "gloo":
            done.set()
            watcher.join(2 * WATCH_INTERVAL)
            distributed.destroy_process_group()
        if isinstance(error, RuntimeError) and LOST_PEER_ERROR.search(str(error)):
            raise WorkerFailedError(
                f"process {place.rank} of the training lost the connection to another one: "
                f"{str(error).splitlines()[0]}",
                "the messages of the lost process say why; the same command resumes from the last checkpoint",
            ) from error
        raise
    done.set()
    distributed.destroy_process_group()


def _exit_after_failure(store: Store, done: threading.Event) -> None:
    """Exit from this process if one has failed: a process that waits for it in NCCL's kernels notices nothing.

    The process that failed exits as well, should NCCL keep it from ending.
    """
    while not done.wait(WATCH_INTERVAL):
        try:
            failed = store.check([FAILED_KEY])
        except RuntimeError:  # the store has ended with the first process
            failed = True
        if failed and not done.wait(EXIT_GRACE):
            os._exit(1)


def check_own_gpus(store: Store, place: ProcessRank, identity: str) -> None:
    """Check that no two processes of a training have the same GPU; all of them must call this.

    Args:
        store: what all processes read and write.
        place: which process this is.
        identity: what identifies its GPU; empty if it has none.

    Raises:
        DeviceError: two have; all processes raise it. NCCL would fail later, and less clearly.
    """
    store.set(f"gpu-{place.rank}", identity)
    users: dict[bytes, list[int]] = {}
    for rank in range(place.world):
        users.setdefault(store.get(f"gpu-{rank}"), []).append(rank)
    for gpu, ranks in users.items():
        if gpu and ranks[1:]:
            listed = " and ".join(map(str, ranks))
            problem = f"processes {listed} of the training have the same GPU, and each needs one of its own"
            raise DeviceError(f"cuda ({gpu.decode()})", problem, hint="start one process per GPU")


def rendezvous_address(environment: Mapping[str, str], place: ProcessRank) -> tuple[str, int]:
    """Return the address at which the first process waits for the others.

    Raises:
        SettingsError: the environment does not have it, and the processes may be on several machines; or it is invalid.
    """
    launcher: Launcher = "mpi" if place.launcher == "mpi" else "pytorch"
    # Two jobs of SLURM that share a machine must not share a port.
    port = DEFAULT_MASTER_PORT + int(environment.get("SLURM_JOB_ID", "0")) % 10000
    if given := environment.get("MASTER_PORT"):
        if not given.isdecimal():
            raise launcher_error(launcher, f"MASTER_PORT is {given!r}, expected a whole number")
        port = int(given)
    if host := environment.get("MASTER_ADDR"):
        return host, port
    if nodes := environment.get("SLURM_STEP_NODELIST"):
        return _first_host(nodes), port
    if place.local_world == place.world:
        return "127.0.0.1", port
    raise launcher_error(launcher, "MASTER_ADDR is not set")


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


def agree_on_step(step: int | None, folder: Path, place: ProcessRank, device: torch.device) -> None:
    """Check that all processes would resume a training from the same step; all of them must call this.

    Args:
        step: the last step in the checkpoints that this process sees; None without any.
        folder: where they are.
        place: which process this is.
        device: where the processes exchange numbers.

    Raises:
        InvalidFileError: they would not; all processes raise it.
    """
    mine = torch.tensor([[-1 if step is None else step]])
    steps = all_gather_rows(mine, place, device).flatten().tolist()
    if len(set(steps)) > 1:
        seen = list_first([f"process {rank}: {step if step >= 0 else 'none'}" for rank, step in enumerate(steps)])
        hint = "all processes need the same folder: --out must be on a file system that all machines share"
        raise InvalidFileError(folder, f"the processes see different last checkpoints, by step:{seen}", hint)


def broadcast_tensors(tensors: Sequence[Tensor], place: ProcessRank) -> None:
    """Copy the first process's values to all others, in place."""
    if place.world > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)
