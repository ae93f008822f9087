"""The result tables of the zoo, in the form of its published README and in forms for papers and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from bdd100k_zoo.registry.models import format_ap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bdd100k_zoo.registry import Family, Model, Zoo

Format = Literal["markdown", "csv", "latex"]

Measured = Mapping[str, float]
"""Overall AP on val by model, in percent."""

Speeds = Mapping[str, Mapping[str, float]]
"""Images per second, by what they were measured on and by model."""

MEASURED = "Measured AP-val"
SPEED = "img/s"
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


def render_tables(
    zoo: Zoo,
    families: Iterable[Family],
    form: Format,
    config_root: str | None = PUBLISHED_CONFIG_ROOT,
    measured: Measured | None = None,
    speeds: Speeds | None = None,
) -> str:
    """Render the result tables of some families, ending in a newline.

    Args:
        zoo: where the models are.
        families: those to render, in this order.
        form: Markdown as published, or one table of all for programs or papers.
        config_root: what the links to configs begin with (Markdown); None for file names without links.
        measured: overall AP on val by model, in percent, to set beside the published one.
        speeds: images per second, a column for everything that they were measured on.
    """
    if form == "markdown":
        return render_markdown(zoo, families, config_root, measured, speeds)
    return _RENDERERS[form](zoo, families, measured, speeds)


def render_markdown(
    zoo: Zoo,
    families: Iterable[Family],
    config_root: str | None = PUBLISHED_CONFIG_ROOT,
    measured: Measured | None = None,
    speeds: Speeds | None = None,
) -> str:
    """Render a heading and a Markdown table for each family, linking configs below ``config_root``."""
    return "\n\n".join(_section(zoo, family, config_root, measured, speeds or {}) for family in families) + "\n"


def _section(zoo: Zoo, family: Family, config_root: str | None, measured: Measured | None, speeds: Speeds) -> str:
    models = models_of(zoo, family)
    rows = [_HEADER, *(_row(model, config_root) for model in models)]
    columns = [
        (
            _HEADER.index("Config"),
            f"{SPEED} {_escape_markdown(on)}",
            [format_speed(by_model.get(model.name)) for model in models],
        )
        for on, by_model in reversed(list(speeds.items()))
    ]
    if measured is not None:
        aps = [format_ap(measured.get(model.name)) for model in models]
        columns.append((_HEADER.index("Scores-val"), MEASURED, aps))
    for place, heading, cells in columns:
        rows = [(*row[:place], cell, *row[place:]) for row, cell in zip(rows, [heading, *cells], strict=True)]
    rows.insert(1, (":-:",) * len(rows[0]))
    return "\n".join([f"### {_escape_markdown(family.title)}", "", *("| " + " | ".join(row) + " |" for row in rows)])


def models_of(zoo: Zoo, family: Family) -> list[Model]:
    """Give the models of a family in the order of the zoo files."""
    return [model for model in zoo.models if model.family == family.name]


def _row(model: Model, config_root: str | None) -> tuple[str, ...]:
    if config_root is None:
        config = _escape_markdown(model.config)
    else:
        config = _link("config", _below(config_root, quote(model.config, safe="/~")))
    weights = [_link("model", model.weights.address), _link("MD5", model.md5)]
    return (
        _escape_markdown(model.backbone),
        model.schedule,
        "✓" if model.multi_scale_training else "",
        format_ap(model.ap_val),
        _link("scores", model.scores_val),
        format_ap(model.ap_test),
        _link("scores", model.scores_test),
        config,
        " \\| ".join(link for link in weights if link),
        _link("preds", model.predictions),
        _link("visuals", model.visuals),
    )


def _below(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if root else name


def _escape_markdown(text: str) -> str:
    """Return text as Markdown that shows it as it is, in a heading or a cell: no markup, HTML, entity or formula."""
    return "".join(f"\\{each}" if each in "\\`*_[]<>&|~$#" else each for each in " ".join(text.split()))


def format_speed(images_per_second: float | None) -> str:
    """Write a speed with three digits that count, about; nothing for an unknown one."""
    if images_per_second is None:
        return ""
    digits = 0 if images_per_second >= 100 else 1 if images_per_second >= 10 else 2
    return f"{images_per_second:.{digits}f}"


SAFE_IN_LINKS = "%/:?#[]@!$&'*+,;=~"


def _link(text: str, address: str | None) -> str:
    # What would end a link or a cell is written as addresses write it.
    return f"[{text}]({quote(address, safe=SAFE_IN_LINKS)})" if address else ""


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


def render_csv(
    zoo: Zoo, families: Iterable[Family], measured: Measured | None = None, speeds: Speeds | None = None
) -> str:
    """Render one table of all models with a header line (RFC 4180, Unix line ends)."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    headings = ["measured_ap_val"] if measured is not None else []
    writer.writerow([*_FIELDS, *headings, *(f"images_per_second {on}" for on in speeds or {})])
    for model in (model for family in families for model in models_of(zoo, family)):
        last = _last_cells(model, measured, speeds or {})
        writer.writerow([*(give(model) for give in _FIELDS.values()), *last])
    return text.getvalue()


def _last_cells(model: Model, measured: Measured | None, speeds: Speeds) -> list[str]:
    aps = [] if measured is None else [format_ap(measured.get(model.name))]
    return [*aps, *(format_speed(by_model.get(model.name)) for by_model in speeds.values())]


def render_latex(
    zoo: Zoo, families: Iterable[Family], measured: Measured | None = None, speeds: Speeds | None = None
) -> str:
    """Render one booktabs table of all models, without addresses."""
    last = ["measured"] if measured is not None else []
    last += [_escape_latex(f"{SPEED} {on}") for on in speeds or {}]
    lines = [rf"\begin{{tabular}}{{lllcrr{'r' * len(last)}}}", r"\toprule"]
    lines += [" & ".join(["Model & Backbone & Schedule & MS & AP val & AP test", *last]) + r" \\"]
    for family in families:
        lines.append(r"\midrule")
        lines += [
            _latex_row(family, model, _last_cells(model, measured, speeds or {})) for model in models_of(zoo, family)
        ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(family: Family, model: Model, last: Iterable[str]) -> str:
    schedule = f"${model.schedule[:-1]}\\times$"
    multi_scale = r"\checkmark" if model.multi_scale_training else ""
    cells = (_escape_latex(family.title), _escape_latex(model.backbone), schedule, multi_scale)
    return " & ".join((*cells, format_ap(model.ap_val), format_ap(model.ap_test), *last)) + r" \\"


def _escape_latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    # A row that begins with one of these would be an argument of the line break before it.
    special |= {character: f"{{{character}}}" for character in "[]*"}
    return "".join(special.get(character, character) for character in " ".join(text.split()))


_RENDERERS: Mapping[str, Callable[[Zoo, Iterable[Family], Measured | None, Speeds | None], str]] = {
    "csv": render_csv,
    "latex": render_latex,
}
