"""Put the zoo files into the wheel as JSON too, which is read a hundred times as fast as YAML."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ZOO_FILES = ("zoo.yaml", "bdd100k_zoo/demo_run/zoo.yaml")


class ZooFilesAsJson(BuildHookInterface):
    """Writes ``bdd100k_zoo/zoo.json``: for the SHA-256 of each zoo file of the package, what is in the file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file and include it, except in an editable install, whose zoo files change."""
        if version == "editable":
            return
        contents = [Path(self.root, name).read_bytes() for name in ZOO_FILES]
        documents = {hashlib.sha256(content).hexdigest(): yaml.safe_load(content) for content in contents}
        self.folder = tempfile.TemporaryDirectory()
        file = Path(self.folder.name, "zoo.json")
        file.write_text(json.dumps(documents, default=str), encoding="utf-8")  # str: dates, as the loader reads them
        build_data["force_include"][str(file)] = "bdd100k_zoo/zoo.json"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the file, which is in the wheel now."""
        if version != "editable":
            self.folder.cleanup()
