"""What the official tool lets through and a careful reader would not: counted, with the first few named."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.errors import BadFrameError, BadLabelError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_EXAMPLES = 3


class ValidationIssue(NamedTuple):
    """One thing that is wrong in a file of labels or predictions."""

    kind: str
    """A heading, in the plural: ``boxes with x2 < x1``."""
    path: Path
    frame: str
    label: str
    """The label's id and place in its frame; empty where the frame as a whole is at fault."""
    problem: str

    def error(self, others: int = 0) -> BadFrameError | BadLabelError:
        """Give the error that says this, and how many more findings there are."""
        if self.label:
            return BadLabelError(self.path, self.frame, self.label, self.problem, others)
        return BadFrameError(self.path, self.frame, self.problem, others)


class IssueSummary(msgspec.Struct, frozen=True):
    """What a lenient evaluation accepted, of one kind."""

    kind: str
    count: int
    examples: tuple[str, ...]
    """The first few, each with file, frame and label."""


class ValidationIssues:
    """Findings of one file, of which only the first few of a kind are kept."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: list[ValidationIssue] = []

    def add(self, finding: ValidationIssue) -> None:
        """Count a finding."""
        self._counts[finding.kind] += 1
        if self._counts[finding.kind] <= _EXAMPLES:
            self._first.append(finding)

    def refuse(self) -> None:
        """Raise the first finding as BadFrameError or BadLabelError, where there is any."""
        if self._first:
            raise self._first[0].error(self._counts.total() - 1)

    def summary(self) -> tuple[IssueSummary, ...]:
        """Tell each kind once, in the order of their first appearance."""
        return tuple(
            IssueSummary(kind, count, tuple(str(each.error()) for each in self._first if each.kind == kind))
            for kind, count in self._counts.items()
        )


def merge_issue_summaries(summaries: Iterable[IssueSummary]) -> tuple[IssueSummary, ...]:
    """Join the summaries of several files: one entry a kind."""
    kinds: dict[str, IssueSummary] = {}
    for entry in summaries:
        known = kinds.get(entry.kind, IssueSummary(entry.kind, 0, ()))
        examples = (known.examples + entry.examples)[:_EXAMPLES]
        kinds[entry.kind] = IssueSummary(entry.kind, known.count + entry.count, examples)
    return tuple(kinds.values())


def printable(name: object) -> str:
    """A name of the user's as it may be printed: control characters could drive a terminal."""
    text = str(name)
    return text if text.isprintable() else ascii(text)
