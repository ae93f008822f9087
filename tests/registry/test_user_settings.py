"""The user's configuration file."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.errors import SettingsError
from bdd100k_zoo.registry.settings import Settings, read_settings, settings_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_a_file_that_is_not_there_sets_nothing(config: Path) -> None:
    assert read_settings(config) == Settings()


@pytest.mark.parametrize("text", ["", "# nothing\n", "mirrors:\n", "mirrors: []\n", "{}\n"])
def test_an_empty_file_or_list_sets_no_mirror(config: Path, text: str) -> None:
    config.write_text(text)
    assert not read_settings(config).mirrors


def test_mirrors_are_read_in_their_order(config: Path) -> None:
    config.write_text("mirrors:\n  - hf://lab/zoo\n  - file:///mnt/zoo\n")
    assert read_settings(config).mirrors == ("hf://lab/zoo", "file:///mnt/zoo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mirror: []\n", "mirror"),
        ("mirrors: https://one.example\n", "mirrors in "),
        ("mirrors: [https://one.example, 3]\n", "mirrors[1] in "),
        ("- https://one.example\n", "array"),
        ("mirrors: [\n", "YAML"),
        ("mirrors: []\nmirrors: []\n", "twice"),
        ("mirrors: &all []\nfurther: *all\n", "alias"),
        ("mirrors: !!python/object/apply:os.system [true]\n", "tag"),
        ("mirrors: " + "[" * 5000, "nest"),
    ],
)
def test_an_invalid_setting_is_an_error_that_names_the_file(config: Path, text: str, message: str) -> None:
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_settings(config)
    assert str(config) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"mirrors: [\xff]\n", b"\x00"])
def test_bytes_that_are_no_text_are_an_error(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    with pytest.raises(SettingsError, match="YAML"):
        read_settings(config)


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)


def test_the_variable_names_another_file_and_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = tmp_path / "mine.yaml"
    mine.write_text("mirrors: []\n")
    assert settings_file({"BDD100K_ZOO_CONFIG": "~/mine.yaml"}) == mine


def test_a_missing_file_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"BDD100K_ZOO_CONFIG: .*none\.yaml.*is not there"):
        settings_file({"BDD100K_ZOO_CONFIG": str(tmp_path / "none.yaml")})


@pytest.mark.parametrize("environment", [{}, {"BDD100K_ZOO_CONFIG": ""}])
def test_by_default_the_file_is_in_the_users_folder_of_settings(environment: dict[str, str]) -> None:
    file = settings_file(environment)
    assert file.is_absolute()
    assert file.parts[-2:] == ("bdd100k-zoo", "config.yaml")


def test_reading_settings_loads_neither_requests_nor_numpy() -> None:
    look = "import sys, bdd100k_zoo.registry.settings; sys.exit(bool({'requests', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", look], env=dict(os.environ), check=False).returncode == 0
