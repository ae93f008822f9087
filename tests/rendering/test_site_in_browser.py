"""The zoo's page as a reader meets it, in Chromium."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.manifest import load_zoo
from bdd100k_zoo.rendering.site import Site, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from browser import Browser, Page

NAMES = ".models tbody th"
SHOWN = ".shown"
FIRST_COPY = "#cascade_rcnn_r50_fpn_3x .command button"
COMMAND = "bdd100k-zoo predict cascade_rcnn_r50_fpn_3x --images DIR"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    speeds = {"(GPU, fp16)": {"fcos_r50_fpn_3x": 90.0, "cascade_rcnn_r50_fpn_3x": 41.5}}
    path = tmp_path_factory.mktemp("site") / "index.html"
    path.write_bytes(render(Site(zoo=load_zoo(), speeds=speeds)))
    return path


@pytest.fixture
def opened(chromium: Browser, site: Path) -> Callable[..., AbstractContextManager[Page]]:
    """Open the page; whatever a test does, it asks for nothing and complains of nothing."""

    @contextmanager
    def open_page(**options: object) -> Iterator[Page]:
        with chromium.page(site, **options) as page:
            yield page
            assert page.requests == []
            assert page.complaints == []

    return open_page


def heads(page: Page) -> list[str | None]:
    return page.value("[...document.querySelectorAll('.models thead th')].map((e) => e.getAttribute('aria-sort'))")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(opened, width: int, dark: bool) -> None:
    with opened(width=width, dark=dark) as page:
        assert page.overflow() <= 0
        page.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert page.overflow() <= 0
        assert page.texts(SHOWN) == ["25 models"]


def test_dark_is_dark_and_light_is_light(opened) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    with opened() as page:
        assert page.value(shade) == "rgb(255, 255, 255)"
    with opened(dark=True) as page:
        assert page.value(shade) == "rgb(20, 23, 27)"


def test_the_table_is_sorted_by_click(opened) -> None:
    with opened() as page:
        assert heads(page)[:3] == [None, "descending", None]
        page.click(".models thead th:first-child button")
        names = page.texts(NAMES)
        assert names == sorted(names)
        assert heads(page)[:3] == ["ascending", None, None]
        page.click(".models thead th:first-child button")
        assert page.texts(NAMES) == names[::-1]
        page.click(".models thead th.on button")
        assert page.texts(NAMES)[:2] == ["fcos_r50_fpn_3x", "cascade_rcnn_r50_fpn_3x"]


def test_the_table_is_sorted_by_keyboard(opened) -> None:
    with opened() as page:
        best = page.texts(NAMES)
        page.focus(".models thead th:nth-child(2) button")
        page.press("Enter")
        assert heads(page)[1] == "ascending"
        assert page.texts(NAMES) == best[::-1]
        page.press("Space")
        assert heads(page)[1] == "descending"
        assert page.texts(NAMES) == best


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cascade r50", ["cascade_rcnn_r50_fpn_3x", "cascade_rcnn_r50_fpn_1x"]),
        ("R-50-FPN FCOS", ["fcos_r50_fpn_3x", "fcos_r50_fpn_1x"]),
        ("  hrnet_w18 ", ["faster_rcnn_hrnetv2p_w18_3x", "faster_rcnn_hrnetv2p_w18_1x"]),
        ("dconv 1x", ["faster_rcnn_r50_fpn_deconv_1x"]),
        ("yolo", []),
        ("(.*", 25),
    ],
)
def test_typing_filters_the_table(opened, text: str, found: list[str] | int) -> None:
    with opened() as page:
        page.focus("[data-filter=text]")
        page.type(text)
        names = page.texts(NAMES)
        assert (len(names) if isinstance(found, int) else names) == found
        assert page.texts(SHOWN) == ["25 models" if found == 25 else f"{len(names)} of 25 models"]


def choose(page: Page, key: str, value: str) -> None:
    page.value(
        f"(() => {{ const e = document.querySelector('[data-filter={key}]'); e.value = '{value}';"
        "e.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_filters_are_joined_and_taken_back(opened) -> None:
    zoo = load_zoo()
    with opened() as page:
        for key, value, left in (("schedule", "3x", 16), ("backbone", "R-50-FPN", 7), ("ap", "32", 4)):
            choose(page, key, value)
            assert page.texts(SHOWN) == [f"{left} of 25 models"]
        expected = [model for model in zoo.models if (model.backbone, model.schedule) == ("R-50-FPN", "3x")]
        assert set(page.texts(NAMES)) == {model.name for model in expected if model.ap_val >= 32}
        choose(page, "family", "Cascade R-CNN")
        assert page.texts(NAMES) == ["cascade_rcnn_r50_fpn_3x"]
        page.click(".models thead th:first-child button")
        assert page.texts(NAMES) == ["cascade_rcnn_r50_fpn_3x"]
        page.click("form button[type=reset]")
        page.until("document.querySelector('.shown').textContent === '25 models'")
        assert len(page.texts(NAMES)) == 25


def test_enter_in_a_filter_does_not_leave_the_page(opened) -> None:
    with opened() as page:
        page.focus("[data-filter=text]")
        page.type("fcos")
        page.press("Enter")
        assert page.texts(SHOWN) == ["3 of 25 models"]


def test_a_command_is_copied(opened, chromium: Browser) -> None:
    chromium.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    with opened() as page:
        page.click(FIRST_COPY)
        page.until(f"document.querySelector('{FIRST_COPY}').textContent === 'Copied'")
        assert page.value("navigator.clipboard.readText()") == COMMAND


@pytest.mark.parametrize("clipboard", ["undefined", "{writeText: () => Promise.reject(new Error('no'))}"])
def test_where_the_clipboard_is_closed_the_command_is_selected(opened, clipboard: str) -> None:
    with opened() as page:
        page.value(f"Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}})")
        page.click(FIRST_COPY)
        page.until(f"document.querySelector('{FIRST_COPY}').textContent === 'Selected'")
        assert page.value("getSelection().toString()") == COMMAND


def test_without_javascript_all_is_there_and_nothing_pretends_to_work(opened) -> None:
    with opened(script=False) as page:
        assert page.overflow() <= 0
        assert len(page.texts(NAMES)) == 25
        assert page.texts("form, .command button, thead button") == []
        assert page.texts("#cascade_rcnn_r50_fpn_3x .command") == [COMMAND]
        assert page.value("document.querySelectorAll('figure svg polygon, figure svg use').length > 50")


def test_a_models_place_is_led_to_and_set_off(opened) -> None:
    with opened(height=700) as page:
        page.click(".models tbody th a[href='#cascade_rcnn_r50_fpn_3x']")
        assert page.value("location.hash") == "#cascade_rcnn_r50_fpn_3x"
        outline = "getComputedStyle(document.querySelector('#cascade_rcnn_r50_fpn_3x')).outlineStyle"
        assert page.value(outline) == "solid"


def test_headings_go_down_by_one_and_everything_has_a_name(opened) -> None:
    with opened() as page:
        levels = page.value("[...document.querySelectorAll('h1,h2,h3,h4')].map((e) => Number(e.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        tree = page.call("Accessibility.getFullAXTree")["nodes"]
        wanted = {"button", "link", "textbox", "searchbox", "combobox", "spinbutton", "image", "img", "table", "form"}
        nodes = [node for node in tree if not node["ignored"] and node["role"]["value"] in wanted]
        assert len(nodes) > 200
        assert [node["role"]["value"] for node in nodes if not node.get("name", {}).get("value")] == []


def test_paper_has_the_cards_with_their_details_and_no_controls(opened) -> None:
    with opened(width=800) as page:
        page.call("Emulation.setEmulatedMedia", media="print")
        page.value("dispatchEvent(new Event('beforeprint'))")
        assert page.overflow() <= 0
        assert page.texts("form, .command button") == []
        assert any(text.startswith("https://") for text in page.texts("#fcos_r50_fpn_1x details a"))
