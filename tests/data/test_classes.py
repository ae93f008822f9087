"""The ten classes, with the names and numbers of the benchmark."""

from __future__ import annotations

import pytest

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES


def test_classes_have_the_order_of_the_benchmark() -> None:
    assert ", ".join(CLASSES) == (
        "pedestrian, rider, car, truck, bus, train, motorcycle, bicycle, traffic light, traffic sign"
    )


def test_other_names_and_ignored_regions_map_to_classes() -> None:
    assert dict(CLASS_ALIASES) == {
        "person": "pedestrian",
        "van": "car",
        "caravan": "car",
        "motor": "motorcycle",
        "bike": "bicycle",
    }
    assert dict(IGNORED_CLASSES) == {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}


def test_no_name_has_two_meanings() -> None:
    every = [*CLASSES, *CLASS_ALIASES, *IGNORED_CLASSES]
    assert len(set(every)) == len(every) == 18
    assert {*CLASS_ALIASES.values(), *IGNORED_CLASSES.values()} <= set(CLASSES)


@pytest.mark.parametrize("table", [CLASS_ALIASES, IGNORED_CLASSES])
def test_the_tables_cannot_be_changed(table: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        table["tram"] = "train"
