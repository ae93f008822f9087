"""Every error of a check is a finding, with its repair."""

from __future__ import annotations

from pathlib import Path

import pytest

from bdd100k_zoo.diagnostics.checks import MAX_DETAIL_LENGTH, CheckStep, Finding, run_checks, shorten_home
from bdd100k_zoo.errors import ManifestError, MissingPackageError, StorageError


def raising(error):
    def see():
        raise error

    return see


def fine():
    return lambda: "works"


@pytest.mark.parametrize(
    ("error", "found", "repair"),
    [
        (MissingPackageError("mmdet", "predict", "No module named 'mmdet'"), "No module named", "bdd100k-zoo[predict]"),
        (ManifestError(Path("z.yaml"), "x", "", "is empty"), "z.yaml", "correct z.yaml"),
        (StorageError(Path("w.pth"), "No space left on device"), "No space left", "TMPDIR"),
        (ValueError("odd"), "ValueError: odd", "--force-reinstall"),
    ],
)
def test_an_error_is_reported_with_its_repair(error, found, repair):
    (finding,) = run_checks([CheckStep("it", raising(error))])
    assert finding.state == "wrong"
    assert found in finding.found
    assert repair in finding.repairs[0]


def test_the_repair_installs_the_extra_of_the_check():
    (finding,) = run_checks([CheckStep("it", raising(ImportError("No module named 'av'")), extra="video")])
    assert "bdd100k-zoo[video]" in finding.repairs[0]


def test_checks_that_need_something_broken_are_skipped():
    def unreachable():
        raise AssertionError("this must not be checked")

    steps = [
        CheckStep("a", raising(ValueError())),
        CheckStep("b", unreachable, ("a",)),
        CheckStep("c", unreachable, ("b",)),
        CheckStep("d", fine()),
    ]
    findings = run_checks(steps)
    assert [finding.state for finding in findings] == ["wrong", "unknown", "unknown", "ok"]
    assert "a must be repaired first" in findings[1].found


def test_long_reasons_are_shortened_to_one_line():
    (finding,) = run_checks([CheckStep("it", raising(ValueError("one\n   two\n" * 1000)))])
    assert "\n" not in finding.found
    assert len(finding.found) <= MAX_DETAIL_LENGTH + 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{home}/.cache/x: is a file", "~/.cache/x: is a file"),
        ("'{home}/x' and {home}", "'~/x' and ~"),
        ("{home}-of-another/x", "{home}-of-another/x"),
        ("nothing", "nothing"),
    ],
)
def test_the_home_folder_is_shortened(text, shown, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shorten_home(text.format(home=tmp_path)) == shown.format(home=tmp_path)
    finding = Finding("it", "wrong", text.format(home=tmp_path), (text.format(home=tmp_path),))
    (found,) = run_checks([CheckStep("it", lambda: finding)])
    assert (found.found, found.repairs) == (shown.format(home=tmp_path), (shown.format(home=tmp_path),))


def test_a_home_at_the_root_is_not_shortened(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert shorten_home("/usr/bin") == "/usr/bin"
