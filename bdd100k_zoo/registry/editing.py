"""Write digests, sizes and models into the text of a zoo file, changing nothing else."""

from __future__ import annotations

import json
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from bdd100k_zoo.errors import ManifestError
from bdd100k_zoo.registry.models import ARTIFACT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bdd100k_zoo.registry.models import ArtifactKind, DigestAndSize

    Known = Mapping[str, Mapping[ArtifactKind, DigestAndSize]]

NULL = "tag:yaml.org,2002:null"
DIGEST_FIELDS = ("digest", "size")


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def insert_digests(file: Path, text: str, known: Known) -> str:
    """Return a zoo file's text with digests and sizes where it has none; comments and layout stay as they are.

    They replace the nulls in the model's field of the file, such as ``weights``. A field that the model lacks is added
    as its last one. What is recorded already stays.

    Args:
        file: what errors call the file.
        text: its content, a zoo file that loads.
        known: what to record, by model and kind of file.

    Raises:
        ManifestError: the layout of the text is one that this cannot edit, such as a model in braces.
    """
    models = _child(yaml.compose(text, Loader=yaml.SafeLoader), "models")
    edits = [
        edit for node in models.value for edit in _model_edits(text, node, known.get(_child(node, "name").value, {}))
    ]
    edited = text
    edits.sort(key=itemgetter(0, 1))
    # From the last place to the first one; of several at one place, the first that was found comes first in the text.
    for start, end, replacement in reversed(edits):
        edited = edited[:start] + replacement + edited[end:]
    if not _holds(edited, _with_digests(text, known)):
        raise ManifestError(file, "", "", "is laid out so that digests cannot be written into it; write them by hand")
    return edited


PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@%+-]*|(https|hf|file)://[A-Za-z0-9_./@%+-]+")
"""Texts without characters that have a meaning in YAML."""


def append_model(file: Path, text: str, entry: Mapping[str, str | int]) -> str:
    """Return a zoo file's text with a model added after its last one; comments and layout stay as they are.

    Args:
        file: what errors call the file.
        text: its content; empty for a new file.
        entry: the fields of the model.

    Raises:
        ManifestError: the file is not valid YAML, or its models are not written as a list of one field a line.
    """
    fields = [f"{key}: {_scalar(value)}" for key, value in entry.items()]
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        before = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ManifestError(file, "", "", f"is not valid YAML: {' '.join(str(error).split())}") from error
    models = _child(root, "models")
    at, indent = len(text), "  "
    if isinstance(models, yaml.SequenceNode) and models.value:
        at, indent = text.find("\n", _end(models) - 1) + 1 or len(text), " " * models.start_mark.column
    lines = [f"{indent}- {fields[0]}", *(f"{indent}  {field}" for field in fields[1:])]
    if models is None:
        lines.insert(0, "models:")
    start = "" if not text[:at] or text[:at].endswith("\n") else "\n"
    edited = text[:at] + start + "\n".join(lines) + "\n" + text[at:]
    if not isinstance(before, dict) or not _holds(edited, before | {"models": [*(before.get("models") or ()), entry]}):
        raise ManifestError(file, "", "models", "are laid out so that no model can be added; write the entry by hand")
    return edited


def _scalar(value: str | int) -> str:
    return str(value) if isinstance(value, int) or _is_plain(value) else json.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    """Return whether YAML reads a text as that text without quotes, not as a number or null."""
    return bool(PLAIN.fullmatch(text)) and bool(yaml.safe_load(text) == text)


def _child(mapping: yaml.Node | None, key: str) -> Any:
    """Return the node of a key; None if the mapping lacks it."""
    pairs = mapping.value if isinstance(mapping, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _model_edits(text: str, model: yaml.MappingNode, known: Mapping[ArtifactKind, DigestAndSize]) -> Iterator[_Edit]:
    lines = []
    for what, recorded in known.items():
        field = ARTIFACT_FIELDS[what]
        entry, both = _child(model, field), f"digest: {recorded.digest}, size: {recorded.size}"
        if entry is None:
            lines.append(f"{field}: {{{both}}}")
        elif entry.tag == NULL:
            yield _filled(entry, f"{{{both}}}")
        elif isinstance(entry, yaml.ScalarNode):  # the address alone
            mapping = f"{{address: {json.dumps(entry.value)}, {both}}}"
            yield _Edit(entry.start_mark.index, entry.end_mark.index, mapping)
        else:
            yield from _mapping_edits(text, entry, recorded)
    if lines:
        yield from _addition(text, model, lines)


def _mapping_edits(text: str, mapping: yaml.MappingNode, recorded: DigestAndSize) -> Iterator[_Edit]:
    missing = []
    for field in DIGEST_FIELDS:
        node, value = _child(mapping, field), getattr(recorded, field)
        if node is None:
            missing.append(f"{field}: {value}")
        elif node.tag == NULL:
            yield _filled(node, str(value))
    if missing:
        yield from _addition(text, mapping, missing)


def _filled(null: yaml.Node, value: str) -> _Edit:
    """Replace a null, which may be written as nothing right behind its colon."""
    start, end = null.start_mark.index, null.end_mark.index
    return _Edit(start, end, f"{' ' if start == end else ''}{value}")


def _addition(text: str, mapping: yaml.MappingNode, lines: list[str]) -> Iterator[_Edit]:
    """Append lines to a mapping; not to one in braces, which is then found to lack them."""
    if mapping.flow_style:
        return
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = " " * mapping.value[0][0].start_mark.column
    block = "".join(f"{indent}{line}{newline}" for line in lines)
    end = _end(mapping.value[-1][1])
    line_end = text.find("\n", end - 1)
    at = line_end + 1 if line_end >= 0 else len(text)
    yield _Edit(at, at, block if line_end >= 0 else newline + block)


def _end(node: yaml.Node) -> int:
    """Return where a value ends: the end mark of a block comes after the comments that follow it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _with_digests(text: str, known: Known) -> Any:
    """Return the content of a zoo file with the digests."""
    expected = yaml.safe_load(text)
    for model in expected["models"]:
        for what, recorded in known.get(model["name"], {}).items():
            place = model.get(ARTIFACT_FIELDS[what]) or {}
            place = model[ARTIFACT_FIELDS[what]] = {"address": place} if isinstance(place, str) else place
            for field in DIGEST_FIELDS:
                if place.get(field) is None:
                    place[field] = getattr(recorded, field)
    return expected


def _holds(text: str, expected: Any) -> bool:
    try:
        return bool(yaml.safe_load(text) == expected)
    except yaml.YAMLError:
        return False
