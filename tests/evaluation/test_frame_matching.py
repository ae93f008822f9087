"""Outcomes of each detection and object by COCO's rules, and the AP that each frame costs."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Case, boxes, cases, crowded_case, frame, label
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.frame_matching import (
    FOUND,
    IGNORE_REGION,
    MISSED,
    FrameOutcomes,
    MatchOutcomes,
    build_match_outcomes,
    lost_ap,
    worst_frames,
)
from bdd100k_zoo.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    IOU_THRESHOLDS,
    RECALL_POINTS,
    TRUE_POSITIVE,
    ClassMatches,
    Matches,
    match_detections,
)
from bdd100k_zoo.evaluation.pairing import PairedFrames, pair_frames
from bdd100k_zoo.evaluation.scoring import score_matches

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def paired(case: Case) -> PairedFrames:
    return pair_frames(*case.tables(lenient=True), lenient=True)


def match(labels: list, predictions: list, iou: float = 0.5) -> MatchOutcomes:
    pairs = paired(Case(labels, predictions))
    return build_match_outcomes(pairs, match_detections(pairs, iou))


def first_frame(labels: list, predictions: list, iou: float = 0.5) -> FrameOutcomes:
    return match([frame("a", *labels)], [frame("a", *predictions)], iou).of_frame(0)


def naive(pairs: PairedFrames, iou: float) -> tuple[list[int], list[int]]:
    """Return the outcome of each detection and the label it took, computed one by one."""
    outcomes, took = [IGNORED] * len(pairs.rows), [-1] * len(pairs.rows)
    labels = pairs.labels
    for index in range(len(labels.frames)):
        for kind in range(len(CLASSES)):
            detections = [i for i in range(*pairs.starts[index : index + 2]) if pairs.classes[i] == kind]
            objects = [i for i in range(*labels.starts[index : index + 2]) if labels.classes[i] == kind]
            free = set(objects)
            for detection in sorted(detections, key=lambda i: -pairs.scores[i])[:100]:
                options = []
                for place in objects:
                    overlap = overlap_of(pairs.boxes[detection], labels.boxes[place], bool(labels.crowd[place]))
                    if overlap >= iou and (place in free or labels.crowd[place]):
                        options.append((not labels.crowd[place], overlap, place))
                if not options:
                    outcomes[detection] = FALSE_POSITIVE
                    continue
                counted, _, took[detection] = max(options)
                outcomes[detection] = TRUE_POSITIVE if counted else IGNORED
                free.discard(took[detection])
    return outcomes, took


def overlap_of(box, other, crowd: bool) -> float:
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    area, common = box[2] * box[3], width * height
    return common / (area if crowd else area + other[2] * other[3] - common)


@given(case=cases(sound=True), iou=st.sampled_from(IOU_THRESHOLDS.tolist()))
@QUICK
def test_outcomes_equal_those_of_the_rules_applied_one_by_one(case: Case, iou: float) -> None:
    pairs = paired(case)
    found = build_match_outcomes(pairs, match_detections(pairs, iou))
    outcomes, took = naive(pairs, iou)
    assert found.detections.outcomes.tolist() == outcomes
    assert found.detections.took.tolist() == took
    found_by = {place: by for by, place in enumerate(took) if outcomes[by] == TRUE_POSITIVE}
    assert found.objects.found_by.tolist() == [found_by.get(i, -1) for i in range(len(found.objects.states))]
    expected = [
        IGNORE_REGION if crowd else FOUND if i in found_by else MISSED
        for i, crowd in enumerate(pairs.labels.crowd.tolist())
    ]
    assert found.objects.states.tolist() == expected


def test_outcomes_of_crowded_frames_equal_those_of_the_rules() -> None:
    pairs = paired(crowded_case(seed=3))
    found = build_match_outcomes(pairs, match_detections(pairs))
    assert (found.detections.outcomes.tolist(), found.detections.took.tolist()) == naive(pairs, 0.5)
    assert (found.detections.outcomes == IGNORED).sum() == 3 * 30


@given(case=cases())
@QUICK
def test_detections_and_objects_of_any_case_refer_to_each_other(case: Case) -> None:
    pairs = paired(case)
    found = build_match_outcomes(pairs, match_detections(pairs))
    for index in range(len(found.frames)):
        _, detections, objects = found.of_frame(index)
        hits = np.flatnonzero(detections.outcomes == TRUE_POSITIVE)
        assert objects.found_by[detections.took[hits]].tolist() == hits.tolist()
        assert (objects.states == FOUND).sum() == len(hits)
        assert ((objects.found_by >= 0) == (objects.states == FOUND)).all()


def test_each_kind_of_outcome() -> None:
    crowd = label("car", (300, 0, 500, 200), attributes={"crowd": True})
    found = [
        label("car", (11, 20, 51, 60), score=0.9),
        label("car", (12, 20, 52, 60), score=0.8),
        label("car", (320, 20, 360, 60), score=0.7),
        label("bus", (10, 20, 50, 60), score=0.6),
    ]
    _, detections, objects = first_frame([label("truck"), crowd, label("car")], found)
    assert detections.outcomes.tolist() == [TRUE_POSITIVE, FALSE_POSITIVE, IGNORED, FALSE_POSITIVE]
    assert detections.took.tolist() == [2, -1, 1, -1]
    assert objects.states.tolist() == [MISSED, IGNORE_REGION, FOUND]
    assert objects.found_by.tolist() == [-1, -1, 0]


@pytest.mark.parametrize(("iou", "outcome"), [(0.5, TRUE_POSITIVE), (0.75, TRUE_POSITIVE), (0.95, FALSE_POSITIVE)])
def test_the_iou_threshold_decides(iou: float, outcome: int) -> None:
    near = label("car", (12, 20, 52, 60), score=0.9)
    assert first_frame([label("car")], [near], iou).detections.outcomes.tolist() == [outcome]


def test_indices_count_from_the_first_of_the_frame() -> None:
    labels = [frame(name, label("bus"), label("car")) for name in "ab"]
    found = match(labels, [frame(name, label("car", score=0.5), label("car", score=0.6)) for name in "ab"])
    for index in range(2):
        name, detections, objects = found.of_frame(index)
        assert (name, detections.took.tolist(), objects.found_by.tolist()) == ("ab"[index], [-1, 1], [-1, 1])


def losses(found: ClassMatches, threshold: int, frames: int) -> np.ndarray:
    """Return the loss of each frame, computed recall point by recall point."""
    lost, outcomes = np.zeros(frames), found.outcomes[0, threshold]
    counted = np.flatnonzero(outcomes != IGNORED)
    true = np.cumsum(outcomes[counted] == TRUE_POSITIVE)
    precision, recall = true / np.arange(1, len(counted) + 1), true / found.objects[0].sum()
    for point in RECALL_POINTS:
        later = np.flatnonzero(recall >= point) if point else np.arange(len(counted))[true > 0]
        if len(later):
            best = later[precision[later].argmax()]
            wrong = [i for i in counted[: best + 1] if outcomes[i] == FALSE_POSITIVE]
            for place in wrong:
                lost[found.frames[place]] += 1 / (best + 1)
            continue
        missed = found.objects[0].astype(float)
        for place in counted[outcomes[counted] == TRUE_POSITIVE]:
            missed[found.frames[place]] -= 1
        lost += missed / missed.sum()
    return lost / len(RECALL_POINTS)


def expected_losses(matches: Matches) -> np.ndarray:
    classes = [found for found in matches.classes if found.objects[0].sum()]
    every = [losses(found, place, len(matches.frames)) for found in classes for place in range(len(IOU_THRESHOLDS))]
    return np.mean(every, axis=0) * 100 if every else np.zeros(len(matches.frames))


@given(case=cases(sound=True))
@QUICK
def test_losses_follow_the_definition_and_add_up_to_100_minus_ap(case: Case) -> None:
    matches = match_detections(paired(case))
    to_false, to_missed = lost_ap(matches)
    np.testing.assert_allclose(to_false + to_missed, expected_losses(matches), atol=1e-9)
    if matches.predictions and any(found.objects[0].any() for found in matches.classes):
        assert to_false.sum() + to_missed.sum() == pytest.approx(100 - score_matches(matches).ap, abs=1e-9)


def test_losses_of_crowded_frames_add_up() -> None:
    matches = match_detections(paired(crowded_case(seed=5)))
    to_false, to_missed = lost_ap(matches)
    np.testing.assert_allclose(to_false + to_missed, expected_losses(matches), atol=1e-9)
    assert to_false.sum() + to_missed.sum() == pytest.approx(100 - score_matches(matches).ap, abs=1e-9)
    assert min(to_false.sum(), to_missed.sum()) > 1


FAR = (600, 0, 640, 40)


def scene() -> Matches:
    """Return matches: a is right, b misses one of two cars, c has a false car with the best score, d misses a bus."""
    right = [label("car"), label("car", (100, 20, 150, 60))]
    found = [each | {"score": 0.8} for each in right]
    labels = [frame("a", *right), frame("b", *right), frame("c", *right), frame("d", label("bus", FAR))]
    wrong = label("car", FAR, score=0.9)
    predictions = [frame("a", *found), frame("b", found[0]), frame("c", *found, wrong), frame("d")]
    return match_detections(paired(Case(labels, predictions)))


def test_the_worst_frames_come_first_with_their_losses() -> None:
    bus, missed, false = worst_frames(scene(), 3)
    assert (bus.name, bus.to_false, bus.to_missed) == ("d", 0, pytest.approx(50))
    assert (false.name, false.to_missed) == ("c", 0)
    assert (missed.name, missed.to_false) == ("b", 0)
    assert (bus.frame, missed.frame, false.frame) == (3, 1, 2)
    assert all(each.lost == each.to_false + each.to_missed for each in (bus, missed, false))


def test_frames_that_cost_nothing_are_left_out() -> None:
    assert sorted(each.name for each in worst_frames(scene(), 10)) == ["b", "c", "d"]
    assert worst_frames(scene(), 0) == ()


def test_the_worst_frames_for_some_classes_ignore_the_others() -> None:
    cars = CLASSES.index("car")
    worst = worst_frames(scene(), 10, classes=[cars])
    assert sorted(each.name for each in worst) == ["b", "c"]
    assert sum(each.lost for each in worst) == pytest.approx(100 - score_matches(scene())["AP"].by_class[cars])


def test_equal_losses_are_ordered_by_name() -> None:
    labels = [frame(name, label("car")) for name in "cab"]
    assert [each.name for each in worst_frames(match_detections(paired(Case(labels, [frame("a")]))), 2)] == ["a", "b"]


@given(box=boxes(least=-8))
@QUICK
def test_an_inverted_label_is_ignored(box: tuple[float, ...]) -> None:
    _, _, objects = first_frame([label("car", box)], [])
    width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
    assert objects.states.tolist() == [MISSED if width * height >= 0 else IGNORE_REGION]
