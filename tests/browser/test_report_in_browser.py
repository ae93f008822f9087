"""A report in a browser: quiet, self-contained, sortable, readable on any screen, in the dark and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

pytest.importorskip("jinja2", reason="NOT TESTED: reports, as Jinja2 is not installed")
pytest.importorskip("matplotlib", reason="NOT TESTED: reports, as matplotlib is not installed")

from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.reporting.report import ReportRequest, write_report

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
CHANNELS = "(element, property) => getComputedStyle(element)[property].match(/\\d+/g).map(Number)"
TITLE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


@pytest.fixture(scope="session")
def report(inputs, tmp_path_factory) -> Path:
    """A report with all that there can be, under a title that would do harm."""
    names, out = tuple(map(str, inputs.runs)), tmp_path_factory.mktemp("report") / "report.html"
    request = ReportRequest(
        zoo=load_zoo(), names=names, labels=inputs.labels, out=out, images=inputs.images, title=TITLE, resamples=20
    )
    return write_report(request, NO_PROGRESS).path


def table(page: Page, caption: str) -> Locator:
    return page.locator("table", has=page.locator("caption", has_text=caption)).first


def column(found: Locator, place: int) -> list[str]:
    return found.locator(f"tbody tr > :nth-child({place})").all_inner_texts()


def test_it_loads_without_complaint_and_asks_for_nothing(opened, report):
    with opened(report) as page:
        assert page.title() == TITLE
        assert page.locator("h2").count() == 12
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_the_policy_stops_what_is_not_of_the_page(browser, report):
    page = browser.new_page()
    page.goto(report.as_uri())
    stopped = page.evaluate(
        """async () => {
          const stopped = [];
          document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "document.title = 'taken over'";
          const style = document.createElement("style");
          style.textContent = "body { display: none }";
          const image = document.createElement("img");
          image.src = "https://far.example/x.png";
          document.head.append(script, style, image);
          await fetch("https://far.example/").catch(() => 0);
          await new Promise((done) => setTimeout(done, 100));
          return stopped;
        }"""
    )
    assert sorted(stopped) == ["connect-src", "img-src", "script-src-elem", "style-src-elem"]
    assert page.title() == TITLE
    page.close()


def test_a_column_is_sorted_by_its_head_up_and_down_with_the_mouse_and_the_keyboard(opened, report):
    with opened(report) as page:
        found = table(page, "AP by class")
        before = column(found, 2)
        head = found.locator("thead th").nth(1)
        head.get_by_role("button").click()
        numbers = [int(text.replace(",", "")) for text in column(found, 2)]
        assert numbers == sorted(numbers, reverse=True)
        assert sorted(column(found, 2)) == sorted(before)
        assert head.get_attribute("aria-sort") == "descending"
        head.get_by_role("button").press("Enter")
        assert [int(text.replace(",", "")) for text in column(found, 2)] == sorted(numbers)
        assert head.get_attribute("aria-sort") == "ascending"
        found.locator("thead th").first.get_by_role("button").click()
        assert column(found, 1) == sorted(column(found, 1))
        assert found.locator("[aria-sort]").count() == 1


def test_rows_without_a_value_stay_last_in_either_direction(opened, report):
    with opened(report) as page:
        found = table(page, "AP by object size")
        for _ in range(2):
            found.locator("thead th").nth(3).get_by_role("button").click()
            values = column(found, 4)
            known = [value for value in values if value != "–"]
            assert values == known + ["–"] * (len(values) - len(known))


def test_classes_can_be_hidden_from_the_curves(opened, report):
    with opened(report) as page:
        curve = page.locator(".series-class2").first
        assert curve.is_visible()
        page.get_by_label("car", exact=True).uncheck()
        assert not curve.is_visible()
        assert page.locator(".series-class0").first.is_visible()
        page.get_by_label("car", exact=True).check()
        assert curve.is_visible()


def test_a_picture_opens_at_its_full_size_and_closes_by_escape(opened, report):
    with opened(report, viewport=DESKTOP) as page:
        page.locator(".picture button").first.click()
        box = page.locator("dialog[open] img").bounding_box()
        assert box is not None
        assert box["width"] == pytest.approx(960, abs=1)
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0


def test_it_is_whole_without_scripts(opened, report):
    with opened(report, java_script_enabled=False) as page:
        assert page.locator("h2").count() == 12
        assert page.locator("figure svg").count() > 20
        assert page.locator("table").first.is_visible()
        assert page.locator("thead button").count() == 0
        page.get_by_label("car", exact=True).uncheck()
        assert not page.locator(".series-class2").first.is_visible()
        page.get_by_text("Provenance").first.click()
        assert page.get_by_text("0123456789abcdef" * 4).first.is_visible()


def test_a_cut_table_has_a_shadow_until_its_end(opened, report, edge_colour):
    with opened(report, viewport=PHONE) as page:
        tables = [each for each in page.locator(".scroll").all() if each.evaluate("e => e.scrollWidth > e.clientWidth")]
        assert len(tables) > 5
        for each in tables[:5]:
            assert max(edge_colour(each)) < 235
            each.evaluate("each => { each.scrollLeft = each.scrollWidth; }")
            assert edge_colour(each) == (255, 255, 255)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_sticks_out_of_the_screen(opened, report, viewport):
    with opened(report, viewport=viewport) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        for each in page.locator("h1, h2, h3, p, figure, .card, .scroll").all():
            box = each.bounding_box()
            assert box is None or box["x"] + box["width"] <= viewport["width"] + 0.5


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_it_follows_the_scheme_of_the_system(opened, report, scheme, is_dark):
    with opened(report, color_scheme=scheme) as page:
        back = page.locator("body").evaluate(CHANNELS, "backgroundColor")
        assert (sum(back) < 150) == is_dark
        ink = page.locator("figure svg text").first.evaluate(CHANNELS, "fill")
        assert (sum(ink) > 600) == is_dark


def test_paper_is_light_and_has_what_was_folded_away(opened, report):
    with opened(report, color_scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator("nav").is_visible()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0


def test_the_keyboard_reaches_the_content_first_and_its_place_is_seen(opened, report):
    with opened(report) as page:
        page.keyboard.press("Tab")
        skip = page.get_by_text("Skip to the content")
        assert skip.evaluate("each => each === document.activeElement")
        box = skip.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "page-main"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
