"""Errors: whole after pickling, able to say themselves, and drawn in the tree at the top of their module."""

from __future__ import annotations

import copy
import pickle
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from bdd100k_zoo import errors
from bdd100k_zoo.cli.hints import HINTS, explain
from bdd100k_zoo.errors import TransferAttempt, ZooError

EXAMPLES: dict[str, Any] = {
    "path": Path("some where/det.json"),
    "file": Path("mine.yaml"),
    "first": Path("a/1.jpg"),
    "second": Path("b/1.jpg"),
    "folder": Path("runs/x"),
    "nearest": ("fcos_r50_fpn_1x",),
    "backbones": ("R-50-FPN",),
    "schedules": ("1x", "3x"),
    "best_ap": 33.97,
    "attempts": (
        TransferAttempt("https://far.example/x", "404"),
        TransferAttempt("https://further.example/x", "no route"),
    ),
    "failures": (errors.NoAddressError("model_a", "weights"),),
    "asked": 3,
    "total": 100,
    "status": 137,
    "kept": 1_234,
    "frames": 70_000,
    "step": 26_256,
    "problems": (errors.SubmissionProblem("boxes outside the image", "a.jpg", "3", "x2 is 1300.0"),),
    "missing": ("neck.weight", "a", "b", "c"),
    "unexpected": (),
    "reshaped": ("head.bias: (3,) instead of (10,)",),
    "expected": ("expected",),
    "found": ("found",),
}


def subclasses(kind: type[ZooError]) -> list[type[ZooError]]:
    return [each for child in kind.__subclasses__() for each in (child, *subclasses(child))]


EVERY = [kind for kind in subclasses(ZooError) if kind.__module__ == errors.__name__]
LEAVES = [kind for kind in EVERY if not kind.__subclasses__()]


def example(kind: type[ZooError]) -> ZooError:
    return kind(**{name: EXAMPLES.get(name, f"the {name}") for name in kind.__annotations__})


def drawn_tree() -> dict[str, str]:
    """Class by class, the parent that the drawing at the module's top gives it."""
    parents: dict[str, str] = {}
    stack = ["ZooError"]
    for line in (errors.__doc__ or "").splitlines():
        if drawn := re.match(r" {4}((?:│   | {4})*)[├└]── (\w+)", line):
            depth = len(drawn[1]) // 4 + 1
            del stack[depth:]
            parents[drawn[2]] = stack[-1]
            stack.append(drawn[2])
    return parents


def test_the_tree_in_the_docstring_draws_exactly_the_classes_that_exist() -> None:
    assert drawn_tree() == {kind.__name__: kind.__base__.__name__ for kind in EVERY if kind.__base__}
    assert len(EVERY) > 20


@pytest.mark.parametrize("kind", LEAVES)
def test_an_error_is_pickled_whole(kind: type[ZooError]) -> None:
    error = example(kind)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert str(other) == str(error)
        facts = {name: getattr(other, name) for name in kind.__annotations__ if name != "failures"}
        assert facts == {name: getattr(error, name) for name in facts}


@pytest.mark.parametrize("kind", [ZooError, *(kind for kind in EVERY if kind not in LEAVES)])
def test_a_kind_of_errors_is_pickled_too(kind: type[ZooError]) -> None:
    assert type(pickle.loads(pickle.dumps(kind()))) is kind


@pytest.mark.parametrize("kind", LEAVES)
def test_an_error_says_its_facts(kind: type[ZooError]) -> None:
    told = str(example(kind))
    texts = [value for name in kind.__annotations__ for value in [EXAMPLES.get(name, f"the {name}")]]
    mentioned = [value for value in texts if isinstance(value, (str, Path)) and str(value) in told]
    assert told
    assert "<" not in told
    assert mentioned or kind is errors.NoMatchError or "failures" in kind.__annotations__


@pytest.mark.parametrize("kind", LEAVES)
def test_an_error_can_be_caught_shown_and_given_by_position(kind: type[ZooError]) -> None:
    facts = [EXAMPLES.get(name, f"the {name}") for name in kind.__annotations__]
    with pytest.raises(ZooError) as caught:
        raise kind(*facts)
    shown = "".join(traceback.format_exception_only(caught.type, caught.value))
    assert shown.startswith(f"bdd100k_zoo.errors.{kind.__name__}: ")
    assert str(caught.value) == str(example(kind))


@pytest.mark.parametrize("kind", LEAVES)
def test_too_many_and_unknown_facts_are_refused(kind: type[ZooError]) -> None:
    facts = {name: EXAMPLES.get(name, "x") for name in kind.__annotations__}
    with pytest.raises(TypeError):
        kind(*facts.values(), "more")
    with pytest.raises(TypeError):
        kind(**facts, colour="red")
    with pytest.raises(TypeError):
        kind()


def test_a_mismatch_names_the_first_parameters_of_each_kind_and_counts_the_rest() -> None:
    told = str(example(errors.CheckpointMismatchError))
    assert "4 missing: neck.weight, a, b and 1 more" in told
    assert "1 of another shape: head.bias: (3,) instead of (10,)" in told
    assert "unexpected" not in told


def test_a_failed_transfer_names_every_address_and_its_answer() -> None:
    told = str(example(errors.TransferError))
    assert [told.index(text) for text in ("https://far.example/x", "404", "https://further.example/x", "no route")]


@pytest.mark.parametrize("kind", LEAVES)
def test_every_error_that_can_be_raised_has_a_hint(kind: type[ZooError]) -> None:
    message, hint = explain(example(kind))
    assert message == str(example(kind))
    assert hint
    assert hint == hint.strip()


def test_every_hint_can_be_reached() -> None:
    kinds = [kind for kind, _ in HINTS]
    assert len(set(kinds)) == len(kinds)
    for place, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:place]), kind


def test_what_is_no_error_of_ours_is_called_a_bug() -> None:
    message, hint = explain(KeyError("x"))
    assert "KeyError" in message
    assert "bug" in hint
