"""The result tables of the zoo, in the form of its published README and in forms for papers and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bdd100k_zoo.manifest.schema import format_ap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bdd100k_zoo.manifest import Family, Model, Zoo

Format = Literal["markdown", "csv", "latex"]

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


def render(zoo: Zoo, families: Iterable[Family], form: Format, config_root: str = PUBLISHED_CONFIG_ROOT) -> str:
    """Render the result tables of some families, ending in a newline."""
    if form == "markdown":
        return markdown(zoo, families, config_root)
    return _RENDERERS[form](zoo, families)


def markdown(zoo: Zoo, families: Iterable[Family], config_root: str = PUBLISHED_CONFIG_ROOT) -> str:
    """Render a heading and a Markdown table for each family, linking configs below ``config_root``."""
    return "\n\n".join(_section(zoo, family, config_root) for family in families) + "\n"


def _section(zoo: Zoo, family: Family, config_root: str) -> str:
    rows = [_HEADER, (":-:",) * len(_HEADER), *(_row(model, config_root) for model in models_of(zoo, family))]
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


def comma_separated(zoo: Zoo, families: Iterable[Family]) -> str:
    """Render one table of all models with a header line (RFC 4180, Unix line ends)."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_FIELDS)
    for family in families:
        writer.writerows([give(model) for give in _FIELDS.values()] for model in models_of(zoo, family))
    return text.getvalue()


def latex(zoo: Zoo, families: Iterable[Family]) -> str:
    """Render one booktabs table of all models, without addresses."""
    lines = [r"\begin{tabular}{lllcrr}", r"\toprule"]
    lines += [r"Model & Backbone & Schedule & MS & AP val & AP test \\"]
    for family in families:
        lines.append(r"\midrule")
        lines += [_latex_row(family, model) for model in models_of(zoo, family)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(family: Family, model: Model) -> str:
    schedule = f"${model.schedule[:-1]}\\times$"
    multi_scale = r"\checkmark" if model.multi_scale_training else ""
    cells = (_escape_latex(family.title), _escape_latex(model.backbone), schedule, multi_scale)
    return " & ".join((*cells, format_ap(model.ap_val), format_ap(model.ap_test))) + r" \\"


def _escape_latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)


_RENDERERS: Mapping[str, Callable[[Zoo, Iterable[Family]], str]] = {"csv": comma_separated, "latex": latex}
