"""A small model of mmdet's for the command line, and the launchers that start it several times on this machine."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.overrides import parse_overrides

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODEL = "faster_rcnn_r50_fpn_1x"
SMALL = (
    "test_dataloader.dataset.pipeline.1.scale=(320,180)",
    "model.backbone.depth=18",
    "model.neck.in_channels=[64,128,256,512]",
    "model.roi_head.bbox_head.fc_out_channels=32",
    "model.test_cfg.rcnn.score_thr=0.0",
)
IMAGES = 9


class Job(NamedTuple):
    """A command that predicts, but for the folder."""

    arguments: tuple[str, ...]

    def into(self, out: Path, *more: str) -> list[str]:
        return ["predict", *self.arguments, "--out", str(out), *more]


def make_job(folder: Path) -> Job:
    """Write random weights of a small model and images of two sizes, one of them broken."""
    from bdd100k_zoo.backends.common.config import load_config
    from bdd100k_zoo.backends.mmdet3 import import_backend

    import_backend()  # mmdet needs its ops before the detector is imported
    from bdd100k_zoo.backends.mmdet3.detector import build_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(load_config(load_zoo()[MODEL].config_path, parse_overrides(SMALL)))
    content = io.BytesIO()
    torch.save({"meta": {"CLASSES": CLASSES}, "state_dict": model.state_dict()}, content)
    (folder / "weights.pth").write_bytes(content.getvalue())
    (folder / "frames").mkdir()
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        shape = (180, 320, 3) if number % 4 else (200, 300, 3)
        cv2.imwrite(str(folder / "frames" / f"{number}.png"), random.integers(0, 255, shape, np.uint8))
    (folder / "frames" / "5.png").write_bytes(b"no image")
    options = ("--weights", str(folder / "weights.pth"), "--device", "cpu", "--skip-unreadable")
    return Job((MODEL, "--images", str(folder / "frames"), *options, "--cfg-options", *SMALL))


def environment(**more: str) -> dict[str, str]:
    """One thread for each process, whatever starts it: results are equal at equal numbers."""
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def start(command: list[str], **more: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(**more), stdout=pipe, stderr=pipe, text=True)


def finished(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    """Wait for a process, and give what it wrote."""
    out, err = process.communicate()
    assert process.returncode == status, err
    return out, err


def cli(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "bdd100k_zoo", *arguments]


def wait_for_chunk(out: Path, rank: int, process: subprocess.Popen[str]) -> None:
    """Wait until a rank has done something."""
    journal = out / f"journal-{rank}.jsonl"
    while not (journal.exists() and b'{"chunk"' in journal.read_bytes()):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def pid_of(out: Path, variable: str) -> int:
    """Find the process that works on a folder and has a variable."""
    for entry in Path("/proc").iterdir():
        try:
            has = variable.encode() in (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if has and str(out).encode() in words and b"bdd100k_zoo" in words:
            return int(entry.name)
    raise AssertionError(f"no process with {variable} works on {out}")


SLURM = ("munged", "slurmctld", "slurmd", "srun")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=all Nodes={host} Default=YES State=UP
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
"""


def lacks_slurm() -> str:
    """Return why no SLURM can be started here; empty where one can."""
    missing = [name for name in SLURM if not shutil.which(name)]
    if missing:
        return f"there is no {missing[0]}"
    return "" if os.geteuid() == 0 else "only root can start it"


@contextmanager
def slurm(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run a SLURM of one node, and give the variables with which its commands find it."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(64))
    controller, node = _free_port(), _free_port()
    facts = {"host": socket.gethostname(), "cpus": os.cpu_count(), "folder": folder}
    (folder / "slurm.conf").write_text(CONFIG.format(**facts, controller=controller, node=node))
    found = {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = ("key-file", "socket", "pid-file", "log-file", "seed-file")
    files = [f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in munge]
    daemons = [["munged", "--foreground", "--force", *files], ["slurmctld", "-D"], ["slurmd", "-D"]]
    running = []
    try:
        for command in daemons:
            with (folder / f"{command[0]}.out").open("w") as log:
                running.append(subprocess.Popen(command, env=os.environ | found, stdout=log, stderr=log))
            time.sleep(0.5)
        while "idle" not in _states(found):
            assert all(daemon.poll() is None for daemon in running), (folder / "slurmctld.out").read_text()
            time.sleep(0.1)
        yield found
    finally:
        for daemon in reversed(running):
            daemon.terminate()
            daemon.wait()


def _states(found: Mapping[str, str]) -> str:
    command = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(command, env=os.environ | found, capture_output=True, text=True, check=False).stdout


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
