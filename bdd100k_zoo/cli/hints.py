"""Hints: what to do next about each error. One ordered table; the first entry that matches the error is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bdd100k_zoo import errors

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "bdd100k-zoo"


def legacy_hint(error: errors.ZooError) -> str:
    """Return the hint of a class that is to be replaced."""
    return next((hint(error) for kind, hint in HINTS if isinstance(error, kind)), "")


def _no_match(error: errors.NoMatchError) -> str:
    backbones, schedules = ", ".join(error.backbones), ", ".join(error.schedules)
    return f"backbones: {backbones}; schedules: {schedules}; the best AP on val is {error.best_ap:.2f}"


def _uncheckable(error: errors.CheckUnavailableError) -> str:
    from bdd100k_zoo.diagnostics.repairs import suggest_repairs

    return f"the check needs bdd100k-zoo[predict]: `{suggest_repairs(error.reason)[0]}`, then import the file again"


def _digest_mismatch(error: errors.DigestMismatchError) -> str:
    if error.subject in error.source:
        return f"`{PROGRAM} cache verify` sets it aside, and the next download is checked against the same digest"
    if error.source.startswith("its ledger "):
        ledger = error.source.removeprefix("its ledger ")
        return (
            f"{ledger} describes the file that was here first; if you trust the new one, forget the first by "
            f"`{PROGRAM} cache rm MODEL` (with --what for another kind of file), and give the same command again"
        )
    if "://" in error.subject:
        return f"it sent a damaged file or another one, and nothing of it was kept; {local_copy_hint()}"
    return (
        "it is damaged, or not the file that was recorded: give another copy, or correct the digest; "
        f"`{PROGRAM} cache verify` sets aside what is damaged in the cache"
    )


def local_copy_hint(model: str = "MODEL", what: str = "weights") -> str:
    """Return the hint for users who have the file, or know a place that has it."""
    if what == "start-values":
        return "--pretrained FILE starts from a file that you have, --from-scratch from random values"
    return (
        f"with a copy of the file, `{PROGRAM} cache import {model} FILE{_what_option(what)}` checks it and takes it "
        "in; BDD100K_ZOO_MIRRORS names other places that have it"
    )


def _what_option(what: str) -> str:
    return "" if what == "weights" else f" --what {what}"


def _duplicate_frame(error: errors.DuplicateFrameError) -> str:
    if error.first.name in error.name:
        return "give the folder above both, so that the names differ, or run them apart"
    return "frames of a video are named after its file: rename one, or run them apart"


def _checkpoint_mismatch(error: errors.CheckpointMismatchError) -> str:
    if error.unusable and not (error.missing or error.unexpected or error.reshaped):
        return "give a checkpoint with finite floating-point numbers: of a training that diverged, an earlier one"
    return f"is this the checkpoint of that model? `{PROGRAM} list` shows all models"


def _launcher(error: errors.LauncherError) -> str:
    command = {"pytorch": "torchrun", "slurm": "srun", "mpi": "mpirun"}.get(error.launcher, error.launcher)
    return f"start it with {command}, or leave out --launcher: what started a process is found out by itself"


def _stale(error: errors.StaleBlockError) -> str:
    if "expected one line" in error.problem:
        return "put the two markers where the tables belong"
    return f"`{PROGRAM} table --write {error.path}` updates it (with the same options)"


def _no_runs(error: errors.NoRunsError) -> str:
    if "scores" in error.problem:
        return f"`{PROGRAM} eval --split {error.split}` scores every run"
    return f"`{PROGRAM} predict MODEL --split {error.split} --data ROOT` makes one"


LABELS_HINT = (
    "give --labels FILE, or --data ROOT (or BDD100K_ROOT) with labels/det_20/det_val.json; "
    "the Detection 2020 labels are at https://doc.bdd100k.com/download.html"
)

HINTS: tuple[tuple[type[errors.ZooError], Callable[[Any], str]], ...] = (
    (errors.NoMatchError, _no_match),
    (errors.NoAddressError, lambda e: f"`{PROGRAM} info {e.model}` shows what is published"),
    (
        errors.DownloadsFailedError,
        lambda _: f"the same command tries only what is missing; {local_copy_hint()}",
    ),
    (errors.DigestMismatchError, _digest_mismatch),
    (
        errors.UnsafeArchiveError,
        lambda _: "it is damaged, or not what was published: move it out of the cache and download it again",
    ),
    (errors.CheckUnavailableError, _uncheckable),
    (
        errors.EmptyCacheError,
        lambda _: f"`{PROGRAM} download MODEL` fetches one, `{PROGRAM} cache import MODEL FILE` takes a copy",
    ),
    (errors.FilesExistError, lambda _: "move them away, or choose another folder"),
    (
        errors.NoImagesError,
        lambda _: "name folders, files or quoted patterns: --images frames/ or --images 'day*/*.jpg'",
    ),
    (
        errors.ImageListError,
        lambda _: (
            "correct that line: the path of an image or video, relative to the list's folder; `#` begins a comment"
        ),
    ),
    (errors.DuplicateFrameError, _duplicate_frame),
    (
        errors.LabelledImagesError,
        lambda _: "fetch or unpack the images again; --data names the folder that holds images/100k and labels/det_20",
    ),
    (
        errors.ImageChangedError,
        lambda _: (
            "bring it back as it was, with its time of change, and the same command goes on; or start over by --fresh"
        ),
    ),
    (
        errors.ImageShapeError,
        lambda _: (
            "give the path of a JPEG or PNG file, or pixels as `cv2.imread` reads them; leave very thin images out"
        ),
    ),
    (errors.FrameNameError, lambda _: "rename the file: plain text, relative, without `..`"),
    (errors.CheckpointMismatchError, _checkpoint_mismatch),
    (
        errors.CheckpointClassesError,
        lambda _: "only checkpoints of the ten BDD100K classes, in their order, are run; train or convert one",
    ),
    (errors.UnsupportedOpError, lambda _: "a compiled mmcv 2.1.0 serves it: https://mmcv.readthedocs.io"),
    (errors.PrecisionError, lambda _: "--precision fp32, the default, runs everywhere"),
    (errors.LauncherError, _launcher),
    (
        errors.PeerLostError,
        lambda _: "what the lost process said tells why; the same command goes on from the last checkpoint",
    ),
    (
        errors.WorkerKilledError,
        lambda _: "the same command goes on with what is missing; fewer --jobs need less memory",
    ),
    (errors.StaleBlockError, _stale),
    (errors.NoRunsError, _no_runs),
    (errors.NoLabelsError, lambda _: LABELS_HINT),
    (
        errors.UnfinishedRunError,
        lambda _: "the same command without --merge computes them; or copy the other journals there",
    ),
    (errors.NoCheckpointError, lambda _: "leave out --resume to begin there, or name the folder with --out"),
    (
        errors.DivergedError,
        lambda _: "a lower rate often helps: --cfg-options optim_wrapper.optimizer.lr=…, with --fresh or another --out",
    ),
    (
        errors.WrongFileError,
        lambda _: f"give the right file, labels and predictions each in their place; `{PROGRAM} convert` takes COCO's",
    ),
    (errors.BrokenFileError, lambda _: "the file was not written or downloaded whole; make or fetch it again"),
    (
        errors.UnlikelyBoxesError,
        lambda _: (
            "check what wrote the file: boxes are in pixels: x1, y1, x2, y2, or in COCO files x, y, width, height"
        ),
    ),
    (errors.FramesDifferError, lambda _: "predict every frame of the split, and no other"),
    (errors.BadFrameError, lambda _: "correct the file"),
    (errors.BadLabelError, lambda _: "correct the file"),
)
