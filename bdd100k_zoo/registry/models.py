"""The records of a zoo file: families, models and where their files are published; selecting and sorting models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from bdd100k_zoo.errors import UnknownNameError, ZooError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ArtifactKind = Literal["weights", "preds", "visuals", "scores-val", "scores-test", "start-values"]
"""The kinds of artifact: what a model publishes, as the command line names it, and what a backbone starts from."""

ARTIFACT_KINDS: tuple[ArtifactKind, ...] = ("weights", "preds", "visuals", "scores-val", "scores-test")
"""Those that a model publishes."""

DIGEST_PATTERN = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
MODEL_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]*")

PUBLISHED_SUFFIX = "_det_bdd100k"
"""What the publishers append to a model's name in their file names."""
PUBLISHED_FILE_NAME = re.compile(rf"(?P<model>[a-z0-9_-]+){PUBLISHED_SUFFIX}(\.(pth|md5|json|zip|py))?")
"""The name of a published file, or of its config, with or without the ending."""


class UserDigest(Struct, frozen=True):
    """A digest that the user gives for a file of a model that another zoo file lists."""

    what: ArtifactKind
    digest: str
    """``md5:…`` or ``sha256:…`` in lower-case hexadecimal."""
    source: str
    """Where the user gives it: a zoo file or an option of the command line."""


class Artifact(NamedTuple):
    """One published file of one model."""

    model: str
    what: ArtifactKind
    addresses: tuple[str, ...]
    """The published address, then the alternates; empty where the zoo lists none."""
    digest: str | None
    """``md5:…`` or ``sha256:…`` in lower-case hexadecimal, if recorded."""
    size: int | None
    """Bytes, if recorded."""
    digest_addresses: tuple[str, ...] = ()
    """Where the publisher keeps the MD5 digest: the published address, then the alternates."""
    zoo_file: Path | None = None
    """The zoo file that lists the model."""
    user_digests: tuple[UserDigest, ...] = ()
    """Digests that the user gives, beside that of the zoo file."""


class Author(Struct, frozen=True, forbid_unknown_fields=True):
    """An author of a family's paper."""

    name: str
    page: str | None = None


class Paper(Struct, frozen=True, forbid_unknown_fields=True):
    """The paper that a family comes from."""

    title: str
    address: str
    venue: str


class Family(Struct, frozen=True, forbid_unknown_fields=True):
    """Models of one paper. A user's zoo file may leave out everything but the name."""

    name: str
    title: str = ""
    """As tables show it; a loaded family without one has its name here."""
    paper: Paper | None = None
    authors: tuple[Author, ...] = ()
    code: str | None = None
    """Address of the authors' code."""
    note: str | None = None
    """What users of the family must know beyond the paper."""


OTHER_FAMILY = Family("other", "Other", note="Models whose zoo file names no family.")
"""The family of models that name none."""


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a model's checkpoint is published, with its digest, size and license."""

    address: str
    """``https://``, ``hf://`` or ``file://``; in a zoo file also a path, relative to the folder of that file."""
    alternates: tuple[str, ...] = ()
    """Addresses to try after the published one."""
    digest: str | None = None
    """``md5:…`` or ``sha256:…`` in lower-case hexadecimal; None if nobody has recorded it."""
    size: int | None = None
    """Bytes."""
    license: str | None = None
    """The terms under which the weights are published, such as ``Apache-2.0``; None where none are stated."""


class PublishedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a file of a model other than its weights is published, with its digest and size."""

    address: str | None = None
    """As that of weights; None if the file is published nowhere."""
    alternates: tuple[str, ...] = ()
    """Addresses to try after the published one."""
    digest: str | None = None
    size: int | None = None


class DigestAndSize(NamedTuple):
    """The digest and size of a file, to be recorded in a zoo file."""

    digest: str
    """``md5:…`` or ``sha256:…`` in lower-case hexadecimal."""
    size: int
    """Bytes."""


ARTIFACT_FIELDS: dict[ArtifactKind, str] = {
    "weights": "weights",
    "preds": "predictions",
    "visuals": "visuals",
    "scores-val": "scores_val",
    "scores-test": "scores_test",
}
"""The fields of a model that describe its files, by what the command line calls them."""
FILE_FIELDS = (*ARTIFACT_FIELDS.values(), "md5")
"""All fields that hold a ``Weights`` or a ``PublishedFile``; in a zoo file, an address alone stands for either."""


class ModelEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model as a zoo file lists it. A user's file may leave out everything but name, config and weights."""

    name: str
    aliases: tuple[str, ...] = ()
    family: str = OTHER_FAMILY.name
    backbone: str | None = None
    schedule: str | None = None
    """Training length in multiples of 12 epochs: ``1x``, ``3x``."""
    multi_scale_training: bool | None = None
    """Whether images were resized at random in training; None if unknown."""
    published: date | None = None
    """When the publishers first listed the model; None if unknown."""
    parameters: int | None = None
    """How many parameters the model has, trained and frozen ones; None if unknown."""
    config: str
    """File name of the model's mmdet config, relative to the zoo file's root of configs."""
    ap_val: float | None = None
    """Published box AP on val, 0 to 100."""
    ap_test: float | None = None
    """Published box AP on test, 0 to 100."""
    weights: Weights
    """In a zoo file, an address or a path alone stands for a file of which nothing else is known, here and below."""
    md5: PublishedFile | None = None
    """The MD5 digest of the weights."""
    predictions: PublishedFile | None = None
    visuals: PublishedFile | None = None
    scores_val: PublishedFile | None = None
    scores_test: PublishedFile | None = None


class Model(ModelEntry, frozen=True, kw_only=True):
    """A model of a loaded zoo."""

    config_path: Path
    """The config, as an absolute path."""
    zoo_file: Path
    """The file that lists the model."""
    family_record: Family
    """The model's family: its title, paper, authors, code and note."""
    user_digests: tuple[UserDigest, ...] = ()
    """Those of the user's zoo files that hold digests alone."""

    def artifact(self, what: ArtifactKind) -> Artifact:
        """Return what is recorded about one of the model's published files."""
        recorded = getattr(self, ARTIFACT_FIELDS[what]) or PublishedFile()
        return Artifact(
            model=self.name,
            what=what,
            addresses=_addresses(recorded),
            digest=recorded.digest,
            size=recorded.size,
            digest_addresses=_addresses(self.md5) if what == "weights" else (),
            zoo_file=self.zoo_file,
            user_digests=tuple(given for given in self.user_digests if given.what == what),
        )


def _addresses(recorded: Weights | PublishedFile | None) -> tuple[str, ...]:
    return (recorded.address, *recorded.alternates) if recorded and recorded.address else ()


def format_ap(ap: float | None) -> str:
    """Return an AP with the two digits that the zoo publishes; empty if unknown."""
    return "" if ap is None else f"{ap:.2f}"


def format_parameters(parameters: int | None) -> str:
    """Return a number of parameters in millions, as in ``41.4M``; empty if unknown."""
    return "" if parameters is None else f"{parameters / 1e6:.1f}M"


@dataclass(frozen=True, eq=False, repr=False)
class Zoo(Mapping[str, "Model"]):
    """All families and models, in the order of the files that list them.

    As a mapping it has the listed models by name; ``in``, ``[]`` and ``get`` also accept aliases, unlisted models, and
    the names of published files: ``fcos_r50_fpn_1x_det_bdd100k`` with or without an ending such as ``.pth``.
    """

    families: tuple[Family, ...] = ()
    models: tuple[Model, ...] = ()
    files: tuple[Path, ...] = ()
    """The zoo files that were read, the built-in one first."""
    unlisted: tuple[Model, ...] = ()
    """Models that can be used by name but are in no list or table."""

    @property
    def known(self) -> tuple[Model, ...]:
        """Every model, listed or not."""
        return (*self.models, *self.unlisted)

    def __getitem__(self, name: str) -> Model:
        """Return a model by its name, an alias or a published file; raises UnknownNameError, which is a KeyError."""
        model = self._find_model(name)
        if model is None:
            raise UnknownNameError("model", str(name), self._nearest_models(str(name)))
        return model

    def __contains__(self, name: object) -> bool:
        return self._find_model(name) is not None

    def _find_model(self, name: object) -> Model | None:
        published = PUBLISHED_FILE_NAME.fullmatch(name) if isinstance(name, str) else None
        for wanted in (name, published and published["model"]):
            for model in self.known:
                if wanted == model.name or wanted in model.aliases:
                    return model
        return None

    def _nearest_models(self, name: str) -> tuple[str, ...]:
        from difflib import get_close_matches

        published = PUBLISHED_FILE_NAME.fullmatch(name)
        names = [model.name for model in self.known]
        aliases = {alias: model.name for model in self.known for alias in model.aliases}
        close = get_close_matches(published["model"] if published else name, [*names, *aliases], n=5, cutoff=0.5)
        return tuple(dict.fromkeys(aliases.get(match, match) for match in close))

    def find(self, name: str) -> Model | Family:
        """Return a model as ``[]`` does, or else a family by its name or title; raises UnknownNameError."""
        model = self._find_model(name)
        if model is not None:
            return model
        try:
            return self.family(name)
        except UnknownNameError:
            from difflib import get_close_matches

            families = get_close_matches(name.casefold(), [family.name for family in self.families], n=1)
            nearest = (*self._nearest_models(name), *families)
            raise UnknownNameError("model or family", name, nearest) from None

    def __iter__(self) -> Iterator[str]:
        return (model.name for model in self.models)

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        return f"Zoo({len(self)} models in {len(self.families)} families)"

    def family(self, name: str) -> Family:
        """Return a family by its name or title; raises UnknownNameError."""
        wanted = name.casefold()
        for family in self.families:
            if wanted in (family.name.casefold(), family.title.casefold()):
                return family
        from difflib import get_close_matches

        names = [family.name for family in self.families]
        nearest = get_close_matches(wanted, names, n=3, cutoff=0.3)
        raise UnknownNameError("family", name, tuple(nearest or names))


def select_families(zoo: Zoo, names: Sequence[str]) -> list[Family]:
    """Return the named families in the order of the zoo, or all; raises UnknownNameError."""
    wanted = {zoo.family(name).name for name in names}
    return [family for family in zoo.families if not wanted or family.name in wanted]


def select_models(
    zoo: Zoo,
    *,
    families: Sequence[str] = (),
    backbone: str | None = None,
    schedule: str | None = None,
    min_ap: float | None = None,
) -> list[Model]:
    """Return the models that pass every filter, in the order of the zoo.

    Args:
        zoo: where to look.
        families: names or titles of families; none for all.
        backbone: a part of the backbone's name, in any case: ``r-50``, ``hrnet``.
        schedule: ``1x``, ``3x``.
        min_ap: smallest published box AP on val, 0 to 100.

    Raises:
        UnknownNameError: there is no such family.
    """
    wanted = {family.name for family in select_families(zoo, families)}
    found = [model for model in zoo.models if model.family in wanted]
    if backbone is not None:
        found = [model for model in found if _letters_and_digits(backbone) in _letters_and_digits(model.backbone or "")]
    if schedule is not None:
        found = [model for model in found if model.schedule == schedule.lower()]
    if min_ap is not None:
        found = [model for model in found if model.ap_val is not None and model.ap_val >= min_ap]
    return found


EDITION_PATTERN = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")


def select_edition(zoo: Zoo, edition: str) -> Zoo:
    """Return the part of a zoo that was published by the end of a year, a month or a day.

    Args:
        zoo: where to look. Models without a date are in no edition.
        edition: ``2021``, ``2022-06`` or ``2022-06-18``.

    Returns:
        The models of that edition, with the APs that their publishers list today, and the families that have any.

    Raises:
        ZooError: ``edition`` is no date, or nothing had been published.
    """
    dates = sorted({str(model.published) for model in zoo.models if model.published})
    hint = f"models were published on {', '.join(dates)}" if dates else "no model of this zoo has a date"
    if not EDITION_PATTERN.fullmatch(edition):
        raise ZooError(f"expected an edition such as 2021 or 2022-06-18, found {edition!r}", hint)
    # Dates in ISO 8601 sort as texts do, and so do their beginnings of one length.
    models = [model for model in zoo.models if model.published and str(model.published)[: len(edition)] <= edition]
    if not models:
        raise ZooError(f"no model was published by {edition}", hint)
    named = {model.family for model in models}
    families = tuple(family for family in zoo.families if family.name in named)
    return replace(zoo, families=families, models=tuple(models))


def no_match_error(zoo: Zoo) -> ZooError:
    """Return the error for filters that no model passes."""
    backbones = ", ".join(dict.fromkeys(model.backbone for model in zoo.models if model.backbone))
    schedules = ", ".join(dict.fromkeys(model.schedule for model in zoo.models if model.schedule))
    best_ap = max((model.ap_val for model in zoo.models if model.ap_val is not None), default=0.0)
    hint = f"backbones: {backbones}; schedules: {schedules}; the best AP on val is {format_ap(best_ap)}"
    return ZooError("no model matches all of these filters", hint)


def _letters_and_digits(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def sort_models(models: Sequence[Model], by: Literal["name", "val", "test"]) -> list[Model]:
    """Sort by name, or by published AP, best first and unknown last."""
    if by == "name":
        return sorted(models, key=lambda model: model.name)
    aps = {model.name: model.ap_val if by == "val" else model.ap_test for model in models}
    return sorted(models, key=lambda model: (aps[model.name] is None, -(aps[model.name] or 0), model.name))


def best_of_families(models: Iterable[Model]) -> list[Model]:
    """Return the model of each family with the highest published AP on val, the best first; without one, none."""
    best: dict[str, Model] = {}
    for model in models:
        known = best.get(model.family)
        if model.ap_val is not None and (known is None or model.ap_val > (known.ap_val or 0)):
            best[model.family] = model
    return sort_models(list(best.values()), "val")


def describe_training(model: Model) -> str:
    """Return how a model was trained, as in ``3x schedule, multi-scale``; empty if unknown."""
    schedule = f"{model.schedule} schedule" if model.schedule else ""
    return ", ".join(filter(None, (schedule, "multi-scale" if model.multi_scale_training else "")))


def describe_model(model: Model) -> dict[str, Any]:
    """Return every field of a model as JSON writes them, with its family written out."""
    fields = to_json_values(model)
    return fields | {"family": fields.pop("family_record")}


def to_json_values(record: Struct) -> dict[str, Any]:
    """Return the fields of a record as JSON writes them."""
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record, enc_hook=str))
    return fields
