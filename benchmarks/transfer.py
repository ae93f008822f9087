"""What a verified download costs compared with a plain one and with its digest alone, and whether the files are right.

    python benchmarks/transfer.py [--size 1000] [--rounds 5] [--folder DIR]
    python benchmarks/transfer.py --quick

A server in a process of its own sends a file out of memory over the loopback, with sendfile and ranges. Every way to
fetch or to hash it runs in a fresh process, which measures its own work without its start; curl's costs are those of
the whole process. The ways alternate, round by round, so that a drifting machine affects all of them, and every file
that was written is compared with what was served. Goal: ours takes at most 1.10 times as long as the slower of plain
requests, which neither hash nor wait for the disk, and MD5 alone; the median of the rounds' ratios counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bdd100k_zoo.registry import Artifact

ROOT = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")
BLOCK = 1 << 20
GOAL = 1.10
GOAL_SIZE = 1_000_000_000
"""Bytes of the file for which the goal is meant."""
HALTING = "halting"
"""The name of the file of which the server sends half when it is first asked."""


class Cost(NamedTuple):
    """Of one piece of work."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, of all threads."""


class Job(NamedTuple):
    """What a process has to know."""

    address: str
    """Of the server."""
    folder: str
    """Where it may write."""
    size: int
    """Bytes of the file."""
    md5: str
    quarter_md5: str
    """Of the first quarter, which is what four files are."""

    @property
    def quarter(self) -> int:
        """Bytes of each of four files."""
        return self.size // 4


def content(size: int) -> Iterator[bytes]:
    """Return the first bytes of what is served, block by block: no two alike, and the same in every process."""
    block = random.Random(0).randbytes(BLOCK)
    for begin in range(0, size, BLOCK):
        yield (begin.to_bytes(8, "big") + block[8:])[: size - begin]


def md5_of(size: int) -> str:
    """Return the MD5 digest of the first bytes of what is served."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in content(size):
        digest.update(block)
    return digest.hexdigest()


# The server ----------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Sends for ``/SIZE/NAME.pth`` so many bytes."""

    protocol_version = "HTTP/1.1"
    file: Path
    halted = False

    def do_GET(self) -> None:
        """Send the file, from where a range begins."""
        _, size, name = self.path.split("/")
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self._send_head(begin, int(size))
        halts = name.startswith(HALTING) and not Handler.halted
        Handler.halted = Handler.halted or halts
        with self.file.open("rb") as file:
            self.connection.sendfile(file, begin, (int(size) // 2 if halts else int(size)) - begin)
        if halts:
            threading.Event().wait()

    def _send_head(self, begin: int, size: int) -> None:
        self.send_response(206 if "Range" in self.headers else 200)
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - begin))
        self.send_header("ETag", '"the same for ever"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Report nothing."""


def serve(size: int) -> None:
    """Print the address and serve until stdin is closed."""
    with tempfile.NamedTemporaryFile(dir=MEMORY if MEMORY.is_dir() else None) as file:
        file.writelines(content(size))
        file.flush()
        Handler.file = Path(file.name)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()


@contextmanager
def served(size: int) -> Iterator[str]:
    """Run the server in a process of its own, and give its address."""
    command = [sys.executable, __file__, "--serve", str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.stdin.close()


# What runs in processes of its own: each prepares, and gives the work that is measured --------------------------------


def plain_requests(job: Job) -> Callable[[], object]:
    """Write the file in pieces of 1 MiB, unhashed."""
    import requests

    session = requests.Session()

    def work() -> None:
        with (
            session.get(f"{job.address}/{job.size}/plain.pth", stream=True) as response,
            Path(job.folder, "plain.pth").open("wb") as file,
        ):
            for piece in response.iter_content(BLOCK):
                file.write(piece)

    return work


def hash_in_memory(*kinds: str, job: Job) -> Callable[[], object]:
    """Compute digests of bytes that lie ready."""
    blocks = list(content(job.size))
    digests = [hashlib.new(kind, usedforsecurity=False) for kind in kinds]

    def work() -> None:
        for block in blocks:
            for digest in digests:
                digest.update(block)

    return work


def ours(name: str, job: Job) -> Callable[[], object]:
    """Fetch the file into a cache as ``bdd100k-zoo download`` does, its digest recorded."""
    from bdd100k_zoo.hub import Store
    from bdd100k_zoo.progress import NO_PROGRESS

    store, wanted = Store(Path(job.folder)), artifact(job.address, name, job.size, job.md5)
    return lambda: store.fetch(wanted, NO_PROGRESS)


def ours_of_four(jobs: int, job: Job) -> Callable[[], object]:
    """Fetch four files of a quarter of the size."""
    from bdd100k_zoo.hub import Store
    from bdd100k_zoo.hub.download import fetch_all
    from bdd100k_zoo.progress import NO_PROGRESS

    store = Store(Path(job.folder))
    wanted = [artifact(job.address, f"part{number}", job.quarter, job.quarter_md5) for number in range(4)]
    return lambda: fetch_all(store, wanted, NO_PROGRESS, jobs=jobs)


def artifact(address: str, name: str, size: int, md5: str) -> Artifact:
    """Describe a file as a zoo file does that records its digest."""
    from bdd100k_zoo.registry import Artifact

    return Artifact(name, "weights", (f"{address}/{size}/{name}.pth",), f"md5:{md5}", size)


PARTS: dict[str, Callable[..., Callable[[], object]]] = {
    "requests": plain_requests,
    "MD5 alone": partial(hash_in_memory, "md5"),
    "MD5 and SHA-256 in turn": partial(hash_in_memory, "md5", "sha256"),
    "ours": partial(ours, "whole"),
    "ours, resumed from half": partial(ours, HALTING),
    "ours, four quarters in turn": partial(ours_of_four, 1),
    "ours, four quarters at once": partial(ours_of_four, 4),
}


def run_part(name: str, job: Job) -> None:
    """Do one part's work and print its cost."""
    work = PARTS[name](job=job)
    begin, cpu = time.perf_counter(), time.process_time()
    work()
    print(json.dumps(Cost(time.perf_counter() - begin, time.process_time() - cpu)))


# What runs here ------------------------------------------------------------------------------------------------------


def start(name: str, job: Job) -> subprocess.Popen[str]:
    """Start one of ``PARTS`` in a process of its own."""
    environment = os.environ | {"NO_PROXY": "*", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--part", name, *map(str, job)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def measure_part(name: str, job: Job) -> Cost:
    """Run one of ``PARTS`` and give its cost; raises CalledProcessError."""
    if name.endswith("from half"):
        leave_half(name, job)
    with start(name, job) as process:
        output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, name)
    return Cost(*json.loads(output))


def leave_half(name: str, job: Job) -> None:
    """Have a process killed that has received half of the file."""
    with start(name, job) as process:
        arrived, before = 0, -1
        while arrived < job.size // 2 - BLOCK or arrived != before:
            time.sleep(0.2)
            before, arrived = arrived, max((each.stat().st_size for each in partials(job)), default=0)
        process.kill()


def partials(job: Job) -> Iterator[Path]:
    """Find what has partly arrived."""
    return Path(job.folder).rglob("*.partial")


def measure_curl(_: str, job: Job) -> Cost:
    """Run curl and give the cost of the whole process; raises CalledProcessError."""
    address, target = f"{job.address}/{job.size}/curl.pth", str(Path(job.folder, "curl.pth"))
    begin = time.perf_counter()
    process = subprocess.Popen(["curl", "--silent", "--show-error", "--noproxy", "*", "--output", target, address])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "curl")
    return Cost(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime)


def measure(name: str, job: Job, folder: Path) -> tuple[Cost, bool]:
    """Return the cost of one way, and whether every file that it wrote is right."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        job = job._replace(folder=own)
        cost = (measure_curl if name == "curl -o" else measure_part)(name, job)
        written = list(Path(own).rglob("*.pth"))
        number, size = (4, job.quarter) if "four" in name else (0 if "MD5" in name else 1, job.size)
        return cost, len(written) == number and all(is_right(path, size) for path in written)


def is_right(path: Path, size: int) -> bool:
    """Return whether a file holds exactly the first bytes of what is served."""
    with path.open("rb") as file:
        return all(file.read(len(block)) == block for block in content(size)) and not file.read(1)


def show(name: str, costs: list[Cost], size: int) -> None:
    """Print the medians of one way's costs."""
    wall, cpu = (median(values) for values in zip(*costs, strict=True))
    print(f"{name:<28} wall {wall:6.2f} s   CPU {cpu:6.2f} s   {size / wall / 1e6:7,.0f} MB/s")


def compare(costs: dict[str, list[Cost]], size: int) -> None:
    """Print the ratios of wall times, by rounds."""
    walls = {name: [cost.wall for cost in measured] for name, measured in costs.items()}
    floor = list(map(max, walls["requests"], walls["MD5 alone"]))
    ratio = ratio_of(walls["ours"], floor)
    verdict = ("met" if ratio <= GOAL else "MISSED") if size >= GOAL_SIZE else "not judged, too small"
    print(f"ours / slower of requests and MD5 {ratio:5.2f}   goal at most {GOAL:.2f}: {verdict}")
    print(f"four at once / four in turn       {ratio_of(walls[AT_ONCE], walls[IN_TURN]):5.2f}")
    print(f"resumed from half / ours          {ratio_of(walls[RESUMED], walls['ours']):5.2f}")


*_, RESUMED, IN_TURN, AT_ONCE = PARTS


def ratio_of(these: list[float], those: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    return median(one / other for one, other in zip(these, those, strict=True))


def file_system(folder: Path) -> str:
    """Name the file system of a folder, where the system says."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "an unknown file system"
    lines = [line.split()[:3] for line in mounts.read_text(encoding="utf-8").splitlines()]
    holding = [(len(place), kind, device) for device, place, kind in lines if folder.is_relative_to(place)]
    _, kind, device = max(holding)
    return f"{kind} on {device}"


def run(folder: Path, size: int, rounds: int) -> int:
    """Measure all ways; 1 where a file was wrong."""
    names = [*(["curl -o"] if shutil.which("curl") else []), *PARTS]
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    wrong: set[str] = set()
    for _ in range(rounds):
        with served(size) as address:
            job = Job(address, "", size, md5_of(size), md5_of(size // 4))
            for name in names:
                cost, right = measure(name, job, folder)
                costs[name].append(cost)
                wrong |= set() if right else {name}
    for name, measured in costs.items():
        show(name, measured, size)
    compare(costs, size)
    print(f"WRONG FILES: {', '.join(sorted(wrong))}" if wrong else "every file that was written is right, bit for bit")
    return int(bool(wrong))


def main() -> int:
    """Read the command line; measure, be measured, or serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1000, metavar="MB", help="of the file; default: 1000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where files are written")
    parser.add_argument("--quick", action="store_true", help="16 MB in one round: shows that it works, not how fast")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--part", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return 0
    if arguments.part:
        name, address, folder, size, *digests = arguments.part
        run_part(name, Job(address, folder, int(size), *digests))
        return 0
    folder = arguments.folder.resolve()
    megabytes, rounds = (16, 1) if arguments.quick else (arguments.size, arguments.rounds)
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    print(f"{megabytes:,} MB, {rounds} round{'' if rounds == 1 else 's'}, written to {folder}: {file_system(folder)}")
    return run(folder, megabytes * 1_000_000, rounds)


if __name__ == "__main__":
    sys.exit(main())
