"""The zoo's page in a browser: sorted, filtered and copied from, on any screen, on paper and without scripts."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

pytest.importorskip("jinja2", reason="NOT TESTED: the zoo's page, as Jinja2 is not installed")
pytest.importorskip("matplotlib", reason="NOT TESTED: the zoo's page, as matplotlib is not installed")

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.reporting.site import render_site

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
MODEL = "cascade_rcnn_r50_fpn_3x"
COUNT = len(load_zoo().models)
COMMAND = f"bdd100k-zoo predict {MODEL} image.jpg"
SORTS = "heads => heads.map(head => head.getAttribute('aria-sort'))"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the packaged zoo, with a few speeds."""
    speeds = {"(GPU, fp16)": {"fcos_r50_fpn_3x": 90.0, MODEL: 41.5}}
    path = tmp_path_factory.mktemp("site") / "index.html"
    path.write_bytes(render_site(load_zoo(), speeds=speeds))
    return path


@pytest.fixture(scope="session")
def measured_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the packaged zoo, with the scores of runs of all models."""
    by_class = dict.fromkeys((*CLASSES, "OVERALL"), 31.25)
    scores = {model.name: dict.fromkeys(("AP", "AP50", "AP75"), by_class) for model in load_zoo().models}
    path = tmp_path_factory.mktemp("measured") / "index.html"
    path.write_bytes(render_site(load_zoo(), scores))
    return path


def names(page: Page) -> list[str]:
    """The models whose rows can be seen, from the top."""
    return page.locator(".models tbody tr:visible th").all_inner_texts()


def sorts(page: Page) -> list[str | None]:
    return page.locator(".models thead th").evaluate_all(SORTS)


def sticks_out(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_of_the_screen(opened, site, width, scheme):
    with opened(site, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        assert page.title() == "The BDD100K detection model zoo"
        assert sticks_out(page) <= 0
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert sticks_out(page) <= 0


@pytest.mark.parametrize("width", [1265, 1280])  # with and without the bar that scrolls
def test_all_columns_fit_a_desktop_with_the_scores_of_runs(opened, measured_site, width):
    with opened(measured_site, viewport={"width": width, "height": 800}) as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert "Measured" in page.locator(".models thead").inner_text()
        for table in page.locator(".scroll").all():
            assert table.evaluate("each => each.scrollWidth - each.clientWidth") <= 0


@pytest.mark.parametrize("width", [360, 390, 768])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_cut_table_has_a_shadow_until_its_end(opened, measured_site, edge_colour, width, scheme):
    with opened(measured_site, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        table = page.locator(".models .scroll")
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shadow = edge_colour(table)
        assert min(abs(each - int(part)) for each, part in zip(shadow, re.findall(r"\d+", back), strict=True)) > 20
        table.evaluate("each => { each.scrollLeft = each.scrollWidth; }")
        assert f"rgb{edge_colour(table)}" == back
        column = table.locator("tbody th").first
        assert column.evaluate("each => getComputedStyle(each).boxShadow") != "none"


def test_the_table_is_sorted_by_click(opened, site):
    with opened(site) as page:
        assert sorts(page)[:3] == [None, "descending", None]
        head = page.locator(".models thead").get_by_role("button", name="Model")
        head.click()
        assert names(page) == sorted(model.name for model in load_zoo().models)
        assert sorts(page)[:3] == ["ascending", None, None]
        head.click()
        assert names(page) == sorted((model.name for model in load_zoo().models), reverse=True)
        page.locator(".models thead").get_by_role("button", name="img/s").click()
        assert names(page)[:2] == ["fcos_r50_fpn_3x", MODEL]


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_best_of_all_families_is_on_the_first_screen(opened, site, width, height):
    with opened(site, viewport={"width": width, "height": height}) as page:
        rows = page.locator(".best tbody tr")
        assert rows.count() == len(load_zoo().families)
        assert "cascade_rcnn_convnext-s_fpn_fp16_3x" in rows.first.inner_text()
        last_shown = rows.last if width == 1280 else rows.first
        box = last_shown.bounding_box()
        assert box["y"] + box["height"] <= height


def test_the_table_is_sorted_by_keyboard(opened, site):
    with opened(site) as page:
        best_first = names(page)
        head = page.locator(".models thead").get_by_role("button", name="AP val")
        head.press("Enter")
        assert sorts(page)[1] == "ascending"
        ascending = [load_zoo()[name].ap_val for name in names(page)]
        assert ascending == sorted(ascending)
        head.press("Space")
        assert sorts(page)[1] == "descending"
        assert names(page) == best_first


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cascade r50", ["cascade_rcnn_r50_fpn_3x", "cascade_rcnn_r50_fpn_1x"]),
        ("R-50-FPN FCOS", ["fcos_r50_fpn_3x", "fcos_r50_fpn_1x", "fcos_tricks_r50_fpn_1x"]),
        ("swin_t strong", ["faster_rcnn_swin-t_fpn_3x_strong"]),
        ("  hrnet_w18 ", ["faster_rcnn_hrnetv2p_w18_3x", "faster_rcnn_hrnetv2p_w18_1x"]),
        ("dconv 1x", ["faster_rcnn_r50_fpn_deconv_1x"]),
        ("yolo", []),
    ],
)
def test_text_filters_the_table(opened, site, text, found):
    with opened(site) as page:
        page.get_by_label("Search").press_sequentially(text)
        assert names(page) == found
        assert page.get_by_role("status").inner_text() == f"{len(found)} of {COUNT} models"


def test_punctuation_alone_filters_nothing(opened, site):
    with opened(site) as page:
        page.get_by_label("Search").fill("(.*")
        assert len(names(page)) == COUNT
        assert page.get_by_role("status").inner_text() == f"{COUNT} models"


def test_filters_are_joined_and_taken_back(opened, site):
    with opened(site) as page:
        form, status = page.get_by_role("search"), page.get_by_role("status")
        form.get_by_label("Schedule").select_option("3x")
        assert status.inner_text() == f"43 of {COUNT} models"
        form.get_by_label("Backbone").select_option("R-50-FPN")
        assert status.inner_text() == f"11 of {COUNT} models"
        form.get_by_label("AP val").fill("32")
        chosen = [each for each in load_zoo().models if (each.backbone, each.schedule) == ("R-50-FPN", "3x")]
        assert set(names(page)) == {model.name for model in chosen if model.ap_val >= 32}
        form.get_by_label("Family").select_option("Cascade R-CNN")
        assert names(page) == [MODEL]
        page.locator(".models thead").get_by_role("button", name="Model").click()
        assert names(page) == [MODEL]
        form.get_by_role("button", name="Show all").click()
        status.get_by_text(f"{COUNT} models", exact=True).wait_for()
        assert len(names(page)) == COUNT


def test_enter_in_a_filter_does_not_leave_the_page(opened, site):
    with opened(site) as page:
        page.get_by_label("Search").fill("fcos")
        page.get_by_label("Search").press("Enter")
        assert page.get_by_role("status").inner_text() == f"4 of {COUNT} models"


def test_a_command_is_copied(opened, site):
    with opened(site, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.locator(f"#{MODEL}").get_by_role("button", name="Copy").click()
        page.locator(f"#{MODEL}").get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == COMMAND


@pytest.mark.parametrize("clipboard", ["undefined", "{writeText: () => Promise.reject(new Error('no'))}"])
def test_where_the_clipboard_is_closed_the_command_is_selected(opened, site, clipboard):
    with opened(site) as page:
        page.evaluate(f"Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}})")
        page.locator(f"#{MODEL}").get_by_role("button", name="Copy").click()
        page.locator(f"#{MODEL}").get_by_role("button", name="Selected").wait_for()
        assert page.evaluate("getSelection().toString()") == COMMAND


def test_without_scripts_all_is_there_and_nothing_pretends_to_work(opened, site):
    with opened(site, viewport=PHONE, java_script_enabled=False) as page:
        assert sticks_out(page) <= 0
        assert len(names(page)) == COUNT
        assert page.locator("form:visible, .command button, thead button").count() == 0
        assert page.locator(f"#{MODEL} .command").inner_text() == COMMAND
        assert page.locator("figure svg use").count() > 50


def test_the_name_of_a_model_leads_to_its_card(opened, site):
    with opened(site, viewport=DESKTOP, reduced_motion="reduce") as page:  # it scrolls at once then
        page.locator(".models").get_by_role("link", name=MODEL, exact=True).click()
        assert page.evaluate("location.hash") == f"#{MODEL}"
        card = page.locator(f"#{MODEL}")
        assert card.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"
        box = card.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < DESKTOP["height"]


def test_headings_go_down_by_one_and_everything_has_a_name(opened, site):
    with opened(site) as page:
        levels = page.locator("h1, h2, h3, h4").evaluate_all("each => each.map(e => Number(e.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        for role in ("button", "link", "searchbox", "combobox", "spinbutton", "img", "table", "search", "article"):
            assert page.get_by_role(role).count() > 0
            assert page.get_by_role(role, name=re.compile(r"^\s*$")).count() == 0
        assert page.get_by_role("img", name="Box AP by family and model").count() == 2


def test_paper_has_what_was_folded_away_and_no_controls(opened, site):
    with opened(site, viewport={"width": 720, "height": 1000}) as page:
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert sticks_out(page) <= 0
        assert page.locator("form:visible, .command button:visible").count() == 0
        assert page.locator("#fcos_r50_fpn_1x details a").first.is_visible()
