"""Result tables of the zoo: Markdown as in the published README, CSV, LaTeX and JSON, and their copies in documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.registry.models import FILE_FIELDS, format_ap, format_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bdd100k_zoo.evaluation.runs import MeasuredResults
    from bdd100k_zoo.registry import Family, Model, Zoo

Format = Literal["markdown", "csv", "latex"]

Measured = Mapping[str, float]
"""Overall AP on val by model, in percent."""

Speeds = Mapping[str, Mapping[str, float]]
"""Images per second by device, then by model."""

MEASURED = "Measured AP-val"
SPEED = "img/s"
PUBLISHED_CONFIG_ROOT = "./configs/det"
CONFIG_ROOTS = (PUBLISHED_CONFIG_ROOT, "bdd100k_zoo/configs/det", "../bdd100k_zoo/configs/det")
"""Folders of configs near a document: in the published repository, in this one, and seen from its folder ``docs``."""

SAFE_IN_LINKS = "%/:?#[]@!$&'*+,;=~"

_MARKDOWN_HEADER = (
    *("Backbone", "Lr schd", "MS-train", "Box AP-val", "Scores-val", "Box AP-test", "Scores-test"),
    *("Config", "Weights", "Preds", "Visuals"),
)
_CSV_FIELDS = (
    *(
        "name",
        "family",
        "backbone",
        "schedule",
        "multi_scale_training",
        "published",
        "parameters",
        "ap_val",
        "ap_test",
        "config",
    ),
    *("weights", "md5", "predictions", "visuals", "scores_val", "scores_test"),
)


def models_of(zoo: Zoo, family: Family) -> list[Model]:
    """Return the models of a family in the order of the zoo files."""
    return [model for model in zoo.models if model.family == family.name]


def config_root_for(document: Path | None) -> str | None:
    """Return the prefix of a document's links to configs.

    Returns:
        The published prefix without a document; for a document, the first of ``CONFIG_ROOTS`` that exists beside it, or
        None where none does: a link would be dead.
    """
    if document is None:
        return PUBLISHED_CONFIG_ROOT
    return next((root for root in CONFIG_ROOTS if (document.parent / root).is_dir()), None)


def render_tables(
    zoo: Zoo,
    families: Iterable[Family],
    form: Format = "markdown",
    config_root: str | None = PUBLISHED_CONFIG_ROOT,
    measured: Measured | None = None,
    speeds: Speeds | None = None,
) -> str:
    """Render the result tables of some families, ending in a newline.

    Args:
        zoo: holds the models.
        families: those to render, in this order.
        form: one Markdown table per family as published, with the names of models where rows would look alike, or one
            table of all models as CSV or LaTeX.
        config_root: prefix of the links to configs (Markdown); None for file names without links.
        measured: overall AP on val by model, in percent, shown beside the published AP.
        speeds: images per second; each device becomes a column.
    """
    speeds = speeds or {}
    if form == "csv":
        return _render_csv(zoo, families, measured, speeds)
    if form == "latex":
        return _render_latex(zoo, families, measured, speeds)
    return "\n\n".join(_section(zoo, family, config_root, measured, speeds) for family in families) + "\n"


def _section(zoo: Zoo, family: Family, config_root: str | None, measured: Measured | None, speeds: Speeds) -> str:
    headings = [] if measured is None else [MEASURED], [f"{SPEED} {escape_markdown(on)}" for on in speeds]
    models = models_of(zoo, family)
    named = _look_alike(models)
    rows = [(*(["Model"] if named else []), *_insert_cells(_MARKDOWN_HEADER, *headings))]
    rows.append((":-:",) * len(rows[0]))
    for model in models:
        cells = _insert_cells(_markdown_cells(model, config_root), *_measured_cells(model, measured, speeds))
        rows.append((*([f"`{model.name}`"] if named else []), *cells))
    return "\n".join([f"### {escape_markdown(family.title)}", "", *("| " + " | ".join(row) + " |" for row in rows)])


def _look_alike(models: Iterable[Model]) -> bool:
    """Return whether the published columns leave two models of a family the same, so that rows need their names."""
    rows = [(model.backbone, model.schedule, model.multi_scale_training) for model in models]
    return len(set(rows)) < len(rows)


def _insert_cells(row: Sequence[str], aps: Iterable[str], speeds: Iterable[str]) -> tuple[str, ...]:
    """Insert measured AP after the published AP on val, and speeds before the links to config and weights."""
    return (*row[:4], *aps, *row[4:7], *speeds, *row[7:])


def _measured_cells(model: Model, measured: Measured | None, speeds: Speeds) -> tuple[list[str], list[str]]:
    """Return the cell of the measured AP, none where no AP was measured, and the cells of the speeds."""
    aps = [] if measured is None else [format_ap(measured.get(model.name))]
    return aps, [format_speed(by_model.get(model.name)) for by_model in speeds.values()]


def _markdown_cells(model: Model, config_root: str | None) -> tuple[str, ...]:
    config = escape_markdown(model.config)
    if config_root is not None:
        config = _link("config", "/".join(filter(None, (config_root.rstrip("/"), quote(model.config, safe="/~")))))
    weights = [_link("model", model.weights.address), _link("MD5", _address(model, "md5"))]
    return (
        escape_markdown(model.backbone or ""),
        model.schedule or "",
        "✓" if model.multi_scale_training else "",
        format_ap(model.ap_val),
        _link("scores", _address(model, "scores_val")),
        format_ap(model.ap_test),
        _link("scores", _address(model, "scores_test")),
        config,
        " \\| ".join(link for link in weights if link),
        _link("preds", _address(model, "predictions")),
        _link("visuals", _address(model, "visuals")),
    )


def _address(model: Model, field: str) -> str | None:
    """Return where a file of a model is published; None if it is not."""
    recorded = getattr(model, field)
    return recorded.address if recorded else None


def escape_markdown(text: str) -> str:
    """Return text as Markdown that shows it as it is, in a heading or a cell: no markup, HTML, entity or formula."""
    return "".join(f"\\{each}" if each in "\\`*_[]<>&|~$#" else each for each in " ".join(text.split()))


def _link(text: str, address: str | None) -> str:
    if address is None:
        return ""
    if address.startswith(("file:", "hf:")):
        return text  # no browser follows it, and the folders of whoever writes the tables are nobody's business
    # Characters that would end the link or the cell are percent-encoded.
    return f"[{text}]({quote(address, safe=SAFE_IN_LINKS)})"


def format_speed(images_per_second: float | None) -> str:
    """Write a speed with about three significant digits; empty for None."""
    if images_per_second is None:
        return ""
    digits = 0 if images_per_second >= 100 else 1 if images_per_second >= 10 else 2
    return f"{images_per_second:.{digits}f}"


def _render_csv(zoo: Zoo, families: Iterable[Family], measured: Measured | None, speeds: Speeds) -> str:
    """Render one table of all models with a header line (RFC 4180, Unix line ends)."""
    headings = ["measured_ap_val"] if measured is not None else []
    rows = [[*_CSV_FIELDS, *headings, *(f"images_per_second {on}" for on in speeds)]]
    for model in (model for family in families for model in models_of(zoo, family)):
        aps, rates = _measured_cells(model, measured, speeds)
        rows.append([*_csv_cells(model), *aps, *rates])
    return _csv_text(rows)


def _csv_text(rows: Iterable[Iterable[str]]) -> str:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _csv_cells(model: Model) -> list[str]:
    return [_csv_cell(model, field) for field in _CSV_FIELDS]


def _csv_cell(model: Model, field: str) -> str:
    if field in FILE_FIELDS:
        return _address(model, field) or ""
    value = getattr(model, field)
    if field.startswith("ap_"):
        return format_ap(value)
    return str(value).lower() if isinstance(value, bool) else str(value or "")


def _render_latex(zoo: Zoo, families: Iterable[Family], measured: Measured | None, speeds: Speeds) -> str:
    """Render one booktabs table of all models, without addresses."""
    headings = ["Model", "Backbone", "Schedule", "MS", "AP val", "AP test"]
    headings += ["measured"] if measured is not None else []
    headings += [_escape_latex(f"{SPEED} {on}") for on in speeds]
    lines = [rf"\begin{{tabular}}{{lllc{'r' * (len(headings) - 4)}}}", r"\toprule", " & ".join(headings) + r" \\"]
    for family in families:
        lines.append(r"\midrule")
        models = models_of(zoo, family)
        named = _look_alike(models)
        for model in models:
            cells = [_escape_latex(model.name if named else family.title), _escape_latex(model.backbone or "")]
            cells += [f"${model.schedule[:-1]}\\times$" if model.schedule else ""]
            cells += [r"\checkmark" if model.multi_scale_training else ""]
            cells += [format_ap(model.ap_val), format_ap(model.ap_test)]
            aps, rates = _measured_cells(model, measured, speeds)
            lines.append(" & ".join([*cells, *aps, *rates]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


_LATEX_ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX_ESCAPES |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"}
_LATEX_ESCAPES |= {character: f"\\{character}" for character in "&%$#_{}"}
# At the start of a row, LaTeX would read one of these as an argument of the line break before it.
_LATEX_ESCAPES |= {character: f"{{{character}}}" for character in "[]*"}


def _escape_latex(text: str) -> str:
    return "".join(_LATEX_ESCAPES.get(each, each) for each in " ".join(text.split()))


LIST_COLUMNS = ("Model", "Family", "Backbone", "Schedule", "Multi-scale", "Parameters", "AP val", "AP test")
LIST_ALIGNMENTS = (":--", ":--", ":--", ":-:", ":-:", "--:", "--:", "--:")


def render_list(models: Iterable[Model], form: Literal["csv", "markdown"]) -> str:
    """Render one table of models in their order, ending in a newline.

    Args:
        models: those to render.
        form: ``csv`` has a model's scores, its number of parameters, and the addresses of its files; ``markdown`` has
            the parameters in millions, and no addresses.
    """
    if form == "csv":
        return _csv_text([_CSV_FIELDS, *map(_csv_cells, models)])
    rows = [LIST_COLUMNS, LIST_ALIGNMENTS, *map(_list_cells, models)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _list_cells(model: Model) -> tuple[str, ...]:
    return (
        f"`{model.name}`",
        escape_markdown(model.family_record.title),
        escape_markdown(model.backbone or ""),
        model.schedule or "",
        "✓" if model.multi_scale_training else "",
        format_parameters(model.parameters),
        format_ap(model.ap_val),
        format_ap(model.ap_test),
    )


def table_records(zoo: Zoo, families: Iterable[Family], found: MeasuredResults) -> dict[str, Any]:
    """Return the tables as records for JSON, with the runs and speed records that are left out.

    Args:
        zoo: holds the models.
        families: those to return, in this order.
        found: measured APs and speeds.
    """
    aps = found.aps or {}

    def record(model: Model) -> dict[str, Any]:
        speeds = {on: by_model.get(model.name) for on, by_model in found.speeds.items()}
        measured = {"measured_ap_val": aps.get(model.name), "images_per_second": speeds}
        return msgspec.to_builtins(model, enc_hook=str) | measured  # type: ignore[no-any-return]

    records = [
        {"family": family.name, "title": family.title, "models": [record(model) for model in models_of(zoo, family)]}
        for family in families
    ]
    return {"families": records, "left_out": found.left_out}


# Generated blocks of a document ---------------------------------------------------------------------------------------

BEGIN = "<!-- bdd100k-zoo table: begin -->"
END = "<!-- bdd100k-zoo table: end -->"
BEST_BEGIN = "<!-- bdd100k-zoo best: begin -->"
BEST_END = "<!-- bdd100k-zoo best: end -->"


def update_block(path: Path, block: str, *, best: str = "", check: bool = False) -> bool:
    """Update the generated blocks of a document; return whether one was stale.

    A document that does not exist is written with the tables as its only content.

    Args:
        path: the document.
        block: the tables, between the markers ``BEGIN`` and ``END``.
        best: the best models, between the markers ``BEST_BEGIN`` and ``BEST_END`` of a document that has them.
        check: write nothing, and raise InvalidFileError where a block is stale.

    Raises:
        InvalidFileError: the document is not UTF-8 text, or lacks the markers.
        StorageError: it cannot be read or written.
    """
    with storage_errors(path):
        is_new = not check and not path.exists()
        content = b"" if is_new else path.read_bytes()  # not read_text, which would convert line ends
    if is_new:
        write_atomically(path, f"{_render_block(block, BEGIN, END)}\n".encode(), follow_links=True)
        return True
    try:
        updated = _replace_block(path, content.decode(), block, BEGIN, END)
    except UnicodeDecodeError as error:
        raise InvalidFileError(path, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    if BEST_BEGIN in updated:
        updated = _replace_block(path, updated, best, BEST_BEGIN, BEST_END)
    if updated.encode() == content:
        return False
    if check:
        problem = "the tables between its markers are not those of the zoo"
        hint = f"`bdd100k-zoo table --out {path}` updates it (with the same options)"
        raise InvalidFileError(path, problem, hint)
    write_atomically(path, updated.encode(), follow_links=True)
    return True


def _replace_block(path: Path, text: str, block: str, begin: str, end: str) -> str:
    """Return a document's text with a block replaced, in the line ends of the document."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        problem = f"expected one line `{begin}` and, after it, one line `{end}`"
        hint = "put the two markers where the tables belong, or choose a file that does not exist"
        raise InvalidFileError(path, problem, hint)
    before, _, rest = text.partition(begin)
    line_end = "\r\n" if rest.startswith("\r\n") else "\n"
    generated = _render_block(block, begin, end).replace("\n", line_end)
    return f"{before}{generated}{rest.partition(end)[2]}"


def _render_block(block: str, begin: str, end: str) -> str:
    return f"{begin}\n\n{block}\n{end}"


def write_tables(path: Path, text: str) -> None:
    """Write tables that are not Markdown to a file of their own; an existing one is replaced.

    Raises:
        InvalidFileError: the file is a document with the markers of Markdown tables.
        StorageError: it cannot be read or written.
    """
    with storage_errors(path):
        is_document = path.exists() and BEGIN.encode() in path.read_bytes()
    if is_document:
        problem = "is a document with tables in Markdown, which another format cannot replace"
        raise InvalidFileError(path, problem, "choose another file, or write Markdown")
    write_atomically(path, text.encode(), follow_links=True)
