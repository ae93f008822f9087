"""Which failures are recorded and tried again, the images and labels, and the document."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bdd100k_zoo import errors
from bdd100k_zoo.data.images import Frame
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction.launch import Command, ProcessRank
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.reproduction.inputs import read_inputs, spread
from bdd100k_zoo.reproduction.markdown import render_markdown
from bdd100k_zoo.reproduction.reproduce import ReproduceRequest, reproduce
from bdd100k_zoo.reproduction.results import ModelResult, Reproduction, describe_failure, write_results

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


def request(zoo: Zoo, **settings: Any) -> ReproduceRequest:
    """Return a request for one model, whose labels name no frame."""
    Path("val.json").write_text("[]")
    named = {"labels": Path("val.json"), "images": None, "split": "val", "models": (zoo["fcos_r50_fpn_1x"],)} | settings
    return ReproduceRequest(zoo=zoo, out=Path("out"), runs=Path("runs"), **named)


def begin(asked: ReproduceRequest) -> Reproduction:
    """Return the results from which a process starts."""
    with Store(offline=True) as store:
        return next(iter(reproduce(asked, store, NO_PROGRESS))).found


@pytest.mark.parametrize(
    ("processes", "finished", "verdict"),
    [(1, True, "not run"), (1, False, "not run"), (2, True, "not run"), (2, False, "failed")],
)
def test_failures_of_an_earlier_call_are_forgotten(processes: int, finished: bool, verdict: str, zoo: Zoo) -> None:
    """Of several processes, only the first one forgets them: it finds the earlier call finished."""
    asked = request(zoo, command=Command(arguments=(), place=ProcessRank(0, processes)))
    found = begin(asked)
    failed = ModelResult(model=found.models[0].model, published_ap=found.models[0].published_ap, verdict="failed")
    write_results(asked.out, msgspec.structs.replace(found.with_result(failed), finished=finished))
    again = begin(asked)
    assert (again.models[0].verdict, again.finished) == (verdict, False)


def test_a_model_is_freed_before_the_next_one_is_loaded(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    class Head:
        def __init__(self) -> None:
            self.itself = self

    heads: list[weakref.ref[Head]] = []

    def predict(*_: Any) -> None:
        assert [each() for each in heads] == [None] * len(heads)
        heads.append(weakref.ref(Head()))

    monkeypatch.setattr("bdd100k_zoo.reproduction.reproduce.predict", predict)
    Path("images").mkdir()
    Path("images/a.jpg").touch()
    asked = request(zoo, images="images", models=zoo.models[:3])
    gc.disable()
    try:
        with Store(offline=True) as store:
            *_, last = reproduce(asked, store, NO_PROGRESS)
    finally:
        gc.enable()
    assert len(heads) == 3
    assert {each.reason for each in last.found.models} == {""}


def test_a_folder_of_weights_that_does_not_exist_is_an_error_before_any_work(zoo: Zoo) -> None:
    with pytest.raises(errors.StorageError, match="mine: is no folder"):
        begin(request(zoo, weights_dir=Path("mine")))
    assert not Path("out").exists()


def test_a_labelled_frame_without_a_name_is_named_with_a_limit_too(tmp_path: Path) -> None:
    Path("images").mkdir()
    Path("images/a.jpg").touch()
    labels = tmp_path / "val.json"
    labels.write_text(json.dumps([{"name": "a.jpg"}, {"labels": []}]))
    with pytest.raises(errors.InputsError, match=r"val\.json: frame no\. 2.*name"):
        read_inputs("images", labels, 1, tmp_path)


def test_frames_whose_names_are_numbers_are_found_with_a_limit(tmp_path: Path) -> None:
    Path("images").mkdir()
    Path("images/1.jpg").touch()
    labels = tmp_path / "val.json"
    labels.write_text(json.dumps([{"name": 7}, {"name": "1.jpg", "labels": []}]))
    assert read_inputs("images", labels, 5, tmp_path).images.frames[0].name == "1.jpg"
    assert json.loads((tmp_path / "labels-5.json").read_text()) == [{"name": "1.jpg", "labels": []}]


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
