"""Selecting, sorting and describing models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from bdd100k_zoo.errors import UnknownNameError
from bdd100k_zoo.registry.loading import list_models
from bdd100k_zoo.registry.models import (
    Zoo,
    describe_model,
    no_match_error,
    select_families,
    select_models,
    sort_models,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bdd100k_zoo.registry import Model


def names(models: Iterable[Model]) -> list[str]:
    return [model.name for model in models]


def test_no_filter_gives_every_model_in_order(zoo: Zoo) -> None:
    assert select_models(zoo) == list(zoo.models)


def test_families_are_given_once_in_the_order_of_the_zoo(zoo: Zoo) -> None:
    chosen = select_families(zoo, ["Sparse R-CNN", "fcos", "FCOS"])
    assert [family.name for family in chosen] == ["fcos", "sparse_rcnn"]
    assert select_families(zoo, []) == list(zoo.families)


def test_an_unknown_family_is_refused_before_anything_is_chosen(zoo: Zoo) -> None:
    with pytest.raises(UnknownNameError):
        select_models(zoo, families=["fcos", "yolo"])


@pytest.mark.parametrize("backbone", ["hrnet-w18", "HRNet_W18", "w18"])
def test_a_backbone_is_found_by_a_part_of_its_name_however_it_is_written(zoo: Zoo, backbone: str) -> None:
    found = select_models(zoo, backbone=backbone)
    assert names(found) == ["faster_rcnn_hrnetv2p_w18_1x", "faster_rcnn_hrnetv2p_w18_3x"]


def test_r_50_is_not_r_101(zoo: Zoo) -> None:
    assert {model.backbone for model in select_models(zoo, backbone="r50")} == {"R-50-FPN"}
    assert {model.backbone for model in select_models(zoo, backbone="R-101")} == {"R-101-FPN"}


@pytest.mark.parametrize(("schedule", "number"), [("1x", 19), ("3x", 43), ("3X", 43), ("5x", 2)])
def test_a_schedule_is_not_matched_by_a_part(zoo: Zoo, schedule: str, number: int) -> None:
    assert len(select_models(zoo, schedule=schedule)) == number


def test_the_smallest_ap_is_included(zoo: Zoo) -> None:
    assert names(select_models(zoo, min_ap=35.95)) == [
        "cascade_rcnn_swin-t_fpn_3x",
        "cascade_rcnn_convnext-s_fpn_fp16_3x",
    ]


def test_a_model_without_a_published_ap_passes_no_smallest_ap(zoo: Zoo) -> None:
    unknown = msgspec.structs.replace(zoo.models[0], ap_val=None)
    zoo = dataclasses.replace(zoo, models=(unknown, *zoo.models[1:]))
    assert unknown not in select_models(zoo, min_ap=0)
    assert unknown in select_models(zoo)


def test_filters_are_combined(zoo: Zoo) -> None:
    found = select_models(zoo, families=["retinanet", "fcos"], backbone="r-50", schedule="3x", min_ap=30.9)
    assert names(found) == ["retinanet_r50_fpn_3x"]


def test_filters_that_no_model_matches_are_answered_with_the_known_values(zoo: Zoo) -> None:
    assert select_models(zoo, families=["fcos"], backbone="vgg") == []
    error = no_match_error(zoo)
    assert "backbones: R-50-FPN, R-101-FPN, HRNet-w18, HRNet-w32, Swin-T, " in error.hint
    assert "schedules: 1x, 3x, 5x;" in error.hint
    assert error.hint.endswith("the best AP on val is 36.11")


def test_models_are_sorted_by_name(zoo: Zoo) -> None:
    found = names(sort_models(zoo.models, "name"))
    assert found == sorted(found)
    assert len(found) == len(zoo)


def test_models_are_sorted_by_ap_best_first(zoo: Zoo) -> None:
    by_val, by_test = sort_models(zoo.models, "val"), sort_models(zoo.models, "test")
    assert names(by_val)[:2] == ["cascade_rcnn_convnext-s_fpn_fp16_3x", "cascade_rcnn_swin-t_fpn_3x"]
    assert names(by_val)[-1] == "fcos_tricks_r50_fpn_1x"
    assert names(by_test)[0] == "cascade_rcnn_convnext-s_fpn_fp16_3x"
    tests = [model.ap_test or 0 for model in by_test]
    assert tests == sorted(tests, reverse=True)


def test_unknown_aps_come_last_even_after_zero_and_equal_ones_by_name(zoo: Zoo) -> None:
    aps = {"a": None, "z": 0.0, "c": 5.0, "b": 5.0}
    models = [msgspec.structs.replace(zoo.models[0], name=name, ap_val=ap) for name, ap in aps.items()]
    assert names(sort_models(models, "val")) == ["b", "c", "z", "a"]


def test_a_description_holds_every_field_and_the_family_as_plain_json(zoo: Zoo) -> None:
    model = zoo["faster_rcnn_r50_fpn_deconv_1x"]
    record = json.loads(json.dumps(describe_model(model)))
    assert set(record) == set(model.__struct_fields__) - {"family_record"}
    assert record["family"]["title"] == "Deformable ConvNets v2"
    assert record["family"]["paper"]["venue"] == "CVPR 2019"
    assert record["aliases"] == ["faster_rcnn_r50_fpn_dconv_1x"]
    assert Path(record["config_path"]) == model.config_path


# The zoo as a mapping


def test_a_zoo_is_a_mapping_from_listed_names_to_models(zoo: Zoo) -> None:
    assert len(zoo) == len(list(zoo)) == 64
    assert list(zoo) == [model.name for model in zoo.models] == list(zoo.keys())
    assert dict(zoo)["fcos_r50_fpn_1x"] is zoo["fcos_r50_fpn_1x"]
    assert repr(zoo) == "Zoo(64 models in 15 families)"
    assert zoo.get("nothing") is None


def test_aliases_and_unlisted_models_are_in_the_zoo_and_not_among_its_names(zoo: Zoo) -> None:
    alias = next(alias for model in zoo.models for alias in model.aliases)
    assert alias in zoo
    assert zoo.get(alias) is zoo[alias]
    assert alias not in list(zoo)
    assert "demo_fcos_r18_fpn" in zoo
    assert "demo_fcos_r18_fpn" not in list(zoo)
    assert "nothing" not in zoo


@pytest.mark.parametrize("ending", ["", ".pth", ".md5", ".json", ".zip", ".py"])
def test_a_model_has_the_names_of_its_published_files(zoo: Zoo, ending: str) -> None:
    assert zoo[f"fcos_r50_fpn_1x_det_bdd100k{ending}"] is zoo["fcos_r50_fpn_1x"]
    assert f"faster_rcnn_r50_fpn_dconv_1x_det_bdd100k{ending}" in zoo
    assert zoo[f"faster_rcnn_swin-t_fpn_1x_det_bdd100k{ending}"] is zoo["faster_rcnn_swin-t_fpn_1x"]


@pytest.mark.parametrize("name", ["fcos_r50_fpn_1x.pth", "fcos_r50_fpn_1x_det_bdd100k.exe", "_det_bdd100k"])
def test_other_file_names_are_unknown(zoo: Zoo, name: str) -> None:
    assert name not in zoo


def test_the_nearest_to_a_file_name_are_those_of_its_model(zoo: Zoo) -> None:
    with pytest.raises(UnknownNameError) as caught:
        zoo["fcos_r50_fpn_2x_det_bdd100k.pth"]
    assert caught.value.nearest[0] in ("fcos_r50_fpn_1x", "fcos_r50_fpn_3x")


def test_models_and_families_are_found_and_models_first(zoo: Zoo) -> None:
    assert zoo.find("fcos") is zoo.family("fcos")
    assert zoo.find("fcos_r50_fpn_1x") is zoo["fcos_r50_fpn_1x"]
    same = msgspec.structs.replace(zoo.models[0], name="fcos")
    assert dataclasses.replace(zoo, models=(same,)).find("fcos") is same
    with pytest.raises(UnknownNameError) as caught:
        zoo.find("sparse_rcn")
    assert caught.value.nearest[-1] == "sparse_rcnn"


def test_an_unknown_name_is_a_key_error_with_its_own_message(zoo: Zoo) -> None:
    with pytest.raises(KeyError) as caught:
        zoo["fcos_r50_fpn"]
    assert isinstance(caught.value, UnknownNameError)
    assert str(caught.value) == "the zoo has no model 'fcos_r50_fpn'"
    assert "fcos_r50_fpn_1x" in caught.value.nearest


def test_models_are_listed_by_pattern_and_filters(zoo: Zoo) -> None:
    assert list_models() == list(zoo)
    assert list_models("cascade_rcnn_r*", schedule="3x") == ["cascade_rcnn_r50_fpn_3x", "cascade_rcnn_r101_fpn_3x"]
    assert list_models("*swin-b*", family="swin_transformer", min_ap=35.1) == ["faster_rcnn_swin-b_fpn_fp16_3x_strong"]
    assert list_models(family="fcos", backbone="r-101") == ["fcos_r101_fpn_3x"]
    assert list_models(family=["FCOS", "retinanet"], min_ap=31) == ["retinanet_r101_fpn_3x", "fcos_r101_fpn_3x"]
    assert len(list_models(edition="2021")) == 25
    assert list_models("nothing*") == []
    assert list_models("cascade*", zoo=Zoo()) == []
    with pytest.raises(UnknownNameError):
        list_models(family="yolo")


def test_a_model_has_the_record_of_its_family(zoo: Zoo) -> None:
    family = zoo["cascade_rcnn_r50_fpn_3x"].family_record
    assert family is zoo.family("cascade_rcnn")
    assert (family.title, family.paper.venue) == ("Cascade R-CNN", "CVPR 2018")
    assert family.authors
