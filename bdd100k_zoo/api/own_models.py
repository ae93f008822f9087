"""new: a config and weights → an entry in a user's zoo file, checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.errors import ManifestError, MissingPackageError, StorageError, ZooError
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.hub.mirrors import local_path
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.addresses import redact_address
from bdd100k_zoo.registry.editing import append_model
from bdd100k_zoo.registry.loading import builtin_zoo_file
from bdd100k_zoo.registry.models import MODEL_NAME_PATTERN

if TYPE_CHECKING:
    from bdd100k_zoo.api.arguments import AnyPath
    from bdd100k_zoo.registry import Model

DEFAULT_FILE = "zoo.yaml"


class AddedModel(NamedTuple):
    """A model that was added to a zoo file."""

    model: Model
    file: Path
    """The zoo file, absolute."""
    unchecked: tuple[str, ...]
    """What was not checked, and why, one sentence each."""


def add_model(name: str, config: AnyPath, weights: AnyPath, *, out: AnyPath | None = None) -> AddedModel:
    """Add a model to a zoo file of the user, after checking its config and weights.

    The config must build a model of the ten classes, and a file of weights must load into it strictly. Nothing is
    written if a check fails. Without the packages of the extra ``predict`` the entry is written unchecked.

    Args:
        name: of the model: lower-case letters, digits, ``_`` and ``-``.
        config: an mmdet config. It is code, and is run.
        weights: a checkpoint, or its ``https://``, ``hf://`` or ``file://`` address; addresses are not contacted.
        out: the zoo file, new or existing; None for the one that BDD100K_ZOO_FILES names, or else ``./zoo.yaml``.

    Raises:
        ZooError: the name is not valid or is taken, or ``out`` is the built-in zoo file.
        ConfigError, CheckpointError: a check failed.
        ManifestError: the zoo file is malformed, or an address is.
        StorageError: a file cannot be read or written.
    """
    file = Path(os.path.abspath(os.path.expanduser(out if out is not None else default_file())))  # noqa: PTH100, PTH111
    if os.path.realpath(file) == os.path.realpath(builtin_zoo_file()):
        raise ZooError(f"{file} is the built-in zoo file", "choose a zoo file of your own with --out FILE")
    if not MODEL_NAME_PATTERN.fullmatch(name):
        raise ZooError(f"{name!r} cannot be the name of a model", "use lower-case letters, digits, `_` and `-`")
    known = load_zoo(*([file] if file.exists() else []))
    if name in known:
        raise ZooError(
            f"there is a model {name!r} already, in {known[name].zoo_file}", "choose another name, or edit that entry"
        )
    config_path = _existing(config)
    address = os.fspath(weights)
    checkpoint = local_path(address) if "://" in address else _existing(weights)
    parameters, unchecked = _check(name, config_path, checkpoint)
    if checkpoint is None:
        unchecked += (f"the weights at {redact_address(address)}: they are checked when they are first used",)
    entry = {
        "name": name,
        "config": _written_path(config_path, file.parent),
        "weights": address if "://" in address else _written_path(_existing(weights), file.parent),
    }
    return AddedModel(_write(file, name, entry | ({"parameters": parameters} if parameters else {})), file, unchecked)


def default_file() -> Path:
    """Return the one zoo file that BDD100K_ZOO_FILES names, or else ``zoo.yaml`` in the current folder."""
    named = [name for name in os.environ.get("BDD100K_ZOO_FILES", "").split(os.pathsep) if name]
    return Path(named[0] if len(named) == 1 else DEFAULT_FILE)


def _existing(path: AnyPath) -> Path:
    found = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111
    if not os.path.isfile(found):  # noqa: PTH113  (it never raises)
        raise StorageError(found, "there is no such file")
    return found


def _written_path(path: Path, folder: Path) -> str:
    """Return a path as the zoo file in a folder writes it: relative if it is below that folder."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _check(name: str, config: Path, checkpoint: Path | None) -> tuple[int | None, tuple[str, ...]]:
    """Return the number of parameters, and what could not be checked."""
    from bdd100k_zoo.backends.selection import select_backend

    backend = select_backend()
    try:
        backend.check(config, "cpu")
        if checkpoint is not None:
            backend.check_checkpoint(name, config, checkpoint)
        model = backend.build_meta_model(config, name)
    except MissingPackageError as missing:
        return None, (f"the config and the weights: {missing}",)
    return sum(each.numel() for each in model.parameters()), ()


def _write(file: Path, name: str, entry: dict[str, str | int]) -> Model:
    """Write an entry into a zoo file, and return its model; a file that would not load is left as it was."""
    before = None
    with storage_errors(file):
        if file.exists():
            before = file.read_bytes()
    text = append_model(file, (before or b"").decode(), entry)
    write_atomically(file, text.encode())
    try:
        return load_zoo(file)[name]
    except ManifestError:
        if before is None:
            file.unlink()
        else:
            write_atomically(file, before)
        raise
