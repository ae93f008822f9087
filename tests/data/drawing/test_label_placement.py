"""Placement of labels: inside the picture, beside their boxes, without overlap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdd100k_zoo.data.drawing.label_placement import Area, LabelPlacement, OccupancyMap, _beside, place_label

WIDTH, HEIGHT = 200, 120
LABEL = (40, 10)
SIZES = (LABEL, (15, 10))


def areas() -> st.SearchStrategy[Area]:
    xs, ys = st.integers(0, WIDTH), st.integers(0, HEIGHT)
    corners = st.tuples(xs, ys, xs, ys).filter(lambda each: each[0] != each[2] and each[1] != each[3])
    return corners.map(lambda c: Area(min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])))


def shared(first: Area, second: Area) -> int:
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    return max(width, 0) * max(height, 0)


def placed(
    box: Area, *, labels: OccupancyMap | None = None, objects: OccupancyMap | None = None, sizes=(LABEL,)
) -> LabelPlacement:
    return place_label(box, sizes, labels or OccupancyMap(WIDTH, HEIGHT), objects or OccupancyMap(WIDTH, HEIGHT))


@given(st.lists(areas(), max_size=6), areas())
def test_the_map_counts_covered_cells(covered, asked):
    canvas = OccupancyMap(WIDTH, HEIGHT)
    for area in covered:
        canvas.cover(area)
    pixels = {(x, y) for area in covered for x in range(area.left, area.right) for y in range(area.top, area.bottom)}
    expected = sum((x, y) in pixels for x in range(asked.left, asked.right) for y in range(asked.top, asked.bottom))
    assert canvas.covered(asked) == expected
    assert canvas.is_free(asked) == (expected == 0)


@given(areas(), areas(), st.integers(1, 9))
def test_coarse_cells_never_report_covered_areas_as_free(covered, asked, cell):
    canvas = OccupancyMap(WIDTH, HEIGHT, cell)
    canvas.cover(covered)
    assert not (shared(covered, asked) and canvas.is_free(asked))


@given(st.lists(areas(), min_size=1, max_size=25))
@settings(deadline=None)
def test_labels_stay_in_the_picture_and_overlap_only_without_free_space(boxes):
    labels, areas_taken = OccupancyMap(WIDTH, HEIGHT), []
    for box in boxes:
        found = placed(box, labels=labels, sizes=SIZES)
        assert (found.area.width, found.area.height) == SIZES[found.form]
        assert 0 <= found.area.left <= found.area.right <= WIDTH
        assert 0 <= found.area.top <= found.area.bottom <= HEIGHT
        collides = any(shared(found.area, other) for other in areas_taken)
        assert not (found.is_apart and collides)
        if collides:
            assert not any(labels.is_free(area) for size in SIZES for area in _beside(box, size, labels))
        labels.cover(found.area)
        areas_taken.append(found.area)


@given(areas())
def test_the_first_label_touches_its_box(box):
    found = placed(box)
    assert not found.is_apart
    grown = Area(box.left - 1, box.top - 1, box.right + 1, box.bottom + 1)
    assert shared(grown, found.area)


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        (Area(50, 50, 80, 60), (50, 40)),
        (Area(0, 0, 30, 20), (0, 20)),
        (Area(190, 50, 200, 60), (160, 40)),
        (Area(20, 2, 150, 100), (20, 2)),
        (Area(0, 0, WIDTH, HEIGHT), (0, 0)),
    ],
)
def test_a_label_goes_above_else_inside_a_large_box_else_below(box, corner):
    assert placed(box).area[:2] == corner


def test_a_label_gives_way_to_another_one_and_to_small_objects():
    box, labels, objects = Area(50, 50, 80, 60), OccupancyMap(WIDTH, HEIGHT), OccupancyMap(WIDTH, HEIGHT)
    labels.cover(Area(45, 40, 60, 50))
    assert placed(box, labels=labels).area == (50, 60, 90, 70)
    objects.cover(Area(70, 66, 75, 68))
    found = placed(box, labels=labels, objects=objects)
    assert not any(shared(found.area, other) for other in (Area(45, 40, 60, 50), Area(70, 66, 75, 68)))


def test_the_short_form_is_taken_before_an_object_is_covered():
    box, objects = Area(50, 50, 60, 60), OccupancyMap(WIDTH, HEIGHT)
    objects.cover(Area(0, 0, 49, HEIGHT))
    objects.cover(Area(76, 0, WIDTH, HEIGHT))
    found = placed(box, objects=objects, sizes=SIZES)
    assert (found.form, found.area) == (1, Area(50, 40, 65, 50))


def test_a_label_without_room_beside_its_box_goes_away_from_it():
    box, labels = Area(90, 60, 95, 65), OccupancyMap(WIDTH, HEIGHT)
    labels.cover(Area(40, 45, 150, 85))
    found = placed(box, labels=labels)
    assert found.is_apart
    assert not shared(found.area, Area(40, 45, 150, 85))


def test_where_everything_is_taken_a_label_covers_the_least():
    box, labels = Area(90, 60, 95, 65), OccupancyMap(WIDTH, HEIGHT)
    labels.cover(Area(0, 0, WIDTH, 60))
    labels.cover(Area(0, 61, WIDTH, HEIGHT))
    found = placed(box, labels=labels)
    assert labels.covered(found.area) < LABEL[0] * LABEL[1]


def test_a_picture_smaller_than_a_label_has_one_all_the_same():
    canvas = OccupancyMap(20, 6)
    assert place_label(Area(2, 2, 5, 5), [LABEL], canvas, canvas).area == (0, 0, 40, 10)
