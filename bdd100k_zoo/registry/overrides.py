"""KEY=VALUE overrides of a config: read as mmengine's ``DictAction`` reads them, applied to plain containers.

Needs neither torch nor mmengine, so that the command line can refuse a malformed override before it loads anything.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DELETE = "_delete_"
"""In an overriding dict: replace the existing dict instead of merging into it (mmengine's convention)."""


def parse_overrides(texts: Sequence[str]) -> dict[str, object]:
    """Read overrides such as ``model.test_cfg.rcnn.max_per_img=50``: values by dotted key; of equal keys the last wins.

    Values are numbers, ``true``, ``false``, ``None``, lists ``[a,b]`` or ``a,b``, tuples ``(a,b)``, dicts in Python's
    notation, and otherwise text. A key's parts are names, or indices of a list.

    Raises:
        ConfigError: no ``=``, an empty part in the key, or a value whose brackets do not match.
    """
    return dict(_parse(text) for text in texts)


def apply_overrides(config: str, settings: dict[str, object], overrides: Mapping[str, object]) -> None:
    """Set each dotted key in ``settings``, in place. Missing names on the way are created; dicts are merged.

    Args:
        config: the name of the config in errors.
        settings: nested dicts and lists.
        overrides: values by dotted key.

    Raises:
        ConfigError: a key leads through something that is no dict or list, or beyond the end of a list.
    """
    for key, value in overrides.items():
        try:
            _set(settings, key.split("."), value)
        except LookupError as error:
            raise ConfigError(config, f"the override of {key!r} does not fit: {error.args[0]}") from None


def _parse(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"override {text!r}", "expected KEY=VALUE, found no `=`")
    if not all(key.split(".")):
        raise ConfigError(f"override {text!r}", f"expected names joined by dots before `=`, found {key!r}")
    try:
        return key, _parse_value(value)
    except ValueError as error:
        raise ConfigError(f"override {text!r}", f"the value of {key!r} cannot be read: {error}") from None


def _parse_value(text: str) -> object:
    text = text.strip().strip("'\"").strip()
    if text.startswith("{"):
        return _parse_dict(text)
    if "," in text and (parts := _split(text)) != [text]:
        return [_parse_value(part) for part in parts]
    if text.startswith("(") and text.endswith(")"):
        return tuple(_parse_value(part) for part in _split(text[1:-1]))
    if text.startswith("[") and text.endswith("]"):
        return [_parse_value(part) for part in _split(text[1:-1])]
    return _parse_scalar(text)


def _parse_dict(text: str) -> dict[str, object]:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"expected a dict in Python's notation, found {text!r}") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"expected a dict with names as keys, found {text!r}")
    return value


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets; a comma at the end separates nothing."""
    parts, start, open_brackets = [], 0, ""
    for position, character in enumerate(f"{text},"):
        if character in "([":
            open_brackets += character
        elif character in ")]":
            if open_brackets[-1:] != {")": "(", "]": "["}[character]:
                raise ValueError(f"brackets do not match in {text!r}")
            open_brackets = open_brackets[:-1]
        elif character == "," and not open_brackets:
            parts.append(text[start:position])
            start = position + 1
    if open_brackets:
        raise ValueError(f"brackets do not match in {text!r}")
    return parts if parts[-1].strip() else parts[:-1]


def _parse_scalar(text: str) -> object:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), None if text == "None" else text)


def _set(container: Any, parts: list[str], value: object, walked: str = "") -> None:
    """Set the value that the parts of a key lead to; raises LookupError."""
    part, rest = parts[0], parts[1:]
    where = f"{walked!r} is {_briefly(container)}"
    key: str | int = part
    if isinstance(container, list) and part.isdecimal() and int(part) < len(container):
        key = int(part)
    elif isinstance(container, list) or (isinstance(container, dict) and part.isdecimal() and part not in container):
        raise LookupError(f"{where}, which has no index {part!r}")
    elif not isinstance(container, dict):
        raise LookupError(f"{where}, which has no part {part!r}")
    existing: Any = {} if isinstance(container, dict) and key not in container else container[key]
    if rest:
        _set(existing, rest, value, f"{walked}.{part}" if walked else part)
        container[key] = existing
    else:
        container[key] = _merged(existing, value)


def _merged(old: object, new: object) -> object:
    if not isinstance(new, dict):
        return new
    base = old if isinstance(old, dict) and not new.get(DELETE) else {}
    return base | {key: _merged(base.get(key), value) for key, value in new.items() if key != DELETE}


def _briefly(value: object) -> str:
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"the {type(value).__name__} {value!r}"[:100]
