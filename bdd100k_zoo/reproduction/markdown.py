"""reproduction.md: the published tables, with what was measured beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.registry.models import format_ap
from bdd100k_zoo.reporting.tables import escape_markdown, format_speed

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Family, Model, Zoo
    from bdd100k_zoo.reproduction.results import ModelResult, Reproduction

_HEADER = (
    *("Model", "Backbone", "Lr schd", "MS-train", "Published AP", "Measured AP", "Difference"),
    *("Verdict", "img/s"),
)


def render_markdown(found: Reproduction, zoo: Zoo) -> str:
    """Return the results as a document: a table per family in the order of the zoo, then the reasons."""
    basis = "the publishers' prediction files" if found.published_predictions else "predictions made here"
    images = f"{found.limit:,} images of {found.split}" if found.limit else found.split
    lines = [
        "# Reproduction of the published tables",
        "",
        f"Box AP on {images}, measured from {basis} with bdd100k-zoo {found.version}: {describe_counts(found)}.",
        "",
    ]
    if found.limit:
        lines += ["On a part of the images an AP gives no verdict; its 95 % interval is in brackets.", ""]
    else:
        lines += ["Reproduced: the difference of the two APs, each rounded to two decimals, is at most 0.05.", ""]
    results = {each.model: each for each in found.models}
    models = [model for model in zoo.known if model.name in results]
    for family in dict.fromkeys(model.family_record for model in models):
        chosen = [model for model in models if model.family_record == family]
        lines += _section(family, [(model, results[model.name]) for model in chosen])
    if reasons := [each for each in found.models if each.reason]:
        lines += ["### Reasons", ""]
        lines += [f"- `{each.model}`: {escape_markdown(each.reason)}{_hint(each)}" for each in reasons]
        lines += [""]
    return "\n".join(lines)


def _hint(result: ModelResult) -> str:
    return f" (next: {escape_markdown(result.hint)})" if result.hint else ""


def _section(family: Family, rows: list[tuple[Model, ModelResult]]) -> list[str]:
    cells = [_HEADER, (":-:",) * len(_HEADER), *(_cells(*row) for row in rows)]
    return [f"### {escape_markdown(family.title)}", "", *("| " + " | ".join(row) + " |" for row in cells), ""]


def _cells(model: Model, result: ModelResult) -> tuple[str, ...]:
    measured = format_ap(result.measured_ap)
    if result.interval:
        measured += " ({:.2f} to {:.2f})".format(*result.interval)
    return (
        f"`{model.name}`",
        escape_markdown(model.backbone or ""),
        model.schedule or "",
        "✓" if model.multi_scale_training else "",
        format_ap(result.published_ap),
        measured,
        format_difference(result.difference),
        result.verdict or "",
        format_speed(result.images_per_second),
    )


def format_difference(difference: float | None) -> str:
    """Return a difference of APs with its sign and two decimals; empty if unknown."""
    return "" if difference is None else f"{difference:+.2f}"


def describe_counts(found: Reproduction) -> str:
    """Return how many models there are of each verdict, as in ``2 reproduced, 1 differs``."""
    return ", ".join(f"{number} {word}" for word, number in found.counts.items())
