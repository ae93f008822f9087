"""Write docs/fidelity.md: whether two stacks find the same boxes."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tools.fidelity.comparison import Agreement, Comparison
    from tools.fidelity.results import Frozen

COMMAND = "python -m tools.fidelity"

ROUNDED = (
    "Computed by the layers that mmdet builds, these images get the expected boxes. By default, layers are joined that "
    "are faster so, which changes the last bits of their results: of candidates whose scores tie, suppression keeps "
    "another, and what overlaps it follows. Another number of threads may do the same, on either stack."
)


def summary(comparison: Comparison) -> str:
    """Return a line that says how many models find the same boxes."""
    models = comparison.models
    return f"{len(models) - len(comparison.failed)} of {len(models)} models find the same boxes"


def page(comparison: Comparison, tolerances: str) -> str:
    """Write the page as Markdown; ``tolerances`` says what passes for the same."""
    return "\n\n".join(section for section in _sections(comparison, tolerances) if section) + "\n"


def _sections(comparison: Comparison, tolerances: str) -> Iterator[str]:
    first, second = comparison.expected, comparison.found
    yield "# Fidelity"
    yield _paragraph(
        f"**{summary(comparison)}** through `{second.stack.backend}` as through `{first.stack.backend}`, with the same "
        f"weights and pixels: {tolerances}. Written by `{COMMAND}`; boxes of {max(first.time, second.time)[:10]}."
    )
    yield _results(comparison)
    yield _paragraph(
        "Boxes of all images; those that are the same and at the same place in order; those at another place among "
        "scores that tie; those in whose place suppression kept an overlapping box of the same score; those lost, or "
        "found besides, by rounding; the like that nothing explains; the largest differences among boxes that were "
        "found again. All but the same are named below."
    )
    yield _listed("Failures", comparison, lambda each: each.failures)
    yield _listed("Boxes changed by rounding", comparison, lambda each: each.rounded, ROUNDED)
    yield _listed("Boxes swapped by ties", comparison, lambda each: each.swapped)
    yield _listed("Boxes moved by ties", comparison, lambda each: each.moved)
    yield f"## Stacks\n\n{_stacks(first, second)}"
    yield f"## Images\n\n{_images(first)}"
    yield from _again(comparison)


def _results(comparison: Comparison) -> str:
    header = ("Model", "Boxes", "Same", "Moved", "Swapped", "Rounded", "Failures", "Score", "Corner, px")
    return _table([header, *(_result(model, list(images.values())) for model, images in comparison.models.items())])


def _result(model: str, images: Sequence[Agreement]) -> tuple[str, ...]:
    counts = (
        sum(each.expected for each in images),
        sum(each.same for each in images),
        sum(len(each.moved) for each in images),
        sum(len(each.swapped) for each in images),
        sum(len(each.rounded) for each in images),
        sum(len(each.failures) for each in images),
    )
    score, corner = (max(getattr(each, what) for each in images) for what in ("score", "corner"))
    return (f"`{model}`", *map(str, counts), f"{score:.1e}" if score else "0", f"{corner:.1e}" if corner else "0")


def _listed(title: str, comparison: Comparison, pick: Callable[[Agreement], Sequence[str]], told: str = "") -> str:
    lines = [
        f"- `{model}`, {image}: {text}"
        for model, images in comparison.models.items()
        for image, each in images.items()
        for text in pick(each)
    ]
    return "\n".join((f"## {title}\n", *([f"{_paragraph(told)}\n"] if told else []), *lines)) if lines else ""


def _stacks(*frozen: Frozen) -> str:
    names = dict.fromkeys(name for each in frozen for name in each.stack.versions)
    rows = [
        ("Backend", *(f"`{each.stack.backend}`" for each in frozen)),
        *((name, *(each.stack.versions.get(name, "–") for each in frozen)) for name in names),
        ("Compiled ops", *(each.stack.ops for each in frozen)),
        ("Changed for speed", *("yes" if each.stack.optimised else "no" for each in frozen)),
        ("Processor", *(each.stack.processor for each in frozen)),
        ("Threads", *(str(each.stack.threads) for each in frozen)),
        ("Frozen", *(each.time for each in frozen)),
        ("Commit", *(f"`{each.commit}`" if each.commit else "–" for each in frozen)),
    ]
    return _table([("", "Expected", "Found"), *rows])


def _images(frozen: Frozen) -> str:
    rows = [(name, f"{each.width}×{each.height}") for name, each in frozen.images.items()]
    drawn = (
        "Drawn scenes and parts of them, given as arrays of pixels. Each is scaled to fit 1280×720, as in every run."
    )
    return f"{drawn}\n\n{_table([('Image', 'Pixels'), *rows])}"


def _again(comparison: Comparison) -> Iterator[str]:
    one, other = (each.stack.backend for each in (comparison.expected, comparison.found))
    told = "One environment cannot hold both stacks, so each freezes its boxes in its own, from the root of a clone:"
    yield f"## Again\n\n{told}"
    yield "\n".join(("```sh", *_commands(one, other, comparison.rounded), "```"))
    yield _paragraph(
        "Every entry of a model's weights is drawn from its own name, in the same bits anywhere: models that differ "
        "in their training alone have the same weights here. Digests of weights and pixels stand beside the frozen "
        "boxes, and folders in which they differ are not compared. `compare` ends with status 1 if a model fails."
    )


def _commands(one: str, other: str, rounded: Sequence[str]) -> Iterator[str]:
    yield from (f"{COMMAND} freeze --backend {each} --out frozen/{each}" for each in (one, other))
    compared = f"{COMMAND} compare frozen/{one} frozen/{other}"
    if rounded:
        models = " ".join(rounded)
        yield f"{COMMAND} freeze {models} \\\n  --backend {other} --as-built --out frozen/{other}-as-built"
        compared += f" \\\n  --as-built frozen/{other}-as-built"
    yield f"{compared} --write docs/fidelity.md"


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _table(rows: Iterable[Sequence[str]]) -> str:
    header, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((header, f"|{' --- |' * (header.count('|') - 1)}", *body))
