"""What the documents show is tried."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from bdd100k_zoo.cli import cache
from bdd100k_zoo.cli.app import COMMANDS, build_app
from bdd100k_zoo.registry import load_zoo
from tools.scenes.dataset import write_scenes

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def examples(document: str) -> dict[str, str]:
    """The fenced blocks of a document that are marked as files, by file name."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))


def test_the_worked_example_of_a_zoo_file_loads_and_lists():
    files = examples("contributing.md")
    assert set(files) == {"my_zoo.yaml", "retinanet_r50_fpn_2x.py"}
    for name, text in files.items():
        Path(name).write_text(text)
    for command in (["list", "--family", "retinanet"], ["info", "retinanet_r50_fpn_2x"]):
        result = CliRunner().invoke(build_app(), ["--zoo", "my_zoo.yaml", *command])
        assert result.exit_code == 0, result.stderr
        assert "retinanet_r50_fpn_2x" in result.stdout


def test_the_example_of_a_zoo_file_of_digests_loads():
    (text,) = examples("cache.md").values()
    Path("digests.yaml").write_text(text)
    given = [each for model in load_zoo("digests.yaml").models for each in model.user_digests]
    assert {each.what for each in given} == {"weights", "preds"}
    assert all(each.digest in text for each in given)


def test_the_config_of_the_worked_example_trains_for_24_epochs():
    from bdd100k_zoo.backends.mmdet3 import import_backend

    import_backend()
    from bdd100k_zoo.backends.common.config import load_config

    for name, text in examples("contributing.md").items():
        Path(name).write_text(text)
    config = load_config(load_zoo("my_zoo.yaml")["retinanet_r50_fpn_2x"].config_path)
    assert config.train_cfg.max_epochs == 24
    assert config.param_scheduler[1].milestones == [16, 22]
    assert config.model.bbox_head.num_classes == 10


def changes(document: str) -> dict[str, str]:
    """Return the excerpts of diffs in a document, by name."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return dict(re.findall(r"<!-- change: (\S+) -->\n```diff\n(.*?)```", text, re.DOTALL))


def apply_change(change: str, root: Path) -> None:
    """Apply an excerpt of a diff, whose hunks have no line numbers: what they replace occurs once in its file."""
    for file, hunks in re.findall(r"^--- (\S+)\n(.*?)(?=^--- |\Z)", change, re.MULTILINE | re.DOTALL):
        text = (root / file).read_text(encoding="utf-8")
        for hunk in filter(None, re.split(r"^@@.*\n", hunks, flags=re.MULTILINE)):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            assert text.count(before) == 1, f"{file} has changed: {before}"
            text = text.replace(before, "".join(line[1:] for line in lines if line[0] in " +"))
        (root / file).write_text(text, encoding="utf-8")


USES = {
    "metric": """
        from bdd100k_zoo.evaluation.scores import parse_official_scores
        from bdd100k_zoo.evaluation.scoring import score_without_predictions
        scores = score_without_predictions([True] * 10)
        assert scores["AP90"].overall == 0
        assert b"AP90" not in scores.official_json()
        assert parse_official_scores(json.loads(scores.official_json())).to_dict()["AP90"]["car"] is None
    """,
    "format": """
        from bdd100k_zoo.data.convert import convert_file
        label = {"category": "car", "score": 0.5, "box2d": {"x1": 1, "y1": 2, "x2": 30, "y2": 40}}
        Path("in.json").write_text(json.dumps([{"name": "a.jpg", "labels": [label]}]))
        assert convert_file(Path("in.json"), Path("out.jsonl"), "lines").written == "JSON lines results"
        (line,) = map(json.loads, Path("out.jsonl").read_text().splitlines())
        assert line == {"image": "a.jpg", "class": "car", "box": {"x1": 1, "y1": 2, "x2": 30, "y2": 40}}
    """,
    "fact": """
        from bdd100k_zoo.backends.protocol import DetectorFacts
        assert "cpu" in DetectorFacts.__struct_fields__
    """,
    "mirror": """
        from bdd100k_zoo.hub.mirrors import configured_mirrors, resolve_address
        (mirror,) = configured_mirrors({"BDD100K_ZOO_MIRRORS": "s3://our-bucket/zoo"})
        assert resolve_address(mirror.base + "/x.pth")[0] == "https://our-bucket.s3.amazonaws.com/zoo/x.pth"
    """,
}
"""What each change makes possible."""


@pytest.mark.parametrize("name", USES)
def test_the_worked_examples_of_changes_can_be_applied_and_used(name):
    found = changes("contributing.md")
    assert found.keys() == USES.keys()
    shutil.copytree(ROOT / "bdd100k_zoo", "bdd100k_zoo", ignore=shutil.ignore_patterns("__pycache__"))
    apply_change(found[name], Path())
    program = "import json, bdd100k_zoo\nfrom pathlib import Path\n" + dedent(USES[name])
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PAGES = (
    "usage.md",
    "cache.md",
    "contributing.md",
    "demo.md",
    "report.md",
    "reproduce.md",
    "show.md",
    "site.md",
    "training.md",
)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_pages_exists(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    spoken = set(re.findall(r"^(?:\$ )?bdd100k-zoo (?:--zoo \S+ )?([a-z]+)", text, re.MULTILINE))
    assert spoken
    assert spoken <= COMMANDS.keys()


ZOO_OF_ONE = """
models:
- name: mine_1x
  aliases: []
  family: fcos
  backbone: R-18
  schedule: 1x
  multi_scale_training: false
  config: mine.py
  ap_val: 12.34
  ap_test: null
  weights: {address: https://weights.example/mine_1x.pth, alternates: [], digest: null, size: null}
  md5: null
  predictions: null
  visuals: null
  scores_val: null
  scores_test: null
"""


def test_the_command_for_a_published_checkpoint_compares_it_with_the_published_ap(monkeypatch):
    text = (DOCS / "copies-wanted.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- test: published checkpoint -->\n```sh\n(.*?)```", text, re.DOTALL)[1]
    settings, _, command = block.partition("\n")
    assert settings.startswith("MODEL=")
    Path("zoo.yaml").write_text(ZOO_OF_ONE)
    Path("mine.py").write_text("_base_ = ['bdd100k_zoo::demo_fcos_r18_fpn.py']\n")
    write_scenes(Path("data"), train=0, val=3)
    weights = load_zoo()["demo_fcos_r18_fpn"].config_path.parents[2] / "demo_run" / "demo_fcos_r18_fpn.pth"
    monkeypatch.setenv("BDD100K_ZOO_FILES", "zoo.yaml")
    monkeypatch.setenv("BDD100K_ZOO_OFFLINE", "1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    given = f"set -euo pipefail; MODEL=mine_1x FILE={weights} ROOT=data\n"
    done = subprocess.run(["bash", "-c", given + command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = float(re.search(r"^OVERALL +([0-9.]+)", done.stdout, re.MULTILINE)[1])
    beside = re.search(r"^mine_1x +([0-9.]+) .* 12\.34 ([+-][0-9.]+)$", done.stdout, re.MULTILINE)
    assert round(float(beside[1]), 1) == measured > 0
    assert float(beside[2]) == round(float(beside[1]) - 12.34, 2)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert f"sha256:{digest}" in done.stdout


def test_all_models_are_shown_to_find_the_classic_boxes():
    text = (DOCS / "fidelity.md").read_text(encoding="utf-8")
    assert "**38 of 38 architectures find the same boxes** with `mmdet3` as with `mmdet2`" in text
    table = text.split("## ")[0]
    assert [model.name for model in load_zoo().models if f"`{model.name}`" not in table] == []


def test_every_cache_command_is_on_its_page():
    spoken = set(re.findall(r"bdd100k-zoo cache ([a-z]+)", (DOCS / "cache.md").read_text(encoding="utf-8")))
    assert spoken == {command.name or command.callback.__name__ for command in cache.cache_app.registered_commands}
