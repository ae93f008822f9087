"""doctor finds no fault in this installation, and reports what is absent, broken or mixed in another."""

from __future__ import annotations

import os
import platform
import tempfile

import pytest

from bdd100k_zoo.diagnostics import doctor
from bdd100k_zoo.diagnostics.doctor import OPTIONAL_JOBS, run_doctor
from bdd100k_zoo.diagnostics.nvidia import NvidiaDriver


def findings_of(*zoo_files, trial=False):
    return {finding.what: finding for finding in run_doctor(zoo_files, trial=trial).findings}


def test_a_healthy_installation_predicts():
    pytest.importorskip("mmdet")
    examined = run_doctor()
    findings = {finding.what: finding for finding in examined.findings}
    assert examined.healthy, findings
    assert set(findings) >= {"Python", "scores", "torch", "torchvision", "cv2", "mmcv", "mmdet", "GPU", "ops"}
    assert "boxes on cpu" in findings[examined.backend].found
    assert "roi_align" in findings["ops"].found
    assert {"mmdet3", "mmdet2"} <= set(findings)
    assert {job.what for job in OPTIONAL_JOBS} <= set(findings)


@pytest.fixture
def bare(monkeypatch):
    """Pretend that nothing but the core is installed."""
    present = doctor.installed_versions()
    monkeypatch.setattr(doctor, "installed_versions", lambda: dict.fromkeys(present) | {"numpy": present["numpy"]})


def test_the_core_alone_is_healthy(bare):
    examined = run_doctor()
    assert examined.healthy
    assert examined.backend is None
    absent = {finding.what: finding for finding in examined.findings if finding.state == "absent"}
    assert set(absent) == {"mmdet3", "mmdet2", *(job.what for job in OPTIONAL_JOBS)}
    assert "bdd100k-zoo[predict]" in absent["mmdet3"].repairs[0]
    assert "bdd100k-zoo[video]" in absent["videos"].repairs[0]
    assert absent["evaluator"].found == "scalabel and bdd100k are not installed"
    assert absent["pages"].found == "jinja2, matplotlib and hotcoco are not installed"


@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize(
    "content", [None, "models: [", "models:\n- name: x\n"], ids=["missing", "no YAML", "incomplete"]
)
def test_a_broken_zoo_file_is_a_finding(content, way, tmp_path, monkeypatch, bare):
    file = tmp_path / "mine.yaml"
    if content:
        file.write_text(content)
    if way == "environment":
        monkeypatch.setenv("BDD100K_ZOO_FILES", str(file))
    findings = findings_of(*([file] if way == "argument" else []))
    assert findings["bdd100k-zoo"].state == "wrong"
    assert str(file) in findings["bdd100k-zoo"].found
    assert str(file) in findings["bdd100k-zoo"].repairs[0]
    assert findings["scores"].state == "ok"


@pytest.mark.parametrize(
    ("cache", "problem"),
    [("file", "is a file"), ("file/below", "is a file"), ("x" * 300, "too long")],
)
def test_a_cache_that_cannot_be_written_is_a_finding(cache, problem, tmp_path, monkeypatch, bare):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BDD100K_ZOO_CACHE", cache)
    finding = findings_of()["cache"]
    assert finding.state == "wrong"
    assert problem in finding.found
    assert "BDD100K_ZOO_CACHE" in finding.repairs[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
@pytest.mark.parametrize("cache", ["locked", "locked/below/further"])
def test_a_cache_below_a_locked_folder_is_a_finding(cache, tmp_path, monkeypatch, bare):
    (tmp_path / "locked").mkdir(mode=0o000)
    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(tmp_path / cache))
    assert findings_of()["cache"].state == "wrong"


def test_a_job_that_fails_in_any_way_is_a_finding(tmp_path, monkeypatch, bare):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    finding = findings_of()["scores"]
    assert finding.state == "wrong"
    assert "FileNotFoundError" in finding.found


def test_an_unsupported_python_is_a_finding(monkeypatch, bare):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 14, 0))
    assert findings_of()["Python"].state == "wrong"


def test_a_torch_for_rocm_is_reported(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "6.3.4")
    assert "ROCm 6.3.4" in findings_of()["GPU"].found


def test_a_gpu_that_torch_does_not_use_is_a_fault_and_the_cpu_is_checked(monkeypatch):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("NOT TRIED: torch uses the GPU that is here")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(doctor.nvidia, "find_driver", lambda: NvidiaDriver("470.82", "11.4", ("NVIDIA T4",)))
    examined = run_doctor(trial=False)
    findings = {finding.what: finding for finding in examined.findings}
    assert not examined.healthy
    assert findings["GPU"].state == "wrong"
    assert findings["ops"].state == "ok"
    assert (examined.gpu.driver, examined.gpu.driver_cuda, examined.gpu.cards) == ("470.82", "11.4", ("NVIDIA T4",))


def test_the_remains_of_an_interrupted_installation_are_ignored(tmp_path, monkeypatch):
    pytest.importorskip("mmdet")
    (tmp_path / "mmcv_full-1.7.2.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert findings_of()["mmcv"].state == "ok"


def test_two_kinds_of_mmcv_are_a_fault_before_either_is_imported(monkeypatch):
    pytest.importorskip("mmdet")
    versions = doctor.installed_versions() | {"mmcv-lite": "2.1.0", "mmcv-full": "1.7.2"}
    monkeypatch.setattr(doctor, "installed_versions", lambda: versions)
    findings = findings_of(trial=True)
    assert findings["mmcv"].state == "wrong"
    assert "overwrite each other" in findings["mmcv"].found
    assert [findings[what].state for what in ("torch", "mmdet", "ops", "mmdet3")] == ["ok", *["unknown"] * 3]


def test_an_old_pyav_is_a_fault(monkeypatch, bare):
    versions = doctor.installed_versions() | {"av": "14.2.0"}
    monkeypatch.setattr(doctor, "installed_versions", lambda: versions)
    finding = findings_of()["videos"]
    assert finding.state == "wrong"
    assert "colours" in finding.found


def test_a_report_does_not_identify_the_user_or_machine(tmp_path, monkeypatch, bare):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(tmp_path / "cache"))
    examined = run_doctor()
    assert str(tmp_path) not in repr(examined)
    assert "~/cache" in repr(examined)
    assert platform.node() not in examined.system
