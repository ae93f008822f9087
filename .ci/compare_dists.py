"""Check that an sdist and a wheel hold the same package, complete and small, and the sdist all of the rest."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import Message

LARGEST_WHEEL = 10_000_000
"""Bytes. Most of it is the demo's frames and weights."""
BESIDE_PACKAGE = {
    *("tools", "tests", "docs", "benchmarks", ".ci", ".github"),
    *("README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md"),
    *("mkdocs.yml", "pyproject.toml", "hatch_build.py", "PKG-INFO", ".gitignore"),
}
"""Folders and files at the top of an sdist; the build adds the last two."""
JUNK = re.compile(
    r"__pycache__|\.pyc$|\.ipynb_checkpoints|(^|/)\.(cache|mypy_cache|ruff_cache|pytest_cache)/|^docs/.*\.pth$"
)
ADDRESSES = {"Documentation", "Source", "Issues", "Changelog"}
ZOO_JSON = "bdd100k_zoo/zoo.json"
"""What the build makes of the zoo files, in the wheel alone."""


def of_sdist(path: str) -> dict[str, bytes]:
    """Return the files of an sdist by their place, zoo.yaml by the one that it has in a wheel."""
    files = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            name = member.name.partition("/")[2]
            if member.isfile() and (stream := archive.extractfile(member)):
                files["bdd100k_zoo/zoo.yaml" if name == "zoo.yaml" else name] = stream.read()
    return files


def of_metadata(path: str) -> Message:
    """Return the metadata of a wheel, which must hold the licence too."""
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        found = message_from_bytes(archive.read(name))
        for file in found.get_all("License-File", ["LICENSE"]):
            archive.getinfo(f"{name.removesuffix('METADATA')}licenses/{file}")
        return found


def problems_of_metadata(found: Message) -> list[str]:
    """Return what is wrong with the metadata of a wheel."""
    wrong = []
    if found["License-Expression"] != "Apache-2.0":
        wrong.append(f"its licence is {found['License-Expression']}")
    named = {each.partition(",")[0] for each in found.get_all("Project-URL", [])}
    if named != ADDRESSES:
        wrong.append(f"its addresses are {', '.join(sorted(named))}, not {', '.join(sorted(ADDRESSES))}")
    text = str(found.get_payload())
    if relative := re.findall(r'(?:\]\(|(?:href|src)=")(?!https?:|#)([^)"]+)', text):
        wrong.append(f"its description has links that lead nowhere on an index: {', '.join(relative[:3])}")
    if "<!-- bdd100k-zoo best: begin -->" not in text:
        wrong.append("its description is not the README")
    return wrong


def of_wheel(path: str) -> dict[str, bytes]:
    """Return the files of a wheel, without its metadata."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def listed_by(built: dict[str, bytes]) -> list[str]:
    """Return the files that the zoo files and the labels of the demo name."""
    zoo, demo = (built[f"bdd100k_zoo/{name}"].decode() for name in ("zoo.yaml", "demo_run/zoo.yaml"))
    listed = [f"configs/det/{name}" for name in re.findall(r"^    config: (\S+)$", zoo + demo, re.MULTILINE)]
    listed += [f"demo_run/{name}" for name in re.findall(r"^      address: (\S+)$", demo, re.MULTILINE)]
    for split in ("train", "val"):
        frames = json.loads(built[f"bdd100k_zoo/demo_run/data/labels/det_20/det_{split}.json"])
        listed += [f"demo_run/data/images/100k/{split}/{frame['name']}" for frame in frames]
    return listed


if __name__ == "__main__":
    source, built = of_sdist(sys.argv[1]), of_wheel(sys.argv[2])
    package = {name: content for name, content in source.items() if name.startswith("bdd100k_zoo/")}
    documents = json.loads(built.pop(ZOO_JSON, b"{}"))
    zoo_files = [hashlib.sha256(built[f"bdd100k_zoo/{name}"]).hexdigest() for name in ("zoo.yaml", "demo_run/zoo.yaml")]
    if list(documents) != zoo_files or not all(documents.values()):
        sys.exit(f"{ZOO_JSON} of the wheel does not hold its zoo files")
    differing = [name for name in sorted({*package, *built}) if package.get(name) != built.get(name)]
    if differing:
        sys.exit(f"the package of the sdist and the wheel differ in {', '.join(differing)}")
    listed = listed_by(built)
    absent = [name for name in listed if f"bdd100k_zoo/{name}" not in built]
    if absent or len(listed) < 3:
        sys.exit(f"the wheel lacks files that its own files list: {', '.join(absent) or 'they list none'}")
    beside = {name.partition("/")[0] for name in source} - {"bdd100k_zoo"}
    if beside != BESIDE_PACKAGE:
        sys.exit(f"the sdist lacks or adds {', '.join(sorted(beside ^ BESIDE_PACKAGE))}")
    if junk := [name for name in source if JUNK.search(name)]:
        sys.exit(f"the sdist holds {', '.join(junk[:5])}")
    if wrong := problems_of_metadata(of_metadata(sys.argv[2])):
        sys.exit("the wheel: " + "; ".join(wrong))
    if (size := Path(sys.argv[2]).stat().st_size) > LARGEST_WHEEL:
        sys.exit(f"the wheel has {size:,} bytes, more than {LARGEST_WHEEL:,}")
    sys.stdout.write(f"{len(built)} files, the same in both; a wheel of {size:,} bytes\n")
