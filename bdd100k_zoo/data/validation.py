"""Issues in files of labels and predictions: the errors that describe them, and counts of them by kind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.errors import InputsError, InvalidFileError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_EXAMPLES = 3

LENIENT_HINT = "`eval --lenient` accepts what the official evaluator accepts"


def wrong_file_error(path: Path, expected: str, found: str) -> InputsError:
    """Return the error for a file of another format or with other content."""
    hint = "check that labels and predictions are not swapped; `bdd100k-zoo convert` converts COCO files"
    return InputsError(path, f"expected {expected}, found {found}", hint)


NO_BOX = "holds no box"
NORMALISED = "all boxes lie within 0 to 1: expected pixels, so multiply them by the width and height of the images"


def unlikely_boxes_error(path: Path, problem: str) -> InputsError:
    """Return the error for a file without a box, or whose boxes are not in pixels: NO_BOX or NORMALISED."""
    hint = (
        "check the program that wrote the file: boxes are in pixels, as x1, y1, x2, y2 or, in COCO files, as x, y, "
        "width, height"
    )
    return InputsError(path, problem, hint, "`eval --lenient` scores it as it is")


def frame_error(path: Path, frame: str, problem: str) -> InputsError:
    """Return the error for an invalid frame; ``frame`` is printable."""
    return InputsError(path, f"frame {frame}: {problem}", "correct the file")


def label_error(path: Path, frame: str, label: str, problem: str) -> InputsError:
    """Return the error for an invalid label; ``label`` is its id and its number in the frame, from 1."""
    return frame_error(path, frame, f"label {label}: {problem}")


class IssueSummary(msgspec.Struct, frozen=True):
    """Issues of one kind that a lenient evaluation accepted."""

    kind: str
    """In the plural: ``boxes with x2 < x1``."""
    count: int
    examples: tuple[str, ...]
    """The first few, each with file, frame and label."""


class ValidationIssues:
    """Issues of one file, counted by kind; the first few of each kind are kept as examples."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[InputsError | str]] = {}

    def add(self, kind: str, issue: InputsError | str) -> None:
        """Count an issue, given as the error to raise for it, or as its place in the file."""
        self._counts[kind] += 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES:
            examples.append(issue)

    def raise_first(self) -> None:
        """Raise the first issue that was given as an error, with the number of others; return if there is none.

        ``eval --lenient`` reports these issues instead, as the error's hint says.
        """
        first = next(iter(self._examples.values()), [""])[0]
        if not isinstance(first, str):
            first.others = self._counts.total() - 1
            first.lenient_hint = LENIENT_HINT
            raise first

    def raise_all(self, path: Path) -> None:
        """Raise one InvalidFileError with the count and the first places of each kind; return if there is no issue."""
        if self._counts:
            raise InvalidFileError(path, "; ".join(map(self._describe, self._counts)), "correct the file")

    def _describe(self, kind: str) -> str:
        examples = ", ".join(map(str, self._examples[kind]))
        return f"{self._counts[kind]:,} {kind}: {examples}{', …' if self._counts[kind] > _EXAMPLES else ''}"

    def summarise(self) -> tuple[IssueSummary, ...]:
        """Return a summary of each kind, in the order of their first appearance."""
        return tuple(
            IssueSummary(kind, count, tuple(map(str, self._examples[kind]))) for kind, count in self._counts.items()
        )


def merge_issue_summaries(summaries: Iterable[IssueSummary]) -> tuple[IssueSummary, ...]:
    """Merge the summaries of several files: one entry a kind."""
    kinds: dict[str, IssueSummary] = {}
    for entry in summaries:
        known = kinds.get(entry.kind, IssueSummary(entry.kind, 0, ()))
        examples = (known.examples + entry.examples)[:_EXAMPLES]
        kinds[entry.kind] = IssueSummary(entry.kind, known.count + entry.count, examples)
    return tuple(kinds.values())


def printable(name: object) -> str:
    """Return a user's name in a form that is safe to print: control characters could drive a terminal."""
    text = str(name)
    return text if text.isprintable() else ascii(text)
