"""When the outputs of the tutorial are out of date. CI executes it with ``python -m tools.tutorial --check``."""

from __future__ import annotations

import base64
import io
import json
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image

from tools.tutorial import TUTORIAL, compare


class Node(dict[str, Any]):
    """A part of a notebook as nbformat gives it: a dictionary whose items are attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def result(content: str, kind: str = "text/plain") -> Node:
    return Node(output_type="execute_result", data={kind: content})


def printed(text: str) -> Node:
    return Node(output_type="stream", name="stdout", text=text)


def notebook(*outputs: Node, source: str = "scores") -> Node:
    return Node(cells=[Node(cell_type="code", source=source, outputs=list(outputs))])


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (32, 16)) -> Node:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "JPEG")
    return result(base64.b64encode(content.getvalue()).decode(), "image/jpeg")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (result("AP 34.34"), result("AP 34.35")),
        (result("1.65 of 2,400"), result("1.66 of 2,400")),
        (result("<td>9.99</td>", "text/html"), result("<td>10.01</td>", "text/html")),
        (printed("car  9.99\n"), printed("car 10.01\n")),
        (printed("<Image at 0x7F00>"), printed("<Image at 0x1A2B>")),
        (picture((100, 100, 100)), picture((101, 100, 100))),
    ],
)
def test_rounding_is_no_difference(before: Node, after: Node) -> None:
    assert list(compare(notebook(before), notebook(after))) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (result("AP 34.34"), result("AP 37.34")),
        (result("AP 34.34"), result("AP 34.34 ± 1")),
        (result("AP 34.34"), result("mAP 34.34")),
        (result("AP 34.34"), result("AP -")),
        (result("AP 34.34"), result("AP 34.34", "text/html")),
        (result("AP 34.34"), printed("AP 34.34")),
        (printed("00000003-00000012.jpg"), printed("00000003-00000013.jpg")),
        (picture((100, 100, 100)), picture((120, 100, 100))),
        (picture((100, 100, 100)), picture((100, 100, 100), (16, 16))),
    ],
)
def test_other_outputs_are_reported_with_their_cell(before: Node, after: Node) -> None:
    (difference,) = compare(notebook(before), notebook(after))
    assert difference.startswith("cell 1, scores, has another output")


def test_an_output_more_or_less_is_a_difference() -> None:
    warned = notebook(result("1"), printed("UserWarning"))
    assert len(list(compare(notebook(result("1")), warned))) == 1
    assert len(list(compare(warned, notebook()))) == 1


def test_other_cells_are_a_difference() -> None:
    assert list(compare(notebook(), notebook(source="other"))) == ["cell 1 has another source"]
    assert list(compare(notebook(), Node(cells=[]))) == ["cell 1 has another source"]


def test_the_notebook_is_small_and_was_executed_from_top_to_bottom_without_a_message() -> None:
    assert TUTORIAL.stat().st_size < 150_000
    cells = json.loads(TUTORIAL.read_bytes())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert all(output.get("name", "stdout") == "stdout" for output in outputs)


def test_words_come_before_each_program() -> None:
    kinds = [cell["cell_type"] for cell in json.loads(TUTORIAL.read_bytes())["cells"]]
    assert all(before == "markdown" for before, kind in pairwise(kinds) if kind == "code")
