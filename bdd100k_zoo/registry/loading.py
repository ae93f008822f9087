"""Load zoo files: YAML on disk to one frozen, validated Zoo."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

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
"""Levels of nesting that a YAML file may have; zoo files need six."""


def parse_yaml(content: bytes, *, trusted: bool = False) -> Any:
    """Read the one document of a YAML file.

    Args:
        content: the file, in UTF-8.
        trusted: it is a file of this package, whose shape needs no check.

    Raises:
        ValueError: it is not valid YAML, or holds more than plain values; the message says where.
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
        if isinstance(event, yaml.AliasEvent):
            problem = f"the alias *{event.anchor}; everything is spelled out here"
        elif tag := getattr(event, "tag", None):
            problem = f"the tag {tag}; only plain values stand here"
        elif depth > MAX_NESTING:
            problem = "nested too deeply"
        else:
            continue
        line = event.start_mark.line + 1 if event.start_mark else "?"
        raise ValueError(f"line {line}: {problem}")


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, refusing a key that appears twice in one mapping."""

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
    holds ``digests`` alone, which are added to built-in models as the user's. The demo's model can be used by its name,
    and is not among ``models``.

    Raises:
        ManifestError: a file cannot be read or breaks the schema.
    """
    zoo = _add_file(Zoo(), builtin_zoo_file(), CONFIG_FOLDER)
    demo = _add_file(Zoo(families=zoo.families), DEMO_ZOO_FILE, CONFIG_FOLDER)
    zoo = replace(zoo, unlisted=tuple(map(_with_bundled_weights, demo.models)))
    listed = [name for name in os.environ.get("BDD100K_ZOO_FILES", "").split(os.pathsep) if name]
    for file in dict.fromkeys(_resolved(name) for name in (*listed, *files)):
        zoo = _add_file(zoo, file, file.parent)
    return zoo


def _with_bundled_weights(model: Model) -> Model:
    weights = replace(model.weights, address=(DEMO_ZOO_FILE.parent / model.weights.address).as_uri())
    return replace(model, weights=weights)


def _resolved(name: str | os.PathLike[str]) -> Path:
    """Path's own methods raise RuntimeError for an unknown ~user and a link to itself; these leave both to ``open``."""
    return Path(os.path.realpath(os.path.expanduser(name)))  # noqa: PTH111


def builtin_zoo_file() -> Path:
    """Return the package's own zoo file: inside an installed package, or at the top of a checkout."""
    installed = PACKAGE_FOLDER / "zoo.yaml"
    return installed if installed.is_file() else PACKAGE_FOLDER.parent / "zoo.yaml"


class _Place(NamedTuple):
    """An entry of a zoo file, for error messages."""

    file: Path
    entry: str = ""

    def error(self, field: str, problem: str) -> ManifestError:
        return ManifestError(self.file, self.entry, field, problem)


def _add_file(zoo: Zoo, file: Path, configs: Path) -> Zoo:
    document = _read_document(file)
    if "digests" in document:
        return _add_user_digests(zoo, file, document)
    families = [_load_family(place, raw) for place, raw in _list_entries(file, document, "families")]
    models = [_load_model(place, raw, configs) for place, raw in _list_entries(file, document, "models")]
    extended = replace(
        zoo, families=(*zoo.families, *families), models=(*zoo.models, *models), files=(*zoo.files, file)
    )
    _check_names(extended)
    return extended


def _read_document(file: Path) -> dict[str, Any]:
    place = _Place(file)
    try:
        document = parse_yaml(file.read_bytes(), trusted=file == builtin_zoo_file())
    except OSError as error:
        raise place.error("", f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise place.error("", str(error)) from error
    if not isinstance(document, dict):
        raise place.error("", "expected a mapping with `models` and, for new ones, `families`, or with `digests` alone")
    for key in document:
        if key not in ("families", "models", "digests"):
            raise place.error(str(key), "unknown field; expected `families` and `models`, or `digests` alone")
    return document


def _list_entries(file: Path, document: dict[str, Any], key: str) -> Iterator[tuple[_Place, dict[str, Any]]]:
    entries = [] if document.get(key) is None else document[key]
    if not isinstance(entries, list):
        raise _Place(file).error(key, f"expected a list, found {type(entries).__name__}")
    for number, raw in enumerate(entries, start=1):
        place = _Place(file, f"entry {number} of {key}")
        if not isinstance(raw, dict):
            raise place.error("", f"expected a mapping, found {type(raw).__name__}")
        name = raw.get("name")
        yield (_Place(file, f"{key}: {name}") if isinstance(name, str) and name else place), raw


def _add_user_digests(zoo: Zoo, file: Path, document: dict[str, Any]) -> Zoo:
    """Add the digests of a file that holds nothing else to the built-in models that it names."""
    place = _Place(file)
    if other := next((key for key in document if key != "digests"), None):
        raise place.error(
            other, "a file with `digests` holds nothing else; list models and families in a file of their own"
        )
    given = document["digests"]
    if not isinstance(given, dict) or not given:
        problem = f"expected a mapping from models to the digests of their files, found {_describe_value(given)}"
        raise place.error("digests", problem)
    added = {name: _load_user_digests(zoo, file, name, digests) for name, digests in given.items()}
    models = [replace(model, user_digests=(*model.user_digests, *added.get(model.name, ()))) for model in zoo.models]
    return replace(zoo, models=tuple(models), files=(*zoo.files, file))


def _load_user_digests(zoo: Zoo, file: Path, name: object, digests: object) -> tuple[UserDigest, ...]:
    place = _Place(file, f"digests: {name}")
    model = next((model for model in zoo.models if model.name == name), None)
    if model is None:
        problem = f"{name!r} is not the name of a built-in model, and digests can be added to no other"
        raise place.error("", problem)
    if model.zoo_file != builtin_zoo_file():
        raise place.error("", f"its model is listed in {model.zoo_file}: record the digests there")
    if not isinstance(digests, dict) or not digests:
        problem = f"expected the digests of its files, as in `weights: sha256:…`, found {_describe_value(digests)}"
        raise place.error("", problem)
    for what, digest in digests.items():
        if what not in ARTIFACT_KINDS:
            problem = f"expected one of {', '.join(ARTIFACT_KINDS)}; only digests can be added to a built-in model"
            raise place.error(str(what), problem)
        if not isinstance(digest, str):
            raise place.error(what, f"{DIGEST_EXPECTED}, found {_describe_value(digest)}")
        _check_digest(place, what, digest, None)
        artifact = model.artifact(what)
        known = [(each.digest, each.source) for each in artifact.user_digests]
        if artifact.digest:
            known.append((artifact.digest, str(model.zoo_file)))
        for other, source in known:
            if other != digest and other.partition(":")[0] == digest.partition(":")[0]:
                raise place.error(what, f"{digest} contradicts {other} in {source}; remove the one that is wrong")
    return tuple(UserDigest(what, digest, str(file)) for what, digest in digests.items())


def _describe_value(value: object) -> str:
    return repr(value) if isinstance(value, (str, int, float)) else "nothing" if not value else type(value).__name__


DIGEST_EXPECTED = "expected `md5:` and 32 or `sha256:` and 64 lower-case hexadecimal digits"


def _convert(place: _Place, raw: dict[str, Any], kind: type[Entry]) -> Entry:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        named = re.search(r"(?:unknown|missing required) field `(.*)`", problem)
        fields = (path.rstrip("`").lstrip("."), named[1] if named else "")
        raise place.error(".".join(filter(None, fields)), problem) from error


def _load_family(place: _Place, raw: dict[str, Any]) -> Family:
    family = _convert(place, raw, Family)
    _check_name(place, "name", family.name)
    _check_line(place, "title", family.title)
    _check_address(place, "paper.address", family.paper.address)
    _check_address(place, "code", family.code)
    for author in family.authors:
        _check_address(place, f"authors: {author.name}: page", author.page)
    return family


def _load_model(place: _Place, raw: dict[str, Any], configs: Path) -> Model:
    entry = _convert(place, raw, ModelEntry)
    _check_name(place, "name", entry.name)
    for alias in entry.aliases:
        _check_name(place, "aliases", alias)
    _check_line(place, "backbone", entry.backbone)
    if not SCHEDULE.fullmatch(entry.schedule):
        raise place.error("schedule", f"expected one like `1x` or `3x`, found {entry.schedule!r}")
    for field, ap in (("ap_val", entry.ap_val), ("ap_test", entry.ap_test)):
        if ap is not None and not 0 <= ap <= 100:
            raise place.error(field, f"expected a box AP from 0 to 100, found {ap}")
    weights = entry.weights
    _check_digest(place, "weights.digest", weights.digest, weights.size)
    digest_known = weights.digest is not None
    if place.file != DEMO_ZOO_FILE:  # whose address is a file name
        _check_address(place, "weights.address", weights.address, digest_known=digest_known)
    for alternate in weights.alternates:
        _check_address(place, "weights.alternates", alternate, digest_known=digest_known)
    _check_addresses(place, entry, "md5")
    for what, field in ADDRESS_FIELDS.items():
        known = entry.digests.for_kind(what)
        _check_digest(place, f"digests.{what}.digest", known.digest, known.size)
        _check_addresses(place, entry, field, digest_known=known.digest is not None)
    # A name that cannot be printed is shown escaped.
    config = (
        Path(os.path.realpath(configs / entry.config)) if entry.config.isprintable() else configs / repr(entry.config)
    )
    if not os.path.isfile(config):  # noqa: PTH113  (unlike Path.is_file, it never raises)
        raise place.error("config", f"there is no file {config}")
    return Model(**msgspec.structs.asdict(entry), config_path=config, zoo_file=place.file)


def _check_addresses(place: _Place, entry: ModelEntry, field: str, *, digest_known: bool = False) -> None:
    """Check the published address of a file other than the weights, and its alternates."""
    published, alternates = getattr(entry, field), getattr(entry.alternates, field)
    _check_address(place, field, published, digest_known=digest_known)
    if alternates and published is None:
        raise place.error(f"alternates.{field}", f"expected none where `{field}` is null")
    for alternate in alternates:
        _check_address(place, f"alternates.{field}", alternate, digest_known=digest_known)


def _check_digest(place: _Place, field: str, digest: str | None, size: int | None) -> None:
    if digest is not None and not DIGEST_PATTERN.fullmatch(digest):
        raise place.error(field, f"{DIGEST_EXPECTED}, found {digest!r}")
    if size is not None and size <= 0:
        raise place.error(f"{field.removesuffix('.digest')}.size", f"expected a number of bytes, found {size}")


def _check_name(place: _Place, field: str, name: str) -> None:
    if not MODEL_NAME_PATTERN.fullmatch(name):
        raise place.error(field, f"expected lower-case letters, digits and `_`, found {name!r}")


def _check_line(place: _Place, field: str, text: str) -> None:
    if not text.strip() or not text.isprintable():
        raise place.error(field, f"expected one line of text, found {text!r}")


FETCHED_FIELDS = {"weights", "md5", *ADDRESS_FIELDS.values()}
"""Fields whose addresses this package downloads; the others are links for people to follow."""


def _check_address(place: _Place, field: str, address: str | None, *, digest_known: bool = False) -> None:
    if address is None:
        return
    problem = address_problem(address) or secret_problem(address)
    is_fetched = field.removeprefix("alternates.").partition(".")[0] in FETCHED_FIELDS
    if not problem and is_fetched and not digest_known and not is_tamper_proof(address):
        problem = f"{address!r} is plain http, which anyone on the way can change; use https, or record a digest"
    if problem:
        raise place.error(field, problem)


def _check_names(zoo: Zoo) -> None:
    """Check that no two models share a name or alias, no two families a name, and that every model has a family."""
    taken: dict[str, Path] = {}
    for model in zoo.known:
        place = _Place(model.zoo_file, f"models: {model.name}")
        for field, name in [("name", model.name), *(("aliases", alias) for alias in model.aliases)]:
            if name in taken:
                raise place.error(field, f"{name!r} is already taken in {taken[name]}")
            taken[name] = model.zoo_file
    families: set[str] = set()
    for family in zoo.families:
        if family.name in families:
            place = _Place(zoo.files[-1], f"families: {family.name}")
            raise place.error("name", f"there is a family {family.name!r} already")
        families.add(family.name)
    for model in zoo.models:
        if model.family not in families:
            known = ", ".join(family.name for family in zoo.families)
            place = _Place(model.zoo_file, f"models: {model.name}")
            raise place.error("family", f"no family {model.family!r}; there are: {known}")
