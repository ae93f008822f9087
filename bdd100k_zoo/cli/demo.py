"""demo: the whole chain on drawn scenes, offline."""

from __future__ import annotations

import shlex
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bdd100k_zoo.cli.arguments import named_path
from bdd100k_zoo.cli.catalog import Json
from bdd100k_zoo.cli.console import guarded, heeding_sigterm, show, show_whole, write_json
from bdd100k_zoo.cli.session import session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bdd100k_zoo.workflows.demo import Demo, Places
    from bdd100k_zoo.workflows.evaluate import Evaluated

EXAMPLE = "cascade_rcnn_r50_fpn_3x"
"""A model of the zoo, in the commands for the real thing."""

REAL_THING = (
    f"bdd100k-zoo download {EXAMPLE}",
    f"bdd100k-zoo predict {EXAMPLE} --split val --data ROOT",
    f"bdd100k-zoo eval {EXAMPLE} --data ROOT",
    f"bdd100k-zoo show runs/{EXAMPLE}/val \\\n    --images ROOT/images/100k/val --out pictures",
    f"bdd100k-zoo report {EXAMPLE} --data ROOT --out report.html",
)
"""What a user types who has the dataset, in the order of the demo's steps."""


@guarded
def demo(
    context: typer.Context,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=named_path, help="Work in this folder, and leave everything there."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the whole chain on drawn scenes in a minute: download, predict, eval, show, report.

    Needs no dataset, no network and no GPU. Everything is done in one folder, which is removed at the end unless it is
    to be kept; the weights come with the package, and are served from this machine.
    """
    from bdd100k_zoo.workflows import demo as job

    here = session(context)
    start = perf_counter()
    with heeding_sigterm(), job.demo_folder(keep) as folder:
        chain = job.Demo(here.zoo(), job.Places(folder), here.progress(notes=False))
        chain.check()
        if as_json:
            done = dict(_steps(chain, lambda *_: None))
            write_json(_document(chain.places, done, kept=keep is not None, seconds=perf_counter() - start))
            return
        show_whole("folder", f"{folder}" + ("" if keep else " (removed at the end; see --keep)"))
        done = dict(_steps(chain, show_whole))
        _show_scores(done["eval"])
        _show_end(chain.places, kept=keep is not None, reported=done["report"] is not None)
        show_whole("done", f"in {perf_counter() - start:.0f} s")


def _steps(chain: Demo, tell: Callable[[str, str], None]) -> Iterator[tuple[str, Any]]:
    """Take one step after the other, and tell in a line what came of it."""
    from bdd100k_zoo.cli.bars import rate
    from bdd100k_zoo.workflows.demo import FRAMES, MIN_SCORE

    objects = chain.draw_scenes()
    tell("scenes", f"{FRAMES} frames drawn, with {objects:,} labelled objects")
    yield "scenes", objects
    stored = chain.download()
    host = (stored.address or "").rpartition("/")[0]
    tell("download", f"{stored.size / 1e6:.1f} MB of weights from {host}, digest verified")
    yield "download", stored
    record = chain.predict()
    counts, seconds = record.counts, record.seconds
    tell("predict", f"{counts.detections:,} boxes, {rate(counts.images / seconds.detect)} on {record.device}")
    yield "predict", record
    evaluated = chain.score()
    tell("eval", f"AP {evaluated.scores.ap:.1f}, by the official metric")
    yield "eval", evaluated
    shown = chain.draw_pictures()
    tell("show", f"{len(shown.pictures):,} pictures, {shown.boxes:,} boxes of scores from {MIN_SCORE}")
    yield "show", shown
    size = chain.write_report()
    tell("report", f"{size:,} bytes" if size else "not written: it needs pip install 'bdd100k-zoo[report]'")
    yield "report", size


def _show_scores(evaluated: Evaluated) -> None:
    from bdd100k_zoo.cli.console import stdout
    from bdd100k_zoo.cli.evaluate import WIDE, as_table
    from bdd100k_zoo.rendering.scores import official_table

    show("")
    show(as_table(official_table(evaluated.scores.plain(), 2 if stdout().width >= WIDE else 1)))


def _show_end(places: Places, *, kept: bool, reported: bool) -> None:
    from bdd100k_zoo.workflows.demo import MODEL

    show("")
    if kept:
        for label, path in _files(places, reported=reported):
            show_whole(label, str(path))
        command = f"bdd100k-zoo predict {MODEL} --images {shlex.quote(str(places.images))}"
        show_whole("try", command)
        show("")
    show("With the dataset in ROOT and a model of the zoo:")
    for command in REAL_THING:
        show(f"  {command}", soft_wrap=True)
    show("")


def _files(places: Places, *, reported: bool) -> Iterator[tuple[str, Path]]:
    yield "images", places.images
    yield "labels", places.labels
    yield "weights", places.cache
    yield "predictions", places.run / "det.json"
    yield "record", places.run / "run.json"
    yield "pictures", places.pictures
    if reported:
        yield "report", places.report


def _document(places: Places, done: dict[str, Any], *, kept: bool, seconds: float) -> dict[str, Any]:
    weights, record, evaluated = done["download"], done["predict"], done["eval"]
    return {
        "folder": str(places.root),
        "kept": kept,
        "objects": done["scenes"],
        "weights": {"address": weights.address, "size": weights.size, "sha256": weights.sha256},
        "boxes": record.counts.detections,
        "scores": evaluated.scores.plain(),
        "pictures": len(done["show"].pictures),
        "report": done["report"] is not None,
        "files": {label: str(path) for label, path in _files(places, reported=done["report"] is not None)},
        "seconds": seconds,
    }
