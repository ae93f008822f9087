"""Labels and predictions as JSON documents, and strategies that generate difficult ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.evaluation.error_analysis import build_evaluator
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.scoring import score_predictions, summarise_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from bdd100k_zoo.data.tables import LabelTable, PredictionTable
    from bdd100k_zoo.evaluation.matching import Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames
    from bdd100k_zoo.evaluation.scores import Scores

Document = Any


def score_with_hotcoco(paired: PairedFrames) -> Scores:
    """Score with an independent implementation of COCO's rules; needs finite scores and boxes."""
    run = build_evaluator(paired)
    run.evaluate()
    run.accumulate()
    found = run.eval
    assert found is not None
    return summarise_scores(found["precision"][..., 2], found["recall"])


def match_predictions(labels: LabelTable, predictions: PredictionTable, *, lenient: bool = False) -> Matches:
    return match_detections(pair_frames(labels, predictions, lenient=lenient))


class Case(NamedTuple):
    """The inputs of one evaluation."""

    labels: Document
    predictions: Document

    def within(self, act: Callable[[Path, Path], Any]) -> Any:
        """Write both files, and call a function with their paths."""
        with TemporaryDirectory() as folder:
            paths = Path(folder, "labels.json"), Path(folder, "predictions.json")
            for path, document in zip(paths, self, strict=True):
                path.write_text(json.dumps(document))
            return act(*paths)

    def tables(self, *, lenient: bool = False) -> tuple[LabelTable, PredictionTable]:
        def read(labels: Path, predictions: Path) -> tuple[LabelTable, PredictionTable]:
            return read_label_table(labels, lenient=lenient), read_prediction_table(predictions, lenient=lenient)

        tables: tuple[LabelTable, PredictionTable] = self.within(read)
        return tables

    def scores(self, *, lenient: bool = False) -> Scores:
        return score_predictions(*self.tables(lenient=lenient), lenient=lenient)

    def matches(self, *, lenient: bool = False) -> Matches:
        return match_predictions(*self.tables(lenient=lenient), lenient=lenient)


def label(category: str = "car", box: tuple[float, ...] | None = (10, 20, 50, 60), **fields: Any) -> Document:
    corners = box and dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
    return {"id": "1", "category": category, "box2d": corners, **fields}


def frame(name: str = "a.jpg", *labels: Document, **fields: Any) -> Document:
    return {"name": name, "labels": list(labels), **fields}


def frozen_case(path: Path) -> tuple[Case, bytes]:
    """Return labels and predictions, and the file that the official command wrote for them."""
    document = json.loads(gzip.decompress(path.read_bytes()))
    return Case(document["labels"], document["predictions"]), json.dumps(document["official"], indent=2).encode()


CATEGORIES = (*CLASSES[:4], *CLASSES[:3], CLASSES[2], CLASSES[2], *CLASS_ALIASES, *IGNORED_CLASSES)
TRUTHS = (True, False, 1, 0, 2, 0.5, 1.5, "true", "False", "yes", "n", "0", "0.5", "1", "", "crowd")
FINITE_SCORES = (0.5, 0.9, 0.9, 0.1, 1, 0, "0.7", True)
SCORES = (*FINITE_SCORES, float("nan"), float("inf"), "nan", "-inf", 1e308)
ODD_NUMBERS = (float("nan"), float("inf"), float("-inf"), "nan", "Infinity", "1e1", True, 1e200, -1e308, 10**30)
EDGES = (0.0, 4.0, 8.0, 31.0, 32.0, 40.5, 41.0, 95.0, 96.0, 100.25)

numbers = st.one_of(st.sampled_from(EDGES), st.integers(0, 100), st.floats(-50, 150))
sides = st.one_of(st.sampled_from((8.0, 9.0, 10.0, 31.0, 95.0)), st.floats(0, 120), st.floats(-8, 0))


@st.composite
def boxes(draw: st.DrawFn, least: float = -8) -> tuple[float, ...]:
    x, y, width, height = draw(numbers), draw(numbers), draw(sides), draw(sides)
    return x, y, x + max(width, least), y + max(height, least)


@st.composite
def odd_boxes(draw: st.DrawFn) -> tuple[Any, ...]:
    """Generate a box with corners that are NaN, infinite, huge, or written as text."""
    return tuple(draw(st.sampled_from((corner, corner, *ODD_NUMBERS))) for corner in draw(boxes()))


@st.composite
def near(draw: st.DrawFn, box: tuple[float, ...]) -> tuple[float, ...]:
    """Generate a box that is moved a little or not at all."""
    moves = st.sampled_from((0.0, 0.0, 0.5, 1.0, -1.0, 3.0))
    return tuple(corner + draw(moves) for corner in box)


attributes = st.one_of(
    st.none(),
    st.just({"occluded": False}),
    st.dictionaries(st.sampled_from(("crowd", "ignored", "weather")), st.sampled_from(TRUTHS), max_size=2),
)
ids = st.one_of(st.text("abc0", max_size=3), st.integers(0, 9))
names = st.sampled_from(("a", "b", "B", "ä", 7, "10", "c/d.jpg"))


@st.composite
def cases(draw: st.DrawFn, *, sound: bool = False, finite: bool = False) -> Case:
    """Generate small, difficult cases: equal boxes and scores, odd types, missing, repeated or unknown frames, videos.

    A ``sound`` case has predictions of exactly the labelled frames, and only repeated frames that strict reading
    refuses. A ``finite`` case has finite scores and boxes, and predictions near the labels of each labelled frame.
    """
    pool = draw(st.lists(boxes(least=0 if sound else -8), min_size=1, max_size=4))
    any_box = st.sampled_from(pool)
    if not sound:
        odd = not finite and draw(st.booleans())
        any_box = st.one_of(st.sampled_from(pool).flatmap(near), odd_boxes() if odd else boxes())
    labels = st.builds(
        label,
        st.sampled_from(CATEGORIES),
        st.one_of(any_box, any_box, any_box, st.none()),
        attributes=attributes,
        id=ids,
    )
    scores = st.sampled_from(FINITE_SCORES if sound or finite else SCORES)
    predictions = st.builds(label, st.sampled_from(CATEGORIES), any_box, score=scores, id=ids)
    unique_by = draw(st.sampled_from((_name, id)))
    labelled = draw(st.lists(frames_of(labels), min_size=int(finite), max_size=4, unique_by=unique_by))
    if not (sound or finite):
        predicted = draw(st.lists(frames_of(predictions), max_size=4, unique_by=draw(st.sampled_from((_name, id)))))
        return Case(draw(outer(labelled)), draw(outer(predicted)))
    found = [each | {"labels": draw(st.lists(predictions, min_size=int(finite), max_size=7))} for each in labelled]
    if finite:
        found += draw(st.lists(frames_of(predictions), max_size=2))
    return Case(draw(outer(labelled)), draw(st.permutations(found)))


def outer(frames: list[Document]) -> st.SearchStrategy[Document]:
    return st.sampled_from((frames, {"frames": frames, "groups": None, "config": None}))


def _name(document: Document) -> str:
    return str(document["name"])


def frames_of(labels: st.SearchStrategy[Document]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries(
        {"name": names, "labels": st.one_of(st.none(), st.lists(labels, max_size=7), st.lists(labels, max_size=7))},
        optional={"videoName": st.sampled_from(("v", "w", "", None)), "timestamp": st.just(10000)},
    )


def crowded_case(seed: int) -> Case:
    """Return a case with up to 130 detections of a class in each frame, with scores in steps of 0.1."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 600, (3, 12, 2))
    labels = [frame(str(n), *(label("car", (x, y, x + 40, y + 40)) for x, y in places[n].tolist())) for n in range(3)]
    found = []
    for n in range(3):
        near = places[n][rng.integers(0, 12, 130)] + rng.normal(0, 6, (130, 2))
        scores = rng.integers(0, 10, 130) / 10
        boxes = [(x, y, x + 40, y + 40) for x, y in near.tolist()]
        found.append(
            frame(str(n), *(label("car", box, score=s) for box, s in zip(boxes, scores.tolist(), strict=True)))
        )
    return Case(labels, found)


WEATHER = ("clear", "rainy", "snowy")


def scene(frames: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Return labels with crowds, and imprecise predictions: true, false and duplicate ones."""
    rng = np.random.default_rng(seed)
    labels, predictions = [], []
    for frame in range(frames):
        truth, found = [], []
        for index in range(int(rng.integers(1, 12))):
            x, y, size = rng.uniform(0, 1100), rng.uniform(0, 600), rng.choice([12.0, 50.0, 140.0])
            box = {"x1": x, "y1": y, "x2": x + size, "y2": y + size * rng.uniform(0.6, 1.4)}
            category = CLASSES[int(rng.integers(0, 4))]
            crowd = bool(rng.random() < 0.1)
            truth.append({"id": str(index), "category": category, "box2d": box, "attributes": {"crowd": crowd}})
            found += shaky(truth[-1], rng)
        name, weather = f"{frame:03}.jpg", WEATHER[frame % len(WEATHER)]
        labels.append({"name": name, "labels": truth, "attributes": {"weather": weather}})
        predictions.append({"name": name, "labels": found})
    return labels, predictions


def shaky(truth: dict, rng: np.random.Generator) -> list[dict]:
    """Return up to two imprecise predictions of an object."""
    found, box = [], truth["box2d"]
    for _ in range(int(rng.integers(0, 3))):
        shaken = {key: value + rng.normal(0, 0.06 * (box["x2"] - box["x1"])) for key, value in box.items()}
        shaken = {**shaken, "x2": max(shaken["x2"], shaken["x1"]), "y2": max(shaken["y2"], shaken["y1"])}
        score_ = round(float(rng.random()), 2)
        found.append({"id": truth["id"], "category": truth["category"], "score": score_, "box2d": shaken})
    return found


def tables(labels: list[dict], predictions: list[dict], folder: Path = Path()):
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "det.json").write_text(json.dumps(predictions))
    return read_label_table(folder / "labels.json"), read_prediction_table(folder / "det.json")


def repeated(frames: list[dict], weights: list[int]) -> list[dict]:
    """Return each frame as often as its weight, with unique names in the same order."""
    return [
        {**frame, "name": f"{frame['name']}-{copy:03}"}
        for frame, weight in zip(frames, weights, strict=True)
        for copy in range(weight)
    ]
