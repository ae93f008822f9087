"""Processes end soon after their parent was killed, whatever they are doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE = 20.0

WORKER = """
import os, sys, time
from pathlib import Path
from bdd100k_zoo.benchmark.worker_process import WorkerProcess

def prepare(folder):
    def work(task):
        Path(folder, "pids").write_text(str(os.getpid()))
        time.sleep(600)
    return None, work

if __name__ == "__main__":
    with WorkerProcess(prepare, sys.argv[1]) as worker:
        worker.do(0)
"""

POOL = """
import os, sys, time
from multiprocessing import get_context
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from bdd100k_zoo.reporting import picture_files as drawing

def work(folder):
    Path(folder, "pids").write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=drawing._start_worker, initargs=(context.Event(),)) as pool:
        pool.submit(work, sys.argv[1]).result()
"""

# An agent that is in another session, and its worker in a third, neither of which hears of what happens to the first.
LAUNCHED = """
import sys
from pathlib import Path
from bdd100k_zoo.prediction import launch

child = '''
import os, subprocess, sys, time
from pathlib import Path
from bdd100k_zoo.child_processes import exit_with_stdin
exit_with_stdin()
if sys.argv[2] == "agent":
    worker = subprocess.Popen([sys.executable, "-c", sys.argv[3], sys.argv[1], "worker"], start_new_session=True)
    Path(sys.argv[1], "agent").write_text(str(os.getpid()))
    worker.wait()
else:
    Path(sys.argv[1], "pids").write_text(f"{os.getpid()} {Path(sys.argv[1], 'agent').read_text()}")
time.sleep(600)
'''
launch.torchrun_command = lambda processes, arguments: [sys.executable, "-c", child, *arguments, "agent", child]
launch.launch_processes(2, sys.argv[1:], Path(sys.argv[1]))
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _reset_hangups() -> None:
    """Handle hangups as in a terminal, even if the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("program", [WORKER, POOL, LAUNCHED], ids=["worker", "pool", "launched"])
def test_children_end_with_a_parent_that_is_killed(program: str, number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=_reset_hangups)
    pids: list[int] = []
    try:
        while not pids:
            assert parent.poll() is None
            time.sleep(0.02)
            if (tmp_path / "pids").exists():
                pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
        assert all(map(is_running, pids))
        parent.send_signal(number)
        assert parent.wait() == -number
        deadline = time.monotonic() + PATIENCE
        while any(map(is_running, pids)):
            assert time.monotonic() < deadline, "they outlive their parent"
            time.sleep(0.02)
    finally:
        for pid in [parent.pid, *pids]:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        parent.wait()
