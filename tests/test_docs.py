"""What the documents show is tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bdd100k_zoo.cli import cache
from bdd100k_zoo.cli.main import app
from bdd100k_zoo.manifest import load_zoo

PAGES = ("usage.md", "cache.md", "contributing.md", "report.md", "show.md", "site.md", "training.md")
DOCS = Path(__file__).resolve().parents[1] / "docs"


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
        result = CliRunner().invoke(app, ["--zoo", "my_zoo.yaml", *command])
        assert result.exit_code == 0, result.stderr
        assert "retinanet_r50_fpn_2x" in result.stdout


def test_the_example_of_a_zoo_file_of_digests_loads():
    (text,) = examples("cache.md").values()
    Path("digests.yaml").write_text(text)
    given = [each for model in load_zoo("digests.yaml").models for each in model.user_digests]
    assert {each.what for each in given} == {"weights", "preds"}
    assert all(each.digest in text for each in given)


def test_the_config_of_the_worked_example_trains_for_24_epochs():
    from bdd100k_zoo.mmdet_backend import import_backend

    import_backend()
    from bdd100k_zoo.mm_common.config import load_config

    for name, text in examples("contributing.md").items():
        Path(name).write_text(text)
    config = load_config(load_zoo("my_zoo.yaml")["retinanet_r50_fpn_2x"].config_path)
    assert config.train_cfg.max_epochs == 24
    assert config.param_scheduler[1].milestones == [16, 22]
    assert config.model.bbox_head.num_classes == 10


PAGES = ("usage.md", "cache.md", "contributing.md", "demo.md", "report.md", "show.md", "site.md", "training.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_pages_exists(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    spoken = set(re.findall(r"^(?:\$ )?bdd100k-zoo (?:--zoo \S+ )?([a-z]+)", text, re.MULTILINE))
    assert spoken
    assert spoken <= {command.name for command in (*app.registered_commands, *app.registered_groups)}


def test_every_model_is_shown_to_find_the_classic_boxes():
    text = (DOCS / "fidelity.md").read_text(encoding="utf-8")
    assert "**25 of 25 models find the same boxes** through `mmdet3` as through `mmdet2`" in text
    assert [model.name for model in load_zoo().models if f"| `{model.name}` |" not in text] == []


def test_every_cache_command_is_on_its_page():
    spoken = set(re.findall(r"bdd100k-zoo cache ([a-z]+)", (DOCS / "cache.md").read_text(encoding="utf-8")))
    assert spoken == {command.name or command.callback.__name__ for command in cache.app.registered_commands}
