"""One reader per format: a second one would accept and refuse other files than the first."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bdd100k_zoo

PACKAGE = Path(bdd100k_zoo.__file__).parent

READERS = {
    "formats.decode_json": "any JSON as plain documents, for the careful path",
    "formats._decode_leniently": "the same, with NaN and JSON lines",
    "scalabel_reader.decode_files": "Scalabel frames as typed records: the fast path of all jobs",
    "scalabel_reader._convert_document": "one Scalabel frame from a plain document",
    "scalabel_reader.read_loose_frames": "the outer list of predictions to submit",
    "scalabel_reader.decode_loose_frame": "one frame of them",
    "scalabel_reader.stream_rows": "the fast path of what `predict` wrote, a line at a time",
    "coco.read_coco": "COCO labels and results",
    "export.to_scalabel_frame": "what it has encoded itself, as plain values",
}
"""Every function of ``data`` that decodes a file or a part of it. A new job calls these instead of adding another."""

DECODING = {"msgspec.json.decode", "msgspec.json.Decoder", "msgspec.convert", "json.loads", "json.load"}

FIELDS = {
    "box2d": {
        "data/scalabel.py": "the schema",
        "data/scalabel_reader.py": "the fast path",
        "data/scalabel_checks.py": "the careful path",
        "data/formats.py": "older forms",
        "data/coco.py": "what COCO files keep of Scalabel's",
        "diagnostics/extras.py": "labels that are written to be scored",
    },
    "image_id": {
        "data/coco.py": "the schema",
        "data/formats.py": "which format a file has",
        "data/export.py": "results of one image, to be written",
    },
}
"""A field of each format that every reader needs, and the modules that declare or name it."""


def functions(module: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.FunctionDef)]


def test_every_function_that_decodes_labels_or_predictions_is_known() -> None:
    found = {
        f"{module.stem}.{function.name}"
        for module in (PACKAGE / "data").glob("*.py")
        for function in functions(module)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in DECODING
    }
    assert found == set(READERS)


def names_in(module: Path) -> set[str]:
    """Return the fields that a module declares or names in a string; a field that is only accessed was read before."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    fields = [node.target for node in nodes if isinstance(node, ast.AnnAssign)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return {field.id for field in fields if isinstance(field, ast.Name)} | {t for t in texts if isinstance(t, str)}


@pytest.mark.parametrize("field", FIELDS)
def test_no_other_module_knows_the_fields_of_a_format(field: str) -> None:
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if field in names_in(path)}
    assert found == set(FIELDS[field])


def test_one_function_decides_the_format_of_a_file() -> None:
    deciders = {
        function.name
        for module in PACKAGE.rglob("*.py")
        for function in functions(module)
        if "FileFormat" in ast.unparse(function.returns or ast.Constant(None))
    }
    assert deciders == {"detect_format", "_format_of_keys", "_source_format"}, "the last two serve or use the first"
