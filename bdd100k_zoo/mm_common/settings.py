"""Settings that do not fit: refused before anything evaluates them, or told as the fault that they are."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmengine.registry import DefaultScope

from bdd100k_zoo.errors import ConfigError, ZooError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCOPE = "mmdet"

NMS_OPS = ("nms", "soft_nms")
"""The functions of ``mmcv.ops`` for upright boxes that a head may name. mmcv evaluates this text as Python."""

NUMBERS: Mapping[str, tuple[type, ...]] = {
    "score_thr": (int, float),
    "iou_threshold": (int, float),
    "min_bbox_size": (int, float),
    "max_per_img": (int,),
    "nms_pre": (int,),
}
"""What heads read only when there are boxes to choose from, and the types that work there."""


def check_selection(settings: object, *, name: str, place: str = "model") -> None:
    """Check how boxes are chosen: the ops' names and the numbers, wherever they stand in nested settings.

    Raises:
        ConfigError: a value that no head can use, with its dotted key.
    """
    parts: Iterator[tuple[object, object]] = iter(())
    if isinstance(settings, dict):
        parts = iter(settings.items())
    elif isinstance(settings, (list, tuple)):
        parts = iter(enumerate(settings))
    for key, value in parts:
        if expected := _misfit(key, value):
            raise ConfigError(name, f"{place}.{key}: expected {expected}, found {value!r}")
        check_selection(value, name=name, place=f"{place}.{key}")


def _misfit(key: object, value: object) -> str:
    """Say what is expected in place of a value; nothing where it fits."""
    if key == "nms" and value is not None:
        if not isinstance(value, dict):
            return "a dict with a type"
        kind = value.get("type", "nms")
        return f"a type of {' or '.join(NMS_OPS)}" if isinstance(kind, str) and kind not in NMS_OPS else ""
    types = NUMBERS.get(key) if isinstance(key, str) else None
    if types is None or value is None or (isinstance(value, types) and not isinstance(value, bool)):
        return ""
    return "a number" if float in types else "a whole number"


@contextmanager
def in_scope() -> Iterator[None]:
    """Let mmengine's registries look into mmdet's, inside only: their scope is global.

    That mmdet itself uses names which mmengine deprecates is theirs to mend, and not shown.
    """
    with DefaultScope.overwrite_default_scope(SCOPE), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def blamed_on_settings(job: str, *, name: str, library: str = "mmdet") -> Iterator[None]:
    """Tell what fails inside as a ConfigError: settings that do not fit make mmdet raise anything at all."""
    try:
        yield
    except ZooError:
        raise
    except Exception as error:  # see above
        raise ConfigError(name, f"{library} cannot {job}: {told(error)}") from error


def told(error: Exception) -> str:
    """Put a foreign error on one line: its kind, and its text where it has any."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))
