"""The steps of `gpu_session.sh`: everything to measure and check once a GPU is lent.

    python benchmarks/gpu_session.py STEP [MODEL] --out DIR [--dry]

Every step is a process of its own and writes a part of the record; `table` merges the parts into DIR/record.json and
prints the tables for docs/performance.md. With `--dry` everything runs on the CPU in tiny sizes, with the demo's model.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bdd100k_zoo.benchmark.loops import BenchSetup

NEEDED = ("torch", "torchvision", "mmdet", "mmengine", "mmcv", "msgspec", "typer")
"""Modules of the extra `predict` that a missing one is reported of."""
FRAMES = 16
"""Frames that differ."""
STEPS = ("check", "prepare", "speed", "profile", "detect-1", "detect-2", "detect-taken", "memory", "train", "table")


class Session(NamedTuple):
    """What is measured, and on what."""

    out: Path
    dry: bool = False
    device: str = "cuda:0"
    precisions: tuple[str, ...] = ("fp32", "tf32", "fp16", "bf16")
    compared: tuple[str, ...] = ("fp16", "fp32")
    """Precisions that are also measured without batched heads and without two batches under way."""
    images: int = 64
    """In a round."""
    batch: int = 8
    rounds: int = 3
    frames: int = FRAMES
    training: tuple[str, ...] = ("--precision", "fp16", "--batch-size", "4", "--workers", "2")

    @property
    def work(self) -> Path:
        """The folder of weights, frames and trainings, which is not kept."""
        return self.out / "work"

    def setup(self, model: str) -> BenchSetup:
        """Return the model with its weights on the frames; `prepare` has written both."""
        from bdd100k_zoo.benchmark.loops import BenchSetup
        from bdd100k_zoo.registry import load_zoo

        return BenchSetup(
            model=model,
            config_path=load_zoo()[model].config_path,
            weights=self.work / f"{model}.pth",
            images=str(self.work / "frames"),
            device=self.device,
            batch_size=self.batch,
        )


DRY = {
    "dry": True,
    "device": "cpu",
    "precisions": ("fp32",),  # others take several times as long on a CPU
    "compared": ("fp32",),
    "images": 2,
    "batch": 1,
    "rounds": 0,
    "frames": 2,
    "training": (
        *("--precision", "fp32", "--batch-size", "8", "--workers", "0", "--cfg-options"),
        "train_dataloader.dataset.pipeline.2.scale=(128,72)",
        "test_dataloader.dataset.pipeline.1.scale=(128,72)",
    ),
}


def check(session: Session) -> dict[str, Any]:
    """Check that this Python has what the steps need, and a GPU; return versions."""
    versions, missing = {"python": sys.version.split()[0]}, []
    for name in NEEDED:
        try:
            versions[name] = str(getattr(__import__(name), "__version__", "?"))
        except ImportError as error:
            missing.append(f"{name} ({error})")
    if missing:
        sys.exit(
            f"error: {sys.executable} lacks {', '.join(missing)}\n"
            f"  run this with a Python that has the package: pip install -e '.[predict,dev]', or PYTHON=/path/to/python"
        )
    import torch

    facts: dict[str, Any] = {"versions": versions, "cores": os.cpu_count(), "cuda": torch.version.cuda}
    if not session.dry:
        if not torch.cuda.is_available():
            sys.exit(
                f"error: torch {torch.__version__} finds no GPU\n"
                f"  nvidia-smi shows whether there is one; --dry runs on the CPU"
            )
        properties = torch.cuda.get_device_properties(0)
        capability = "{}.{}".format(*torch.cuda.get_device_capability(0))
        memory = round(properties.total_memory / 2**30, 1)
        facts |= {"gpu": properties.name, "memory_gib": memory, "capability": capability}
    here = Path(__file__).parents[1]
    command = ["git", "-C", str(here), "describe", "--always", "--exclude=*", "--dirty=-changed"]
    try:
        facts["commit"] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        facts["commit"] = importlib.metadata.version("bdd100k-zoo")
    return facts | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def prepare(model: str, session: Session) -> dict[str, Any]:
    """Write frames, once, and a model's weights: random ones that find boxes, or those of the demo."""
    from bdd100k_zoo.demo_run.steps import MODEL, bundled_weights
    from bdd100k_zoo.registry import load_zoo
    from bdd100k_zoo.sample_data import write_sample_frames

    setup, start = session.setup(model), time.monotonic()
    if not Path(setup.images).exists():
        write_sample_frames(Path(setup.images), session.frames)
    if model == MODEL:
        setup.weights.write_bytes(bundled_weights(load_zoo()).read_bytes())
    else:
        setup._replace(device="cpu").save_weights()
    return {"model": model, "seconds": round(time.monotonic() - start, 1)}


def run_step(step: str, model: str, session: Session) -> dict[str, Any]:
    """Do one step, and return its part of the record."""
    if step == "check":
        return check(session)
    if step == "prepare":
        return prepare(model, session)
    if step in ("speed", "profile"):
        import gpu_speed

        return (gpu_speed.measure_speed if step == "speed" else gpu_speed.profile)(model, session)
    import gpu_checks

    steps: Mapping[str, Callable[[], dict[str, Any]]] = {
        "detect-1": lambda: gpu_checks.detect(model, taken=False, session=session),
        "detect-2": lambda: gpu_checks.detect(model, taken=False, session=session),
        "detect-taken": lambda: gpu_checks.detect(model, taken=True, session=session),
        "memory": lambda: gpu_checks.lack_memory(model, session),
        "train": lambda: gpu_checks.train(model, session),
    }
    return steps[step]()


# Tables


def merge(session: Session) -> dict[str, list[dict[str, Any]]]:
    """Merge the parts into the record: of each kind of step a list, in the order of names."""
    record: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(session.out.glob("part-*.json")):
        record.setdefault(path.stem.split("-")[1], []).append(json.loads(path.read_text(encoding="utf-8")))
    (session.out / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def show_tables(session: Session) -> None:
    """Print the record as tables; a step that has failed or was stopped is absent."""
    record = merge(session)
    for facts in record.get("check", []):
        print(" ".join(f"{key}={value}" for key, value in facts.items() if key != "versions"))
        print(" ".join(f"{key} {value}" for key, value in facts["versions"].items()), end="\n\n")
    speeds = record.get("speed", [])
    if speeds:
        print_speeds(speeds, session)
    for each in record.get("profile", []):
        share = each["on_device_seconds"] / each["seconds"]
        print(
            f"profile of `{each['model']}` in {each['precision']}: {each['seconds']} s for three batches, "
            f"{each['on_device']} kernels and copies that take {share:.0%} of it, {each['copies_to_host']} copies to "
            f"the host, {each['waits']} waits\n"
        )
    found = record.get("detect", [])
    if found:
        equal = "equal" if len({each["sha256"] for each in found}) == 1 else "DIFFERENT"
        ways = ", ".join("memory taken" if each["taken"] else "as usual" for each in found)
        halved = sum(each["halved"] for each in found)
        print(f"fp32 boxes of {len(found)} processes ({ways}): {equal}; {found[0]['boxes']} boxes, {halved} halved\n")
    for each in record.get("memory", []):
        print_memory(each)
    for each in record.get("train", []):
        state = "complete" if each["complete"] and each["status"] == 0 else f"FAILED with status {each['status']}"
        kill = f"killed after {each['lines_before_the_kill']} lines" if each["killed"] else "NOT KILLED in time"
        finite = "finite" if each["finite"] else "NOT FINITE"
        print(f"training of `{each['model']}`: {kill}, resumed, {state}; {each['steps']} steps, losses {finite}")


def print_speeds(speeds: Sequence[dict[str, Any]], session: Session) -> None:
    """Print images per second, what the parts gain, and which boxes are found again."""
    print_table(
        ["images/s", "mmdet, TF32", "mmdet, fp32", *session.precisions, "fastest : mmdet, TF32"],
        [
            [
                f"`{each['model']}`",
                *(rates[name] for name in ("mmdet, TF32", "mmdet, fp32", *session.precisions)),
                f"{max(rates[name] for name in session.precisions) / rates['mmdet, TF32']:.2f}",
            ]
            for each in speeds
            for rates in [each["images_per_second"]]
        ],
    )
    parts = ("", "one batch under way", "mmdet's heads", "one batch under way, mmdet's heads", "bare")
    print_table(
        ["images/s", "precision", "shipped", *parts[1:4], "bare network", "share of bare"],
        [
            [
                f"`{each['model']}`",
                precision,
                *(rates.get(f"{precision} {part}".strip(), "") for part in parts),
                f"{rates[precision] / rates[f'{precision} bare']:.0%}",
            ]
            for each in speeds
            for rates in [each["images_per_second"]]
            for precision in session.precisions
        ],
    )
    print_table(
        [f"boxes found again (IoU 0.9), of {session.images} frames", *session.precisions, "batches halved"],
        [
            [
                f"`{each['model']}`",
                *(f"{each['found_again'][name]} of {each['boxes']}" for name in session.precisions),
                sum(each["halved"].values()),
            ]
            for each in speeds
        ],
    )


def print_memory(found: dict[str, Any]) -> None:
    """Print what errors said when memory was short."""
    rows = []
    for each in found["tries"]:
        alone, run = each["one_batch"], each["run"]
        outcome = f"{run['error']}: {run['cause']}" if run else "done"
        known = {None: "", True: "yes", False: "NO"}[alone.get("out_of_memory")] or ("NO" if alone else "")
        rows.append([each["left_mib"], alone.get("cause", "none"), known, outcome, sum(each["halved"].values())])
    print_table(["MiB left", "error of two batches at once", "recognised", "run", "halved"], rows)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown, and an empty line."""
    print("| " + " | ".join(heads) + " |")
    print("| " + " | ".join("---" for _ in heads) + " |")
    for row in rows:
        print("| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |")
    print()


def main() -> None:
    """Do steps, and keep their parts of the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", metavar="STEP[,STEP…]", help=", ".join(STEPS))
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dry", action="store_true", help="on the CPU, in tiny sizes")
    given = parser.parse_args()
    if unknown := set(given.steps.split(",")) - set(STEPS):
        parser.error(f"expected steps among {', '.join(STEPS)}, found {', '.join(sorted(unknown))}")
    session = Session(given.out, **(DRY if given.dry else {}))
    session.work.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")  # of the libraries below
    for step in given.steps.split(","):
        if step == "table":
            show_tables(session)
            continue
        part = run_step(step, given.model, session)
        name = "-".join(filter(None, ("part", step, given.model)))
        (session.out / f"{name}.json").write_text(json.dumps(part, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(part, indent=1))


if __name__ == "__main__":
    main()
