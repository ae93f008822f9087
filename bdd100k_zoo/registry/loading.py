"""Load zoo files: YAML on disk to one frozen, checked Zoo."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import yaml
from msgspec.structs import replace

from bdd100k_zoo.errors import ManifestError
from bdd100k_zoo.registry.addresses import address_problem, is_tamper_proof, secret_problem
from bdd100k_zoo.registry.models import (
    ADDRESS_FIELDS,
    ARTIFACT_KINDS,
    DIGEST_PATTERN,
    MODEL_NAME_PATTERN,
    Family,
    Model,
    ModelEntry,
    UserDigest,
    Zoo,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_NESTING = 20
"""Levels of nesting that a file may have; zoo files need six."""


def parse_yaml(content: bytes, *, trusted: bool = False) -> Any:
    """Read the one document of a YAML file.

    Args:
        content: the file, in UTF-8.
        trusted: it is a file of this package, whose shape needs no look.

    Raises:
        ValueError: it is not valid YAML, or more than plain values; the message says where.
    """
    try:
        text = content.decode("utf-8")
        if not trusted:
            _check_shape(text)
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, a date or number that cannot be
        raise ValueError(f"is not valid YAML: {' '.join(str(error).split())}") from error


def _check_shape(text: str) -> None:
    """Refuse what the loader is not safe against: nesting that exhausts the stack, aliases that multiply, any tag."""
    depth = 0
    for event in yaml.parse(text, Loader=_StrictLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if problem := _shape_problem(event, depth):
            line = event.start_mark.line + 1 if event.start_mark else "?"
            raise ValueError(f"line {line}: {problem}")


def _shape_problem(event: yaml.Event, depth: int) -> str:
    if isinstance(event, yaml.AliasEvent):
        return f"the alias *{event.anchor}; everything is spelled out here"
    if tag := getattr(event, "tag", None):
        return f"the tag {tag}; only plain values stand here"
    return "nested too deeply" if depth > MAX_NESTING else ""


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, refusing a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: Sequence[Any] = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(seen):
            if key in seen[:position]:
                mark = node.value[position][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


Entry = TypeVar("Entry", Family, ModelEntry)

SCHEDULE = re.compile(r"[0-9]+(\.[0-9]+)?x")

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
CONFIG_FOLDER = PACKAGE_FOLDER / "configs" / "det"
DEMO_ZOO_FILE = PACKAGE_FOLDER / "demo_run" / "zoo.yaml"
"""The detector of the demo, whose weights stand beside this file."""


def load_zoo(*files: str | os.PathLike[str]) -> Zoo:
    """Load the built-in zoo, then the files of BDD100K_ZOO_FILES, then ``files``.

    A file adds families and models; a name or alias that is already taken is an error, never a replacement. Or it
    holds ``digests`` alone, which are added to built-in models as the user's. The detector of the demo is known by its
    name, and not among ``models``.

    Raises:
        ManifestError: a file cannot be read or breaks the schema.
    """
    zoo = _with_demo(_add(Zoo(), builtin_zoo_file(), CONFIG_FOLDER))
    listed = [name for name in os.environ.get("BDD100K_ZOO_FILES", "").split(os.pathsep) if name]
    for file in dict.fromkeys(_resolved(name) for name in (*listed, *files)):
        zoo = _add(zoo, file, file.parent)
    return zoo


def _resolved(name: str | os.PathLike[str]) -> Path:
    """Path's own methods raise RuntimeError for an unknown ~user and a link to itself; these leave both to ``open``."""
    return Path(os.path.realpath(os.path.expanduser(name)))  # noqa: PTH111


def builtin_zoo_file() -> Path:
    """Find the package's own zoo file: inside an installed package, or at the top of a checkout."""
    installed = PACKAGE_FOLDER / "zoo.yaml"
    return installed if installed.is_file() else PACKAGE_FOLDER.parent / "zoo.yaml"


def _with_demo(zoo: Zoo) -> Zoo:
    models = _add(Zoo(families=zoo.families), DEMO_ZOO_FILE, CONFIG_FOLDER).models
    return replace(zoo, unlisted=tuple(map(_bundled, models)))


def _bundled(model: Model) -> Model:
    weights = replace(model.weights, address=(DEMO_ZOO_FILE.parent / model.weights.address).as_uri())
    return replace(model, weights=weights)


def _add(zoo: Zoo, file: Path, configs: Path) -> Zoo:
    document = _read(file)
    if "digests" in document:
        return _with_user_digests(zoo, file, document)
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
        document = parse_yaml(file.read_bytes(), trusted=file == builtin_zoo_file())
    except OSError as error:
        raise ManifestError(file, "", "", f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ManifestError(file, "", "", str(error)) from error
    if not isinstance(document, dict):
        problem = "expected a mapping with `models` and, for new ones, `families`, or with `digests` alone"
        raise ManifestError(file, "", "", problem)
    for key in document:
        if key not in ("families", "models", "digests"):
            problem = "unknown field; expected `families` and `models`, or `digests` alone"
            raise ManifestError(file, "", str(key), problem)
    return document


def _with_user_digests(zoo: Zoo, file: Path, document: dict[str, Any]) -> Zoo:
    """Add the digests of a file that holds nothing else to the built-in models that it names."""
    if other := next((key for key in document if key != "digests"), None):
        problem = "a file with `digests` holds nothing else; list models and families in a file of their own"
        raise ManifestError(file, "", other, problem)
    given = document["digests"]
    if not isinstance(given, dict) or not given:
        problem = f"expected a mapping from models to the digests of their files, found {_found(given)}"
        raise ManifestError(file, "", "digests", problem)
    added = dict(_user_digests(zoo, file, name, digests) for name, digests in given.items())
    models = [replace(model, user_digests=(*model.user_digests, *added.get(model.name, ()))) for model in zoo.models]
    return replace(zoo, models=tuple(models), files=(*zoo.files, file))


def _user_digests(zoo: Zoo, file: Path, name: object, digests: object) -> tuple[str, tuple[UserDigest, ...]]:
    place = f"digests: {name}"
    model = next((model for model in zoo.models if model.name == name), None)
    if model is None or model.zoo_file != builtin_zoo_file():
        problem = f"{name!r} is not the name of a built-in model, and digests can be added to no other"
        if model is not None:
            problem = f"its model is listed in {model.zoo_file}: record the digests there"
        raise ManifestError(file, place, "", problem)
    if not isinstance(digests, dict) or not digests:
        problem = f"expected the digests of its files, as in `weights: sha256:…`, found {_found(digests)}"
        raise ManifestError(file, place, "", problem)
    for what, digest in digests.items():
        if what not in ARTIFACT_KINDS:
            problem = f"expected one of {', '.join(ARTIFACT_KINDS)}; only digests can be added to a built-in model"
            raise ManifestError(file, place, str(what), problem)
        if not isinstance(digest, str):
            raise ManifestError(file, place, what, f"{DIGEST_EXPECTED}, found {_found(digest)}")
        _check_known(file, place, what, digest, None)
        _check_same(file, place, model, UserDigest(what, digest, str(file)))
    return model.name, tuple(UserDigest(what, digest, str(file)) for what, digest in digests.items())


def _found(value: object) -> str:
    return repr(value) if isinstance(value, (str, int, float)) else "nothing" if not value else type(value).__name__


def _check_same(file: Path, place: str, model: Model, given: UserDigest) -> None:
    """Refuse a digest that contradicts one of the same kind in an earlier zoo file."""
    artifact = model.artifact(given.what)
    known = [(each.digest, each.source) for each in artifact.user_digests]
    if artifact.digest:
        known.append((artifact.digest, str(model.zoo_file)))
    for digest, source in known:
        if digest != given.digest and digest.partition(":")[0] == given.digest.partition(":")[0]:
            problem = f"{given.digest} contradicts {digest} in {source}; remove the one that is wrong"
            raise ManifestError(file, place, given.what, problem)


DIGEST_EXPECTED = "expected `md5:` and 32 or `sha256:` and 64 lower-case hexadecimal digits"


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
    _check_addresses(file, place, entry, "md5")
    for what, label in ADDRESS_FIELDS.items():
        known = entry.digests.of(what)
        _check_known(file, place, f"digests.{what}.digest", known.digest, known.size)
        _check_addresses(file, place, entry, label, digest_known=known.digest is not None)
    path = _config_path(file, place, entry.config, configs)
    return Model(**msgspec.structs.asdict(entry), config_path=path, zoo_file=file)


def _check_weights(file: Path, place: str, entry: ModelEntry) -> None:
    weights = entry.weights
    _check_known(file, place, "weights.digest", weights.digest, weights.size)
    known = weights.digest is not None
    if file != DEMO_ZOO_FILE:
        _check_address(file, place, "weights.address", weights.address, digest_known=known)
    for alternate in weights.alternates:
        _check_address(file, place, "weights.alternates", alternate, digest_known=known)


def _check_addresses(file: Path, place: str, entry: ModelEntry, label: str, *, digest_known: bool = False) -> None:
    """Check the published address of a file other than the weights, and its alternates."""
    published, alternates = getattr(entry, label), getattr(entry.alternates, label)
    _check_address(file, place, label, published, digest_known=digest_known)
    if alternates and published is None:
        raise ManifestError(file, place, f"alternates.{label}", f"expected none where `{label}` is null")
    for alternate in alternates:
        _check_address(file, place, f"alternates.{label}", alternate, digest_known=digest_known)


def _check_known(file: Path, place: str, label: str, digest: str | None, size: int | None) -> None:
    if digest is not None and not DIGEST_PATTERN.fullmatch(digest):
        raise ManifestError(file, place, label, f"{DIGEST_EXPECTED}, found {digest!r}")
    if size is not None and size <= 0:
        field = f"{label.removesuffix('.digest')}.size"
        raise ManifestError(file, place, field, f"expected a number of bytes, found {size}")


def _check_name(file: Path, place: str, label: str, name: str) -> None:
    if not MODEL_NAME_PATTERN.fullmatch(name):
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
    if (
        not problem
        and label.removeprefix("alternates.").partition(".")[0] in FETCHED_FIELDS
        and not digest_known
        and not is_tamper_proof(address)
    ):
        problem = f"{address!r} is plain http, which anyone on the way can change; use https, or record a digest"
    if problem:
        raise ManifestError(file, place, label, problem)


FETCHED_FIELDS = {"weights", "md5", *ADDRESS_FIELDS.values()}
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
