"""Limits on detections: exact, the same in a detector and in a run, and part of what a run is asked to do."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surroundings import Told
from tiny import TinyDetector, draw, resume_run

import bdd100k_zoo
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.detections import Detections, read_detections
from bdd100k_zoo.demo_run.steps import bundled_weights
from bdd100k_zoo.errors import InvalidFileError, RunMismatchError, ZooError
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction import predict as job
from bdd100k_zoo.prediction.journal import JOURNAL_FORMAT
from bdd100k_zoo.prediction.limits import NO_LIMITS, Limits, check_limits
from bdd100k_zoo.prediction.run import read_run
from bdd100k_zoo.progress import NO_PROGRESS

ZOO = bdd100k_zoo.load_zoo()
DEMO = ZOO["demo_fcos_r18_fpn"]
WEIGHTS = bundled_weights(ZOO)
FRAMES = sorted((Path(bdd100k_zoo.__file__).parent / "demo_run" / "data" / "images").rglob("*.jpg"))[:2]
SMALL = {"test_dataloader.dataset.pipeline.1.scale": (320, 180)}


# The rule

few_scores = st.sampled_from([0.0, 0.05, 0.3, 0.30000001192092896, 0.5, 0.7, 1.0])
limits_of_any_kind = st.builds(
    Limits,
    st.none() | few_scores,
    st.none() | st.sets(st.sampled_from(CLASSES), min_size=1).map(lambda names: tuple(sorted(names))),
    st.none() | st.integers(1, 8),
)


@given(found=st.lists(st.tuples(few_scores, st.integers(0, 9)), max_size=12), limits=limits_of_any_kind)
def test_what_is_kept_is_what_filtering_by_hand_keeps(found: list[tuple[float, int]], limits: Limits) -> None:
    scores = np.array([score for score, _ in found], np.float32)
    boxes = np.arange(4 * len(found), dtype=np.float32).reshape(-1, 4)
    detections = Detections(boxes, scores, np.array([index for _, index in found], np.int64))
    kept = [
        place
        for place, (score, (_, index)) in enumerate(zip(scores, found, strict=True))
        if (limits.min_score is None or score >= np.float32(limits.min_score))
        and (limits.classes is None or CLASSES[index] in limits.classes)
    ]
    best = sorted(kept, key=lambda place: -scores[place])[: limits.max_per_image]  # stable
    assert limits.apply(detections) == detections[np.array(sorted(best), int)]
    assert NO_LIMITS.apply(detections) is detections


def test_classes_are_named_in_their_order_however_they_are_given() -> None:
    assert check_limits(0.3, ["bus", 0, "person", "bus"], 5) == Limits(0.3, ("pedestrian", "bus"), 5)
    assert check_limits(None, None, None) == NO_LIMITS


# Runs of the demo's model


def request_for(tmp_path: Path, out: str = "run", **changes: Any) -> job.PredictRequest:
    images = tmp_path / "frames"
    if not images.exists():
        images.mkdir()
        for name, frame in zip("ab", FRAMES, strict=True):
            shutil.copy(frame, images / f"{name}.jpg")
    return job.PredictRequest(
        model=DEMO,
        images=(str(images),),
        out=tmp_path / out,
        weights=WEIGHTS,
        device="cpu",
        cfg_options=SMALL,
        **changes,
    )


def run(request: job.PredictRequest) -> Any:
    return job.predict(job.plan_run(request, NO_PROGRESS), Store(offline=True), NO_PROGRESS)


LIMITS: dict[str, Any] = {"min_score": 0.06, "classes": ("truck", "car"), "max_per_image": 7}


def test_a_run_with_limits_has_the_boxes_of_a_detector_with_them_and_of_filtering_by_hand(tmp_path: Path) -> None:
    record = run(request_for(tmp_path, **LIMITS))
    plain = run(request_for(tmp_path, "plain"))
    detector = bdd100k_zoo.load_detector(DEMO, weights=WEIGHTS, device="cpu", cfg_options=SMALL, **LIMITS)
    of_run = [detections for _, detections in read_detections(tmp_path / "run" / "det.json")]
    whole = [detections for _, detections in read_detections(tmp_path / "plain" / "det.json")]
    for frame, kept, unlimited in zip(FRAMES, of_run, whole, strict=True):
        of_detector = detector(frame)
        order = np.lexsort((-of_detector.scores, of_detector.classes))
        np.testing.assert_array_equal(kept.scores, of_detector.scores[order])
        np.testing.assert_allclose(kept.boxes, of_detector.boxes[order], rtol=0, atol=1e-4)
        by_hand = unlimited.filter(min_score=0.06, classes=("car", "truck"))
        lowest = np.sort(by_hand.scores)[-7]
        assert len(kept) == 7
        assert kept == by_hand.filter(min_score=float(lowest))
        assert set(kept.names) <= {"car", "truck"}
    assert record.counts.detections == 14 < plain.counts.detections
    assert record.request.limits == {"min_score": "0.06", "classes": "car, truck", "max_per_image": "7"}
    assert plain.request.limits == {}
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [written[name] for name in LIMITS] == [0.06, ["car", "truck"], 7]


def test_a_finished_run_is_recognised_by_its_limits(tmp_path: Path) -> None:
    first = run(request_for(tmp_path, **LIMITS))
    same = LIMITS | {"classes": (2, "truck")}
    assert CLASSES[2] == "car"
    assert run(request_for(tmp_path, **same)) == read_run(tmp_path / "run")
    for changes, named in (
        ({"min_score": 0.07}, "min_score: 0.06 there, 0.07 now"),
        ({"classes": None}, "classes: car, truck there, none now"),
        ({"max_per_image": None}, "max_per_image: 7 there, none now"),
    ):
        with pytest.raises(RunMismatchError) as caught:
            run(request_for(tmp_path, **(LIMITS | changes)))
        assert caught.value.differences == (named,)
        assert caught.value.hint == "choose another folder with --out, or replace that run with --fresh"
    assert run(request_for(tmp_path, fresh=True)).request.limits == {}
    assert run(request_for(tmp_path, "elsewhere", **LIMITS)).counts == first.counts


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"min_score": 1.5}, "from 0 to 1"), ({"classes": ("tank",)}, "no class 'tank'"), ({"max_per_image": 0}, "1")],
)
def test_limits_that_cannot_be_right_are_errors_before_anything_is_made(
    tmp_path: Path, wrong: Any, message: str
) -> None:
    with pytest.raises(ZooError, match=message):
        run(request_for(tmp_path, **wrong))
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_images_are_reported_once(tmp_path: Path) -> None:
    request = request_for(tmp_path)
    for name in ("x.txt", "y.txt", "z.heic", ".DS_Store"):
        (tmp_path / "frames" / name).touch()
    for rank, lines in ((0, [f"ignored in {tmp_path / 'frames'}: 2 .txt, 1 .heic"]), (1, [])):
        told = Told()
        place = request.place._replace(rank=rank, world=2)
        plan = job.plan_run(replace(request, place=place, out=tmp_path / "two"), told)
        job.predict(plan, Store(offline=True), told)
        assert [note for note in told.notes if note.startswith("ignored")] == lines


# Runs that are resumed


def test_a_run_under_way_resumes_with_its_limits_only(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    draw(images, 12)

    class Stop(Told):
        def advance(self, amount: int) -> None:
            super().advance(amount)
            if sum(self.done.values()) >= 10:
                raise KeyboardInterrupt

    limits: dict[str, Any] = {"min_score": 0.5, "max_per_image": 2}
    with pytest.raises(KeyboardInterrupt):
        resume_run(out, images, TinyDetector(), progress=Stop(), **limits)
    with pytest.raises(RunMismatchError, match=r"min_score: 0\.5 there, 0\.4 now"):
        resume_run(out, images, TinyDetector(), **(limits | {"min_score": 0.4}))
    with pytest.raises(RunMismatchError, match="max_per_image: 2 there, none now"):
        resume_run(out, images, TinyDetector(), min_score=0.5)
    record = resume_run(out, images, TinyDetector(), **limits)
    unbroken = resume_run(tmp_path / "unbroken", images, TinyDetector(), **limits)
    assert record is not None
    assert unbroken is not None
    assert record.counts == unbroken.counts
    assert (out / "det.json").read_bytes() == (tmp_path / "unbroken" / "det.json").read_bytes()
    found = [detections for _, detections in read_detections(out / "det.json")]
    assert max(map(len, found)) == 2
    assert all((each.scores >= 0.5).all() for each in found)


def test_journals_and_records_from_before_limits_are_those_of_runs_without_any(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    draw(images, 4)

    class Stop(Told):
        def advance(self, amount: int) -> None:
            raise KeyboardInterrupt

    def drop_limits(document: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in document.items() if name not in LIMITS}

    with pytest.raises(KeyboardInterrupt):
        resume_run(out, images, TinyDetector(), progress=Stop())
    journal = out / "journal-0.jsonl"
    first, *rest = journal.read_bytes().splitlines(keepends=True)
    header = json.loads(first)
    header["request"] = drop_limits(header["request"])
    journal.write_bytes(msgspec.json.encode(header) + b"\n" + b"".join(rest))
    with pytest.raises(RunMismatchError, match=r"min_score: none there, 0\.5 now"):
        resume_run(out, images, TinyDetector(), min_score=0.5)
    resume_run(out, images, TinyDetector())
    record = read_run(out)
    (out / "run.json").write_text(json.dumps(drop_limits(json.loads((out / "run.json").read_text()))))
    assert read_run(out) == record
    assert resume_run(out, images, TinyDetector()) == record
    with pytest.raises(RunMismatchError, match="classes: none there, car now"):
        resume_run(out, images, TinyDetector(), classes=("car",))


def test_a_journal_of_another_version_says_what_to_do_and_fresh_does_it(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    draw(images, 2)
    out.mkdir()
    (out / "journal-0.jsonl").write_text(f'{{"journal": {JOURNAL_FORMAT + 1}, "plan": {{}}}}\n')
    with pytest.raises(InvalidFileError, match=f"format {JOURNAL_FORMAT + 1}; this version reads format") as caught:
        resume_run(out, images, TinyDetector())
    assert caught.value.hint == "finish the run with the version that began it, or start over with --fresh"
    assert resume_run(out, images, TinyDetector(), fresh=True)
