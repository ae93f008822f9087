"""Which failures are recorded, the frames of a part, and the document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo import errors
from bdd100k_zoo.data.images import Frame
from bdd100k_zoo.reproduction.inputs import spread
from bdd100k_zoo.reproduction.markdown import render_markdown
from bdd100k_zoo.reproduction.reproduce import describe_failure
from bdd100k_zoo.reproduction.results import ModelResult, Reproduction

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Zoo


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.OfflineError("nothing may be contacted", "run it online"), "weights not available"),
        (errors.UnsafeCheckpointError(Path("x.pth"), "it is damaged"), "failed"),
        (errors.DeviceError("cuda", "out of memory", out_of_memory=True), "failed"),
        (errors.RunMismatchError(Path("runs"), ("batch size",)), "failed"),
        (ValueError("no idea"), "failed"),
    ],
)
def test_a_failure_of_one_model_is_recorded(error: Exception, verdict: str) -> None:
    result = describe_failure("m", 31.0, error)
    assert (result.verdict, result.measured_ap) == (verdict, None)
    assert str(error) in result.reason
    assert result.hint
    assert "--out" not in result.hint


@pytest.mark.parametrize(
    "error",
    [
        errors.MissingPackageError("torch", "predict", "no module"),
        errors.DeviceError("cuda", "there is none"),
    ],
)
def test_what_every_model_would_meet_ends_the_command(error: Exception) -> None:
    with pytest.raises(type(error)):
        describe_failure("m", 31.0, error)


@pytest.mark.parametrize(("limit", "places"), [(1, [0]), (3, [0, 3, 6]), (4, [0, 2, 5, 7]), (10, list(range(10)))])
def test_a_part_of_the_images_is_spread_over_all(limit: int, places: list[int]) -> None:
    frames = [Frame(str(place), Path(str(place))) for place in range(10)]
    assert [int(frame.name) for frame in spread(frames, limit)] == places


def test_more_than_there_are_is_all() -> None:
    frames = [Frame(str(place), Path(str(place))) for place in range(3)]
    assert spread(frames, 100) == frames


def test_the_document_has_the_tables_of_the_families(zoo: Zoo) -> None:
    rows = (
        ModelResult(model="fcos_r50_fpn_1x", published_ap=30.3, verdict="reproduced", measured_ap=30.3, difference=0.0),
        ModelResult(model="atss_r50_fpn_1x", published_ap=33.0, verdict="failed", reason="a | b", hint="wait"),
        ModelResult(
            model="fcos_r50_fpn_3x", published_ap=31.0, verdict=None, measured_ap=31.5, interval=(30.123, 32.0)
        ),
    )
    found = Reproduction(version="1", split="val", limit=9, published_predictions=False, labels="val.json", models=rows)
    text = render_markdown(found, zoo)
    assert text.index("### FCOS") < text.index("### ATSS") < text.index("### Reasons")
    assert "| `fcos_r50_fpn_1x` | R-50-FPN | 1x |  | 30.30 | 30.30 | +0.00 | reproduced |  |" in text
    assert "31.50 (30.12 to 32.00)" in text
    assert "- `atss_r50_fpn_1x`: a \\| b (next: wait)" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {10}
