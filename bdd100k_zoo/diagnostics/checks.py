"""Checks that run one after the other, and report what is wrong without raising."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.diagnostics.repairs import suggest_repairs
from bdd100k_zoo.errors import ManifestError, MissingPackageError, ZooError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FindingState = Literal["ok", "absent", "wrong", "unknown"]
MAX_DETAIL_LENGTH = 200
"""Characters of a reason: some packages write pages."""


class Finding(Struct, frozen=True):
    """The result of one check."""

    what: str
    state: FindingState
    """``absent``: optional and not installed, which is no fault; ``unknown``: not checked because something it needs is
    wrong."""
    found: str
    repairs: tuple[str, ...] = ()
    """Any one of them repairs the fault, the best is first; for something absent, the command that installs it."""


class CheckStep(NamedTuple):
    """How to check something."""

    what: str
    check: Callable[[], str | Finding]
    """Returns a finding, or only its text if all is well."""
    needs: tuple[str, ...] = ()
    """Checks that must be ok, or this one is skipped."""
    extra: str = "predict"
    """The extra that it belongs to."""


def run_checks(steps: Iterable[CheckStep]) -> tuple[Finding, ...]:
    """Run one check after the other; paths below the home folder are shortened to ``~``."""
    findings: dict[str, Finding] = {}
    for step in steps:
        obstacle = next((need for need in step.needs if findings[need].state != "ok"), None)
        finding = Finding(step.what, "unknown", f"{obstacle} must be repaired first") if obstacle else _run(step)
        repairs = tuple(map(shorten_home, finding.repairs))
        findings[step.what] = replace(finding, found=shorten_home(finding.found), repairs=repairs)
    return tuple(findings.values())


def shorten_home(text: str) -> str:
    """Shorten paths below the home folder to ``~``, so that a posted report does not name its author."""
    home = str(Path("~").expanduser())
    return re.sub(rf"{re.escape(home)}(?=[/\\]|[\s'\":;,]|$)", "~", text) if len(home) > 1 else text


def _run(step: CheckStep) -> Finding:
    try:
        found = step.check()
        return Finding(step.what, "ok", found) if isinstance(found, str) else found
    except ManifestError as error:
        repair = f"correct {error.file}, or leave it out of --zoo and BDD100K_ZOO_FILES"
        return Finding(step.what, "wrong", str(error), (repair,))
    except MissingPackageError as error:
        reason = error.reason
    except ZooError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001  (an installation can be broken in any way)
        reason = f"{type(error).__name__}: {error}"
    line = " ".join(reason.split())
    shown = line if len(line) <= MAX_DETAIL_LENGTH else f"{line[:MAX_DETAIL_LENGTH]} …"
    return Finding(step.what, "wrong", shown, suggest_repairs(reason, step.extra))
