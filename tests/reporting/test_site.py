"""The zoo's page as HTML: what it holds, and what hostile texts cannot do in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.registry import ARTIFACT_KINDS, Author, Paper, Zoo
from bdd100k_zoo.reporting.site import Site, linkable, render_site

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Model

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\u202e{{ 7*7 }}\"'&"
SCRIPT = "javascript:alert(1)"


class Page(HTMLParser):
    """What stands in a page: its tags with their attributes, and its texts."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, attribute: str) -> list[str]:
        return [found for _, attributes in self.tags if (found := attributes.get(attribute)) is not None]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture
def page(zoo: Zoo) -> Page:
    return Page(render_site(Site(zoo=zoo)))


def changed(zoo: Zoo, **changes: Any) -> Zoo:
    """The zoo with its first model changed."""
    first, *others = zoo.models
    return msgspec.structs.replace(zoo, models=(msgspec.structs.replace(first, **changes), *others))


def test_every_model_has_a_row_a_card_and_a_command(zoo: Zoo, page: Page) -> None:
    text = "".join(page.texts)
    rows = re.findall(r"<tr data-.*?</tr>", render_site(Site(zoo=zoo)).decode(), re.DOTALL)
    assert len(rows) == 25
    for model in zoo.models:
        row = next(row for row in rows if f'href="#{model.name}"' in row)
        shown = (f"{model.ap_val:.2f}", f"{model.ap_test:.2f}", model.backbone, model.schedule)
        assert all(f">{each}</td>" in row for each in shown)
        assert (">yes</td>" in row) is model.multi_scale_training
        assert ("article", model.name) in [(tag, attributes.get("id")) for tag, attributes in page.tags]
        assert f"bdd100k-zoo predict {model.name} --images DIR" in text
        assert page.values("href").count(f"#{model.name}") >= 2
    assert page.count("article") == len(zoo.models) == 25


def test_the_page_says_that_the_host_is_dead_where_its_commands_need_the_weights(zoo: Zoo, page: Page) -> None:
    words = "has been reported dead since March 2026"
    assert any(words in text for text in page.texts)
    elsewhere = msgspec.structs.replace(zoo.models[0].weights, address="https://weights.example/a.pth")
    own = msgspec.structs.replace(zoo.models[0], weights=elsewhere)
    assert not any(words in text for text in Page(render_site(Site(zoo=Zoo(zoo.families, (own,), zoo.files)))).texts)


def test_the_best_stand_first_and_those_without_an_ap_last(zoo: Zoo) -> None:
    page = Page(render_site(Site(zoo=changed(zoo, ap_val=None))))
    aps = [attributes["data-ap"] for tag, attributes in page.tags if tag == "tr" and "data-ap" in attributes]
    known = [float(ap) for ap in aps[:-1] if ap]
    assert aps[-1] == ""
    assert known == sorted(known, reverse=True)
    assert len(known) == 24


@pytest.mark.parametrize("schedule", ["0.4x", "12.5x", "0x", "00.10x", "9" * 5000 + "x"])
def test_every_schedule_that_a_zoo_file_may_have_is_sorted_by_its_length(zoo: Zoo, schedule: str) -> None:
    page = Page(render_site(Site(zoo=changed(zoo, schedule=schedule))))
    offered = [text for text in page.texts if text in ("1x", "3x", schedule)][:3]
    assert offered == sorted({"1x", "3x", schedule}, key=lambda each: float(each[:-1]))
    assert schedule[:-1] in page.values("data-value")


def test_formulas_in_texts_are_no_formulas_in_plots(zoo: Zoo) -> None:
    text = r"$\bad{$ $x^2$"
    page = Page(render_site(Site(zoo=changed(zoo, backbone=text))))
    assert any(text in each for each in page.texts)


def test_every_place_that_is_led_to_is_there_once(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    leads = [address[1:] for address in page.values("href") if address.startswith("#")]
    assert set(leads) <= set(ids)
    assert set(" ".join(page.values("aria-labelledby")).split()) <= set(ids)


def test_published_addresses_are_links_and_nothing_else_is_asked_for(zoo: Zoo, page: Page) -> None:
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    for model in zoo.models:
        for artifact in map(model.artifact, ARTIFACT_KINDS):
            assert {*artifact.addresses, *artifact.digest_addresses} <= set(links)
    assert {family.paper.address for family in zoo.families} <= set(links)
    assert not page.values("src")
    assert [attributes["href"] for tag, attributes in page.tags if tag == "link"] == ["data:,"]


def test_the_same_zoo_gives_the_same_bytes(zoo: Zoo) -> None:
    assert render_site(Site(zoo=zoo)) == render_site(Site(zoo=zoo))


def hostile_zoo(zoo: Zoo) -> Zoo:
    family = msgspec.structs.replace(
        zoo.families[0],
        title=HOSTILE,
        paper=Paper(title=HOSTILE, address=SCRIPT, venue=HOSTILE),
        authors=(Author(name=HOSTILE, page="data:text/html,<script>alert(1)</script>"),),
        code='https://good.example/" onclick="alert(1)',
        note=HOSTILE,
    )
    model = changed(zoo, backbone=HOSTILE, config=HOSTILE, predictions=SCRIPT, visuals=" JavaScript:alert(1)").models
    return msgspec.structs.replace(zoo, families=(family, *zoo.families[1:]), models=model)


def test_texts_of_a_zoo_file_stay_texts(zoo: Zoo) -> None:
    scores = {metric: dict.fromkeys((*CLASSES, "OVERALL"), 1.0) for metric in ("AP", HOSTILE)}
    name = zoo.models[0].name
    page = Page(render_site(Site(zoo=hostile_zoo(zoo), measured={name: scores}, speeds={HOSTILE: {name: 3.0}})))
    assert page.count("script") == 1
    assert page.count("img") == 0
    assert not [attribute for _, attributes in page.tags for attribute in attributes if attribute.startswith("on")]
    text = "".join(page.texts)
    assert "</td><script>alert(1)</script>" in text
    assert "{{ 7*7 }}" in text
    assert "\u202e" not in text
    assert "⟨U+202E⟩" in text


def test_no_address_that_is_not_http_becomes_a_link(zoo: Zoo) -> None:
    page = Page(render_site(Site(zoo=hostile_zoo(zoo))))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert all(re.match(r"https?://[a-z]|#[a-z]", str(link)) for link in links)
    assert SCRIPT in "".join(page.texts)


@pytest.mark.parametrize(
    ("address", "links"),
    [
        ("https://a.example/b?c=d#e", True),
        ("http://a.example", True),
        (SCRIPT, False),
        ("JAVASCRIPT:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,hello", False),
        ("vbscript:x", False),
        ("file:///etc/passwd", False),
        ("//a.example/b", False),
        ("a.html", False),
        ("https://", False),
        ("", False),
        (None, False),
    ],
)
def test_only_whole_http_addresses_become_links(address: str | None, links: bool) -> None:
    assert linkable(address) is links


def test_the_folder_of_a_zoo_file_stays_private(zoo: Zoo) -> None:
    own = changed(zoo, zoo_file=Path("/home/jane/secret project/my zoo.yaml"), config_path=Path("/home/jane/x.py"))
    page = Page(render_site(Site(zoo=own)))
    text = "".join(page.texts)
    assert f"bdd100k-zoo --zoo 'my zoo.yaml' predict {own.models[0].name} --images DIR" in text
    assert "jane" not in text


def test_what_is_recorded_of_files_is_shown(zoo: Zoo) -> None:
    digest = "sha256:" + "5a" * 32
    weights = msgspec.structs.replace(
        zoo.models[0].weights, digest=digest, size=123456789, alternates=("https://b.example/w.pth",)
    )
    page = Page(render_site(Site(zoo=changed(zoo, weights=weights))))
    assert digest in page.texts
    assert any("123,456,789 bytes" in text for text in page.texts)
    assert "https://b.example/w.pth" in page.values("href")


def test_measured_scores_and_speeds_stand_beside_the_published(zoo: Zoo) -> None:
    name = zoo.models[1].name
    scores = {metric: dict.fromkeys(CLASSES, 12.345) | {"OVERALL": 32.109} for metric in ("AP", "AP50", "AP75")}
    scores["AP"]["train"] = None
    page = Page(render_site(Site(zoo=zoo, measured={name: scores}, speeds={"(GPU, fp16)": {name: 43.21, "gone": 9.0}})))
    assert page.values("data-value").count("32.109") == 4  # in the table and, by three metrics, on the card
    assert page.values("data-value").count("12.345") == 3 * 10 - 1
    assert "43.21" in page.values("data-value")
    assert page.values("id").count("speed-plot-0-t") == 1
    assert "(GPU, fp16)" in "".join(page.texts)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf")])
def test_a_speed_that_cannot_be_is_not_plotted(zoo: Zoo, speed: float) -> None:
    page = Page(render_site(Site(zoo=zoo, speeds={"(GPU, fp16)": {zoo.models[0].name: speed}})))
    assert "speed-plot-0-t" not in page.values("id")


def without_ap(model: Model) -> Model:
    return msgspec.structs.replace(model, ap_val=None, ap_test=None)


@pytest.mark.parametrize("models", [0, 1, 3])
def test_a_zoo_of_few_models_without_scores_has_a_page_too(zoo: Zoo, models: int) -> None:
    few = msgspec.structs.replace(zoo, models=tuple(map(without_ap, zoo.models[:models])))
    page = Page(render_site(Site(zoo=few)))
    assert page.count("article") == models
    assert "the-plot" not in page.values("id")
    assert "#the-plot" not in page.values("href")


def test_one_family_is_plotted_whole(zoo: Zoo) -> None:
    few = msgspec.structs.replace(zoo, models=zoo.models[:3])
    page = Page(render_site(Site(zoo=few)))
    assert [name for name in page.values("id") if name.startswith("ap-plot-") and name.endswith("-t")] == [
        "ap-plot-0-t"
    ]
