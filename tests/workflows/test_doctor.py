"""doctor finds this installation sound, and names the repair of one that is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bdd100k_zoo.workflows.doctor import examine
from bdd100k_zoo.workflows.repairs import repair_of

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_sound_installation_predicts():
    findings = {finding.what: finding for finding in examine()}
    assert all(finding.fine for finding in findings.values()), findings
    assert set(findings) >= {"Python", "torch", "torchvision", "cv2", "mmengine", "mmcv", "mmdet", "CUDA", "trial"}
    assert "boxes" in findings["trial"].found


@pytest.mark.parametrize(
    ("reason", "repair"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "apt-get install libgl1"),
        ("libgthread-2.0.so.0: cannot open shared object file", "libglib2.0-0"),
        ("No module named 'torchvision'", "pip install torchvision"),
        ("No module named 'mmdet'", "pip install 'bdd100k-zoo[predict]'"),
        ("MMCV==2.2.0 is used but incompatible. Please install", "pip install mmcv-lite==2.1.0"),
        ("operator torchvision::nms does not exist", "--force-reinstall torch torchvision"),
        ("something never seen", "pip install"),
    ],
)
def test_each_known_fault_has_its_repair(reason, repair):
    assert repair in repair_of(reason)


BROKEN = """
import sys
package, reason = sys.argv[1:]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == package:
            raise ImportError(reason)
sys.meta_path.insert(0, Refuse())
sys.argv = ["bdd100k-zoo", "doctor", "--json"]
from bdd100k_zoo.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("package", "reason", "repair"),
    [
        ("torchvision", "No module named 'torchvision'", "torchvision"),
        ("cv2", "libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
    ],
)
def test_a_broken_import_is_told_with_its_repair(package, reason, repair, tmp_path):
    command = [sys.executable, "-c", BROKEN, package, reason]
    environment = {"PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert not findings[package]["fine"]
    assert repair in findings[package]["repair"]
    assert "left out" in findings["trial"]["found"]
