"""The result tables of the zoo, in the form of its published README and in forms for papers and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bdd100k_zoo.manifest.schema import format_ap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bdd100k_zoo.manifest import Family, Model, Zoo

Format = Literal["markdown", "csv", "latex"]

Measured = Mapping[str, float]
"""Overall AP on val by model, in percent."""

MEASURED = "Measured AP-val"
PUBLISHED_CONFIG_ROOT = "./configs/det"

_HEADER = (
    "Backbone",
    "Lr schd",
    "MS-train",
    "Box AP-val",
    "Scores-val",
    "Box AP-test",
    "Scores-test",
    "Config",
    "Weights",
    "Preds",
    "Visuals",
)


def render(
    zoo: Zoo,
    families: Iterable[Family],
    form: Format,
    config_root: str = PUBLISHED_CONFIG_ROOT,
    measured: Measured | None = None,
) -> str:
    """Render the result tables of some families, ending in a newline.

    Args:
        zoo: where the models are.
        families: those to render, in this order.
        form: Markdown as published, or one table of all for programs or papers.
        config_root: what the links to configs begin with (Markdown).
        measured: overall AP on val by model, in percent, to set beside the published one.
    """
    if form == "markdown":
        return markdown(zoo, families, config_root, measured)
    return _RENDERERS[form](zoo, families, measured)


def markdown(
    zoo: Zoo,
    families: Iterable[Family],
    config_root: str = PUBLISHED_CONFIG_ROOT,
    measured: Measured | None = None,
) -> str:
    """Render a heading and a Markdown table for each family, linking configs below ``config_root``."""
    return "\n\n".join(_section(zoo, family, config_root, measured) for family in families) + "\n"


def _section(zoo: Zoo, family: Family, config_root: str, measured: Measured | None) -> str:
    models = models_of(zoo, family)
    rows = [_HEADER, *(_row(model, config_root) for model in models)]
    if measured is not None:
        column = [MEASURED, *(format_ap(measured.get(model.name)) for model in models)]
        rows = [(*row[:4], cell, *row[4:]) for row, cell in zip(rows, column, strict=True)]
    rows.insert(1, (":-:",) * len(rows[0]))
    return "\n".join([f"### {family.title}", "", *("| " + " | ".join(row) + " |" for row in rows)])


def models_of(zoo: Zoo, family: Family) -> list[Model]:
    """Give the models of a family in the order of the zoo files."""
    return [model for model in zoo.models if model.family == family.name]


def _row(model: Model, config_root: str) -> tuple[str, ...]:
    config = f"{config_root.rstrip('/')}/{model.config}" if config_root else model.config
    weights = [_link("model", model.weights.address), _link("MD5", model.md5)]
    return (
        model.backbone.replace("|", "\\|"),
        model.schedule,
        "✓" if model.multi_scale_training else "",
        format_ap(model.ap_val),
        _link("scores", model.scores_val),
        format_ap(model.ap_test),
        _link("scores", model.scores_test),
        _link("config", config),
        " \\| ".join(link for link in weights if link),
        _link("preds", model.predictions),
        _link("visuals", model.visuals),
    )


def _link(text: str, address: str | None) -> str:
    return f"[{text}]({address})" if address else ""


_FIELDS: Mapping[str, Callable[[Model], str]] = {
    "name": lambda model: model.name,
    "family": lambda model: model.family,
    "backbone": lambda model: model.backbone,
    "schedule": lambda model: model.schedule,
    "multi_scale_training": lambda model: str(model.multi_scale_training).lower(),
    "ap_val": lambda model: format_ap(model.ap_val),
    "ap_test": lambda model: format_ap(model.ap_test),
    "config": lambda model: model.config,
    "weights": lambda model: model.weights.address,
    "md5": lambda model: model.md5 or "",
    "predictions": lambda model: model.predictions or "",
    "visuals": lambda model: model.visuals or "",
    "scores_val": lambda model: model.scores_val or "",
    "scores_test": lambda model: model.scores_test or "",
}


def comma_separated(zoo: Zoo, families: Iterable[Family], measured: Measured | None = None) -> str:
    """Render one table of all models with a header line (RFC 4180, Unix line ends)."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIELDS, *(["measured_ap_val"] if measured is not None else [])])
    for model in (model for family in families for model in models_of(zoo, family)):
        last = [] if measured is None else [format_ap(measured.get(model.name))]
        writer.writerow([*(give(model) for give in _FIELDS.values()), *last])
    return text.getvalue()


def latex(zoo: Zoo, families: Iterable[Family], measured: Measured | None = None) -> str:
    """Render one booktabs table of all models, without addresses."""
    extra = ("r", " & measured") if measured is not None else ("", "")
    lines = [rf"\begin{{tabular}}{{lllcrr{extra[0]}}}", r"\toprule"]
    lines += [rf"Model & Backbone & Schedule & MS & AP val & AP test{extra[1]} \\"]
    for family in families:
        lines.append(r"\midrule")
        lines += [_latex_row(family, model, measured) for model in models_of(zoo, family)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(family: Family, model: Model, measured: Measured | None) -> str:
    schedule = f"${model.schedule[:-1]}\\times$"
    multi_scale = r"\checkmark" if model.multi_scale_training else ""
    cells = (_escape_latex(family.title), _escape_latex(model.backbone), schedule, multi_scale)
    last = () if measured is None else (format_ap(measured.get(model.name)),)
    return " & ".join((*cells, format_ap(model.ap_val), format_ap(model.ap_test), *last)) + r" \\"


def _escape_latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)


_RENDERERS: Mapping[str, Callable[[Zoo, Iterable[Family], Measured | None], str]] = {
    "csv": comma_separated,
    "latex": latex,
}
