"""The public functions, on a few frames and the detector that come with the package."""

from __future__ import annotations

import inspect
import json
import logging
import math
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from demo_frames import write_demo_frames
from surroundings import Told

import bdd100k_zoo
from bdd100k_zoo import (
    Evaluation,
    Run,
    Training,
    compare,
    convert,
    download,
    evaluate,
    list_models,
    load_detector,
    load_zoo,
    predict,
    report,
    show,
    submit,
    table,
    train,
)
from bdd100k_zoo.api.arguments import PRECISIONS
from bdd100k_zoo.cli import catalog, exchange
from bdd100k_zoo.cli import download as download_command
from bdd100k_zoo.cli import evaluate as eval_command
from bdd100k_zoo.cli import predict as predict_command
from bdd100k_zoo.cli import report as report_command
from bdd100k_zoo.cli import show as show_command
from bdd100k_zoo.cli import train as train_command
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.demo_run.steps import MODEL
from bdd100k_zoo.errors import (
    ImagesError,
    InputsError,
    RunMismatchError,
    StorageError,
    SubmissionError,
    UnknownNameError,
    ZooError,
)
from bdd100k_zoo.evaluation.scores import OFFICIAL_METRICS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

VAL = 4
IMAGES, LABELS = Path("images/100k/val"), Path("labels/det_20/det_val.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_frames(tmp_path_factory.mktemp("data"), train=4, val=VAL)


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the frames of val."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BDD100K_ZOO_CACHE", str(folder / "cache"))
        return predict(MODEL, data / IMAGES, out=folder / "run", device="cpu")


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy of it, without scores."""
    return Run.read(shutil.copytree(made, tmp_path / "copy", ignore=lambda *_: ["scores.json"]))


@pytest.fixture
def labels(data: Path) -> Path:
    return data / LABELS


# predict --------------------------------------------------------------------------------------------------------------


def test_a_run_has_its_files_record_and_detections(run: Run, data: Path) -> None:
    assert run.predictions == run.folder / "det.json"
    assert (run.record.request.model, run.record.facts.device) == (MODEL, "cpu")
    assert len(run) == VAL
    found = dict(run)
    assert list(found) == [frame.name for frame in find_images([str(data / IMAGES)]).frames]
    assert sum(map(len, found.values())) == run.record.counts.detections > 0
    assert repr(run) == f"Run({str(run.folder)!r}: {MODEL}, 4 images, {run.record.counts.detections:,} detections)"


def test_the_detections_of_a_run_are_those_of_the_detector_to_the_last_bit(run: Run, data: Path) -> None:
    detector = load_detector(load_zoo()[MODEL], device="cpu")
    for name, found in run:
        direct = detector(data / IMAGES / name)
        assert found == direct[np.lexsort((-direct.scores, direct.classes))]


def test_a_call_that_is_repeated_returns_the_finished_run(run: Run, data: Path) -> None:
    shown = Told()
    again = predict(load_zoo()[MODEL], [str(data / IMAGES)], out=run, device="cpu", progress=shown)
    assert again == run
    assert any("complete" in note for note in shown.notes)
    assert not shown.done


def test_a_folder_with_another_run_is_not_changed(run: Run, data: Path) -> None:
    image = next((data / IMAGES).iterdir())
    before = run.predictions.read_bytes()
    with pytest.raises(RunMismatchError, match="images"):
        predict(MODEL, image, out=run.folder, device="cpu")
    assert run.predictions.read_bytes() == before
    changed = predict(
        MODEL, image, out=run.folder, device="cpu", fresh=True, cfg_options={"model.test_cfg.max_per_img": 5}
    )
    assert [len(found) for _, found in changed] == [5]


def test_the_split_of_a_dataset_goes_to_the_folder_of_the_model(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDD100K_ROOT", str(data))
    found = predict(MODEL, split="val", device="cpu", batch_size=2)
    assert found.folder == Path("runs", MODEL, "val")
    assert evaluate(MODEL).name == MODEL
    assert evaluate(load_zoo()[MODEL]).predictions == found.predictions
    shutil.copytree(found, "runs/another")
    with pytest.raises(ZooError, match="several runs on val"):
        evaluate(MODEL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either images or a split"),
        ({"images": "a", "split": "val"}, "either images or a split"),
        ({"split": "val"}, "needs the dataset's root"),
        ({"images": "a", "precision": "fp8"}, "fp8"),
        ({"images": "a", "batch_size": 0}, "batch_size: 0 is less than 1"),
    ],
)
def test_arguments_that_make_no_sense_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        predict(MODEL, **arguments)


def test_unknown_models_and_images_are_errors() -> None:
    with pytest.raises(UnknownNameError, match="demo_fcos"):
        predict("demo_fcos", "images")
    with pytest.raises(ImagesError):
        predict(MODEL, "missing")


# evaluate, compare ----------------------------------------------------------------------------------------------------


def test_scores_have_every_metric_by_class_and_print_as_the_official_table(run: Run, labels: Path) -> None:
    scores = evaluate(run, labels)
    assert scores.ap == scores["AP"].overall == scores["AP"]["OVERALL"]
    document = json.loads(scores.official_json())
    assert scores["AP50"]["car"] == document["AP50"][0]["car"] > 0
    assert set(scores.to_dict()) == set(OFFICIAL_METRICS)
    lines = str(scores).splitlines()
    assert lines[0].split() == list(OFFICIAL_METRICS)
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split()[:2] == ["OVERALL", f"{scores.ap:.2f}"]
    assert repr(scores) == f"Evaluation(AP {scores.ap:.2f})"
    assert scores._repr_html_().count("<tr>") == 12
    assert (scores.name, scores.labels, scores.model) == (MODEL, labels, load_zoo()[MODEL])
    with pytest.raises(KeyError, match="automobile"):
        scores["AP"]["automobile"]


def test_a_file_alone_gives_the_same_scores_and_the_official_file(run: Run, labels: Path) -> None:
    shutil.copy(run.predictions, "alone.json")
    scores = evaluate("alone.json", labels, out="scores.json")
    assert Path("scores.json").read_bytes() == scores.official_json() == evaluate(run, labels).official_json()
    assert scores.model is None


def test_intervals_and_conditions_come_when_asked_for(run: Run, labels: Path) -> None:
    scores = evaluate(run, labels, confidence=True, resamples=100, by="timeofday")
    interval = scores.intervals["OVERALL"]
    assert (interval.frames, interval.low) == (VAL, None)  # too few frames
    assert sum(each.support.frames for each in scores.conditions.values()) == VAL
    assert all(each.scores.ap >= 0 for each in scores.conditions.values())
    assert not evaluate(run, labels).conditions


def test_a_comparison_is_of_the_same_frames(run: Run, labels: Path, tmp_path: Path) -> None:
    frames = json.loads(run.predictions.read_text())
    for frame in frames:
        frame["labels"] = frame["labels"][::2]
    Path("half.json").write_text(json.dumps(frames))
    found = compare(run, "half.json", labels, resamples=100)
    assert found.difference == found.a.ap - found.b.ap > 0
    assert (found.interval, found.better, found.support.frames) == (None, None, VAL)
    assert str(found).startswith(f"{MODEL} minus half.json: +")
    assert str(run.predictions) in str(compare(run, run, labels, resamples=100))


def test_frames_repeated_often_enough_show_which_is_better(run: Run, labels: Path) -> None:
    def repeat(source: Path, target: str, *, thin: int = 1) -> None:
        frames = json.loads(source.read_text())
        repeated = [
            {**frame, "name": f"{number:03}-{frame['name']}", "labels": frame["labels"][::thin]}
            for number in range(10)
            for frame in frames
        ]
        Path(target).write_text(json.dumps(repeated))

    repeat(labels, "labels.json")
    repeat(run.predictions, "all.json")
    repeat(run.predictions, "half.json", thin=2)
    found = compare("half.json", "all.json", "labels.json", resamples=100)
    assert found.interval is not None
    assert found.interval.high < 0
    assert found.better is found.b
    assert "is better beyond chance" in str(found)


def test_labels_without_objects_give_no_number(run: Run, labels: Path) -> None:
    frames = [{**frame, "labels": []} for frame in json.loads(labels.read_text())]
    Path("empty.json").write_text(json.dumps(frames))
    assert math.isnan(evaluate(run, "empty.json", lenient=True).ap)
    found = compare(run, run, "empty.json", lenient=True, resamples=100)
    assert math.isnan(found.difference)
    assert found.better is None


def test_what_cannot_be_scored_is_an_error(run: Run, labels: Path) -> None:
    with pytest.raises(ZooError, match="no labels of val"):
        evaluate(run)
    with pytest.raises(InputsError):
        evaluate(labels, labels)
    with pytest.raises(ZooError, match="resamples: 10 is less than 100"):
        evaluate(run, labels, confidence=True, resamples=10)
    with pytest.raises(ZooError, match="need the engine fast"):
        evaluate(run, labels, engine="official", lenient=True)


# show, report, submit, convert, table, download, train ----------------------------------------------------------------


def test_pictures_are_drawn_of_the_frames_asked_for(run: Run, data: Path, labels: Path) -> None:
    shown = show(run, data / IMAGES, "pictures", labels=labels, top_errors=2, classes=["car"], format="png")
    assert [picture.path.suffix for picture in shown.pictures] == [".png", ".png"]
    assert all(picture.path.is_file() for picture in shown.pictures)
    assert repr(shown) == f"ShowResult(2 pictures, {shown.boxes} boxes)"
    name = shown.pictures[0].frame
    (alone,) = show(run.predictions, [data / IMAGES], "alone", frames=name).pictures
    assert alone.path == Path("alone", name)
    with pytest.raises(ZooError, match="no labels of val"):
        show(run, data / IMAGES, "pictures", top_errors=2)
    with pytest.raises(ZooError, match="gif"):
        show(run, data / IMAGES, "pictures", format="gif")  # type: ignore[arg-type]


def test_a_run_knows_its_images_and_a_model_its_run(run: Run, data: Path) -> None:
    shown = show(run)
    assert (shown.predictions, shown.out) == (run.predictions, run.folder / "pictures")
    assert len(shown.pictures) == VAL
    worst = show(run, data=data, split="val", top_errors=1).pictures
    assert [picture.path.parent for picture in worst] == [shown.out]
    predict(MODEL, split="val", data=data, device="cpu")
    assert show(load_zoo()[MODEL], data=data).out == Path("runs", MODEL, "val", "pictures")
    assert submit(MODEL, out="submission.json", data=data, split="val").frames == VAL


def test_a_report_is_one_page(run: Run, data: Path, labels: Path) -> None:
    written = report([run, run.predictions], labels, images=data / IMAGES, out="page.html", title="Two")
    assert written.path.stat().st_size == written.size
    assert len(written.report.runs) == 2
    assert repr(written) == f"WrittenReport('page.html', {written.size:,} bytes)"


def test_a_submission_has_every_frame(run: Run, data: Path, labels: Path) -> None:
    submission = submit(run, data / IMAGES, out="submission.json", clip=True)
    assert (submission.frames, submission.boxes) == (VAL, run.record.counts.detections)
    with pytest.raises(SubmissionError):
        submit(labels, data / IMAGES, out="submission.json")
    with pytest.raises(StorageError, match="is the file that is read"):
        submit(run, data / IMAGES, out=run.predictions)
    with pytest.raises(ZooError, match="no images of test"):
        submit(run, out="submission.json")


def test_labels_and_results_are_converted(run: Run, data: Path, labels: Path) -> None:
    assert convert(labels, "coco.json", "coco").written == "COCO labels"
    assert convert(run, "results.json", "coco", labels="coco.json").objects == run.record.counts.detections
    assert evaluate("results.json", "coco.json").ap == evaluate(run, labels).ap
    assert convert(run, "yolo", "yolo", images=data / IMAGES).objects == run.record.counts.detections
    assert convert(run, "det.csv", "csv").written == "CSV results"
    with pytest.raises(ZooError, match="only yolo"):
        convert(run, "det.csv", "csv", images=data / IMAGES)
    with pytest.raises(ZooError, match="pickle"):
        convert(labels, "x.json", "pickle")  # type: ignore[arg-type]


def test_a_table_is_text_or_updates_a_document() -> None:
    markdown = table(family="fcos")
    assert markdown.startswith("### FCOS")
    assert table(family=["fcos"], format="csv").splitlines()[0].startswith("name,")
    (family,) = json.loads(table(family="fcos", format="json"))["families"]
    assert [model["name"] for model in family["models"]] == list_models(family="fcos")
    Path("page.md").write_text("<!-- bdd100k-zoo table: begin -->\n<!-- bdd100k-zoo table: end -->\n")
    with pytest.raises(ZooError, match="are not those of the zoo"):
        table(check="page.md")
    shown = Told()
    table(out="page.md", progress=shown)
    table(check="page.md", progress=shown)
    assert shown.notes == ["page.md: updated", "page.md: up to date"]
    assert table(format="csv", out="zoo.csv") == Path("zoo.csv").read_text()
    with pytest.raises(ZooError, match="needs the format markdown"):
        table(check="page.md", format="csv")


def test_weights_are_downloaded_into_the_cache() -> None:
    (stored,) = download(MODEL, require_digest=True)
    assert stored.verified
    assert download([load_zoo()[MODEL], MODEL], what=["weights"], offline=True) == [stored]
    with pytest.raises(ZooError, match="needs the visuals"):
        download(MODEL, unpack=True, out="visuals")
    for given in ({"unpack": True}, {"out": "visuals"}):
        with pytest.raises(ZooError, match="need each other"):
            download(MODEL, what="visuals", **given)  # type: ignore[arg-type]


def test_a_training_has_its_weights_and_record(data: Path) -> None:
    small = {
        "train_dataloader.dataset.pipeline.2.scale": (160, 90),
        "test_dataloader.dataset.pipeline.1.scale": (160, 90),
    }
    given: dict[str, Any] = {"epochs": 1, "device": "cpu", "workers": 0, "out": "trained", "from_scratch": True}
    made = train(MODEL, data, cfg_options=small, **given)
    assert made.weights.is_file()
    assert made.record.finished
    assert made.best is not None
    assert made.best.is_file()
    assert Training.read("trained").record.files == made.record.files
    assert repr(made).startswith(f"Training('trained': {MODEL}, 1 epochs, AP ")
    shown = Told()
    assert train(MODEL, data, cfg_options=small, progress=shown, **given).weights == made.weights
    assert any("complete" in note for note in shown.notes)
    with pytest.raises(ZooError, match="exclude one another"):
        train(MODEL, data, resume=True, fresh=True)


def test_an_interrupted_training_is_resumed_by_the_same_call(data: Path) -> None:
    class Interrupting(Told):
        def advance(self, amount: int) -> None:
            super().advance(amount)
            if self._title.startswith("Epoch") and self.done[self._title] == 1:
                signal.raise_signal(signal.SIGINT)

    small = {"train_dataloader.dataset.pipeline.2.scale": (160, 90)}
    given: dict[str, Any] = {"epochs": 2, "device": "cpu", "workers": 0, "from_scratch": True, "cfg_options": small}
    with pytest.raises(KeyboardInterrupt, match=r"interrupted after step 2, (?s:.*) the same call of train"):
        train(MODEL, data, progress=Interrupting(), **given)
    assert not Training.read(Path("runs", MODEL, "train")).record.finished
    assert train(MODEL, data, resume=True, **given).record.finished


# Names, messages, defaults --------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_listed() -> None:
    assert all(getattr(bdd100k_zoo, name) is not None for name in bdd100k_zoo.__all__)
    assert set(bdd100k_zoo.__all__) <= set(dir(bdd100k_zoo))
    with pytest.raises(AttributeError, match="no attribute 'pedict'"):
        bdd100k_zoo.pedict  # noqa: B018


SHARED = {"zoo", "offline", "progress", "command"}
"""Arguments that are global options of the command line, or that it fills in."""
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], dict[str, str], set[str]]] = {
    "predict": (
        predict,
        predict_command.predict,
        {"form": "format"},
        {"given", "gpus", "launcher", "skip_unreadable", "draw"},
    ),
    "evaluate": (evaluate, eval_command.evaluate, {"names": "predictions"}, set()),
    "show": (show, show_command.show, {"form": "format"}, set()),
    "report": (report, report_command.report, {"names": "predictions"}, set()),
    "train": (train, train_command.train, {}, {"gpus", "launcher"}),
    "download": (download, download_command.download, {}, {"everything"}),
    "convert": (convert, exchange.convert, {}, set()),
    "submit": (submit, exchange.submit, {}, set()),
    "table": (table, catalog.table, {"form": "format"}, set()),
}
OTHER_DEFAULTS = {("show", "workers"): 1, ("download", "what"): "weights"}
"""A process that draws in a script without a main guard would start the script again."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_and_defaults_are_those_of_the_command(name: str) -> None:
    function, command, renamed, only_there = FUNCTIONS[name]
    here = inspect.signature(function).parameters
    there = {
        renamed.get(option, option): parameter.default
        for option, parameter in inspect.signature(command).parameters.items()
        if option not in only_there | {"context", "as_json"}
    }
    assert set(here) - SHARED == set(there)
    defaults = {option: here[option].default for option in there if there[option] is not inspect.Parameter.empty}
    for option, default in defaults.items():
        if default is inspect.Parameter.empty or (name, option) in OTHER_DEFAULTS:
            assert default in (inspect.Parameter.empty, OTHER_DEFAULTS.get((name, option)))
        else:
            given = there[option]
            assert (default or None) == (str(given) if isinstance(given, Path) else given or None), option


def test_all_precisions_are_known() -> None:
    from typing import get_args

    from bdd100k_zoo.cli.options import Precision

    assert get_args(get_args(Precision)[0]) == PRECISIONS


def test_messages_go_to_the_logger_alone(
    run: Run, labels: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="bdd100k_zoo"):
        evaluate(run, labels)
    assert [record.message for record in caplog.records] == [f"scoring {MODEL}"]
    assert capfd.readouterr() == ("", "")


def test_even_warnings_are_silent_by_default(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    code = "from bdd100k_zoo.display import resolve_progress as r; r({}).warn('careful'); r({}).note('so')"
    done = run_python(code.format(None, None))
    assert (done.stdout, done.stderr) == ("", "")
    shown = run_python(code.format(True, True))
    assert (shown.stdout, shown.stderr) == ("", "warning: careful\n")


def test_progress_is_shown_on_stderr(run: Run, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    show(run, data / IMAGES, "pictures", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Drawing: 4 of 4 images" in err


def test_an_evaluation_is_scores_with_more(run: Run, labels: Path) -> None:
    found = evaluate(run, labels)
    assert isinstance(found, Evaluation)
    assert isinstance(found, bdd100k_zoo.Scores)
