"""Read YAML files of users: plain values only, and messages that name the line.

Importing PyYAML takes 12 ms, so this module is imported where a file is read.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

MAX_NESTING = 20
"""Levels of nesting that a YAML file may have; zoo files need six."""


def parse_yaml(content: bytes, *, trusted: bool = False) -> Any:
    """Read the one document of a YAML file.

    Args:
        content: the file, in UTF-8.
        trusted: it is a file of this package, whose shape needs no check.

    Raises:
        ValueError: it is not valid YAML, or holds more than plain values; the message names the line.
    """
    try:
        text = content.decode("utf-8")
        if not trusted:
            _check_shape(text)
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, an impossible date, too long a number
        raise ValueError(f"is not valid YAML: {' '.join(str(error).split())}") from error


def _check_shape(text: str) -> None:
    """Refuse what the loader is not safe against: nesting that exhausts the stack, aliases that multiply, any tag."""
    depth = 0
    for event in yaml.parse(text, Loader=_StrictLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        problem = "it is nested too deeply" if depth > MAX_NESTING else ""
        if isinstance(event, yaml.AliasEvent):
            problem = f"the alias *{event.anchor} is not supported; write the value out"
        elif tag := getattr(event, "tag", None):
            problem = f"the tag {tag} is not supported; only plain values are"
        if problem:
            raise ValueError(f"line {event.start_mark.line + 1 if event.start_mark else '?'}: {problem}")


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, refusing a key that appears twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # which the safe loader refuses
            if key in seen:
                problem = f"the key {key!r} appears twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping
