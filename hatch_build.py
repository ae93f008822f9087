"""What the build adds: addresses in the metadata, and the zoo files as JSON, which is read much faster than YAML."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

ZOO_FILES = ("zoo.yaml", "bdd100k_zoo/demo_run/zoo.yaml")
LINK = re.compile(r'(?P<before>\]\(|(?:href|src)=")(?!https?:|mailto:|#)(?P<path>[^)"\s]+)')
PICTURES = (".png", ".jpg", ".svg")


def absolute_links(text: str, repository: str, version: str) -> str:
    """Return a README whose links and pictures lead to the files of a release, for pages outside the repository."""

    def absolute(found: re.Match[str]) -> str:
        kind = "raw" if found["path"].endswith(PICTURES) else "blob"
        return f"{found['before']}{repository}/{kind}/v{version}/{found['path']}"

    return LINK.sub(absolute, text)


class AddressHook(MetadataHookInterface):
    """Sets the addresses of the project, and the README with absolute links."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add what pyproject.toml declares as dynamic."""
        repository = self.config["repository"]
        metadata["urls"] = {
            "Documentation": self.config["documentation"],
            "Source": repository,
            "Issues": f"{repository}/issues",
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        }
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute_links(text, repository, metadata["version"]),
        }


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
