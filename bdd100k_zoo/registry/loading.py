"""Load zoo files: YAML on disk to one frozen, validated Zoo."""

from __future__ import annotations

import dataclasses
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from bdd100k_zoo.errors import ManifestError
from bdd100k_zoo.registry.addresses import (
    ADDRESS_FORMS,
    OTHER_SCHEMES,
    address_problem,
    is_tamper_proof,
    other_scheme_problem,
    redact_address,
    secret_problem,
)
from bdd100k_zoo.registry.models import (
    ARTIFACT_KINDS,
    DIGEST_PATTERN,
    FILE_FIELDS,
    MODEL_NAME_PATTERN,
    OTHER_FAMILY,
    Family,
    Model,
    ModelEntry,
    UserDigest,
    Zoo,
    select_edition,
    select_models,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.registry.models import ArtifactKind, PublishedFile, Weights

    Problems = Iterator[tuple[str, str]]

Entry = TypeVar("Entry", Family, ModelEntry)

SCHEDULE = re.compile(r"[0-9]+(\.[0-9]+)?x")

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
CONFIG_FOLDER = PACKAGE_FOLDER / "configs" / "det"
DEMO_ZOO_FILE = PACKAGE_FOLDER / "demo_run" / "zoo.yaml"
"""The detector of the demo, whose weights are beside this file."""
ZOO_JSON = PACKAGE_FOLDER / "zoo.json"
"""What is in the zoo files of the package, by their SHA-256. The build writes it; in a checkout there is none."""


def load_zoo(*files: str | os.PathLike[str]) -> Zoo:
    """Load the built-in zoo, then the files of BDD100K_ZOO_FILES, then ``files``.

    A file adds families and models; a name or alias that is already taken is an error, never a replacement. A file
    that holds only ``digests`` adds the user's digests to built-in models. The demo's model can be used by its name,
    but is not among ``models``.

    Raises:
        ManifestError: a file cannot be read or breaks the schema.
    """
    zoo = _add_file(Zoo(), builtin_zoo_file(), CONFIG_FOLDER)
    (demo,) = _add_file(Zoo(families=zoo.families), DEMO_ZOO_FILE, CONFIG_FOLDER).models
    address = (DEMO_ZOO_FILE.parent / demo.weights.address).as_uri()
    zoo = dataclasses.replace(zoo, unlisted=(replace(demo, weights=replace(demo.weights, address=address)),))
    listed = [name for name in os.environ.get("BDD100K_ZOO_FILES", "").split(os.pathsep) if name]
    for file in dict.fromkeys(_resolved(name) for name in (*listed, *files)):
        zoo = _add_file(zoo, file, file.parent)
    return zoo


def list_models(
    pattern: str = "*",
    *,
    family: str | Sequence[str] = (),
    backbone: str | None = None,
    schedule: str | None = None,
    min_ap: float | None = None,
    edition: str | None = None,
    zoo: Zoo | None = None,
) -> list[str]:
    """Return the names of the models that pass every filter, in the order of the zoo.

    Args:
        pattern: of the name, with the wildcards of a shell: ``cascade*``.
        family: names or titles of families; none for all.
        backbone: a part of the backbone's name, in any case: ``r-50``, ``hrnet``.
        schedule: ``1x``, ``3x``.
        min_ap: smallest published box AP on val, 0 to 100.
        edition: only models that were published by the end of this year, month or day: ``2021``, ``2022-06-18``.
        zoo: where to look; None for ``load_zoo()``.

    Raises:
        UnknownNameError: there is no such family.
        ZooError: ``edition`` is no date, or nothing had been published.
    """
    known = load_zoo() if zoo is None else zoo
    found = select_models(
        select_edition(known, edition) if edition else known,
        families=(family,) if isinstance(family, str) else family,
        backbone=backbone,
        schedule=schedule,
        min_ap=min_ap,
    )
    return [model.name for model in found if fnmatchcase(model.name, pattern)]


def _resolved(name: str | os.PathLike[str]) -> Path:
    # Path's own methods raise RuntimeError for an unknown ~user and for a link to itself; these leave both to `open`.
    return Path(os.path.realpath(os.path.expanduser(name)))  # noqa: PTH111


def builtin_zoo_file() -> Path:
    """Return the package's own zoo file: inside an installed package, or at the top of a checkout."""
    installed = PACKAGE_FOLDER / "zoo.yaml"
    return installed if installed.is_file() else PACKAGE_FOLDER.parent / "zoo.yaml"


def _add_file(zoo: Zoo, file: Path, configs: Path) -> Zoo:
    document = _read_document(file)
    if "digests" in document:
        return _add_user_digests(zoo, file, document)
    families, models = list(zoo.families), list(zoo.models)
    for entry, raw in _list_entries(file, document, "families"):
        family = _convert(file, entry, raw, Family)
        family = family if "title" in raw else replace(family, title=family.name)
        _raise_first(file, entry, _family_problems(family))
        families.append(family)
    for entry, raw in _list_entries(file, document, "models"):
        raw = raw | {field: {"address": raw[field]} for field in FILE_FIELDS if isinstance(raw.get(field), str)}
        model = _convert(file, entry, raw, ModelEntry)
        if file != DEMO_ZOO_FILE:  # load_zoo completes the demo's address, which is a file name
            model = _resolve_paths(model, file.parent)
            _raise_first(file, entry, _model_problems(model))
        # A name that cannot be printed is shown escaped.
        name = model.config if model.config.isprintable() else repr(model.config)
        config = Path(os.path.realpath(configs / name))
        if not os.path.isfile(config):  # noqa: PTH113  (unlike Path.is_file, it never raises)
            raise ManifestError(file, entry, "config", f"there is no file {config}")
        record = next((each for each in families if each.name == model.family), None)
        if record is None and model.family == OTHER_FAMILY.name:
            record = OTHER_FAMILY
            families.append(record)
        if record is None:
            known = ", ".join(each.name for each in families)
            raise ManifestError(file, entry, "family", f"no family {model.family!r}; there are: {known}")
        fields = msgspec.structs.asdict(model)
        models.append(Model(**fields, config_path=config, zoo_file=file, family_record=record))
    extended = dataclasses.replace(zoo, families=tuple(families), models=tuple(models), files=(*zoo.files, file))
    _check_names(extended)
    return extended


def _read_document(file: Path) -> dict[str, Any]:
    try:
        content = file.read_bytes()
        document = _read_built_document(content) if file in (builtin_zoo_file(), DEMO_ZOO_FILE) else None
        if document is None:
            from bdd100k_zoo.registry.yaml_files import parse_yaml

            document = parse_yaml(content, trusted=file == builtin_zoo_file())
    except OSError as error:
        raise ManifestError(file, "", "", f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ManifestError(file, "", "", str(error)) from error
    if not isinstance(document, dict):
        expected = "expected a mapping with `models` and, for new ones, `families`, or with `digests` alone"
        raise ManifestError(file, "", "", expected)
    for key in document:
        if key not in ("families", "models", "digests"):
            problem = "unknown field; expected `families` and `models`, or `digests` alone"
            raise ManifestError(file, "", str(key), problem)
    return document


def _read_built_document(content: bytes) -> Any:
    """Return what the build found in a zoo file of the package; None if it has changed since, or nothing was built."""
    if not ZOO_JSON.is_file():
        return None
    from hashlib import sha256

    return msgspec.json.decode(ZOO_JSON.read_bytes()).get(sha256(content).hexdigest())


def _list_entries(file: Path, document: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each entry, for messages, and its fields."""
    entries = [] if document.get(key) is None else document[key]
    if not isinstance(entries, list):
        raise ManifestError(file, "", key, f"expected a list, found {type(entries).__name__}")
    for number, raw in enumerate(entries, start=1):
        entry = f"entry {number} of {key}"
        if not isinstance(raw, dict):
            raise ManifestError(file, entry, "", f"expected a mapping, found {type(raw).__name__}")
        name = raw.get("name")
        yield f"{key}: {name}" if isinstance(name, str) and name else entry, raw


def _convert(file: Path, entry: str, raw: dict[str, Any], kind: type[Entry]) -> Entry:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        named = re.search(r"(?:unknown|missing required) field `(.*)`", problem)
        fields = (path.rstrip("`").lstrip("."), named[1] if named else "")
        raise ManifestError(file, entry, ".".join(filter(None, fields)), problem) from error


def _resolve_paths(model: ModelEntry, folder: Path) -> ModelEntry:
    """Return an entry with ``file://`` addresses in place of the paths of existing files, relative to a folder."""

    def resolve(address: str) -> str:
        if "://" in address or not address.isprintable():
            return address
        path = Path(os.path.realpath(folder / address))
        return path.as_uri() if os.path.isfile(path) else address  # noqa: PTH113  (it never raises)

    def resolve_file(recorded: Weights | PublishedFile) -> Weights | PublishedFile:
        address = None if recorded.address is None else resolve(recorded.address)
        return replace(recorded, address=address, alternates=tuple(map(resolve, recorded.alternates)))

    listed = {field: recorded for field in FILE_FIELDS if (recorded := getattr(model, field))}
    return replace(model, **{field: resolve_file(recorded) for field, recorded in listed.items()})


# Digests that the user adds to built-in models


def _add_user_digests(zoo: Zoo, file: Path, document: dict[str, Any]) -> Zoo:
    """Add the digests of a file that holds nothing else to the built-in models that it names."""
    if other := next((key for key in document if key != "digests"), None):
        problem = "a file with `digests` holds nothing else; list models and families in another file"
        raise ManifestError(file, "", other, problem)
    given = document["digests"]
    if not isinstance(given, dict) or not given:
        problem = f"expected a mapping from models to the digests of their files, found {_describe_value(given)}"
        raise ManifestError(file, "", "digests", problem)
    added = {name: _load_user_digests(zoo, file, name, digests) for name, digests in given.items()}
    models = [replace(model, user_digests=(*model.user_digests, *added.get(model.name, ()))) for model in zoo.models]
    return dataclasses.replace(zoo, models=tuple(models), files=(*zoo.files, file))


def _load_user_digests(zoo: Zoo, file: Path, name: object, digests: object) -> tuple[UserDigest, ...]:
    entry = f"digests: {name}"
    model = next((model for model in zoo.models if model.name == name), None)
    if model is None or model.zoo_file != builtin_zoo_file():
        elsewhere = f": record its digests in {model.zoo_file}, which lists it" if model else ""
        raise ManifestError(file, entry, "", f"{name!r} is not the name of a built-in model{elsewhere}")
    if not isinstance(digests, dict) or not digests:
        problem = f"expected the digests of its files, as in `weights: sha256:…`, found {_describe_value(digests)}"
        raise ManifestError(file, entry, "", problem)
    for what, digest in digests.items():
        if what not in ARTIFACT_KINDS:
            problem = f"expected one of {', '.join(ARTIFACT_KINDS)}; only digests can be added to a built-in model"
        elif not isinstance(digest, str) or not DIGEST_PATTERN.fullmatch(digest):
            problem = f"{DIGEST_EXPECTED}, found {_describe_value(digest)}"
        else:
            problem = _contradiction(model, what, digest)
        if problem:
            raise ManifestError(file, entry, str(what), problem)
    return tuple(UserDigest(what, digest, str(file)) for what, digest in digests.items())


def _contradiction(model: Model, what: ArtifactKind, digest: str) -> str:
    """Return which known digest of the same kind a digest contradicts; empty if none."""
    known = [(given.digest, given.source) for given in model.artifact(what).user_digests]
    known += [(model.artifact(what).digest or "", str(model.zoo_file))]
    for other, source in known:
        if other != digest and other.partition(":")[0] == digest.partition(":")[0]:
            return f"{digest} contradicts {other} in {source}; remove the one that is wrong"
    return ""


def _describe_value(value: object) -> str:
    return repr(value) if isinstance(value, (str, int, float)) else "nothing" if not value else type(value).__name__


# What is wrong with an entry: fields with a problem, which is empty where the field is valid

DIGEST_EXPECTED = "expected `md5:` and 32 or `sha256:` and 64 lower-case hexadecimal digits"


def _raise_first(file: Path, entry: str, problems: Problems) -> None:
    for field, problem in problems:
        if problem:
            raise ManifestError(file, entry, field, problem)


def _family_problems(family: Family) -> Problems:
    yield "name", _name_problem(family.name)
    yield "title", _line_problem(family.title)
    yield "paper.address", _address_problem(family.paper.address if family.paper else None)
    yield "code", _address_problem(family.code)
    for author in family.authors:
        yield f"authors: {author.name}: page", _address_problem(author.page)


def _model_problems(entry: ModelEntry) -> Problems:
    yield "name", _name_problem(entry.name)
    for alias in entry.aliases:
        yield "aliases", _name_problem(alias)
    if entry.backbone is not None:
        yield "backbone", _line_problem(entry.backbone)
    if entry.schedule is not None and not SCHEDULE.fullmatch(entry.schedule):
        yield "schedule", f"expected a schedule such as `1x` or `3x`, found {entry.schedule!r}"
    if entry.parameters is not None and entry.parameters <= 0:
        yield "parameters", f"expected a number of parameters, found {entry.parameters}"
    for field, ap in (("ap_val", entry.ap_val), ("ap_test", entry.ap_test)):
        if ap is not None and not 0 <= ap <= 100:
            yield field, f"expected a box AP from 0 to 100, found {ap}"
    if entry.weights.license is not None:
        yield "weights.license", _line_problem(entry.weights.license)
    for field in FILE_FIELDS:
        if recorded := getattr(entry, field):
            yield from _file_problems(field, recorded)


def _file_problems(field: str, recorded: Weights | PublishedFile) -> Problems:
    yield from _digest_problems(field, recorded.digest, recorded.size)
    digest = None if field == "md5" else recorded.digest  # the digest of a digest is never checked
    if recorded.address is not None:
        yield f"{field}.address", _download_problem(recorded.address, digest)
    elif recorded.alternates:
        yield f"{field}.alternates", "expected none where `address` is null"
    for alternate in recorded.alternates:
        yield f"{field}.alternates", _download_problem(alternate, digest)


def _digest_problems(field: str, digest: str | None, size: int | None) -> Problems:
    if digest is not None and not DIGEST_PATTERN.fullmatch(digest):
        yield f"{field}.digest", f"{DIGEST_EXPECTED}, found {digest!r}"
    if size is not None and size <= 0:
        yield f"{field}.size", f"expected a number of bytes, found {size}"


def _name_problem(name: str) -> str:
    return (
        ""
        if MODEL_NAME_PATTERN.fullmatch(name)
        else f"expected lower-case letters, digits, `_` and `-`, found {name!r}"
    )


def _line_problem(text: str) -> str:
    return "" if text.strip() and text.isprintable() else f"expected one line of text, found {text!r}"


def _address_problem(address: str | None) -> str:
    return "" if address is None else address_problem(address) or secret_problem(address)


def _download_problem(address: str, digest: str | None) -> str:
    """Return what is wrong with an address that this package downloads from; without a digest it must be https."""
    if address.startswith(OTHER_SCHEMES):
        return other_scheme_problem(address)
    if "://" not in address:
        return f"expected {ADDRESS_FORMS}; beside the zoo file there is no file {redact_address(address)!r}"
    problem = _address_problem(address)
    if not problem and digest is None and not is_tamper_proof(address):
        problem = f"{address!r} is plain http, which anyone on the network can change; use https, or record a digest"
    return problem


def _check_names(zoo: Zoo) -> None:
    """Check that no two models share a name or alias, and no two families a name."""
    taken: dict[str, Path] = {}
    for model in zoo.known:
        for field, name in [("name", model.name), *(("aliases", alias) for alias in model.aliases)]:
            if name in taken:
                problem = f"{name!r} is already taken in {taken[name]}"
                raise ManifestError(model.zoo_file, f"models: {model.name}", field, problem)
            taken[name] = model.zoo_file
    families: set[str] = set()
    for family in zoo.families:
        if family.name in families:
            problem = f"there is a family {family.name!r} already"
            raise ManifestError(zoo.files[-1], f"families: {family.name}", "name", problem)
        families.add(family.name)
