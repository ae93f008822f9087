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
    """One thing that was looked at."""

    what: str
    state: FindingState
    """``absent`` is optional and not installed, and no fault; ``unknown`` waits for another's repair."""
    found: str
    repairs: tuple[str, ...] = ()
    """Any one of them repairs what is wrong, the first is the best; of something absent, what installs it."""


class CheckStep(NamedTuple):
    """How to look at something."""

    what: str
    see: Callable[[], Finding]
    needs: tuple[str, ...] = ()
    """What must be ok before, or this is left out."""
    extra: str = "predict"
    """The extra that it belongs to."""


def run_checks(looks: Iterable[CheckStep]) -> tuple[Finding, ...]:
    """Look at one thing after the other; paths below the home folder are shortened to ``~``."""
    found: dict[str, Finding] = {}
    for look in looks:
        obstacle = next((need for need in look.needs if found[need].state != "ok"), None)
        found[look.what] = _blocked(look, obstacle) if obstacle else _seen(look)
    return tuple(_without_home(finding) for finding in found.values())


def shorten_home(text: str) -> str:
    """Shorten paths below the home folder to ``~``: who posts them need not tell who they are."""
    home = str(Path("~").expanduser())
    return re.sub(rf"{re.escape(home)}(?=[/\\]|[\s'\":;,]|$)", "~", text) if len(home) > 1 else text


def _blocked(look: CheckStep, obstacle: str) -> Finding:
    return Finding(look.what, "unknown", f"{obstacle} must be repaired first")


def _seen(look: CheckStep) -> Finding:
    try:
        return look.see()
    except ManifestError as error:
        repair = f"correct {error.file}, or leave it out of --zoo and BDD100K_ZOO_FILES"
        return Finding(look.what, "wrong", str(error), (repair,))
    except MissingPackageError as error:
        return _wrong(look, error.reason)
    except ZooError as error:
        return _wrong(look, str(error))
    except Exception as error:  # noqa: BLE001  (an installation can be broken in any way)
        return _wrong(look, f"{type(error).__name__}: {error}")


def _wrong(look: CheckStep, reason: str) -> Finding:
    line = " ".join(reason.split())
    shown = line if len(line) <= MAX_DETAIL_LENGTH else f"{line[:MAX_DETAIL_LENGTH]} …"
    return Finding(look.what, "wrong", shown, suggest_repairs(reason, look.extra))


def _without_home(finding: Finding) -> Finding:
    repairs = tuple(shorten_home(repair) for repair in finding.repairs)
    return replace(finding, found=shorten_home(finding.found), repairs=repairs)
