"""Which models the zoo has, and what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bdd100k_zoo.errors import NoMatchError, ZooError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bdd100k_zoo.hub.cache import StoredFile
    from bdd100k_zoo.registry import Family, Model, Zoo

SortKey = Literal["name", "val", "test"]


def select_families(zoo: Zoo, names: Sequence[str]) -> list[Family]:
    """Give the named families in the order of the zoo, or all; raises UnknownNameError."""
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
    """Give the models that fit every filter, in the order of the zoo.

    Args:
        zoo: where to look.
        families: names or titles of families; none for all.
        backbone: a part of the backbone's name, in any case: ``r-50``, ``hrnet``.
        schedule: ``1x``, ``3x``.
        min_ap: smallest published box AP on val, 0 to 100.

    Raises:
        UnknownNameError: there is no such family.
        NoMatchError: no model fits.
    """
    wanted = {family.name for family in select_families(zoo, families)}
    found = [model for model in zoo.models if model.family in wanted]
    if backbone is not None:
        found = [model for model in found if _loosely(backbone) in _loosely(model.backbone)]
    if schedule is not None:
        found = [model for model in found if model.schedule == schedule.lower()]
    if min_ap is not None:
        found = [model for model in found if model.ap_val is not None and model.ap_val >= min_ap]
    if not found:
        raise NoMatchError(_distinct(zoo, "backbone"), _distinct(zoo, "schedule"), _best_ap(zoo.models))
    return found


def _loosely(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _distinct(zoo: Zoo, field: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(getattr(model, field) for model in zoo.models))


def _best_ap(models: Iterable[Model]) -> float:
    return max((model.ap_val for model in models if model.ap_val is not None), default=0.0)


def sort_models(models: Sequence[Model], by: SortKey) -> list[Model]:
    """Sort by name, or by published AP, best first and unknown last."""
    if by == "name":
        return sorted(models, key=lambda model: model.name)
    aps = {model.name: model.ap_val if by == "val" else model.ap_test for model in models}
    return sorted(models, key=lambda model: (aps[model.name] is None, -(aps[model.name] or 0), model.name))


def describe_model(zoo: Zoo, model: Model) -> dict[str, Any]:
    """Give every field of a model, with its family written out."""
    return _as_json(model) | {"family": _as_json(zoo.family(model.family))}


def describe_stored_file(state: StoredFile | ZooError | None) -> dict[str, Any]:
    """Give what is known of a cached file, or what is wrong with it."""
    if state is None:
        return {"cached": False}
    if isinstance(state, ZooError):
        return {"cached": True, "wrong": str(state)}
    return {"cached": True, **_as_json(state)}


def _as_json(record: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record, enc_hook=str))
    return fields
