"""A whole report: complete, accessible, harmless whatever the names in it, the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from typing import Any

import pytest
from documents import Document, check
from scenes import record

pytest.importorskip("jinja2", reason="NOT TESTED: reports, as Jinja2 is not installed")
pytest.importorskip("matplotlib", reason="NOT TESTED: reports, as matplotlib is not installed")

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.manifest import load_zoo
from bdd100k_zoo.records.analyses import (
    Analysis,
    Calibration,
    ClassCounts,
    Condition,
    Confusion,
    Curves,
    Difference,
    Errors,
    Interval,
    ScoreBin,
)
from bdd100k_zoo.records.findings import LetThrough
from bdd100k_zoo.records.kept import FileFacts
from bdd100k_zoo.records.scores import METRICS, OVERALL, MetricScores, Scores
from bdd100k_zoo.rendering.provenance import Run
from bdd100k_zoo.rendering.report import Album, Comparison, Picture, Report, heat, render

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>\u202e\x1b[2J'
SHOWN = '"><img src=x onerror=alert(1)><script>alert(2)</script>⟨U+202E⟩⟨U+001B⟩[2J'


def scores(ap: float) -> Scores:
    by_class = (*(ap + place for place in range(9)), nan)
    return Scores({metric: MetricScores(by_class, ap) for metric in METRICS})


def analysis(ap: float, value: str = "rainy", interval: Interval | None = None) -> Analysis:
    curve = tuple(1 - place / 100 for place in range(101))
    intervals = dict.fromkeys((*CLASSES, OVERALL), interval) if interval else {}
    return Analysis(
        scores=scores(ap),
        frames=10,
        counts=tuple(ClassCounts(10 * place, 1000 * place) for place in range(10)),
        intervals=intervals,
        curves=Curves((0.5, 0.75, 0.9), ((*[curve] * 9, None),) * 3),
        conditions=(
            Condition("weather", value, 7, scores(ap), intervals),
            Condition("scene", value, 3, scores(nan), {}),
        ),
        calibration=Calibration((ScoreBin(0, 0.1, 5, 0.05, 0.2),), 0.15, (0.1,) * 9 + (nan,), 0.5),
        errors=Errors(
            dict.fromkeys(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), 1.5),
            dict.fromkeys(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), 1234),
            50,
        ),
        confusion=Confusion(tuple(tuple(range(11)) for _ in range(11)), 0.3, 0.5),
    )


def run(name: str, ap: float = 30, **changes: Any) -> Run:
    facts: dict[str, Any] = {"predictions": FileFacts(f"runs/{name}/det.json", 1, 1, "ab" * 32), "published_ap": 31.5}
    return Run(name=name, **(facts | {"analysis": analysis(ap)} | changes))


def report(*runs: Run, **changes: Any) -> Report:
    return Report(title="A title", labels=FileFacts("det_val.json", 1, 1, "cd" * 32), runs=runs, **changes)


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
        let_through=(LetThrough(name, 3, (name,)),),
    )
    other = run(name, 28, analysis=analysis(28, name, interval), record=record(name, 10, 7.0))
    differences = (
        Difference("class", OVERALL, 2.0, Interval(0.5, 3.5)),
        Difference("class", "car", -2.0, Interval(-3, -1)),
        Difference("class", "train", nan, None),
        Difference("weather", name, 0.1, Interval(-1, 1)),
    )
    albums = (Album(0, name, (Picture(name, b"\xff\xd8\xff", 960, 540, name),)), Album(1, "none", ()))
    whole = report(first, other, resamples=200, comparisons=(Comparison(1, differences),), albums=albums, notes=(name,))
    return replace(whole, title=name, labels=FileFacts(name, 1, 1, "cd" * 32))


def test_a_full_report_is_sound_and_tells_everything() -> None:
    found = Document(render(full()))
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
        "0.5 (the device at work)",
    ):
        assert told in words, told
    assert "0123456789abcdef" * 4 in words


def test_whatever_a_name_holds_is_shown_and_does_nothing() -> None:
    found = Document(render(full(EVIL)))
    check(found)
    assert len(found.all("script")) == 1
    assert {each.attributes["src"][:5] for each in found.all("img")} == {"data:"}
    assert found.all("h1")[0].words == SHOWN
    texts = [SHOWN in each.words for each in found.all("h3", "dd", "th", "figcaption", "p", "li", "summary", "desc")]
    assert sum(texts) > 15
    assert "\x1b" not in found.content
    assert "\u202e" not in found.content


def test_the_same_report_has_the_same_bytes() -> None:
    assert render(full()) == render(full())


def test_the_least_report_is_sound_and_says_what_it_lacks() -> None:
    bare = replace_analysis(analysis(nan), conditions=(), errors=None, confusion=None, intervals={})
    found = Document(render(report(run("one", analysis=bare, published_ap=None))))
    check(found)
    words = found.all("main")[0].words
    for told in (
        "The labels tell neither weather nor scene nor time of day",
        "no predictions whose scores can be ordered",
        "what made it is not known",
        "Intervals were not computed",
    ):
        assert told in words, told
    assert "nan" not in words.split()
    titles = [each.words for each in found.all("h2")]
    assert not {"Which is better", "Speed", "Pictures"} & set(titles)


def replace_analysis(before: Analysis, **changes: Any) -> Analysis:
    from msgspec.structs import replace as replaced

    return replaced(before, **changes)


@pytest.mark.parametrize("number", [1, 3, 30])
def test_any_number_of_runs_makes_a_sound_report(number: int) -> None:
    runs = [run(f"run {place}", 20 + place, record=record("m", 10, 1.0 + place)) for place in range(number)]
    comparisons = tuple(Comparison(place, (Difference("class", OVERALL, 1.0, None),)) for place in range(1, number))
    found = Document(render(report(*runs, comparisons=comparisons)))
    check(found)
    assert len(found.all("article")) == number
    if number > 1:
        assert "Whether that is beyond chance, intervals would tell" in found.all("main")[0].words


def test_shades_of_cells_grow_with_their_share() -> None:
    shades = [heat(place / 100) for place in range(101)]
    assert (shades[0], shades[-1]) == (0, 9)
    assert shades == sorted(shades)
