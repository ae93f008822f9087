"""The page of a report: complete, accessible, safe against hostile names, and reproducible."""

from __future__ import annotations

import re
from dataclasses import replace
from math import nan
from typing import Any

import pytest
from documents import Document, Element, check
from scenes import record

pytest.importorskip("jinja2", reason="NOT TESTED: reports, as Jinja2 is not installed")
pytest.importorskip("matplotlib", reason="NOT TESTED: reports, as matplotlib is not installed")

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.validation import IssueSummary
from bdd100k_zoo.evaluation.analysis import Analysis, APDifference, ConditionScores, Curves
from bdd100k_zoo.evaluation.bootstrap import Interval, Support
from bdd100k_zoo.evaluation.error_analysis import Calibration, ConfusionMatrix, ErrorBreakdown, ScoreBin
from bdd100k_zoo.evaluation.scores import METRICS, OVERALL, FileFingerprint, MetricScores, Scores
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.reporting.report_page import Album, Picture, Report, ReportRun, heat, render_report

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>\u202e\x1b[2J'
SHOWN = '"><img src=x onerror=alert(1)><script>alert(2)</script>⟨U+202E⟩⟨U+001B⟩[2J'


def scores(ap: float) -> Scores:
    by_class = (*(ap + place for place in range(9)), nan)
    return Scores({metric.name: MetricScores(by_class, ap) for metric in METRICS})


def analysis(ap: float, value: str = "rainy", interval: Interval | None = None) -> Analysis:
    curve = tuple(1 - place / 100 for place in range(101))
    intervals = dict.fromkeys((*CLASSES, OVERALL), interval) if interval else {}
    return Analysis(
        scores=scores(ap),
        support={
            **{name: Support(20 * place, 10 * place) for place, name in enumerate(CLASSES)},
            OVERALL: Support(1000, 450),
        },
        objects_by_size=tuple((29, 30, 0) for _ in range(10)),
        detections=tuple(1000 * place for place in range(10)),
        intervals=intervals,
        curves=Curves((0.5, 0.75, 0.9), ((*[curve] * 9, None),) * 3),
        conditions=(
            ConditionScores("weather", value, Support(997, 440), scores(ap), interval),
            ConditionScores("scene", value, Support(3, 10), scores(nan), None),
        ),
        calibration=Calibration((ScoreBin(0, 0.1, 5, 0.05, 0.2),), 0.15, (0.1,) * 9 + (nan,), 0.5),
        errors=ErrorBreakdown(
            dict.fromkeys(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), 1.5),
            dict.fromkeys(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), 1234),
            50,
        ),
        confusion=ConfusionMatrix(tuple(tuple(range(11)) for _ in range(11)), 0.3, 0.5),
    )


def run(name: str, ap: float = 30, **changes: Any) -> ReportRun:
    facts: dict[str, Any] = {
        "predictions": FileFingerprint(f"runs/{name}/det.json", 1, 1, "ab" * 32),
        "published_ap": 31.5,
    }
    return ReportRun(name=name, **(facts | {"analysis": analysis(ap)} | changes))


def report(*runs: ReportRun, **changes: Any) -> Report:
    return Report(title="A title", labels=FileFingerprint("det_val.json", 1, 1, "cd" * 32), runs=runs, **changes)


def full(name: str = "one") -> Report:
    """A report with all that there can be, and one name wherever a name can be."""
    zoo = load_zoo()
    interval = Interval(28.5, 31.5)
    first = run(
        name,
        analysis=analysis(30, name, interval),
        model=zoo.models[0],
        family=zoo.families[0],
        record=record(name, 10, 2.0, cfg_options={name: name}, device_name=name, versions={name: name}, split=name),
        let_through=(IssueSummary(name, 3, (name,)),),
    )
    other = run(name, 28, analysis=analysis(28, name, interval), record=record(name, 10, 7.0))
    differences = (
        APDifference("class", OVERALL, 2.0, Support(1000, 450), Interval(0.5, 3.5)),
        APDifference("class", "car", -2.0, Support(40, 80), Interval(-3, -1)),
        APDifference("class", "train", nan, Support(0, 0), None),
        APDifference("weather", name, 0.1, Support(997, 440), Interval(-1, 1)),
        APDifference("weather", "foggy", -4.51, Support(1, 12), None),
    )
    albums = (Album(0, name, (Picture(name, b"\xff\xd8\xff", 960, 540, name),)), Album(1, "none", ()))
    whole = report(first, other, resamples=200, comparisons=(differences,), albums=albums, notes=(name,))
    return replace(whole, title=name, labels=FileFingerprint(name, 1, 1, "cd" * 32))


def test_a_full_report_is_valid_and_complete() -> None:
    found = Document(render_report(full()))
    check(found)
    titles = [each.words for each in found.all("h2")]
    assert titles == [
        *("Runs", "Scores", "Which is better", "Classes and sizes", "Precision and recall", "Conditions", "Errors"),
        *("Confusion", "Calibration", "Speed", "Pictures", "How to read this"),
    ]
    links = [each.words for each in found.all("a") if each.words in titles]
    assert links == titles
    words = found.all("main")[0].words
    for told in (
        "28.50 to 31.50",
        "published 31.50, measured −1.50",
        "A is better beyond chance",
        "0.5 (on the device)",
    ):
        assert told in words, told
    assert "0123456789abcdef" * 4 in words


def test_hostile_names_are_shown_as_text() -> None:
    found = Document(render_report(full(EVIL)))
    check(found)
    assert len(found.all("script")) == 1
    assert {each.attributes["src"][:5] for each in found.all("img")} == {"data:"}
    assert found.all("h1")[0].words == SHOWN
    texts = [SHOWN in each.words for each in found.all("h3", "dd", "th", "figcaption", "p", "li", "summary", "desc")]
    assert sum(texts) > 15
    assert "\x1b" not in found.content
    assert "\u202e" not in found.content


def test_the_same_report_has_the_same_bytes() -> None:
    assert render_report(full()) == render_report(full())


def test_a_minimal_report_is_valid_and_names_what_is_missing() -> None:
    bare = replace_analysis(analysis(nan), conditions=(), errors=None, confusion=None, intervals={})
    found = Document(render_report(report(run("one", analysis=bare, published_ap=None))))
    check(found)
    words = found.all("main")[0].words
    for told in (
        "The labels have no weather, scene or time of day",
        "no predictions whose scores can be ordered",
        "how it was made is not known",
        "Intervals were not computed",
    ):
        assert told in words, told
    assert "nan" not in words.split()
    titles = [each.words for each in found.all("h2")]
    assert not {"Which is better", "Speed", "Pictures"} & set(titles)


def replace_analysis(before: Analysis, **changes: Any) -> Analysis:
    from msgspec.structs import replace as replaced

    return replaced(before, **changes)


@pytest.mark.parametrize("number", [1, 3, pytest.param(30, marks=pytest.mark.slow)])
def test_any_number_of_runs_gives_a_valid_report(number: int) -> None:
    runs = [run(f"run {place}", 20 + place, record=record("m", 10, 1.0 + place)) for place in range(number)]
    comparisons = ((APDifference("class", OVERALL, 1.0, Support(9, 9), None),),) * (number - 1)
    found = Document(render_report(report(*runs, comparisons=comparisons)))
    check(found)
    assert len(found.all("article")) == number
    if number > 1:
        assert "adds intervals, which show whether that is beyond chance" in found.all("main")[0].words


def rows_of(found: Document, caption: str) -> dict[str, list[Element]]:
    """The cells of each row of a table, by the row's name."""
    table = found.content.partition(f">{caption}</caption>")[2].partition("</table>")[0]
    rows = [Document(row.encode()).all("th", "td") for row in re.findall("<tr>(.*?)</tr>", table, re.DOTALL)]
    return {row[1 if caption == "Differences" else 0].words: row for row in rows}


def words_of(row: list[Element]) -> list[str]:
    return [cell.words for cell in row]


def test_numbers_of_frames_and_objects_are_beside_every_class_condition_and_difference() -> None:
    found = Document(render_report(full("one")))
    assert words_of(rows_of(found, "AP by class")["pedestrian"])[1:3] == ["0", "0"]
    assert words_of(rows_of(found, "AP by class")["car"])[1:3] == ["40", "20"]
    assert words_of(rows_of(found, "AP by weather")["one"])[1:3] == ["997", "440"]
    assert words_of(rows_of(found, "AP by scene")["one"])[1:3] == ["3", "10"]
    assert words_of(rows_of(found, "Differences")["foggy"])[2:4] == ["1", "12"]


def test_only_intervals_that_exclude_zero_give_a_verdict() -> None:
    found = Document(render_report(full("one")))
    rows = rows_of(found, "Differences")
    verdicts = {name: row[-1].words.split()[-1] for name, row in rows.items()}
    assert verdicts == {"Which": "Better", OVERALL: "A", "car": "B", "train": "few", "one": "tell", "foggy": "few"}
    assert words_of(rows["foggy"])[4:] == ["−4.51", "–", "too few"]
    assert words_of(rows["one"])[4:] == ["+0.10", "−1.00 to +1.00", "cannot tell"]
    cells = [cell for row in list(rows.values())[1:] for cell in row[-3:]]
    assert ["soft" in (cell.attributes.get("class") or "") for cell in cells] == [False] * 6 + [True] * 9
    words = found.all("main")[0].words
    assert "simultaneous 95 % intervals" in words
    assert "Westfall and Young, 1993" in words
    assert "200 resamples of the frames, seed 0" in words


def test_too_few_frames_altogether_give_no_verdict() -> None:
    few = APDifference("class", OVERALL, 2.0, Support(29, 400), None)
    whole = report(run("one"), run("two", 28), resamples=200, comparisons=((few,),))
    words = Document(render_report(whole)).all("main")[0].words
    assert "29 frames with 400 objects are too few to tell which is better" in words
    assert "at least 30 frames and 30 objects" in words
    assert "beyond chance." not in words


def test_shares_of_few_objects_and_few_detections_are_numbers_and_no_percentages() -> None:
    counts = ((3, 1, *[0] * 9), (30, 10, *[0] * 9), *[(0,) * 11] * 9)
    few = replace_analysis(analysis(30), confusion=ConfusionMatrix(counts, 0.3, 0.5), detections=(29, 30, *[0] * 8))
    found = Document(render_report(report(run("one", analysis=few))))
    rows = rows_of(found, "Confusion")
    assert words_of(rows["pedestrian"])[1:4] == ["4", "3 of 4", "1 of 4"]
    assert words_of(rows["rider"])[1:4] == ["40", "75.0", "25.0"]
    sizes = rows_of(found, "AP by object size")["car"]
    assert words_of(sizes)[1:4] == ["29", "30", "0"]
    assert ["soft" in (cell.attributes["class"] or "") for cell in sizes[4:]] == [True, False, True]
    errors = rows_of(found, "Calibration error by class")
    assert [words_of(errors[name])[1:] for name in CLASSES[:2]] == [["–", "29"], ["0.100", "30"]]


def test_shades_of_cells_grow_with_their_share() -> None:
    shades = [heat(place / 100) for place in range(101)]
    assert (shades[0], shades[-1]) == (0, 9)
    assert shades == sorted(shades)
