"""The built-in zoo as data: the names and numbers that the publishers' READMEs of the detection task list."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import yaml

from bdd100k_zoo.errors import UnknownNameError
from bdd100k_zoo.registry.loading import CONFIG_FOLDER, DEMO_ZOO_FILE, PACKAGE_FOLDER, builtin_zoo_file
from bdd100k_zoo.registry.models import (
    ARTIFACT_FIELDS,
    FILE_FIELDS,
    Family,
    ModelEntry,
    PublishedFile,
    Weights,
    to_json_values,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.registry import Zoo

HOST = "https://dl.cv.ethz.ch/bdd100k/det"

# Name, backbone, schedule, trained at several scales, box AP on val and on test: as published, in that order.
PUBLISHED = {
    "Faster R-CNN": [
        ("faster_rcnn_r50_fpn_1x", "R-50-FPN", "1x", False, 31.04, 29.78),
        ("faster_rcnn_r50_fpn_3x", "R-50-FPN", "3x", True, 32.30, 31.45),
        ("faster_rcnn_r50_fpn_5x", "R-50-FPN", "5x", True, 32.49, 31.86),
        ("faster_rcnn_r101_fpn_3x", "R-101-FPN", "3x", True, 32.71, 31.96),
        ("faster_rcnn_r101_fpn_5x", "R-101-FPN", "5x", True, 32.61, 31.94),
    ],
    "RetinaNet": [
        ("retinanet_r50_fpn_1x", "R-50-FPN", "1x", False, 28.58, 27.14),
        ("retinanet_r50_fpn_3x", "R-50-FPN", "3x", True, 30.91, 30.21),
        ("retinanet_r101_fpn_3x", "R-101-FPN", "3x", True, 31.29, 30.62),
    ],
    "Cascade R-CNN": [
        ("cascade_rcnn_r50_fpn_1x", "R-50-FPN", "1x", False, 32.40, 31.23),
        ("cascade_rcnn_r50_fpn_3x", "R-50-FPN", "3x", True, 33.72, 33.07),
        ("cascade_rcnn_r101_fpn_3x", "R-101-FPN", "3x", True, 33.57, 32.90),
    ],
    "FCOS": [
        ("fcos_r50_fpn_1x", "R-50-FPN", "1x", False, 27.69, 26.16),
        ("fcos_r50_fpn_3x", "R-50-FPN", "3x", True, 30.60, 28.96),
        ("fcos_r101_fpn_3x", "R-101-FPN", "3x", True, 31.13, 29.62),
        ("fcos_tricks_r50_fpn_1x", "R-50-FPN", "1x", False, 26.59, 24.76),
    ],
    "Deformable ConvNets v2": [
        ("faster_rcnn_r50_fpn_deconv_1x", "R-50-FPN", "1x", False, 32.09, 30.93),
        ("faster_rcnn_r50_fpn_deconv_3x", "R-50-FPN", "3x", True, 33.21, 32.41),
        ("faster_rcnn_r101_fpn_deconv_3x", "R-101-FPN", "3x", True, 33.09, 32.43),
    ],
    "Libra R-CNN": [
        ("libra_faster_r50_fpn_1x", "R-50-FPN", "1x", False, 30.70, 29.54),
        ("libra_faster_r50_fpn_3x", "R-50-FPN", "3x", True, 32.00, 31.05),
        ("libra_faster_r101_fpn_3x", "R-101-FPN", "3x", True, 32.24, 31.49),
    ],
    "HRNet": [
        ("faster_rcnn_hrnetv2p_w18_1x", "HRNet-w18", "1x", False, 31.74, 30.64),
        ("faster_rcnn_hrnetv2p_w18_3x", "HRNet-w18", "3x", True, 33.35, 32.61),
        ("faster_rcnn_hrnetv2p_w32_1x", "HRNet-w32", "1x", False, 32.84, 31.84),
        ("faster_rcnn_hrnetv2p_w32_3x", "HRNet-w32", "3x", True, 33.97, 33.19),
    ],
    "ATSS": [
        ("atss_r50_fpn_1x", "R-50-FPN", "1x", False, 31.45, 29.92),
        ("atss_r50_fpn_3x", "R-50-FPN", "3x", True, 34.17, 32.38),
        ("atss_r101_fpn_3x", "R-101-FPN", "3x", True, 33.80, 32.58),
    ],
    "Sparse R-CNN": [
        ("sparse_rcnn_r50_fpn_1x", "R-50-FPN", "1x", False, 26.71, 25.55),
        ("sparse_rcnn_r50_fpn_3x", "R-50-FPN", "3x", True, 31.31, 31.19),
        ("sparse_rcnn_r101_fpn_3x", "R-101-FPN", "3x", True, 32.18, 31.45),
    ],
    "DyHead": [
        ("atss_r50_fpn_dyhead_1x", "R-50-FPN", "1x", False, 32.84, 31.61),
        ("atss_r50_fpn_dyhead_3x", "R-50-FPN", "3x", True, 34.56, 33.77),
        ("atss_r101_fpn_dyhead_3x", "R-101-FPN", "3x", True, 34.61, 33.70),
    ],
    "Swin Transformer": [
        ("faster_rcnn_swin-t_fpn_1x", "Swin-T", "1x", False, 32.07, 30.96),
        ("faster_rcnn_swin-t_fpn_3x", "Swin-T", "3x", True, 34.12, 33.47),
        ("faster_rcnn_swin-t_fpn_3x_strong", "Swin-T", "3x", True, 34.43, 33.30),
        ("faster_rcnn_swin-s_fpn_3x", "Swin-S", "3x", True, 34.21, 33.15),
        ("faster_rcnn_swin-s_fpn_fp16_3x", "Swin-S", "3x", True, 34.21, 33.26),
        ("faster_rcnn_swin-s_fpn_fp16_3x_strong", "Swin-S", "3x", True, 35.06, 33.69),
        ("faster_rcnn_swin-b_fpn_fp16_3x", "Swin-B", "3x", True, 34.46, 33.35),
        ("faster_rcnn_swin-b_fpn_fp16_3x_strong", "Swin-B", "3x", True, 35.36, 34.25),
        ("cascade_rcnn_swin-t_fpn_3x", "Swin-T", "3x", True, 35.95, 35.26),
        ("cascade_rcnn_swin-s_fpn_fp16_3x", "Swin-S", "3x", True, 35.49, 34.86),
        ("cascade_rcnn_swin-b_fpn_fp16_3x", "Swin-B", "3x", True, 35.03, 34.13),
    ],
    "Pyramid Vision Transformer": [
        ("retinanet_pvt-t_fpn_1x", "PVT-T", "1x", False, 28.45, 27.50),
        ("retinanet_pvt-t_fpn_3x", "PVT-T", "3x", True, 30.45, 29.85),
        ("retinanet_pvt-s_fpn_3x", "PVT-S", "3x", True, 31.23, 30.67),
    ],
    "Pyramid Vision Transformer v2": [
        ("retinanet_pvtv2-b0_fpn_1x", "PVTv2-B0", "1x", False, 30.35, 29.50),
        ("retinanet_pvtv2-b0_fpn_3x", "PVTv2-B0", "3x", True, 31.89, 31.08),
        ("retinanet_pvtv2-b1_fpn_3x", "PVTv2-B1", "3x", True, 32.57, 31.78),
        ("retinanet_pvtv2-b2_fpn_3x", "PVTv2-B2", "3x", True, 32.98, 32.60),
    ],
    "ResNet Strikes Back": [
        ("faster_rcnn_r50_fpn_rsb_1x", "R-50-FPN", "1x", False, 31.40, 30.26),
        ("faster_rcnn_r50_fpn_rsb_3x", "R-50-FPN", "3x", True, 32.48, 31.43),
        ("retinanet_r50_fpn_rsb_1x", "R-50-FPN", "1x", False, 29.52, 28.69),
        ("retinanet_r50_fpn_rsb_3x", "R-50-FPN", "3x", True, 31.13, 30.51),
    ],
    "ConvNeXt": [
        ("faster_rcnn_convnext-t_fpn_fp16_1x", "ConvNeXt-T", "1x", False, 33.32, 31.96),
        ("faster_rcnn_convnext-t_fpn_fp16_3x", "ConvNeXt-T", "3x", True, 34.08, 33.59),
        ("faster_rcnn_convnext-s_fpn_fp16_3x", "ConvNeXt-S", "3x", True, 34.79, 34.49),
        ("faster_rcnn_convnext-b_fpn_fp16_3x", "ConvNeXt-B", "3x", True, 33.92, 33.30),
        ("cascade_rcnn_convnext-t_fpn_fp16_1x", "ConvNeXt-T", "1x", False, 35.51, 33.99),
        ("cascade_rcnn_convnext-t_fpn_fp16_3x", "ConvNeXt-T", "3x", True, 35.84, 35.35),
        ("cascade_rcnn_convnext-s_fpn_fp16_3x", "ConvNeXt-S", "3x", True, 36.11, 35.43),
        ("cascade_rcnn_convnext-b_fpn_fp16_3x", "ConvNeXt-B", "3x", True, 35.77, 34.95),
    ],
}
NAMES = [row[0] for rows in PUBLISHED.values() for row in rows]
FAMILIES_2021 = (
    *("Faster R-CNN", "RetinaNet", "Cascade R-CNN", "FCOS", "Deformable ConvNets v2", "Libra R-CNN"),
    *("HRNet", "Sparse R-CNN"),
)
"""The families of the README that the publishers wrote in 2021, which the project started from."""
LATER = ("faster_rcnn_r50_fpn_5x", "faster_rcnn_r101_fpn_5x", "fcos_tricks_r50_fpn_1x")
"""The models that the publishers added to these families later."""
NAMES_2021 = [row[0] for title in FAMILIES_2021 for row in PUBLISHED[title] if row[0] not in LATER]


def test_there_are_15_families_in_published_order(zoo: Zoo) -> None:
    assert [family.title for family in zoo.families] == list(PUBLISHED)


def test_there_are_64_models_in_published_order_each_in_its_family(zoo: Zoo) -> None:
    listed = [(zoo.family(model.family).title, model.name) for model in zoo.models]
    assert listed == [(title, row[0]) for title, rows in PUBLISHED.items() for row in rows]
    assert len(listed) == 64
    assert len(NAMES_2021) == 25


@pytest.mark.parametrize("row", [row for rows in PUBLISHED.values() for row in rows], ids=lambda row: row[0])
def test_a_model_has_its_published_backbone_schedule_and_scores(zoo: Zoo, row: tuple[object, ...]) -> None:
    model = zoo[str(row[0])]
    found = (model.name, model.backbone, model.schedule, model.multi_scale_training, model.ap_val, model.ap_test)
    assert found == row


@pytest.mark.parametrize("name", NAMES)
def test_a_model_lists_every_address_of_its_published_files(zoo: Zoo, name: str) -> None:
    model, file = zoo[name], f"{name}_det_bdd100k"
    assert model.config == f"{file}.py"
    assert {field: getattr(model, field).address for field in FILE_FIELDS} == {
        "weights": f"{HOST}/models/{file}.pth",
        "md5": f"{HOST}/models/{file}.md5",
        "predictions": f"{HOST}/preds/{file}.json",
        "visuals": f"{HOST}/visuals/{file}.zip",
        "scores_val": f"{HOST}/scores-val/{file}.json",
        "scores_test": f"{HOST}/scores-test/{file}.json",
    }


def later_name(name: str) -> str:
    """Return the current published name of a model of the two renamed families; empty for the others."""
    if "_deconv_" in name:
        return name.replace("_deconv_", "_dconv_")
    return name.replace("libra_faster_r", "libra_faster_rcnn_r") if name.startswith("libra_faster_r") else ""


@pytest.mark.parametrize("name", NAMES)
def test_the_renamed_models_alone_answer_to_their_later_names_and_addresses(zoo: Zoo, name: str) -> None:
    later = later_name(name)
    assert zoo[name].aliases == ((later,) if later else ())
    assert zoo[name].weights.alternates == ((f"{HOST}/models/{later}_det_bdd100k.pth",) if later else ())
    assert not later or zoo[later] is zoo[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_a_renamed_model_has_its_later_address_as_an_alternate(zoo: Zoo, name: str) -> None:
    file = f"{later_name(name)}_det_bdd100k" if later_name(name) else ""
    later = {
        "preds": f"{HOST}/preds/{file}.json",
        "visuals": f"{HOST}/visuals/{file}.zip",
        "scores-val": f"{HOST}/scores-val/{file}.json",
        "scores-test": f"{HOST}/scores-test/{file}.json",
    }
    for what, address in later.items():
        assert zoo[name].artifact(what).addresses[1:] == ((address,) if file else ())
    digests = zoo[name].artifact("weights").digest_addresses
    assert digests[0] == zoo[name].md5.address
    assert digests[1:] == ((f"{HOST}/models/{file}.md5",) if file else ())


def test_the_later_addresses_are_those_that_the_publishers_list_last(zoo: Zoo, shared: Path) -> None:
    listed = yaml.safe_load((shared / "facts" / "zoo64" / "detection.yaml").read_text(encoding="utf-8"))["models"]
    published = {entry["in_our_zoo"] or entry["name"].removesuffix("_det_bdd100k"): entry for entry in listed}
    assert [name for name in published if name in zoo] == NAMES
    for name in NAMES:
        entry = published[name]
        weights = zoo[name].artifact("weights")
        assert (weights.addresses[-1], weights.digest_addresses[-1]) == (entry["weights"], entry["md5"])
        for what, field in ARTIFACT_FIELDS.items():
            assert zoo[name].artifact(what).addresses[-1] == entry[field]


@pytest.mark.parametrize(
    ("edition", "models"), [("2021-10-10", 18), ("2021-11-29", 25), ("2022-06-18", 59), ("2022-11-26", 64)]
)
def test_the_editions_of_the_publishers_are_known_by_their_days(zoo: Zoo, edition: str, models: int) -> None:
    published = [model for model in zoo.models if str(model.published) <= edition]
    assert len(published) == models
    assert {model.name for model in published} >= set(NAMES_2021) or edition < "2021-11-29"


def test_models_were_published_when_the_publishers_listed_them_first(zoo: Zoo, shared: Path) -> None:
    listed = yaml.safe_load((shared / "facts" / "zoo64" / "detection.yaml").read_text(encoding="utf-8"))["models"]
    days = {entry["name"].removesuffix("_det_bdd100k"): str(entry["first_published"]) for entry in listed}
    for model in zoo.models:
        # A renamed model has the day of its first name; the facts have that of its second one.
        assert str(model.published) == days.get(model.name) or (model.aliases and str(model.published)[:4] == "2021")


def test_papers_authors_and_code_of_all_families_are_the_published_ones(zoo: Zoo, shared: Path) -> None:
    listed = yaml.safe_load((shared / "facts" / "zoo64" / "detection.yaml").read_text(encoding="utf-8"))["families"]
    published = {entry["name"]: entry for entry in listed}
    for family in zoo.families:
        fields = to_json_values(family)
        assert {key: published[family.name][key] for key in fields if key != "note"} == {
            key: value for key, value in fields.items() if key != "note"
        }


def test_six_models_were_renamed() -> None:
    assert sum(1 for name in NAMES if later_name(name)) == 6


def test_the_note_on_deformable_convnets_tells_of_their_version_1_layers(zoo: Zoo) -> None:
    noted = {family.name: family.note for family in zoo.families if family.note}
    assert list(noted) == ["deformable_convnets_v2"]
    assert "version 1" in noted["deformable_convnets_v2"]
    assert "mask" in noted["deformable_convnets_v2"]


def test_no_license_is_stated_for_the_published_weights(zoo: Zoo) -> None:
    assert {model.weights.license for model in zoo.models} == {None}


def test_the_parameters_are_the_published_models_own(zoo: Zoo, shared: Path) -> None:
    listed = yaml.safe_load((shared / "facts" / "zoo64" / "detection.yaml").read_text(encoding="utf-8"))["models"]
    counted = {
        entry["in_our_zoo"] or entry["name"].removesuffix("_det_bdd100k"): entry["parameters"] for entry in listed
    }
    # Its published config contradicts the published table; the table is followed.
    counted["cascade_rcnn_convnext-s_fpn_fp16_3x"] = 94_513_116
    assert {model.name: model.parameters for model in zoo.models} == {name: counted[name] for name in NAMES}


@pytest.mark.parametrize("file", [builtin_zoo_file(), DEMO_ZOO_FILE], ids=lambda file: file.parent.name)
def test_built_in_entries_are_complete(file: Path) -> None:
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    for entry in document["models"]:
        assert list(entry) == list(ModelEntry.__struct_fields__), entry["name"]
        for field in FILE_FIELDS:
            expected = Weights if field == "weights" else PublishedFile
            assert entry[field] is None or tuple(entry[field]) == expected.__struct_fields__, entry["name"]
        assert entry["parameters"]
    for family in document.get("families", ()):
        assert set(family) == set(Family.__struct_fields__), family["name"]


def test_digests_and_sizes_are_empty_or_well_formed(zoo: Zoo) -> None:
    for model in zoo.models:
        for field in FILE_FIELDS:
            recorded = getattr(model, field)
            assert (recorded.digest is None) == (recorded.size is None), (model.name, field)


def test_every_config_exists_among_the_packages_own(zoo: Zoo) -> None:
    for model in zoo.models:
        assert model.config_path == CONFIG_FOLDER / model.config
        assert model.config_path.is_file()
        assert PACKAGE_FOLDER in model.config_path.parents


def test_no_config_is_left_without_a_model(zoo: Zoo) -> None:
    assert {path.name for path in CONFIG_FOLDER.glob("*.py")} == {model.config for model in zoo.known}


def test_the_detector_of_the_demo_is_known_by_name_and_in_no_list(zoo: Zoo) -> None:
    demo = zoo["demo_fcos_r18_fpn"]
    assert zoo.unlisted == (demo,)
    assert demo not in zoo.models
    assert zoo.family(demo.family).title == "FCOS"


def test_every_file_to_be_fetched_is_fetched_over_https(zoo: Zoo) -> None:
    fetched = [address for model in zoo.models for what in ARTIFACTS for address in model.artifact(what).addresses]
    assert len(fetched) == 64 * 5 + 6 * 5
    assert all(address.startswith("https://") for address in fetched)


ARTIFACTS = ("weights", "preds", "visuals", "scores-val", "scores-test")


def test_the_weights_alone_have_a_published_digest_address(zoo: Zoo) -> None:
    model = zoo["fcos_r50_fpn_1x"]
    given = {what: model.artifact(what).digest_addresses for what in ARTIFACTS}
    expected = {"weights": (f"{HOST}/models/fcos_r50_fpn_1x_det_bdd100k.md5",)}
    assert given == dict.fromkeys(ARTIFACTS, ()) | expected


def test_the_published_address_of_weights_comes_before_the_later_one(zoo: Zoo) -> None:
    addresses = zoo["libra_faster_r50_fpn_1x"].artifact("weights").addresses
    assert [address.rpartition("/")[2] for address in addresses] == [
        "libra_faster_r50_fpn_1x_det_bdd100k.pth",
        "libra_faster_rcnn_r50_fpn_1x_det_bdd100k.pth",
    ]


def test_the_file_spells_every_published_address_out(zoo: Zoo) -> None:
    text = builtin_zoo_file().read_text(encoding="utf-8")
    for model in zoo.models:
        for what in ARTIFACTS:
            artifact = model.artifact(what)
            assert all(text.count(address) == 1 for address in (*artifact.addresses, *artifact.digest_addresses))


def test_the_file_itself_is_as_plain_as_users_files_must_be(zoo: Zoo) -> None:
    events = list(yaml.parse(builtin_zoo_file().read_text(encoding="utf-8")))
    assert not any(isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) for event in events)
    assert zoo.files == (builtin_zoo_file(),)


def test_papers_authors_and_code_are_those_of_2021(zoo: Zoo, shared: Path) -> None:
    sections = seed_sections(shared)
    assert tuple(sections) == FAMILIES_2021
    for title, section in sections.items():
        family = zoo.family(title)
        paper = family.paper
        assert f"[{paper.title}]({paper.address}) [{paper.venue}]" in section
        authors = ", ".join(f"[{one.name}]({one.page})" if one.page else one.name for one in family.authors)
        assert f"Authors: {authors}" in [line.strip() for line in section.splitlines()]
        assert f"[[Code]({family.code})]" in section


def test_every_address_of_the_tables_of_2021_is_in_the_zoo_and_no_other_of_these_models(zoo: Zoo, shared: Path) -> None:
    tables = "".join(
        line for section in seed_sections(shared).values() for line in section.splitlines() if line[:1] == "|"
    )
    published = re.findall(r"\((https?://[^)]*)\)", tables)
    ours = [
        address
        for model in map(zoo.__getitem__, NAMES_2021)
        for address in (getattr(model, field).address for field in FILE_FIELDS)
    ]
    assert len(published) == 25 * 6
    assert Counter(published) == Counter(ours)


def seed_sections(shared: Path) -> dict[str, str]:
    """The published README's text by family."""
    (readme,) = (shared / "seed").glob("*.txt")
    parts = re.split(r"^### (.*)$", readme.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: text for title, text in zip(parts[1::2], parts[2::2], strict=True) if "| Backbone |" in text}


def test_an_unknown_name_is_answered_with_the_nearest(zoo: Zoo) -> None:
    with pytest.raises(UnknownNameError) as caught:
        zoo["cascade_rcn_r50_fpn_3x"]
    assert caught.value.kind == "model"
    assert caught.value.nearest[0] == "cascade_rcnn_r50_fpn_3x"
    assert set(caught.value.nearest) <= set(NAMES)


def test_the_nearest_to_a_later_name_is_listed_once_by_the_models_own_name(zoo: Zoo) -> None:
    with pytest.raises(UnknownNameError) as caught:
        zoo["libra_faster_rcnn_r50_fpn_2x"]
    nearest = caught.value.nearest
    assert nearest[0] in ("libra_faster_r50_fpn_1x", "libra_faster_r50_fpn_3x")
    assert len(set(nearest)) == len(nearest)


@pytest.mark.parametrize("name", ["hrnet", "HRNet", "HRNET"])
def test_a_family_is_found_by_name_and_by_title_in_any_case(zoo: Zoo, name: str) -> None:
    assert zoo.family(name).title == "HRNet"


def test_an_unknown_family_is_answered_with_families(zoo: Zoo) -> None:
    with pytest.raises(UnknownNameError) as caught:
        zoo.family("cascade")
    assert caught.value.kind == "family"
    assert "cascade_rcnn" in caught.value.nearest
    with pytest.raises(UnknownNameError) as caught:
        zoo.family("§§§")
    assert len(caught.value.nearest) == 15


def test_records_cannot_be_changed(zoo: Zoo) -> None:
    with pytest.raises(AttributeError):
        zoo.models[0].name = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        zoo.models = ()  # type: ignore[misc]
