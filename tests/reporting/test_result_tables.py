"""The result tables: as published, byte for byte, and the other formats."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import re
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.api.tables import table
from bdd100k_zoo.errors import InvalidFileError, StorageError, UnknownNameError, ZooError
from bdd100k_zoo.registry.models import PublishedFile, select_edition
from bdd100k_zoo.reporting.tables import (
    BEGIN,
    END,
    models_of,
    render_tables,
    update_block,
    write_tables,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.registry import Zoo


FILES = "https://dl.cv.ethz.ch/bdd100k/det"
HEADER = (
    "| Backbone | Lr schd | MS-train | Box AP-val | Scores-val | Box AP-test | Scores-test "
    "| Config | Weights | Preds | Visuals |\n"
    "| :-: | :-: | :-: | :-: | :-: | :-: | :-: | :-: | :-: | :-: | :-: |\n"
)
SPARSE_1X = (
    f"| R-50-FPN | 1x |  | 26.71 | [scores]({FILES}/scores-val/sparse_rcnn_r50_fpn_1x_det_bdd100k.json) "
    f"| 25.55 | [scores]({FILES}/scores-test/sparse_rcnn_r50_fpn_1x_det_bdd100k.json) "
    "| [config](./configs/det/sparse_rcnn_r50_fpn_1x_det_bdd100k.py) "
    f"| [model]({FILES}/models/sparse_rcnn_r50_fpn_1x_det_bdd100k.pth) "
    f"\\| [MD5]({FILES}/models/sparse_rcnn_r50_fpn_1x_det_bdd100k.md5) "
    f"| [preds]({FILES}/preds/sparse_rcnn_r50_fpn_1x_det_bdd100k.json) "
    f"| [visuals]({FILES}/visuals/sparse_rcnn_r50_fpn_1x_det_bdd100k.zip) |\n"
)
TABLES_2021_SHA256 = "1946cfafbfce080b11fb132c5ab219f492e4731f75cfdd195380314acf9825e1"
HRNET_32_3X = (
    f"| HRNet-w32 | 3x | ✓ | 33.97 | [scores]({FILES}/scores-val/faster_rcnn_hrnetv2p_w32_3x_det_bdd100k.json) "
    f"| 33.19 | [scores]({FILES}/scores-test/faster_rcnn_hrnetv2p_w32_3x_det_bdd100k.json) "
    "| [config](./configs/det/faster_rcnn_hrnetv2p_w32_3x_det_bdd100k.py) "
    f"| [model]({FILES}/models/faster_rcnn_hrnetv2p_w32_3x_det_bdd100k.pth) "
    f"\\| [MD5]({FILES}/models/faster_rcnn_hrnetv2p_w32_3x_det_bdd100k.md5) "
    f"| [preds]({FILES}/preds/faster_rcnn_hrnetv2p_w32_3x_det_bdd100k.json) "
    f"| [visuals]({FILES}/visuals/faster_rcnn_hrnetv2p_w32_3x_det_bdd100k.zip) |\n"
)


def test_the_eight_tables_of_2021_equal_the_published_ones_byte_for_byte(zoo: Zoo) -> None:
    text = table(edition="2021", zoo=zoo)
    assert text.count("### ") == 8
    assert hashlib.sha256(text.encode()).hexdigest() == TABLES_2021_SHA256


def test_the_digest_of_the_tables_of_2021_is_that_of_the_publishers_readme(shared: Path) -> None:
    (readme,) = (shared / "seed").glob("*.txt")
    sections = []
    title = b""
    for line in readme.read_bytes().splitlines(keepends=True):
        title = line if line.startswith(b"### ") else title
        if line.startswith(b"| Backbone "):
            sections.append(title + b"\n")
        if line.startswith(b"|"):
            sections[-1] += line
    assert hashlib.sha256(b"\n".join(sections)).hexdigest() == TABLES_2021_SHA256


def test_an_edition_has_the_families_that_have_models_in_it(zoo: Zoo) -> None:
    assert [family.title for family in select_edition(zoo, "2021-10").families] == [
        *("Faster R-CNN", "RetinaNet", "Cascade R-CNN", "FCOS", "Deformable ConvNets v2", "Sparse R-CNN")
    ]
    with pytest.raises(UnknownNameError):
        table(edition="2021", family="atss", zoo=zoo)


@pytest.mark.parametrize(("edition", "problem"), [("2020-12-31", "no model was published by"), ("21", "found '21'")])
def test_an_edition_without_models_and_one_that_is_no_date_name_the_dates(zoo: Zoo, edition: str, problem: str) -> None:
    with pytest.raises(ZooError, match=problem) as caught:
        select_edition(zoo, edition)
    assert "2021-10-10, 2021-11-29, 2022-06-18, 2022-11-26" in (caught.value.hint or "")


def test_a_row_is_spelled_as_published(zoo: Zoo) -> None:
    text = render_tables(zoo, zoo.families)
    assert text.count(SPARSE_1X) == 1
    assert text.count(HRNET_32_3X) == 1


def test_a_section_is_a_heading_a_blank_line_and_the_table(zoo: Zoo) -> None:
    text = render_tables(zoo, [zoo.family("sparse_rcnn")])
    assert text.startswith("### Sparse R-CNN\n\n" + HEADER + SPARSE_1X)
    assert text.endswith(" |\n")
    assert len(text.splitlines()) == 2 + 2 + 3


def test_rows_that_would_look_alike_have_the_names_of_their_models(zoo: Zoo) -> None:
    rows = [line for line in render_tables(zoo, [zoo.family("fcos")]).splitlines() if "| 1x |" in line]
    assert [row.split(" |")[0] for row in rows] == ["| `fcos_r50_fpn_1x`", "| `fcos_tricks_r50_fpn_1x`"]
    rows = [line for line in render_tables(zoo, [zoo.family("fcos")], "latex").splitlines() if r"$1\times$" in line]
    assert [row.split(" &")[0] for row in rows] == [r"fcos\_r50\_fpn\_1x", r"fcos\_tricks\_r50\_fpn\_1x"]


def test_no_two_rows_of_a_table_look_alike(zoo: Zoo) -> None:
    for family in zoo.families:
        rows = [line for line in render_tables(zoo, [family]).splitlines() if "[config]" in line]
        assert len({row.partition(" | [scores]")[0].rpartition(" | ")[0] for row in rows}) == len(rows), family.name


def test_sections_are_in_the_given_order_one_blank_line_apart(zoo: Zoo) -> None:
    text = render_tables(zoo, [zoo.family("hrnet"), zoo.family("fcos")])
    assert re.findall(r"^### .*", text, re.MULTILINE) == ["### HRNet", "### FCOS"]
    assert HRNET_32_3X + "\n### FCOS\n" in text


@pytest.mark.parametrize("root", ["https://code.example/tree/main/configs", "https://code.example/tree/main/configs/"])
def test_another_root_of_configs_changes_their_links_and_nothing_else(zoo: Zoo, root: str) -> None:
    ours = render_tables(zoo, zoo.families, config_root=root)
    assert ours.count("(https://code.example/tree/main/configs/") == len(zoo.models)
    assert ours.replace("https://code.example/tree/main/configs/", "./configs/det/") == render_tables(zoo, zoo.families)


def test_missing_fields_of_a_model_give_empty_cells(zoo: Zoo) -> None:
    bare = msgspec.structs.replace(
        zoo["fcos_r50_fpn_1x"],
        ap_val=None,
        ap_test=0.0,
        md5=None,
        predictions=None,
        visuals=None,
        scores_val=None,
        scores_test=None,
        backbone="R|50",
    )
    row = render_tables(dataclasses.replace(zoo, models=(bare,)), [zoo.family("fcos")]).splitlines()[-1]
    assert row == (
        "| R\\|50 | 1x |  |  |  | 0.00 |  | [config](./configs/det/fcos_r50_fpn_1x_det_bdd100k.py) "
        f"| [model]({FILES}/models/fcos_r50_fpn_1x_det_bdd100k.pth) |  |  |"
    )


def test_comma_separated_values_hold_every_model_once_in_order(zoo: Zoo) -> None:
    text = render_tables(zoo, zoo.families, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == [model.name for model in zoo.models]
    assert rows[9]["ap_val"] == "33.72"
    assert rows[9]["ap_test"] == "33.07"
    assert rows[9]["multi_scale_training"] == "true"
    assert rows[9]["weights"] == zoo.models[9].weights.address
    assert "\r" not in text
    assert text.endswith("\n")


def test_comma_separated_values_leave_the_unknown_empty_and_quote_commas(zoo: Zoo) -> None:
    odd = msgspec.structs.replace(zoo.models[0], backbone='R-50, "wide"', ap_test=None, visuals=None)
    text = render_tables(dataclasses.replace(zoo, models=(odd,)), zoo.families, "csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["backbone"] == 'R-50, "wide"'
    assert (row["ap_test"], row["visuals"]) == ("", "")


def test_latex_has_a_row_for_every_model_with_its_published_numbers(zoo: Zoo) -> None:
    lines = render_tables(zoo, zoo.families, "latex").splitlines()
    assert lines[0] == r"\begin{tabular}{lllcrr}"
    assert lines[-1] == r"\end{tabular}"
    assert r"Cascade R-CNN & R-50-FPN & $3\times$ & \checkmark & 33.72 & 33.07 \\" in lines
    assert r"Cascade R-CNN & R-50-FPN & $1\times$ &  & 32.40 & 31.23 \\" in lines
    assert sum(line.count(" & ") == 5 for line in lines) == len(zoo.models) + 1
    assert lines.count(r"\midrule") == len(zoo.families)


def test_latex_escapes_its_special_characters(zoo: Zoo) -> None:
    family = msgspec.structs.replace(zoo.families[0], title=r"50% of {A_1} & B#2 \o/ ~ ^$")
    row = next(line for line in render_tables(zoo, [family], "latex").splitlines() if line.startswith("50"))
    assert row.startswith(
        r"50\% of \{A\_1\} \& B\#2 \textbackslash{}o/ \textasciitilde{} \textasciicircum{}\$ & R-50-FPN &"
    )


def test_latex_takes_no_text_of_a_zoo_file_for_an_argument_of_the_line_before(zoo: Zoo) -> None:
    family = msgspec.structs.replace(zoo.families[0], title='[2ex] * <a|b>\n"c"')
    rows = render_tables(zoo, [family], "latex").splitlines()[4:-2]
    expected = r"{[}2ex{]} {*} \textless{}a\textbar{}b\textgreater{} \textquotedbl{}c\textquotedbl{} & "
    assert len(rows) == 5
    assert all(row.startswith(expected) for row in rows)


def test_markdown_shows_text_of_zoo_files_as_it_is(zoo: Zoo) -> None:
    odd = "<img src=x onerror=alert(1)> & a|b *c* _d_ `e` [f](g) ~~h~~ $i$ \\ j #"
    shown = r"\<img src=x onerror=alert(1)\> \& a\|b \*c\* \_d\_ \`e\` \[f\](g) \~\~h\~\~ \$i\$ \\ j \#"
    family = msgspec.structs.replace(zoo.family("fcos"), title=odd)
    model = msgspec.structs.replace(zoo["fcos_r50_fpn_1x"], backbone=odd)
    text = render_tables(dataclasses.replace(zoo, models=(model,)), [family], speeds={f"on\n{odd}": {}})
    lines = text.splitlines()
    assert lines[0] == f"### {shown}"
    assert lines[-1].startswith(f"| {shown} | 1x |")
    assert f"| img/s on {shown} |" in lines[2]


def test_links_to_odd_places_stay_links_in_their_cells(zoo: Zoo) -> None:
    address = "https://x.org/a(b) <c>|d`e\\f%20ü?g=[1]&h=*#i"
    model = msgspec.structs.replace(
        zoo["fcos_r50_fpn_1x"], visuals=PublishedFile(address), config="my configs/a|(1)#%.py"
    )
    row = render_tables(dataclasses.replace(zoo, models=(model,)), [zoo.family("fcos")]).splitlines()[-1]
    assert row.endswith("| [visuals](https://x.org/a%28b%29%20%3Cc%3E%7Cd%60e%5Cf%20%C3%BC?g=[1]&h=*#i) |")
    assert "| [config](./configs/det/my%20configs/a%7C%281%29%23%25.py) |" in row


SPEEDS = {
    "(H100, fp32)": {"fcos_r50_fpn_1x": 123.456, "fcos_r50_fpn_3x": 12.345},
    "(A|B_1, fp16)": {"fcos_r101_fpn_3x": 0.2694},
}


def test_speeds_are_columns_named_after_their_device(zoo: Zoo) -> None:
    text = render_tables(zoo, [zoo.family("fcos")], measured={"fcos_r50_fpn_1x": 12.3}, speeds=SPEEDS)
    rows = [re.split(r"(?<!\\) \| ", row.strip("| "))[1:] for row in text.splitlines() if row.startswith("|")]
    assert rows[0][3:10] == [
        "Box AP-val",
        "Measured AP-val",
        "Scores-val",
        "Box AP-test",
        "Scores-test",
        "img/s (H100, fp32)",
        r"img/s (A\|B\_1, fp16)",
    ]
    assert {len(row) for row in rows} == {14}
    assert [[cell.strip() for cell in row[8:10]] for row in rows[2:]] == [
        ["123", ""],
        ["12.3", ""],
        ["", "0.27"],
        ["", ""],
    ]
    assert [row[4].strip() for row in rows[2:]] == ["12.30", "", "", ""]


def test_without_speeds_the_tables_stay_as_they_are(zoo: Zoo) -> None:
    for form in ("markdown", "csv", "latex"):
        assert render_tables(zoo, zoo.families, form, speeds={}) == render_tables(zoo, zoo.families, form)


def test_speeds_are_the_last_columns_of_comma_separated_values_and_latex(zoo: Zoo) -> None:
    family = zoo.family("fcos")
    rows = list(csv.DictReader(io.StringIO(render_tables(zoo, [family], "csv", measured={}, speeds=SPEEDS))))
    assert list(rows[0])[-3:] == [
        "measured_ap_val",
        "images_per_second (H100, fp32)",
        "images_per_second (A|B_1, fp16)",
    ]
    assert [row["images_per_second (H100, fp32)"] for row in rows] == ["123", "12.3", "", ""]
    lines = render_tables(zoo, [family], "latex", speeds=SPEEDS).splitlines()
    assert lines[0] == r"\begin{tabular}{lllcrrrr}"
    assert lines[2].endswith(r" & AP test & img/s (H100, fp32) & img/s (A\textbar{}B\_1, fp16) \\")
    assert lines[4].endswith(r" & 123 &  \\")


def test_models_of_a_family_are_its_own(zoo: Zoo) -> None:
    assert [model.name for model in models_of(zoo, zoo.family("retinanet"))] == [
        "retinanet_r50_fpn_1x",
        "retinanet_r50_fpn_3x",
        "retinanet_r101_fpn_3x",
    ]


# The generated block of a document: found, compared, replaced, and nothing else touched ------------------------------


BLOCK = "### Title\n\n| a | ✓ |\n"
FORMS = {
    "empty": f"{BEGIN}{END}",
    "one line": f"# Zoo\n\n{BEGIN}\n{END}\n\nmore\n",
    "stale": f"# Zoo\n\n{BEGIN}\n\n### Old\n\n| b |\n\n{END}\nmore",
    "byte order mark": f"\ufeff{BEGIN}\n{END}\n",
    "indented": f"- list\n  {BEGIN}\n  {END} tail\n",
}


def is_current(path: Path, block: str) -> bool:
    """Whether ``update_block`` finds nothing to do."""
    try:
        return not update_block(path, block, check=True)
    except InvalidFileError as error:
        if "not those of the zoo" not in error.problem:
            raise
        return False


def listing(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "README.md"


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_written_block_is_current_and_not_written_again(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
    assert not is_current(path, BLOCK)
    assert update_block(path, BLOCK)
    assert is_current(path, BLOCK)
    written = path.stat().st_ino
    assert not update_block(path, BLOCK)
    assert path.stat().st_ino == written
    assert BLOCK in path.read_bytes().decode()


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_text_around_the_markers_is_unchanged(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
    update_block(path, BLOCK)
    found = path.read_bytes().decode()
    assert found.partition(BEGIN)[0] == text.partition(BEGIN)[0]
    assert found.partition(END)[2] == text.partition(END)[2]
    assert "Old" not in found


def test_the_block_is_a_blank_line_from_its_markers(path: Path) -> None:
    path.write_text(f"{BEGIN}\n{END}\n")
    update_block(path, BLOCK)
    assert path.read_text() == f"{BEGIN}\n\n{BLOCK}\n{END}\n"


def test_a_document_with_windows_line_ends_keeps_them(path: Path) -> None:
    path.write_bytes(f"# Zoo\r\n{BEGIN}\r\nold\r\n{END}\r\nmore\r\n".encode())
    assert update_block(path, BLOCK)
    assert is_current(path, BLOCK)
    content = path.read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") > 5
    assert content.endswith(b"\r\nmore\r\n")


def test_a_current_document_stays_current_when_git_gives_it_windows_line_ends(path: Path) -> None:
    path.write_text(f"# Zoo\n{BEGIN}\n{END}\n")
    update_block(path, BLOCK)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert is_current(path, BLOCK)


def test_one_changed_character_is_stale(path: Path) -> None:
    path.write_text(f"{BEGIN}\n{END}\n")
    update_block(path, BLOCK)
    path.write_text(path.read_text().replace("✓", "✗"))
    assert not is_current(path, BLOCK)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Zoo\n",
        f"{BEGIN}\n",
        f"{END}\n",
        f"{END}\n{BEGIN}\n",
        f"{BEGIN}\n{BEGIN}\n{END}\n",
        f"{BEGIN}\n{END}\n{END}\n",
        f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n",
        f"{BEGIN.upper()}\n{END}\n",
    ],
)
def test_markers_that_are_missing_double_or_turned_are_refused_and_nothing_is_changed(path: Path, text: str) -> None:
    path.write_text(text)
    for job in (is_current, update_block):
        with pytest.raises(InvalidFileError) as caught:
            job(path, BLOCK)
        assert caught.value.path == path
        assert BEGIN in caught.value.problem
        assert END in caught.value.problem
    assert path.read_text() == text


def test_a_document_that_is_not_utf_8_is_refused_and_unchanged(path: Path) -> None:
    content = f"caf\xe9 {BEGIN}\n{END}\n".encode("latin-1")
    path.write_bytes(content)
    for job in (is_current, update_block):
        with pytest.raises(InvalidFileError, match="UTF-8"):
            job(path, BLOCK)
    assert path.read_bytes() == content


def test_a_document_that_does_not_exist_cannot_be_checked_and_is_written_with_its_folder(path: Path) -> None:
    document = path.parent / "new" / "page.md"
    with pytest.raises(StorageError) as caught:
        is_current(document, BLOCK)
    assert caught.value.path == document
    assert update_block(document, BLOCK)
    assert document.read_text() == f"{BEGIN}\n\n{BLOCK}\n{END}\n"
    assert is_current(document, BLOCK)


def test_a_folder_is_no_document(path: Path) -> None:
    path.mkdir()
    jobs = (is_current, update_block, write_tables)
    for job in jobs:
        with pytest.raises(StorageError) as caught:
            job(path, BLOCK)
        assert caught.value.path == path


def test_tables_in_another_format_replace_a_file_but_no_document(path: Path) -> None:
    for text in ("a,b\n", "c,d\n"):
        write_tables(path, text)
        assert path.read_text() == text
    path.write_text(f"{BEGIN}\n{END}\n")
    with pytest.raises(InvalidFileError, match="tables in Markdown"):
        write_tables(path, "a,b\n")
    assert path.read_text() == f"{BEGIN}\n{END}\n"


def test_a_link_to_a_document_stays_a_link_and_the_document_keeps_its_rights(path: Path, tmp_path: Path) -> None:
    document = tmp_path / "docs" / "models.md"
    document.parent.mkdir()
    document.write_text(f"{BEGIN}\n{END}\n")
    document.chmod(0o640)
    path.symlink_to(document)
    update_block(path, BLOCK)
    assert path.is_symlink()
    assert BLOCK in document.read_text()
    assert document.stat().st_mode & 0o777 == 0o640
    assert listing(document.parent) == ["models.md"]


@given(
    before=st.text(max_size=30), between=st.text(max_size=30), after=st.text(max_size=30), block=st.text(max_size=30)
)
def test_only_the_block_of_any_text_is_replaced(
    tmp_path_factory: pytest.TempPathFactory, before: str, between: str, after: str, block: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "README.md"
    path.write_bytes(f"{before}{BEGIN}{between}{END}{after}".encode())
    update_block(path, block)
    assert is_current(path, block)
    found = path.read_bytes().decode()
    assert found.startswith(before + BEGIN)
    assert found.endswith(END + after)
