"""list, info, table as a user sees them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path, PurePosixPath

import msgspec
import pytest

from bdd100k_zoo.registry import ARTIFACT_KINDS
from bdd100k_zoo.registry.models import ModelEntry
from bdd100k_zoo.reporting.tables import BEGIN, BEST_BEGIN, BEST_END, END

REPOSITORY = Path(__file__).resolve().parents[2]


BEST = ["cascade_rcnn_convnext-s_fpn_fp16_3x", "cascade_rcnn_swin-t_fpn_3x"]


def names_in(text: str) -> list[str]:
    return re.findall(r"^\s*([a-z0-9_-]+_\dx(?:_strong)?)\b", text, re.MULTILINE)


def test_list_shows_every_model_within_80_columns(call, zoo):
    result = call("list")
    assert result.exit_code == 0
    assert names_in(result.stdout) == [model.name for model in zoo.models]
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "…" not in result.stdout
    assert all(f"{model.ap_val:.2f}" in result.stdout for model in zoo.models)
    assert all(family.title in result.stdout for family in zoo.families)


@pytest.mark.parametrize(("columns", "lines"), [("40", 2), ("120", 1)])
def test_a_narrow_terminal_cuts_no_cell_short_and_gets_two_lines_for_each_model(call, zoo, monkeypatch, columns, lines):
    monkeypatch.setattr("bdd100k_zoo.cli.output.terminal_width", lambda: int(columns))
    text = call("list").stdout
    assert names_in(text) == [model.name for model in zoo.models]
    assert max(map(len, text.splitlines())) <= int(columns)
    assert len(text.splitlines()) == len(zoo.families) + lines * (1 + len(zoo.models))
    for model in zoo.models:
        assert f"{model.parameters / 1e6:.1f}M  {model.ap_val:.2f}   {model.ap_test:.2f}\n" in text
        assert (f"{model.name}\n" in text) == (lines == 2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--family", "FCOS"], ["fcos_r50_fpn_1x", "fcos_r50_fpn_3x", "fcos_r101_fpn_3x", "fcos_tricks_r50_fpn_1x"]),
        (["--family", "fcos", "--schedule", "1x"], ["fcos_r50_fpn_1x", "fcos_tricks_r50_fpn_1x"]),
        (["--family", "fcos", "--backbone", "r101"], ["fcos_r101_fpn_3x"]),
        (["--backbone", "hrnet", "--schedule", "3X"], ["faster_rcnn_hrnetv2p_w18_3x", "faster_rcnn_hrnetv2p_w32_3x"]),
        (["--min-ap", "35.84", "--sort", "val"], [*BEST, "cascade_rcnn_convnext-t_fpn_fp16_3x"]),
        (["--min-ap", "35.9", "--sort", "name"], sorted(BEST)),
    ],
)
def test_list_filters_and_sorts(call, arguments, expected):
    assert names_in(call("list", *arguments).stdout) == expected


def test_list_sorts_by_test_ap(call, zoo):
    names = names_in(call("list", "--sort", "test").stdout)
    aps = [zoo[name].ap_test for name in names]
    assert len(aps) == len(zoo.models)
    assert aps == sorted(aps, reverse=True)


def test_list_as_json_has_every_field(call, zoo):
    models = json.loads(call("list", "--json").stdout)
    fields = {field.name for field in msgspec.structs.fields(ModelEntry)}
    assert len(models) == len(zoo.models)
    assert all(fields <= set(model) for model in models)
    assert models[0]["family"]["paper"]["venue"] == "NeurIPS 2015"
    assert models[0]["weights"]["digest"] is None
    assert models[0]["parameters"] == 41_394_306
    assert models[0]["weights"]["license"] is None
    assert json.loads(call("list", "--format", "json").stdout) == models


def test_list_shows_parameters_in_millions(call):
    rows = [line.split() for line in call("list", "--family", "sparse_rcnn").stdout.splitlines()]
    assert rows[0] == ["Model", "Backbone", "Train", "Params", "AP", "val", "AP", "test"]
    assert rows[2] == ["sparse_rcnn_r50_fpn_1x", "R-50-FPN", "1x", "106.2M", "26.71", "25.55"]
    assert rows[3] == ["sparse_rcnn_r50_fpn_3x", "R-50-FPN", "3x", "ms", "106.2M", "31.31", "31.19"]


def test_list_as_csv_has_the_columns_of_the_table_in_the_order_of_the_list(call):
    text = call("list", "--format", "csv", "--min-ap", "35.84", "--sort", "val").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == [*BEST, "cascade_rcnn_convnext-t_fpn_fp16_3x"]
    assert [row["parameters"] for row in rows] == ["94513116", "72577782", "72878556"]
    assert text.partition("\n")[0] == call("table", "--format", "csv").stdout.partition("\n")[0]


def test_list_as_markdown_is_one_table(call):
    lines = call("list", "--format", "markdown", "--family", "hrnet").stdout.splitlines()
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1] == "| `faster_rcnn_hrnetv2p_w32_3x` | HRNet | HRNet-w32 | 3x | ✓ | 46.9M | 33.97 | 33.19 |"


def test_json_contradicts_another_format(call):
    assert call("list", "--json", "--format", "csv").exit_code == 2


def test_no_match_is_answered_with_the_known_values(call):
    result = call("list", "--backbone", "vgg")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "no model matches" in result.stderr
    assert "HRNet-w18" in result.stderr


def test_info_is_a_card_with_every_address(call, zoo):
    model = zoo["faster_rcnn_r50_fpn_deconv_1x"]
    text = call("info", "faster_rcnn_r50_fpn_dconv_1x").stdout
    expected = [model.name, "R-50-FPN", "32.09", "30.93", "version 1", str(model.config_path), "not in the cache"]
    for artifact in map(model.artifact, ARTIFACT_KINDS):
        assert len(artifact.addresses) == 2
        expected += [*artifact.addresses, *artifact.digest_addresses]
    expected += [f"bdd100k-zoo predict {model.name} image.jpg"]
    lines = text.splitlines()
    for value in expected:
        assert any(value in line for line in lines), value


def test_info_as_json_has_the_cache_state(call):
    card = json.loads(call("info", "fcos_r50_fpn_1x", "--json").stdout)
    assert card["name"] == "fcos_r50_fpn_1x"
    assert card["cache"]["weights"] == {"cached": False}


def test_info_shows_parameters_and_says_that_no_license_is_stated(call):
    lines = [" ".join(line.split()) for line in call("info", "fcos_r50_fpn_1x").stdout.splitlines()]
    assert "parameters 32.1M (32,133,972)" in lines
    assert "license none is stated for the weights" in lines
    assert "license Apache-2.0" in " ".join(call("info", "demo_fcos_r18_fpn").stdout.split())


@pytest.mark.parametrize("name", ["fcos", "FCOS"])
def test_info_takes_a_family_by_name_and_title(call, name):
    result = call("info", name)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "family FCOS"
    assert "https://arxiv.org/abs/1904.01355" in lines
    assert "authors Zhi Tian, Chunhua Shen, Hao Chen, Tong He" in lines
    assert "code https://github.com/tianzhi0549/FCOS/" in lines
    assert names_in(result.stdout) == [
        *("fcos_r50_fpn_1x", "fcos_r50_fpn_3x", "fcos_r101_fpn_3x"),
        "fcos_tricks_r50_fpn_1x",
    ]
    card = json.loads(call("info", name, "--json").stdout)
    assert card["paper"]["venue"] == "ICCV 2019"
    assert card["models"] == names_in(result.stdout)


def test_info_of_a_family_shows_its_note(call):
    assert "version 1 deformable layers" in " ".join(call("info", "Deformable ConvNets v2").stdout.split())


def test_info_takes_the_name_of_a_published_file(call):
    assert call("info", "fcos_r50_fpn_1x_det_bdd100k.pth").stdout == call("info", "fcos_r50_fpn_1x").stdout


@pytest.mark.parametrize("columns", ["40", "80", "100", "160"])
def test_addresses_are_whole_where_they_fit_into_a_line(call, zoo, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    model = zoo["libra_faster_r50_fpn_1x"]
    lines = call("info", model.name).stdout.splitlines()
    for artifact in map(model.artifact, ARTIFACT_KINDS):
        for address in (*artifact.addresses, *artifact.digest_addresses):
            (line,) = (line for line in lines if address in line)
            assert len(line) <= max(80, int(columns)) or line == address


def test_an_unknown_name_may_be_meant_as_a_family(call):
    result = call("info", "cascade")
    assert result.exit_code == 1
    assert "the zoo has no model or family 'cascade'" in result.stderr
    assert "did you mean cascade_rcnn?" in result.stderr


def test_an_unknown_model_lists_the_nearest(call):
    result = call("info", "cascade_r50")
    assert result.exit_code == 1
    assert "cascade_rcnn_r50_fpn" in result.stderr


def test_a_failure_as_json_is_one_document(call):
    result = call("info", "nonsense", "--json")
    assert result.exit_code == 1
    assert set(json.loads(result.stdout)) == {"error", "hint"}


def test_the_tables_of_the_readme_are_up_to_date(call):
    result = call("table", "--check", str(REPOSITORY / "README.md"))
    assert result.exit_code == 0, result.stderr


def test_the_page_of_the_tables_of_2021_is_up_to_date(call):
    page = REPOSITORY / "docs" / "tables-2021.md"
    result = call("table", "--edition", "2021", "--check", str(page))
    assert result.exit_code == 0, result.stderr
    assert page.read_text(encoding="utf-8").count("(../bdd100k_zoo/configs/det/") == 25


def test_the_best_of_each_family_are_listed_and_kept_up_to_date_in_a_document(call, zoo, tmp_path):
    best = names_in(call("list", "--best").stdout)
    assert best[:2] == BEST
    assert len(best) == len(zoo.families)
    assert names_in(call("list", "--best", "--family", "fcos", "--edition", "2021").stdout) == ["fcos_r101_fpn_3x"]
    document = tmp_path / "doc.md"
    document.write_text(f"{BEST_BEGIN}\n{BEST_END}\n\n{BEGIN}\n{END}\n")
    assert call("table", "--out", "doc.md").exit_code == 0
    rows = re.findall(r"^\| `(.*?)` \|", document.read_text().partition(BEST_END)[0], re.MULTILINE)
    assert rows == best
    document.write_text(document.read_text().replace(f"| `{best[0]}` |", "| `other` |"))
    assert call("table", "--check", "doc.md").exit_code == 1


@pytest.mark.parametrize(("edition", "models"), [("2021-10", 18), ("2021", 25), ("2022-06-18", 59), ("2022", 64)])
def test_an_edition_is_what_was_published_by_then(call, edition, models):
    assert len(names_in(call("list", "--edition", edition).stdout)) == models
    assert call("table", "--edition", edition).stdout.count("[config](") == models


def test_info_shows_when_a_model_was_published(call):
    assert "published 2022-11-26" in " ".join(call("info", "faster_rcnn_r50_fpn_5x").stdout.split())
    assert json.loads(call("info", "faster_rcnn_r50_fpn_5x", "--json").stdout)["published"] == "2022-11-26"


def test_table_prints_each_family_as_published(call, zoo, shared):
    (seed,) = (path.read_text(encoding="utf-8") for path in (shared / "seed").glob("*.txt"))
    text = call("table").stdout
    for family in zoo.families:
        table = call("table", "--family", family.name).stdout
        assert table.partition("\n\n")[0] == f"### {family.title}"
        assert table.rstrip("\n") in text
    # The README of 2021 has eight of the families.
    first_published = re.findall(r"^\| (?:R-|HRNet).*", seed, re.MULTILINE)
    assert len(first_published) == 25
    assert [row for row in first_published if row not in text] == []


def test_a_stale_document_is_reported_and_updated(call, tmp_path):
    document = tmp_path / "doc.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    stale = call("table", "--check", "doc.md")
    assert stale.exit_code == 1
    assert "--out doc.md" in stale.stderr
    assert call("table", "--out", "doc.md").exit_code == 0
    assert call("table", "--check", "doc.md").exit_code == 0
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")


@pytest.mark.parametrize("root", ["configs/det", "bdd100k_zoo/configs/det"])
def test_links_of_a_written_document_lead_to_configs(call, zoo, tmp_path, root):
    (tmp_path / root).mkdir(parents=True)
    (tmp_path / "doc.md").write_text(f"{BEGIN}\n{END}\n")
    assert call("table", "--out", "doc.md").exit_code == 0
    links = re.findall(r"\[config\]\((.*?)\)", (tmp_path / "doc.md").read_text())
    assert len(links) == len(zoo.models)
    assert {str(PurePosixPath(link).parent) for link in links} == {root}
    assert call("table", "--check", "doc.md").exit_code == 0


def test_a_document_without_configs_beside_it_has_no_links_to_them(call, tmp_path):
    (tmp_path / "doc.md").write_text(f"{BEGIN}\n{END}\n")
    assert call("table", "--out", "doc.md").exit_code == 0
    text = (tmp_path / "doc.md").read_text()
    assert "[config]" not in text
    assert r"| retinanet\_r50\_fpn\_1x\_det\_bdd100k.py |" in text


def test_table_in_other_forms(call, zoo):
    rows = list(csv.DictReader(io.StringIO(call("table", "--format", "csv").stdout)))
    assert [row["ap_val"] for row in rows if row["name"] == "faster_rcnn_r50_fpn_3x"] == ["32.30"]
    latex = call("table", "--format", "latex", "--family", "hrnet").stdout
    assert r"HRNet & HRNet-w32 & $3\times$ & \checkmark & 33.97 & 33.19 \\" in latex
    document = json.loads(call("table", "--format", "json").stdout)
    families = document["families"]
    assert document["left_out"] == []
    assert [family["family"] for family in families][:2] == ["faster_rcnn", "retinanet"]
    assert sum(len(family["models"]) for family in families) == len(zoo.models)
    assert call("table", "--json").stdout == call("table", "--format", "json").stdout


@pytest.mark.parametrize("form", ["csv", "latex", "json"])
def test_tables_in_other_forms_are_written_to_a_file_whole(call, tmp_path, form):
    for _ in range(2):
        result = call("table", "--family", "hrnet", "--format", form, "--out", "new/tables")
        assert result.exit_code == 0, result.stderr
        assert result.stdout == ""
        assert "new/tables: written" in result.stderr
    assert (tmp_path / "new/tables").read_text() == call("table", "--family", "hrnet", "--format", form).stdout


def test_a_document_that_does_not_exist_is_written_with_the_markers(call, tmp_path):
    for note in ("updated", "up to date"):
        result = call("table", "--out", "new/doc.md")
        assert result.exit_code == 0, result.stderr
        assert f"new/doc.md: {note}" in result.stderr
    text = (tmp_path / "new/doc.md").read_text()
    assert text.startswith(f"{BEGIN}\n\n### Faster R-CNN\n")
    assert text.endswith(f"|\n\n{END}\n")
    assert call("table", "--check", "new/doc.md").exit_code == 0


def test_a_file_without_the_markers_and_a_document_with_them_are_not_replaced(call, tmp_path):
    for text, options in (
        ("# Notes\n", ()),
        (f"{BEGIN}\n{END}\n", ("--format", "csv")),
        (f"{BEGIN}\n{END}\n", ("--json",)),
    ):
        (tmp_path / "doc.md").write_text(text)
        result = call("table", "--out", "doc.md", *options)
        assert result.exit_code == 1
        assert "doc.md" in result.stderr + result.stdout
        assert (tmp_path / "doc.md").read_text() == text


def test_a_failure_is_a_json_document_with_either_spelling(call):
    for option in (["--json"], ["--format", "json"]):
        result = call("table", "--family", "unknown", *option)
        assert result.exit_code == 1
        assert set(json.loads(result.stdout)) == {"error", "hint"}


@pytest.mark.parametrize(
    "arguments",
    [["--check", "a", "--out", "b"], ["--check", "a", "--json"], ["--json", "--format", "csv"], ["--out", ""]],
)
def test_options_of_table_that_exclude_each_other_are_wrong_usage(call, arguments):
    assert call("table", *arguments).exit_code == 2


def hostile_zoo(write_zoo, title: str) -> str:
    file = write_zoo("hostile_1x")
    family = f"""
families:
  - name: hostile
    title: "{title}"
    paper: {{title: "[red]t[/red]", address: "https://example.org", venue: v}}
    authors: []
    code: null
    note: "[link=file:///etc/passwd]n[/link]"
"""
    file.write_text(family + file.read_text().replace("faster_rcnn", "hostile"))
    return str(file)


def test_markup_in_a_zoo_file_is_printed_literally(call, write_zoo):
    zoo = hostile_zoo(write_zoo, "[bold]x[/bold]")
    for command in (["list"], ["info", "hostile_1x"]):
        result = call("--zoo", zoo, *command)
        assert result.exit_code == 0
        assert "[bold]x[/bold]" in result.stdout
    assert "[red]t[/red]" in result.stdout


def test_control_characters_in_a_zoo_file_never_reach_the_terminal(call, write_zoo):
    result = call("--zoo", hostile_zoo(write_zoo, r"x\e]0;title\a"), "list")
    assert result.exit_code == 1
    assert "hostile" in result.stderr
    assert not {"\x1b", "\x07"} & set(result.output)


def test_a_models_own_zoo_file_adds_to_the_zoo(call, write_zoo):
    file = write_zoo("mine_1x")
    assert "mine_1x" in names_in(call("list", "--zoo", str(file), "--family", "faster_rcnn").stdout)
    clash = call("--zoo", str(write_zoo("fcos_r50_fpn_1x")), "list")
    assert clash.exit_code == 1
    assert "'fcos_r50_fpn_1x' is already taken" in clash.stderr


@pytest.fixture
def own_zoo(tmp_path):
    """A zoo file of a user whose only model has a name, a config and weights."""
    (tmp_path / "secret folder").mkdir()
    (tmp_path / "secret folder" / "best.pth").touch()
    (tmp_path / "secret folder" / "c.py").touch()
    file = tmp_path / "secret folder" / "own.yaml"
    file.write_text("models:\n- {name: own_net, config: c.py, weights: best.pth}\n")
    return file


def test_a_model_of_three_fields_is_listed_and_shown(call, own_zoo):
    lines = [line.split() for line in call("--zoo", str(own_zoo), "list").stdout.splitlines()]
    assert lines[-2:] == [["Other"], ["own_net"]]
    card = call("--zoo", str(own_zoo), "info", "own_net")
    assert card.exit_code == 0, card.stderr
    assert "None" not in card.stdout
    assert (own_zoo.parent / "best.pth").as_uri() in card.stdout
    for form in ("markdown", "csv", "json"):
        assert "own_net" in call("--zoo", str(own_zoo), "list", "--format", form).stdout
    for options in (["--backbone", "r50"], ["--schedule", "1x"], ["--min-ap", "1"]):
        assert "own_net" not in call("--zoo", str(own_zoo), "list", *options).stdout


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_tables_show_a_model_of_three_fields_without_the_folder_of_its_weights(call, own_zoo, form):
    result = call("--zoo", str(own_zoo), "table", "--family", "other", "--format", form)
    assert result.exit_code == 0, result.stderr
    assert "Other" in result.stdout
    assert "None" not in result.stdout
    assert "secret" not in result.stdout


def test_recorded_speeds_become_a_column(call):
    record = {"model": "fcos_r50_fpn_1x", "device_name": "H100", "precision": "fp32", "images_per_second": 123.4}
    Path("speed.jsonl").write_text(json.dumps(record) + "\n")
    arguments = ["table", "--speed", "speed.jsonl", "--family", "fcos"]
    assert "img/s (H100, fp32)" in call(*arguments).stdout
    assert "images_per_second (H100, fp32)" in call(*arguments, "--format", "csv").stdout
    assert "img/s (H100, fp32)" in call(*arguments, "--format", "latex").stdout
    (family,) = json.loads(call(*arguments, "--format", "json").stdout)["families"]
    found = [model["images_per_second"]["(H100, fp32)"] for model in family["models"]]
    assert found == [123.4, None, None, None]
    Path("speed.jsonl").write_text("{}")
    result = call(*arguments)
    assert result.exit_code == 1
    assert "line 1 is not a speed record" in result.stderr


def test_the_detector_of_the_demo_has_a_card_but_is_in_no_list_or_table(call):
    card = call("info", "demo_fcos_r18_fpn")
    assert card.exit_code == 0, card.stderr
    assert "bdd100k-zoo predict demo_fcos_r18_fpn image.jpg" in card.stdout
    for command in (["list"], ["list", "--family", "FCOS", "--json"], ["table"], ["table", "--format", "csv"]):
        assert "demo_fcos" not in call(*command).stdout
