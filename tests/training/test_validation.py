from __future__ import annotations

import os
import socket
import subprocess
import sys
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bdd100k_zoo.data.detections import Detections, to_labels
from bdd100k_zoo.data.scalabel import LabelFrame
from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.errors import DeviceError
from bdd100k_zoo.evaluation.scoring import score_predictions
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.training.validation import Validation, build_prediction_table

if TYPE_CHECKING:
    from pathlib import Path


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_table_in_memory_is_the_one_that_a_predictions_file_is_read_as(
    tmp_path_factory: object, seed: int, frames: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("x")  # type: ignore[attr-defined]
    random = np.random.default_rng(seed)
    found = [detections(random) for _ in range(frames)]
    names = [f"{place}.jpg" for place in range(frames)]
    ids = count(1)
    written = [LabelFrame(name, given_labels=to_labels(each, ids)) for name, each in zip(names, found, strict=True)]
    path = folder / "det.json"
    path.write_bytes(msgspec.json.encode(written))
    expected = read_prediction_table(path)
    rows = np.concatenate([columns(place, each) for place, each in enumerate(found)])
    table = build_prediction_table(rows, names, path)
    assert table.frames == expected.frames
    for field in ("starts", "classes", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(table, field), getattr(expected, field))
    assert score_of(folder, names, table) == score_of(folder, names, expected)


def detections(random: np.random.Generator) -> Detections:
    number = int(random.integers(0, 6))
    corners = random.uniform(0, 600, (number, 2, 2)).astype(np.float32)
    boxes = np.concatenate((corners.min(1), corners.max(1)), 1)
    return Detections(boxes, random.random(number, np.float32), random.integers(0, 10, number))


def columns(place: int, found: Detections) -> np.ndarray:
    number = np.full(len(found.scores), place)
    return np.column_stack((number, found.classes, found.scores, found.boxes)).astype(np.float64)


def score_of(folder: Path, names: list[str], table: object) -> bytes:
    box = {"x1": 10, "y1": 10, "x2": 400, "y2": 400}
    labels = [{"name": name, "labels": [{"id": "1", "category": "car", "box2d": box}]} for name in names]
    path = folder / "labels.json"
    path.write_bytes(msgspec.json.encode(labels))
    return score_predictions(read_label_table(path), table).official_json()  # type: ignore[arg-type]


CHILD = """
import sys
from types import SimpleNamespace
import torch
from torch import nn
from bdd100k_zoo.errors import NotFiniteError
from bdd100k_zoo.prediction.launch import ProcessRank
from bdd100k_zoo.training.distributed import process_group
from bdd100k_zoo.training.validation import Validation
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.data.tables import read_label_table
from pathlib import Path

class Model(nn.Module):
    def val_step(self, batch):
        bad = batch["data_samples"][0].img_id == "1.jpg"
        found = SimpleNamespace(
            scores=torch.tensor([float("nan") if bad else 0.5]), labels=torch.tensor([0]), bboxes=torch.ones(1, 4)
        )
        return [SimpleNamespace(img_id=sample.img_id, pred_instances=found) for sample in batch["data_samples"]]

class Images(list):
    def get_data_info(self, index):
        return {"img_id": self[index]}

class Loader:
    def __init__(self, names, mine):
        self.dataset, self.mine = Images(names), mine

    def __iter__(self):
        for name in self.mine:
            yield {"inputs": [None], "data_samples": [SimpleNamespace(img_id=name)]}

rank, world = int(sys.argv[1]), int(sys.argv[2])
names, cpu, place = ["0.jpg", "1.jpg", "2.jpg", "3.jpg"], torch.device("cpu"), ProcessRank(rank, world, rank)
loader = Loader(names, names[rank::world])
with process_group(place, cpu):
    validation = Validation(
        loader, read_label_table(Path(sys.argv[3])), name="a model", place=place, device=cpu, precision="fp32"
    )
    try:
        validation.run(Model(), SimpleNamespace(stop=SimpleNamespace(asked=False), progress=NO_PROGRESS))
    except NotFiniteError as error:
        print(error.image)
"""


@pytest.mark.parametrize("expected", [["1.jpg"], ["an image of another process", "1.jpg"]])
def test_a_number_that_is_not_finite_in_one_process_is_an_error_in_all(tmp_path: Path, expected: list[str]) -> None:
    labels = tmp_path / "labels.json"
    labels.write_bytes(msgspec.json.encode([{"name": f"{number}.jpg", "labels": []} for number in range(4)]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(rank), str(len(expected)), str(labels)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(len(expected))
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [out.strip() for out, _ in outputs] == expected, outputs


class Sparing(nn.Module):
    """Has memory for ``most`` images at once, as a GPU on which cuDNN finds no workspace."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.tried: list[int] = []

    def val_step(self, batch: dict[str, list[Any]]) -> list[SimpleNamespace]:
        self.tried.append(len(batch["inputs"]))
        if self.tried[-1] > self.most:
            raise RuntimeError("FIND was unable to find an engine to execute this computation")
        boxes = torch.tensor([[10.0, 10.0, 401.0, 401.0]])
        found = SimpleNamespace(scores=torch.tensor([0.5]), labels=torch.tensor([2]), bboxes=boxes)
        return [SimpleNamespace(img_id=sample.img_id, pred_instances=found) for sample in batch["data_samples"]]


class Images(list[str]):
    def get_data_info(self, index: int) -> dict[str, str]:
        return {"img_id": self[index]}


class Batches(list[Any]):
    def __init__(self, names: list[str], size: int) -> None:
        samples = [SimpleNamespace(img_id=name) for name in names]
        parts = [samples[start : start + size] for start in range(0, len(names), size)]
        super().__init__({"inputs": [0] * len(part), "data_samples": part} for part in parts)
        self.dataset = Images(names)


def validate(folder: Path, model: Sparing, said: list[str]) -> bytes:
    names = [f"{number}.jpg" for number in range(20)]
    box = {"x1": 10, "y1": 10, "x2": 400, "y2": 400}
    labels = [{"name": name, "labels": [{"id": "1", "category": "car", "box2d": box}]} for name in names]
    path = folder / "labels.json"
    path.write_bytes(msgspec.json.encode(labels))
    validation = Validation(
        Batches(names, 8),
        read_label_table(path),
        name="a model",
        place=SINGLE_PROCESS,
        device=torch.device("cpu"),
        precision="fp32",
    )
    report = SimpleNamespace(task=NO_PROGRESS.task, warn=said.append)
    observer: Any = SimpleNamespace(stop=SimpleNamespace(asked=False), progress=report)
    scores = validation.run(model, observer)
    assert scores is not None
    return scores.official_json()


def test_batches_of_a_validation_are_halved_until_they_fit_and_give_the_same_scores(tmp_path: Path) -> None:
    said: list[str] = []
    whole, halved = Sparing(8), Sparing(3)
    expected = validate(tmp_path, whole, said)
    assert (whole.tried, said) == ([8, 8, 4], [])
    assert validate(tmp_path, halved, said) == expected
    assert halved.tried == [8, 4, 2, 2, 2, 2] + [2] * 4 + [2] * 2
    assert [line.partition(":")[0] for line in said] == [
        "the device has no memory for the validation of 8 images at once",
        "the device has no memory for the validation of 4 images at once",
    ]


def test_a_single_image_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="unable to find an engine") as caught:
        validate(tmp_path, Sparing(0), [])
    assert caught.value.out_of_memory
