"""Arguments of the public functions, as users give them.

``table`` loads this module, so it imports neither numpy nor torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.registry import Model, load_zoo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.registry import Zoo

AnyPath: TypeAlias = "str | os.PathLike[str]"
AnyPaths: TypeAlias = "AnyPath | Sequence[AnyPath]"
AnyModel: TypeAlias = "str | Model"
"""A model, or its name or alias."""
AnyPredictions: TypeAlias = "AnyPath | Model"
"""A predictions file, a run (its folder, or a ``Run``), or a model, which stands for its runs."""

PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16")
DEFAULT_MIN_SCORE = 0.3
"""Detections with lower scores are not drawn by default: most of them are guesses."""


# Paths and models -----------------------------------------------------------------------------------------------------


def optional_path(path: AnyPath | None) -> Path | None:
    """Return a path as a ``Path``, or None."""
    return None if path is None else Path(path)


def path_texts(paths: AnyPaths) -> tuple[str, ...]:
    """Return one path or several as text: patterns and addresses of lists are no ``Path``."""
    given = (paths,) if isinstance(paths, (str, os.PathLike)) else paths
    return tuple(os.fspath(each) for each in given)


def dataset_root(data: AnyPath | None) -> Path | None:
    """Return the root of the dataset; without one, that of the variable BDD100K_ROOT, if it is set."""
    return optional_path(data if data is not None else os.environ.get("BDD100K_ROOT") or None)


def resolve_model(model: AnyModel, zoo: Zoo | None) -> Model:
    """Return a model, or the one that the zoo has under a name; raises UnknownNameError."""
    return model if isinstance(model, Model) else (load_zoo() if zoo is None else zoo)[model]


def prediction_names(predictions: AnyPredictions | Sequence[AnyPredictions]) -> tuple[str, ...]:
    """Return paths of predictions and models as ``evaluation.runs.resolve_name`` takes them."""
    given = (predictions,) if isinstance(predictions, (str, os.PathLike, Model)) else predictions
    return tuple(each.name if isinstance(each, Model) else os.fspath(each) for each in given)


# Checks ---------------------------------------------------------------------------------------------------------------


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise ZooError unless a value is one of some choices: a sequence, or a ``Literal``."""
    known = get_args(choices) or choices
    if value not in known:
        raise ZooError(
            f"{name}: {value!r} is not one of {', '.join(map(str, known))}", f"choose one of them for {name}"
        )


def check_at_least(least: int, **values: int | None) -> None:
    """Raise ZooError for a number below ``least``; None is none."""
    for name, value in values.items():
        if value is not None and value < least:
            raise ZooError(f"{name}: {value} is less than {least}", f"give {name} as a number of at least {least}")
