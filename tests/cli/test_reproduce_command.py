"""reproduce, on the demo's frames with a zoo file of four models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from demo_frames import write_demo_frames
from four_models import DAMAGED, DEAD_HOST, GOOD, WRONG_AP, closed_port, write_four_models

import bdd100k_zoo
from bdd100k_zoo.demo_run.steps import bundled_weights

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES = 6
ALL = (GOOD, WRONG_AP, DAMAGED, DEAD_HOST)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_frames(tmp_path_factory.mktemp("data"), train=1, val=FRAMES)


@pytest.fixture(scope="module")
def ap(data: Path) -> float:
    """The AP of the demo's weights on these frames, measured without ``reproduce``."""
    out = data / "measured"
    run = bdd100k_zoo.predict("demo_fcos_r18_fpn", split="val", data=data, device="cpu", offline=True, out=out)
    return bdd100k_zoo.evaluate(run, data=data).ap


@pytest.fixture
def reproduce(tmp_path: Path, data: Path, ap: float, call) -> Callable[..., tuple[int, dict, str]]:
    """Run the command; give its exit status, its JSON and its messages."""
    zoo_file = write_four_models(tmp_path / "zoo", ap)

    def run(*arguments: str) -> tuple[int, dict, str]:
        given = ["--zoo", str(zoo_file), "reproduce", *arguments, "--data", str(data), "--device", "cpu", "--json"]
        done = call(*given)
        return done.exit_code, json.loads(done.stdout), done.stderr

    return run


def verdicts(found: dict) -> dict[str, str | None]:
    return {each["model"]: each["verdict"] for each in found["models"]}


@pytest.mark.slow
def test_four_models_with_a_kill(reproduce, tmp_path: Path, data: Path) -> None:
    command = [sys.executable, "-m", "bdd100k_zoo", "--zoo", str(tmp_path / "zoo" / "four.yaml"), "reproduce", *ALL]
    killed = subprocess.Popen([*command, "--data", str(data), "--device", "cpu"], stderr=subprocess.PIPE, text=True)
    journal = Path("runs", GOOD, "val", "journal-0.jsonl")
    while not (journal.exists() and b'{"chunk"' in journal.read_bytes()):
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    found = json.loads(Path("reproduction/reproduction.json").read_text())
    assert set(verdicts(found).values()) == {"not run"}
    killed_at = datetime.now(timezone.utc)

    status, found, messages = reproduce(*ALL)
    assert status == 1
    expected = ["reproduced", "differs", "weights not available", "weights not available"]
    assert list(verdicts(found).values()) == expected
    good, wrong, damaged, dead = found["models"]
    assert (good["difference"], wrong["difference"]) == (0.0, -1.5)
    assert good["images"] == FRAMES
    assert good["images_per_second"] > 0
    assert good["verified_by"] == "zoo file"
    assert "expected sha256" in damaged["reason"]
    assert "refused the connection" in dead["reason"]
    run = json.loads(Path("runs", GOOD, "val", "run.json").read_text())
    assert datetime.fromisoformat(run["started"]) < killed_at  # it has resumed
    assert f"{GOOD}: reproduced, AP " in messages
    assert found == json.loads(Path("reproduction/reproduction.json").read_text())
    table = Path("reproduction/reproduction.md").read_text()
    assert "1 reproduced, 1 differs, 2 weights not available" in table
    assert "| differs |" in table
    page = Path("reproduction/report.html").read_text()
    assert GOOD in page
    assert WRONG_AP in page

    # Without what differs, the finished run is found again, and no model is loaded.
    before = Path("runs", GOOD, "val", "run.json").stat().st_mtime_ns
    status, found, _ = reproduce(GOOD)
    assert (status, verdicts(found)) == (0, {GOOD: "reproduced"})
    assert Path("runs", GOOD, "val", "run.json").stat().st_mtime_ns == before
    status, found, _ = reproduce(GOOD, DEAD_HOST)
    assert (status, verdicts(found)) == (3, {GOOD: "reproduced", DEAD_HOST: "weights not available"})


def reproduce_alone(start: list[str], zoo_file: Path, data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, started as given."""
    command = [*start, "-m", "bdd100k_zoo", "--zoo", str(zoo_file), "reproduce", *arguments]
    return subprocess.run(
        [*command, "--data", str(data), "--device", "cpu"], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_several_processes_share_every_run_and_one_reports(tmp_path: Path, data: Path, ap: float) -> None:
    zoo_file = write_four_models(tmp_path / "zoo", ap)
    done = reproduce_alone([sys.executable], zoo_file, data, GOOD, DAMAGED, WRONG_AP, "--gpus", "2")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count(f"{GOOD}: reproduced") == 1
    assert done.stdout.count("reproduction.json") == 1
    found = json.loads(Path("reproduction/reproduction.json").read_text())
    assert list(verdicts(found).values()) == ["reproduced", "weights not available", "differs"]
    for model in (GOOD, WRONG_AP):
        assert json.loads(Path("runs", model, "val", "run.json").read_text())["processes"] == 2
    assert Path("reproduction/report.html").is_file()


@pytest.mark.slow
def test_processes_of_torchrun_finish_and_one_reports(tmp_path: Path, data: Path, ap: float) -> None:
    zoo_file = write_four_models(tmp_path / "zoo", ap)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = reproduce_alone(torchrun, zoo_file, data, GOOD, DEAD_HOST)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("reproduction.json") == 1
    found = json.loads(Path("reproduction/reproduction.json").read_text())
    assert verdicts(found) == {GOOD: "reproduced", DEAD_HOST: "weights not available"}


@pytest.mark.slow
def test_a_part_of_the_images_has_no_verdict_and_a_run_of_its_own(reproduce, data: Path) -> None:
    status, found, _ = reproduce(GOOD, "--limit", "3")
    assert status == 0
    (good,) = found["models"]
    assert good["verdict"] is None
    assert good["interval"] is None  # of so few images
    assert good["images"] == 3
    labels = json.loads((data / "labels/det_20/det_val.json").read_text())
    part = json.loads(Path("reproduction/labels-3.json").read_text())
    assert part == [labels[0], labels[2], labels[4]]
    assert Path("runs", GOOD, "val-3", "det.json").is_file()


@pytest.mark.slow
def test_weights_that_the_user_has_are_checked_and_imported(reproduce, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / f"{DEAD_HOST}_det_bdd100k.pth").write_bytes(bundled_weights(bdd100k_zoo.load_zoo()).read_bytes())
    (mine / f"{WRONG_AP}_det_bdd100k.pth").write_bytes(b"no checkpoint")
    status, found, _ = reproduce(DEAD_HOST, WRONG_AP, "--weights-dir", str(mine))
    assert status == 3
    assert verdicts(found) == {DEAD_HOST: "reproduced", WRONG_AP: "weights not available"}
    assert found["models"][0]["verified_by"] == "zoo file"


@pytest.mark.slow
def test_weights_of_which_no_digest_is_known_are_run_as_unverified(reproduce, tmp_path: Path) -> None:
    """As all of the built-in zoo are, unless the publishers' host answers."""
    zoo_file = tmp_path / "zoo" / "four.yaml"
    document = yaml.safe_load(zoo_file.read_text())
    for model in document["models"]:
        model["weights"] = f"https://127.0.0.1:{closed_port()}/{model['name']}_det_bdd100k.pth"
    zoo_file.write_text(yaml.safe_dump(document))
    status, found, _ = reproduce(GOOD, "--weights-dir", str(zoo_file.parent))
    assert (status, verdicts(found)) == (0, {GOOD: "reproduced"}), found
    assert found["models"][0]["verified_by"] is None


def test_published_predictions_need_no_weights(tmp_path: Path, data: Path, call) -> None:
    """The labels themselves, as predictions, have an AP of 100."""
    frames = json.loads((data / "labels/det_20/det_val.json").read_text())
    for label in (label for frame in frames for label in frame["labels"]):
        label["score"] = 1.0
    zoo_file = write_four_models(tmp_path / "zoo", 98.5)
    (tmp_path / "zoo" / "preds.json").write_text(json.dumps(frames))
    zoo_file.write_text(zoo_file.read_text().replace("- name: wrong", "  predictions: preds.json\n- name: wrong"))
    options = ("--data", str(data), "--published-predictions", "--json")
    done = call("--zoo", str(zoo_file), "reproduce", GOOD, WRONG_AP, *options)
    assert done.exit_code == 1, done.stderr
    good, wrong = json.loads(done.stdout)["models"]
    assert (good["verdict"], good["difference"]) == ("differs", 1.5)
    assert good["images_per_second"] is None
    assert wrong["verdict"] == "predictions not available"
    assert "Path" not in wrong["reason"]
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give --all"),
        (["fcos_r50_fpn_1x", "--all"], "give --all"),
        (["fcos_r50_fpn_1x"], "--data ROOT"),
        (["fcos_r50_fpn_1x", "--data", ""], "is empty"),
        (["--all", "--published-predictions", "--limit", "3"], "needs no --limit"),
    ],
)
def test_wrong_usage(arguments: list[str], problem: str, call) -> None:
    done = call("reproduce", *arguments)
    assert done.exit_code == 2
    assert problem in " ".join(done.stderr.split())


def test_a_split_without_labels_is_an_error_before_any_work(data: Path, call) -> None:
    done = call("reproduce", "fcos_r50_fpn_1x", "--data", str(data), "--split", "test")
    assert done.exit_code == 1
    assert "there are no labels of test" in done.stderr
    assert "use --data ROOT (or BDD100K_ROOT) with labels/det_20/det_test.json" in done.stderr
    assert not Path("reproduction").exists()


def test_a_model_without_a_published_ap_is_not_run(tmp_path: Path, data: Path, call) -> None:
    zoo_file = write_four_models(tmp_path / "zoo")
    zoo_file.write_text(zoo_file.read_text().replace("ap_val: 34.34", "ap_val: null"))
    done = call("--zoo", str(zoo_file), "reproduce", GOOD, "--data", str(data))
    assert done.exit_code == 3
    assert "no AP on val is published" in done.stdout
