"""Metadata that depends on the address of the repository, which is set once, in pyproject.toml."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

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

    def update(self, metadata: dict) -> None:
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
