"""demo: download, predict, eval, show and report on synthetic scenes, offline."""

from __future__ import annotations

import shlex
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bdd100k_zoo.cli.options import Json, get_session, path_option
from bdd100k_zoo.cli.output import handle_errors, print_field, print_renderable, raise_on_sigterm, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bdd100k_zoo.demo_run.steps import Demo, Places

EXAMPLE_MODEL = "cascade_rcnn_r50_fpn_3x"
"""A model of the zoo, for the commands with the real dataset."""

NEXT_COMMANDS = (
    f"bdd100k-zoo download {EXAMPLE_MODEL}",
    f"bdd100k-zoo predict {EXAMPLE_MODEL} --split val --data ROOT",
    f"bdd100k-zoo eval {EXAMPLE_MODEL} --data ROOT",
    f"bdd100k-zoo show {EXAMPLE_MODEL} --data ROOT",
    f"bdd100k-zoo report {EXAMPLE_MODEL} --data ROOT --out report.html",
)
"""The commands for a user who has the dataset, in the order of the demo's steps."""


@handle_errors
def demo(
    context: typer.Context,
    out: Annotated[Path | None, path_option("DIR", "Work in this new or empty folder, and keep it.")] = None,
    as_json: Json = False,
) -> None:
    """Run download, predict, eval, show and report on synthetic scenes, in a minute.

    Needs no dataset, network or GPU: the weights come with the package.

    Works in a temporary folder, which is removed at the end, or in --out DIR.
    """
    from bdd100k_zoo.demo_run import steps as job

    session = get_session(context)
    start = perf_counter()
    with raise_on_sigterm(), job.demo_folder(out) as folder:
        chain = job.Demo(session.zoo(), job.Places(folder), session.progress(notes=False))
        chain.check()
        if as_json:
            done = dict(_steps(chain, lambda *_: None))
            write_json(_document(chain.places, done, kept=out is not None, seconds=perf_counter() - start))
            return
        print_field("folder", f"{folder}" + ("" if out else " (removed at the end; see --out)"))
        done = dict(_steps(chain, print_field))
        _show_end(chain.places, done, kept=out is not None)
        print_field("done", f"in {perf_counter() - start:.0f} s")


def _steps(chain: Demo, report: Callable[[str, str], None]) -> Iterator[tuple[str, Any]]:
    """Run the steps; report the result of each in a line, and yield it."""
    from bdd100k_zoo.demo_run.steps import FRAMES, MIN_SCORE
    from bdd100k_zoo.display.bars import format_rate

    objects = chain.copy_frames()
    report("scenes", f"{FRAMES} frames, with {objects:,} labelled objects")
    yield "scenes", objects
    stored = chain.download()
    host = (stored.address or "").rpartition("/")[0]
    report("download", f"{stored.size / 1e6:.1f} MB of weights from {host}, digest verified")
    yield "download", stored
    record = chain.predict()
    counts, seconds = record.counts, record.seconds
    report(
        "predict",
        f"{counts.detections:,} boxes, {format_rate(counts.images / seconds.detect)} on {record.facts.device}",
    )
    yield "predict", record
    evaluated = chain.score()
    report("eval", f"AP {evaluated.scores.ap:.1f}, by the official metric")
    yield "eval", evaluated
    shown = chain.draw_pictures()
    report("show", f"{len(shown.pictures):,} pictures, {shown.boxes:,} boxes with scores of at least {MIN_SCORE}")
    yield "show", shown
    size = chain.write_report()
    report("report", f"{size:,} bytes" if size else "not written: it needs pip install 'bdd100k-zoo[report]'")
    yield "report", size


def _show_end(places: Places, done: dict[str, Any], *, kept: bool) -> None:
    from bdd100k_zoo.cli.evaluate import as_table, official_table
    from bdd100k_zoo.demo_run.steps import MODEL

    print_renderable("")
    print_renderable(as_table(official_table(done["eval"].scores)))
    print_renderable("")
    if kept:
        for label, path in _files(places, done).items():
            print_field(label, path)
        print_field("try", f"bdd100k-zoo predict {MODEL} --images {shlex.quote(str(places.images))}")
        # 16 steps of two images: enough to see training work, far too few to learn from.
        print_field("try", f"bdd100k-zoo train {MODEL} --data {shlex.quote(str(places.data))} --epochs 2")
        print_renderable("")
    print_renderable("With the dataset in ROOT and a model of the zoo:")
    for command in NEXT_COMMANDS:
        print_renderable(f"  {command}", soft_wrap=True)
    print_renderable("")


def _files(places: Places, done: dict[str, Any]) -> dict[str, str]:
    files = {
        "data": places.data,
        "images": places.images,
        "labels": places.labels,
        "weights": places.cache,
        "predictions": places.run / "det.json",
        "record": places.run / "run.json",
        "pictures": places.pictures,
    }
    if done["report"] is not None:
        files["report"] = places.report
    return {label: str(path) for label, path in files.items()}


def _document(places: Places, done: dict[str, Any], *, kept: bool, seconds: float) -> dict[str, Any]:
    from bdd100k_zoo.demo_run.steps import FRAMES, TRAIN_FRAMES

    weights, record = done["download"], done["predict"]
    return {
        "folder": str(places.root),
        "kept": kept,
        "frames": {"train": TRAIN_FRAMES, "val": FRAMES},
        "objects": done["scenes"],
        "weights": {"address": weights.address, "size": weights.size, "sha256": weights.sha256},
        "boxes": record.counts.detections,
        "scores": done["eval"].scores.to_dict(),
        "pictures": len(done["show"].pictures),
        "report": done["report"] is not None,
        "files": _files(places, done),
        "seconds": seconds,
    }
