"""The build writes the package's zoo files as JSON, which reads the same; a file that has changed is read as YAML."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bdd100k_zoo.registry import Zoo, load_zoo, loading, yaml_files

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]

pytest.importorskip("hatchling")


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Path]:
    """Run the hook of the build for a kind of wheel; gives where its file is then, if there is one."""
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(version: str) -> Path:
        hook = module.ZooFilesAsJson(str(REPOSITORY), {}, None, None, str(tmp_path), "wheel")
        data: dict[str, Any] = {"force_include": {}}
        hook.initialize(version, data)
        for source, target in data["force_include"].items():
            shutil.copyfile(source, tmp_path / Path(target).name)
        hook.finalize(version, data, "")
        assert not any(map(Path.exists, map(Path, data["force_include"])))
        return tmp_path / "zoo.json"

    return run


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("no YAML should be read")


def records(zoo: Zoo) -> tuple[object, ...]:
    return zoo.families, zoo.models, zoo.unlisted, zoo.files


def test_the_zoo_is_the_same_as_json_and_as_yaml(build: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "ZOO_JSON", Path("nowhere"))
    as_yaml = load_zoo()
    monkeypatch.setattr(loading, "ZOO_JSON", build("standard"))
    monkeypatch.setattr(yaml_files, "parse_yaml", refuse)
    assert records(load_zoo()) == records(as_yaml)
    assert as_yaml.models[0].published  # dates too


def test_an_edited_zoo_is_read_as_yaml(
    build: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "ZOO_JSON", build("standard"))
    edited = tmp_path / "zoo.yaml"
    text = loading.builtin_zoo_file().read_text(encoding="utf-8")
    edited.write_text(text.replace("title: RetinaNet\n", "title: Retina\n"), encoding="utf-8")
    monkeypatch.setattr(loading, "builtin_zoo_file", lambda: edited)
    assert load_zoo().family("retinanet").title == "Retina"


def test_an_editable_install_has_none(build: Callable[[str], Path]) -> None:
    assert not build("editable").exists()
