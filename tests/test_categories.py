"""The ten classes, as the benchmark numbers and names them."""

from __future__ import annotations

import pytest

from bdd100k_zoo.categories import ALIASES, CLASSES, IGNORED


def test_the_classes_stand_in_the_benchmarks_order() -> None:
    assert ", ".join(CLASSES) == (
        "pedestrian, rider, car, truck, bus, train, motorcycle, bicycle, traffic light, traffic sign"
    )


def test_other_names_and_ignored_regions_map_to_classes() -> None:
    assert dict(ALIASES) == {
        "person": "pedestrian",
        "van": "car",
        "caravan": "car",
        "motor": "motorcycle",
        "bike": "bicycle",
    }
    assert dict(IGNORED) == {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}


def test_no_name_has_two_meanings() -> None:
    every = [*CLASSES, *ALIASES, *IGNORED]
    assert len(set(every)) == len(every) == 18
    assert {*ALIASES.values(), *IGNORED.values()} <= set(CLASSES)


@pytest.mark.parametrize("table", [ALIASES, IGNORED])
def test_the_tables_cannot_be_changed(table: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        table["tram"] = "train"
