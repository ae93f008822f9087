"""new: an entry in a user's zoo file, checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

import bdd100k_zoo
from bdd100k_zoo.errors import ManifestError
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.editing import append_model

DEMO_WEIGHTS = Path(bdd100k_zoo.__file__).parent / "demo_run" / "demo_fcos_r18_fpn.pth"
ENTRY: dict[str, str | int] = {"name": "own", "config": "net.py", "weights": "best.pth"}


@pytest.fixture(autouse=True)
def own_model(tmp_path):
    """A config and weights of a small model in the current folder."""
    (tmp_path / "net.py").write_text('_base_ = ["bdd100k_zoo::demo_fcos_r18_fpn.py"]\n')
    (tmp_path / "best.pth").write_bytes(DEMO_WEIGHTS.read_bytes())


def test_a_new_model_is_checked_written_and_known(call, tmp_path):
    result = call("new", "own", "--config", "net.py", "--weights", "best.pth")
    assert result.exit_code == 0, result.stderr
    assert yaml.safe_load(Path("zoo.yaml").read_text()) == {"models": [ENTRY | {"parameters": 1_939_116}]}
    assert f"export BDD100K_ZOO_FILES={tmp_path / 'zoo.yaml'}" in result.stdout
    assert "bdd100k-zoo predict own image.jpg" in result.stdout
    assert "own" in call("--zoo", "zoo.yaml", "list", "--family", "other").stdout


def test_another_model_joins_the_file_of_the_environment(call, tmp_path, monkeypatch):
    file = tmp_path / "lab" / "models.yaml"
    file.parent.mkdir()
    file.write_text(
        "# Ours.\nmodels:\n- name: first  # keep\n  config: ../net.py\n  weights: ../best.pth\n\n# The end.\n"
    )
    monkeypatch.setenv("BDD100K_ZOO_FILES", str(file))
    result = call("new", "own", "--config", "net.py", "--weights", "hf://me/net/best.pth", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["name"], document["file"], document["parameters"]) == ("own", str(file), 1_939_116)
    assert "hf://me/net/best.pth" in document["unchecked"][0]
    assert list(load_zoo().keys())[-2:] == ["first", "own"]
    text = file.read_text()
    assert text.startswith("# Ours.\nmodels:\n- name: first  # keep\n")
    assert text.endswith("\n\n# The end.\n")
    assert load_zoo()["own"].config_path == tmp_path / "net.py"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own", "--config", "none.py", "--weights", "best.pth"], "there is no such file"),
        (["own", "--config", "net.py", "--weights", "none.pth"], "there is no such file"),
        (["Own-1", "--config", "net.py", "--weights", "best.pth"], "cannot be the name of a model"),
        (["fcos_r50_fpn_1x", "--config", "net.py", "--weights", "best.pth"], "there is a model 'fcos_r50_fpn_1x'"),
        (["own", "--config", "net.py", "--weights", "net.py"], "was not loaded"),
        (["own", "--config", "eighty.py", "--weights", "best.pth"], "80"),
        (["own", "--config", "net.py", "--weights", "ftp://a.example/b.pth"], "weights.address"),
    ],
)
def test_nothing_is_written_if_something_is_wrong(call, arguments, message):
    Path("eighty.py").write_text(
        '_base_ = ["bdd100k_zoo::demo_fcos_r18_fpn.py"]\nmodel = dict(bbox_head=dict(num_classes=80))\n'
    )
    result = call("new", *arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert not Path("zoo.yaml").exists()


def test_without_the_packages_the_entry_is_written_unchecked(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(
        "bdd100k_zoo.backends.selection.MMDET3.import_backend",
        lambda: (_ for _ in ()).throw(bdd100k_zoo.errors.MissingPackageError("torch", "predict", "none is installed")),
    )
    result = call("new", "own", "--config", "net.py", "--weights", "best.pth")
    assert result.exit_code == 0, result.stderr
    assert "not checked" in result.stdout
    assert yaml.safe_load(Path("zoo.yaml").read_text()) == {"models": [ENTRY]}


@pytest.mark.parametrize(
    "text", ["", "models:\n", "families: []\n", "models:\n  - {name: a, config: b}\n", "models:\n- name: a"]
)
def test_a_model_is_appended_to_any_plain_list(text):
    before = (yaml.safe_load(text) or {}).get("models") or []
    assert yaml.safe_load(append_model(Path("x"), text, ENTRY))["models"] == [*before, ENTRY]


def test_texts_that_yaml_would_read_otherwise_are_quoted():
    entry = {"name": "own", "config": "a: b #c.py", "weights": "null"}
    assert yaml.safe_load(append_model(Path("x"), "", entry)) == {"models": [entry]}


@pytest.mark.parametrize("text", ["models: []\n", "models: [{name: a}]\n", "- 1\n", "models: {\n"])
def test_other_layouts_are_refused(text):
    with pytest.raises(ManifestError):
        append_model(Path("x"), text, ENTRY)
