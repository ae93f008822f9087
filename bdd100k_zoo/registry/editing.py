"""Write digests and sizes into the text of a zoo file, changing nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from bdd100k_zoo.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bdd100k_zoo.registry.models import ArtifactKind, DigestAndSize

NULL = "tag:yaml.org,2002:null"
DIGEST_FIELDS = ("digest", "size")


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def insert_digests(file: Path, text: str, known: Mapping[str, Mapping[ArtifactKind, DigestAndSize]]) -> str:
    """Return a zoo file's text with digests and sizes where it has none; comments and layout stay as they are.

    Those of weights replace the nulls in ``weights``. Those of other files go into ``digests``, which is added as the
    model's last field if it has none. What is recorded already stays.

    Args:
        file: what errors call the file.
        text: its content, a zoo file that loads.
        known: what to record, by model and kind of file.

    Raises:
        ManifestError: the layout of the text is one that this cannot edit; do it by hand.
    """
    models = _child(yaml.compose(text, Loader=yaml.SafeLoader), "models")
    edits = [
        edit for node in models.value for edit in _model_edits(text, node, known.get(_child(node, "name").value, {}))
    ]
    edited = _applied(text, edits)
    _check(file, text, edited, known)
    return edited


def _child(mapping: yaml.Node | None, key: str) -> Any:
    """Return the node of a key; None if the mapping lacks it."""
    pairs = mapping.value if isinstance(mapping, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _model_edits(text: str, model: yaml.MappingNode, known: Mapping[ArtifactKind, DigestAndSize]) -> Iterator[_Edit]:
    if "weights" in known:
        yield from _value_edits(_child(model, "weights"), known["weights"])
    others = {what: of_file for what, of_file in known.items() if what != "weights"}
    digests = _child(model, "digests")
    if digests is None:
        if others:
            yield _addition(text, model, {"digests": others})
        return
    for what, of_file in others.items():
        if entry := _child(digests, what):
            yield from _value_edits(entry, of_file)
    if absent := {what: of_file for what, of_file in others.items() if _child(digests, what) is None}:
        yield _addition(text, digests, absent)


def _value_edits(mapping: yaml.MappingNode, known: DigestAndSize) -> Iterator[_Edit]:
    """Replace nulls by values, quoted as their keys are."""
    for field in DIGEST_FIELDS:
        node, value = _child(mapping, field), getattr(known, field)
        if node.tag == NULL and value is not None:
            start, end = node.start_mark.index, node.end_mark.index
            quote = _quote(mapping) if isinstance(value, str) else ""
            yield _Edit(start, end, f"{' ' if start == end else ''}{quote}{value}{quote}")


def _addition(text: str, mapping: yaml.MappingNode, entries: Mapping[Any, Any]) -> _Edit:
    """Append entries to a mapping: on lines of their own, or after a comma in braces."""
    quote = _quote(mapping)
    if mapping.flow_style:
        inner = _flow(entries, quote)[1:-1]
        at = _end(mapping.value[-1][1]) if mapping.value else mapping.start_mark.index + 1
        return _Edit(at, at, f", {inner}" if mapping.value else inner)
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = " " * mapping.value[0][0].start_mark.column
    block = "".join(f"{indent}{line}{newline}" for line in _lines(entries, quote))
    end = _end(mapping.value[-1][1])
    line_end = text.find("\n", end - 1)
    at = line_end + 1 if line_end >= 0 else len(text)
    return _Edit(at, at, block if line_end >= 0 else newline + block)


def _lines(entries: Mapping[Any, Any], quote: str) -> Iterator[str]:
    for key, value in entries.items():
        if isinstance(value, dict):
            yield f"{quote}{key}{quote}:"
            yield from (f"  {line}" for line in _lines(value, quote))
        else:
            yield f"{quote}{key}{quote}: {_flow(value, quote)}"


def _flow(value: Any, quote: str) -> str:
    """Format a mapping, or the digest and size of a file, in braces."""
    if not isinstance(value, dict):
        return f"{{{quote}digest{quote}: {quote}{value.digest}{quote}, {quote}size{quote}: {value.size}}}"
    return "{" + ", ".join(f"{quote}{key}{quote}: {_flow(inner, quote)}" for key, inner in value.items()) + "}"


def _quote(mapping: yaml.MappingNode) -> str:
    return (mapping.value[0][0].style or "") if mapping.value else ""


def _end(node: yaml.Node) -> int:
    """Return where a value ends: the end mark of a block comes after the comments that follow it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _applied(text: str, edits: list[_Edit]) -> str:
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _check(file: Path, before: str, after: str, known: Mapping[str, Mapping[ArtifactKind, DigestAndSize]]) -> None:
    """Check that the second text holds what the first does, and the digests, and nothing else."""
    expected = yaml.safe_load(before)
    for model in expected["models"]:
        for what, of_file in known.get(model["name"], {}).items():
            place = model["weights"] if what == "weights" else _place(model, what)
            for field in DIGEST_FIELDS:
                if place[field] is None:
                    place[field] = getattr(of_file, field)
    try:
        same = yaml.safe_load(after) == expected
    except yaml.YAMLError:
        same = False
    if not same:
        raise ManifestError(file, "", "", "is laid out so that digests cannot be written into it; do it by hand")


def _place(model: dict[str, Any], what: ArtifactKind) -> dict[str, Any]:
    digests: dict[str, dict[str, Any]] = model.setdefault("digests", {})
    return digests.setdefault(what, dict.fromkeys(DIGEST_FIELDS))
