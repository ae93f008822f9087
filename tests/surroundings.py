"""A cache with files of a small zoo of its own, and a Progress that remembers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.hub import Store, ledger
from bdd100k_zoo.hub.verify import hash_file
from bdd100k_zoo.registry import Zoo, load_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bdd100k_zoo.registry import ArtifactKind, Model

NAME = "mine_1x"
HOST = "https://far.example"


class Told:
    """A Progress that remembers its messages and tasks."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.done: dict[str, int] = {}

    @contextmanager
    def task(self, title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Told]:
        self._title = title
        self.done[title] = done
        yield self

    def advance(self, amount: int) -> None:
        self.done[self._title] += amount

    def restart(self, done: int, total: int | None) -> None:
        self.done[self._title] = done

    def retitle(self, title: str) -> None:
        pass

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def entry_of(name: str, **fields: Any) -> dict[str, Any]:
    """A model as a zoo file lists it: RetinaNet, published on a host that does not exist."""
    return {
        "name": name,
        "aliases": [],
        "family": "retinanet",
        "backbone": "R-50-FPN",
        "schedule": "1x",
        "multi_scale_training": False,
        "config": "config.py",
        "ap_val": None,
        "ap_test": None,
        "weights": {
            "address": f"{HOST}/{name}.pth",
            "alternates": [],
            "digest": fields.pop("digest", None),
            "size": fields.pop("size", None),
        },
        "md5": None,
        "predictions": f"{HOST}/preds/{name}.json",
        "visuals": f"{HOST}/visuals/{name}.zip",
        "scores_val": f"{HOST}/val/{name}.json",
        "scores_test": None,
        **fields,
    }


def write_zoo_file(file: Path, *models: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    config = '_base_ = ["bdd100k_zoo::retinanet_r50_fpn_1x_det_bdd100k.py"]\n'
    (file.parent / "config.py").write_text(config)
    file.write_text(yaml.safe_dump({"models": list(models)}, sort_keys=False))
    return file


def check_weights(model: Model, file: Path) -> None:
    """Check a checkpoint against its model, as the command line does."""
    select_backend().check_checkpoint(model.name, model.config_path, file)


class Surroundings:
    """One cache, and the zoo that it belongs to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zoo_file = folder / "zoo" / "mine.yaml"
        self.store = Store(offline=True)
        self.told = Told()
        self.zoo = self.lists(entry_of(NAME))

    def lists(self, *models: dict[str, Any]) -> Zoo:
        """Make the zoo list these models beside the built-in ones."""
        self.zoo = load_zoo(write_zoo_file(self.zoo_file, *models))
        return self.zoo

    def path(self, what: ArtifactKind = "weights", name: str = NAME) -> Path:
        return self.store.path(self.zoo[name].artifact(what))

    def holds(self, content: bytes, what: ArtifactKind = "weights", name: str = NAME, **facts: Any) -> Path:
        """Put a file into the cache as if it had been downloaded, verified by the publisher's digest."""
        path = self.path(what, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        artifact, hashes, status = self.zoo[name].artifact(what), hash_file(path), path.stat()
        known: dict[str, Any] = {
            "model": name,
            "what": what,
            "address": artifact.addresses[0],
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "md5": hashes.md5,
            "sha256": hashes.sha256,
            "verified_by": "publisher",
            "digest_address": f"{HOST}/{name}.md5",
            "reason": None,
            "stands_for": artifact.addresses[0],
            "zoo_file": str(artifact.zoo_file),
        }
        ledger.write_ledger(path, ledger.LedgerEntry(**(known | facts)))
        return path

    def names(self) -> list[str]:
        """The files in the cache, locks and ledgers aside."""
        files = (path for path in self.store.root.rglob("*") if path.is_file())
        return sorted(path.name for path in files if not path.name.endswith((".lock", ".ledger.json")))
