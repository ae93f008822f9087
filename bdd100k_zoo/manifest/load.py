"""Zoo files on disk → one frozen, checked Zoo."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from bdd100k_zoo.errors import ManifestError
from bdd100k_zoo.manifest.addresses import address_problem, is_private, secret_problem
from bdd100k_zoo.manifest.schema import DIGEST, NAME, Family, Model, ModelEntry, What, Zoo
from bdd100k_zoo.manifest.strict_yaml import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Entry = TypeVar("Entry", Family, ModelEntry)

SCHEDULE = re.compile(r"[0-9]+(\.[0-9]+)?x")

PACKAGE = Path(__file__).resolve().parents[1]
CONFIGS = PACKAGE / "configs" / "det"
DEMO = PACKAGE / "demo" / "zoo.yaml"
"""The detector of the demo, whose weights stand beside this file."""


def load_zoo(*files: str | os.PathLike[str]) -> Zoo:
    """Load the built-in zoo, then the files of BDD100K_ZOO_FILES, then ``files``.

    A file adds families and models; a name or alias that is already taken is an error, never a replacement. The
    detector of the demo is known by its name, and not among ``models``.

    Raises:
        ManifestError: a file cannot be read or breaks the schema.
    """
    zoo = _with_demo(_add(Zoo(), builtin_file(), CONFIGS))
    listed = [name for name in os.environ.get("BDD100K_ZOO_FILES", "").split(os.pathsep) if name]
    for file in dict.fromkeys(_resolved(name) for name in (*listed, *files)):
        zoo = _add(zoo, file, file.parent)
    return zoo


def _resolved(name: str | os.PathLike[str]) -> Path:
    """Path's own methods raise RuntimeError for an unknown ~user and a link to itself; these leave both to ``open``."""
    return Path(os.path.realpath(os.path.expanduser(name)))  # noqa: PTH111


def builtin_file() -> Path:
    """Find the package's own zoo file: inside an installed package, or at the top of a checkout."""
    installed = PACKAGE / "zoo.yaml"
    return installed if installed.is_file() else PACKAGE.parent / "zoo.yaml"


def _with_demo(zoo: Zoo) -> Zoo:
    models = _add(Zoo(families=zoo.families), DEMO, CONFIGS).models
    return replace(zoo, unlisted=tuple(map(_bundled, models)))


def _bundled(model: Model) -> Model:
    weights = replace(model.weights, address=(DEMO.parent / model.weights.address).as_uri())
    return replace(model, weights=weights)


def _add(zoo: Zoo, file: Path, configs: Path) -> Zoo:
    document = _read(file)
    families = (
        *zoo.families,
        *(_family(file, raw, place) for place, raw in _entries(file, document, "families")),
    )
    models = tuple(_model(file, raw, place, configs) for place, raw in _entries(file, document, "models"))
    extended = replace(zoo, families=families, models=(*zoo.models, *models), files=(*zoo.files, file))
    _check_names(extended)
    return extended


def _read(file: Path) -> dict[str, Any]:
    try:
        document = parse_yaml(file.read_bytes(), trusted=file == builtin_file())
    except OSError as error:
        raise ManifestError(file, "", "", f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ManifestError(file, "", "", str(error)) from error
    if not isinstance(document, dict):
        raise ManifestError(file, "", "", "expected a mapping with `models` and, for new ones, `families`")
    for key in document:
        if key not in ("families", "models"):
            raise ManifestError(file, "", str(key), "unknown field; expected `families` and `models`")
    return document


def _entries(file: Path, document: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    entries = [] if document.get(key) is None else document[key]
    if not isinstance(entries, list):
        raise ManifestError(file, "", key, f"expected a list, found {type(entries).__name__}")
    for number, raw in enumerate(entries, start=1):
        place = f"entry {number} of {key}"
        if not isinstance(raw, dict):
            raise ManifestError(file, place, "", f"expected a mapping, found {type(raw).__name__}")
        name = raw.get("name")
        yield (f"{key}: {name}" if isinstance(name, str) and name else place), raw


def _convert(file: Path, raw: dict[str, Any], place: str, kind: type[Entry]) -> Entry:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        named = re.search(r"(?:unknown|missing required) field `(.*)`", problem)
        fields = (path.rstrip("`").lstrip("."), named[1] if named else "")
        raise ManifestError(file, place, ".".join(filter(None, fields)), problem) from error


def _family(file: Path, raw: dict[str, Any], place: str) -> Family:
    family = _convert(file, raw, place, Family)
    _check_name(file, place, "name", family.name)
    _check_line(file, place, "title", family.title)
    _check_address(file, place, "paper.address", family.paper.address)
    _check_address(file, place, "code", family.code)
    for author in family.authors:
        _check_address(file, place, f"authors: {author.name}: page", author.page)
    return family


def _model(file: Path, raw: dict[str, Any], place: str, configs: Path) -> Model:
    entry = _convert(file, raw, place, ModelEntry)
    for label, name in [("name", entry.name), *(("aliases", alias) for alias in entry.aliases)]:
        _check_name(file, place, label, name)
    _check_line(file, place, "backbone", entry.backbone)
    if not SCHEDULE.fullmatch(entry.schedule):
        raise ManifestError(file, place, "schedule", f"expected one like `1x` or `3x`, found {entry.schedule!r}")
    _check_ap(file, place, "ap_val", entry.ap_val)
    _check_ap(file, place, "ap_test", entry.ap_test)
    _check_weights(file, place, entry)
    _check_address(file, place, "md5", entry.md5)
    for label, what in OTHER_FILES.items():
        known = entry.digests.of(what)
        _check_known(file, place, f"digests.{what}", known.digest, known.size)
        _check_address(file, place, label, getattr(entry, label), digest_known=known.digest is not None)
    path = _config_path(file, place, entry.config, configs)
    return Model(**msgspec.structs.asdict(entry), config_path=path, zoo_file=file)


def _check_weights(file: Path, place: str, entry: ModelEntry) -> None:
    weights = entry.weights
    _check_known(file, place, "weights", weights.digest, weights.size)
    known = weights.digest is not None
    if file != DEMO:
        _check_address(file, place, "weights.address", weights.address, digest_known=known)
    for alternate in weights.alternates:
        _check_address(file, place, "weights.alternates", alternate, digest_known=known)


def _check_known(file: Path, place: str, label: str, digest: str | None, size: int | None) -> None:
    if digest is not None and not DIGEST.fullmatch(digest):
        expected = "expected `md5:` and 32 or `sha256:` and 64 lower-case hexadecimal digits"
        raise ManifestError(file, place, f"{label}.digest", f"{expected}, found {digest!r}")
    if size is not None and size <= 0:
        raise ManifestError(file, place, f"{label}.size", f"expected a number of bytes, found {size}")


def _check_name(file: Path, place: str, label: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ManifestError(file, place, label, f"expected lower-case letters, digits and `_`, found {name!r}")


def _check_line(file: Path, place: str, label: str, text: str) -> None:
    if not text.strip() or not text.isprintable():
        raise ManifestError(file, place, label, f"expected one line of text, found {text!r}")


def _check_ap(file: Path, place: str, label: str, ap: float | None) -> None:
    if ap is not None and not 0 <= ap <= 100:
        raise ManifestError(file, place, label, f"expected a box AP from 0 to 100, found {ap}")


def _check_address(file: Path, place: str, label: str, address: str | None, *, digest_known: bool = False) -> None:
    if address is None:
        return
    problem = address_problem(address) or secret_problem(address)
    if not problem and label.partition(".")[0] in FETCHED and not digest_known and not is_private(address):
        problem = f"{address!r} is plain http, which anyone on the way can change; use https, or record a digest"
    if problem:
        raise ManifestError(file, place, label, problem)


OTHER_FILES: dict[str, What] = {
    "predictions": "preds",
    "visuals": "visuals",
    "scores_val": "scores-val",
    "scores_test": "scores-test",
}
"""Fields that are an address each, and what the command line calls the files there."""

FETCHED = {"weights", "md5", *OTHER_FILES}
"""Fields whose addresses this package downloads; the others are links for people to follow."""


def _config_path(file: Path, place: str, config: str, configs: Path) -> Path:
    path = Path(os.path.realpath(configs / config)) if config.isprintable() else configs / repr(config)
    if not os.path.isfile(path):  # noqa: PTH113  (unlike Path.is_file, it never raises)
        raise ManifestError(file, place, "config", f"there is no file {path}")
    return path


def _check_names(zoo: Zoo) -> None:
    taken: dict[str, Path] = {}
    for model in zoo.known:
        for label, name in [("name", model.name), *(("aliases", alias) for alias in model.aliases)]:
            _claim(taken, name, label, f"models: {model.name}", model.zoo_file)
    families: set[str] = set()
    for family in zoo.families:
        if family.name in families:
            problem = f"there is a family {family.name!r} already"
            raise ManifestError(zoo.files[-1], f"families: {family.name}", "name", problem)
        families.add(family.name)
    for model in zoo.models:
        if model.family not in families:
            known = ", ".join(family.name for family in zoo.families)
            raise ManifestError(
                model.zoo_file,
                f"models: {model.name}",
                "family",
                f"no family {model.family!r}; there are: {known}",
            )


def _claim(taken: dict[str, Path], name: str, label: str, place: str, file: Path) -> None:
    if name in taken:
        raise ManifestError(file, place, label, f"{name!r} is already taken in {taken[name]}")
    taken[name] = file
