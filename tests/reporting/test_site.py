"""The zoo's page: its contents, and its safety against hostile texts."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from test_colours import VISIONS, nearest

from bdd100k_zoo import __version__
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.colours import (
    DARK_THEME,
    FAMILY_COLOURS,
    LEAST_CONTRAST,
    LIGHT_THEME,
    contrast,
    parse_hex,
    shades,
)
from bdd100k_zoo.errors import InputsError, InvalidFileError, StorageError
from bdd100k_zoo.registry import ARTIFACT_KINDS, Zoo, load_zoo
from bdd100k_zoo.registry.models import Author, Paper, PublishedFile
from bdd100k_zoo.reporting.site import linkable, render_site, write_site
from bdd100k_zoo.reporting.site_plots import Group, Point, ap_plot, family_marker, speed_plot

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Model


HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\u202e{{ 7*7 }}\"'&"
SCRIPT = "javascript:alert(1)"


class Page(HTMLParser):
    """The content of a page: its tags with their attributes, and its texts."""

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
    return Page(render_site(zoo))


def changed(zoo: Zoo, **changes: Any) -> Zoo:
    """The zoo with its first model changed."""
    first, *others = zoo.models
    return dataclasses.replace(zoo, models=(msgspec.structs.replace(first, **changes), *others))


def test_every_model_has_a_row_a_card_and_a_command(zoo: Zoo, page: Page) -> None:
    text = "".join(page.texts)
    rows = re.findall(r"<tr data-.*?</tr>", render_site(zoo).decode(), re.DOTALL)
    assert len(rows) == len(zoo.models)
    for model in zoo.models:
        row = next(row for row in rows if f'href="#{model.name}"' in row)
        training = f"{model.schedule}{' ms' if model.multi_scale_training else ''}"
        parameters = f"{model.parameters / 1e6:.1f}M"
        shown = (f"{model.ap_val:.2f}", f"{model.ap_test:.2f}", parameters, model.backbone, training)
        assert all(f">{each}</td>" in row for each in shown)
        assert ("article", model.name) in [(tag, attributes.get("id")) for tag, attributes in page.tags]
        assert f"bdd100k-zoo predict {model.name} image.jpg" in text
        assert page.values("href").count(f"#{model.name}") >= 2
    assert page.count("article") == len(zoo.models) == 64


def test_the_best_of_each_family_comes_first_with_a_plot_of_all_models(zoo: Zoo, page: Page) -> None:
    text = render_site(zoo).decode()
    section = text[text.index('<div class="best">') : text.index('id="the-commands"')]
    rows = re.findall(r'<tr><th scope="row">.*?</tr>', section, re.DOTALL)
    best = [max((each for each in zoo.models if each.family == family.name), key=by_ap) for family in zoo.families]
    named = [re.findall(r'href="#(\w[\w-]+)"', row)[-1] for row in rows]
    assert named == [model.name for model in sorted(best, key=by_ap, reverse=True)]
    assert section.count("<svg viewBox") == 1
    plot = section[section.index("AP over parameters") :]
    assert all(f"{model.name}: {model.parameters / 1e6:.1f}M, AP {model.ap_val:.2f}" in plot for model in zoo.models)
    assert text.index('id="the-best"') < text.index('id="the-models"')


def by_ap(model: Model) -> float:
    return model.ap_val


def test_models_without_ap_or_parameters_are_in_no_best_list_and_no_plot(zoo: Zoo) -> None:
    models = [msgspec.structs.replace(model, ap_val=None, parameters=None) for model in zoo.models]
    page = Page(render_site(dataclasses.replace(zoo, models=tuple(models))))
    assert not {"the-best", "parameters-plot-t"} & set(page.values("id"))


def test_the_page_reports_the_dead_host_where_its_commands_need_it(zoo: Zoo, page: Page) -> None:
    words = "has been reported dead since March 2026"
    assert any(words in text for text in page.texts)
    elsewhere = msgspec.structs.replace(zoo.models[0].weights, address="https://weights.example/a.pth")
    own = msgspec.structs.replace(zoo.models[0], weights=elsewhere)
    assert not any(words in text for text in Page(render_site(Zoo(zoo.families, (own,), zoo.files))).texts)


def test_the_best_models_are_first_and_those_without_an_ap_last(zoo: Zoo) -> None:
    page = Page(render_site(changed(zoo, ap_val=None)))
    aps = [attributes["data-ap"] for tag, attributes in page.tags if tag == "tr" and "data-ap" in attributes]
    known = [float(ap) for ap in aps[:-1] if ap]
    assert aps[-1] == ""
    assert known == sorted(known, reverse=True)
    assert len(known) == len(zoo.models) - 1


@pytest.mark.parametrize("schedule", ["0.4x", "12.5x", "0x", "00.10x", "9" * 5000 + "x"])
def test_every_schedule_that_a_zoo_file_may_have_is_sorted_by_its_length(zoo: Zoo, schedule: str) -> None:
    content = render_site(changed(zoo, schedule=schedule))
    page = Page(content)
    offered = re.findall(r"<option>([\d.]+x)</option>", content.decode())
    assert offered == sorted({"1x", "3x", "5x", schedule}, key=lambda each: float(each[:-1]))
    assert schedule[:-1] in page.values("data-value")


def test_formulas_in_texts_are_no_formulas_in_plots(zoo: Zoo) -> None:
    text = r"$\bad{$ $x^2$"
    page = Page(render_site(changed(zoo, backbone=text)))
    assert any(text in each for each in page.texts)


def test_every_link_target_exists_once(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    leads = [address[1:] for address in page.values("href") if address.startswith("#")]
    assert set(leads) <= set(ids)
    assert set(" ".join(page.values("aria-labelledby")).split()) <= set(ids)


def test_published_addresses_are_links_and_nothing_is_loaded(zoo: Zoo, page: Page) -> None:
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    for model in zoo.models:
        for artifact in map(model.artifact, ARTIFACT_KINDS):
            assert {*artifact.addresses, *artifact.digest_addresses} <= set(links)
    assert {family.paper.address for family in zoo.families} <= set(links)
    assert not page.values("src")
    assert [attributes["href"] for tag, attributes in page.tags if tag == "link"] == ["data:,"]


def test_the_same_zoo_gives_the_same_bytes(zoo: Zoo) -> None:
    assert render_site(zoo) == render_site(zoo)


def hostile_zoo(zoo: Zoo) -> Zoo:
    family = msgspec.structs.replace(
        zoo.families[0],
        title=HOSTILE,
        paper=Paper(title=HOSTILE, address=SCRIPT, venue=HOSTILE),
        authors=(Author(name=HOSTILE, page="data:text/html,<script>alert(1)</script>"),),
        code='https://good.example/" onclick="alert(1)',
        note=HOSTILE,
    )
    files = {"predictions": PublishedFile(SCRIPT), "visuals": PublishedFile(" JavaScript:alert(1)")}
    model = changed(zoo, backbone=HOSTILE, config=HOSTILE, **files).models
    return dataclasses.replace(zoo, families=(family, *zoo.families[1:]), models=model)


def test_texts_of_a_zoo_file_stay_texts(zoo: Zoo) -> None:
    scores = {metric: dict.fromkeys((*CLASSES, "OVERALL"), 1.0) for metric in ("AP", HOSTILE)}
    name = zoo.models[0].name
    page = Page(render_site(hostile_zoo(zoo), measured={name: scores}, speeds={HOSTILE: {name: 3.0}}))
    assert page.count("script") == 1
    assert page.count("img") == 0
    assert not [attribute for _, attributes in page.tags for attribute in attributes if attribute.startswith("on")]
    text = "".join(page.texts)
    assert "</td><script>alert(1)</script>" in text
    assert "{{ 7*7 }}" in text
    assert "\u202e" not in text
    assert "⟨U+202E⟩" in text


def test_no_address_that_is_not_http_becomes_a_link(zoo: Zoo) -> None:
    page = Page(render_site(hostile_zoo(zoo)))
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
    page = Page(render_site(own))
    text = "".join(page.texts)
    assert f"bdd100k-zoo --zoo 'my zoo.yaml' predict {own.models[0].name} image.jpg" in text
    assert "jane" not in text


def test_recorded_digests_sizes_and_alternates_are_shown(zoo: Zoo) -> None:
    digest = "sha256:" + "5a" * 32
    weights = msgspec.structs.replace(
        zoo.models[0].weights, digest=digest, size=123456789, alternates=("https://b.example/w.pth",)
    )
    page = Page(render_site(changed(zoo, weights=weights)))
    assert digest in page.texts
    assert any("123,456,789 bytes" in text for text in page.texts)
    assert "https://b.example/w.pth" in page.values("href")


def test_measured_scores_and_speeds_are_shown(zoo: Zoo) -> None:
    name = zoo.models[1].name
    scores = {metric: dict.fromkeys(CLASSES, 12.345) | {"OVERALL": 32.109} for metric in ("AP", "AP50", "AP75")}
    scores["AP"]["train"] = None
    page = Page(render_site(zoo, measured={name: scores}, speeds={"(GPU, fp16)": {name: 43.21, "gone": 9.0}}))
    assert page.values("data-value").count("32.109") == 4  # in the table and, by three metrics, on the card
    assert page.values("data-value").count("12.345") == 3 * 10 - 1
    assert "43.21" in page.values("data-value")
    assert page.values("id").count("speed-plot-0-t") == 1
    assert "(GPU, fp16)" in "".join(page.texts)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf")])
def test_a_speed_that_cannot_be_is_not_plotted(zoo: Zoo, speed: float) -> None:
    page = Page(render_site(zoo, speeds={"(GPU, fp16)": {zoo.models[0].name: speed}}))
    assert "speed-plot-0-t" not in page.values("id")


def without_ap(model: Model) -> Model:
    return msgspec.structs.replace(model, ap_val=None, ap_test=None)


@pytest.mark.parametrize("models", [0, 1, 3])
def test_a_zoo_of_few_models_without_scores_has_a_page_too(zoo: Zoo, models: int) -> None:
    few = dataclasses.replace(zoo, models=tuple(map(without_ap, zoo.models[:models])))
    page = Page(render_site(few))
    assert page.count("article") == models
    assert "the-plot" not in page.values("id")
    assert "#the-plot" not in page.values("href")


def test_one_family_is_plotted_whole(zoo: Zoo) -> None:
    few = dataclasses.replace(zoo, models=zoo.models[:3])
    page = Page(render_site(few))
    assert [name for name in page.values("id") if name.startswith("ap-plot-") and name.endswith("-t")] == [
        "ap-plot-0-t"
    ]


# The zoo's page on disk ----------------------------------------------------------------------------------------------


def test_the_page_of_the_packaged_zoo_is_one_file(zoo: Zoo, tmp_path: Path) -> None:
    written = write_site(zoo, tmp_path / "new" / "site")
    assert written.path == tmp_path / "new" / "site" / "index.html"
    assert [path.name for path in written.path.parent.iterdir()] == ["index.html"]
    assert written.size == written.path.stat().st_size < 500_000
    assert f"bdd100k-zoo {__version__}".encode() in written.path.read_bytes()


def test_a_page_of_this_package_is_replaced_and_other_files_stay(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "CNAME").write_text("zoo.example")
    first = write_site(zoo, tmp_path).path.read_bytes()
    (tmp_path / "index.html").write_bytes(first.replace(b"33.72", b"33.99"))
    assert write_site(zoo, tmp_path).path.read_bytes() == first
    assert (tmp_path / "CNAME").read_text() == "zoo.example"


def test_another_page_is_an_error_and_unchanged(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>mine</h1>")
    with pytest.raises(StorageError):
        write_site(zoo, tmp_path)
    assert (tmp_path / "index.html").read_text() == "<h1>mine</h1>"


def test_a_file_where_the_folder_should_be_is_an_error_about_it(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("")
    with pytest.raises(StorageError):
        write_site(zoo, tmp_path / "site")


def test_runs_without_scores_and_speeds_that_are_none_are_errors_that_write_nothing(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "speed.jsonl").write_text("{}\n")
    with pytest.raises(InvalidFileError):
        write_site(zoo, tmp_path / "site", speed=tmp_path / "speed.jsonl")
    with pytest.raises(InputsError):
        write_site(zoo, tmp_path / "site", runs=tmp_path)
    assert not (tmp_path / "site").exists()


def test_torch_is_not_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bdd100k_zoo import load_zoo;"
        "from bdd100k_zoo.reporting.site import write_site; write_site(load_zoo(), Path('site'));"
        "print([name for name in ('torch', 'mmdet', 'cv2', 'requests', 'matplotlib.pyplot') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout == "[]\n", told.stderr


# Shapes and colours of families, and plots that lead to cards --------------------------------------------------------


POINTS = (
    Point("good_3x", "R-50 3x", family_marker(0), 33.0, 32.0),
    Point("fair_1x", "R-50 1x", family_marker(0), 30.0),
)


def area(shape: tuple[tuple[float, float], ...]) -> float:
    turned = (*shape[1:], shape[0])
    return abs(sum(x * w - y * v for (x, y), (v, w) in zip(shape, turned, strict=True))) / 2


def test_ten_families_differ_in_shape_and_forty_in_shape_or_colour() -> None:
    marks = [family_marker(family) for family in range(40)]
    assert len({mark.shape for mark in marks[:10]}) == 10
    assert len({mark.role for mark in marks[:8]}) == 8
    assert len(set(marks)) == 40


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", [0, 1])
def test_the_family_colours_differ_for_every_kind_of_vision(theme: int, vision: str) -> None:
    assert nearest(tuple(parse_hex(pair[theme]) for pair in FAMILY_COLOURS), vision) > 19


@pytest.mark.parametrize("family", range(10))
def test_no_family_looks_larger_than_another(family: int) -> None:
    assert area(family_marker(family).shape) == pytest.approx(3.14, rel=0.02)


@pytest.mark.parametrize("theme", [LIGHT_THEME, DARK_THEME])
def test_every_marker_has_enough_contrast_with_its_background(theme: dict[str, str]) -> None:
    colours = shades(theme)
    for family in range(8):
        assert contrast(parse_hex(colours[family_marker(family).role]), parse_hex(theme["back"])) >= LEAST_CONTRAST


def test_the_plot_has_a_description_and_links_to_the_cards() -> None:
    root = ET.fromstring(ap_plot("plot", [Group("A <b>family</b> of $x^2$", POINTS)], (20, 40)))
    assert root.findtext("title") == "Box AP by family and model"
    told = "A <b>family</b> of $x^2$: R-50 3x 33.00 on val and 32.00 on test, R-50 1x 30.00 on val"
    assert root.findtext("desc") == told
    links = list(root.iter("a"))
    assert {link.get("href") for link in links} == {"#good_3x", "#fair_1x"}
    assert {link.findtext("title") for link in links} == {"good_3x", "fair_1x"}
    assert {link.get("tabindex") for link in links} == {"-1"}
    assert {link.get("target") for link in links} == {None}


def test_colours_are_classes_and_plots_have_no_styles() -> None:
    fast = [point._replace(images_per_second=speed) for point, speed in zip(POINTS, (2.0, 90.0), strict=True)]
    for svg in (ap_plot("a", [Group("F", POINTS)], (20, 40)), speed_plot("b", "(GPU, fp16)", fast, fast)):
        assert "f-family0" in svg
        assert "style=" not in svg
        assert not re.search(r"#[0-9a-f]{6}", svg)


def test_references_within_a_plot_have_its_name() -> None:
    root = ET.fromstring(ap_plot("plot", [Group("F", POINTS)], (20, 40)))
    ids = {element.get("id") for element in root.iter()} - {None}
    uses = {element.get("href", "")[1:] for element in root.iter("use")}
    assert uses
    assert uses <= ids
    assert all(str(each).startswith("plot-") for each in ids)


def test_a_model_of_three_fields_has_a_row_and_a_card_without_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "c.py").touch()
    (folder / "my best.pth").touch()
    (folder / "own.yaml").write_text("models:\n- {name: own_net, config: c.py, weights: my best.pth}\n")
    content = render_site(load_zoo(folder / "own.yaml"))
    page = Page(content)
    assert "own_net" in page.values("id")
    assert "my best.pth" in "".join(page.texts)
    assert b"private" not in content
    assert b"None" not in content
