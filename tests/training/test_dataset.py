from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmdet.datasets import CocoDataset
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner

from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.backends.mmdet3.detector import build_meta_model
from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.convert import convert_file
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.training.dataset import BDD100KDataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mmengine.config import Config

# mmdet's own heads of Sparse R-CNN use a name that mmengine deprecates.
pytestmark = pytest.mark.filterwarnings('ignore:"dropout" is deprecated in `FFN:DeprecationWarning')

ZOO = load_zoo()
RECIPES = {
    "one scale": "faster_rcnn_r50_fpn_1x",
    "several scales": "sparse_rcnn_r101_fpn_3x",
    "caffe, one scale": "fcos_r50_fpn_1x",
    "caffe, several scales": "fcos_r101_fpn_3x",
    "HRNet, several scales": "faster_rcnn_hrnetv2p_w32_3x",
}
FAMILIES = [next(model.name for model in ZOO.models if model.family == family.name) for family in ZOO.families]


@pytest.fixture(autouse=True)
def mmdet_scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


def label(category: str, box: tuple[float, ...] | None, **attributes: Any) -> dict[str, Any]:
    box2d = None if box is None else dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
    return {"id": f"{category}-1", "category": category, "box2d": box2d, "attributes": attributes}


FRAMES: list[dict[str, Any]] = [
    {"name": "a.jpg", "labels": [label("car", (100, 200, 299, 399)), label("rider", (1000.5, 0, 1279, 719))]},
    {"name": "b.jpg", "labels": [label("other person", (10, 20, 30, 40)), label("motor", (0, 0, 99, 49))]},
    {"name": "lanes.jpg", "labels": [label("lane/road curb", None)]},
    {"name": "empty.jpg", "labels": None},
]


def write_data(root: Path, frames: list[dict[str, Any]], split: str = "train") -> None:
    labels, images = root / "labels" / "det_20", root / "images" / "100k" / split
    labels.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True)
    (labels / f"det_{split}.json").write_text(json.dumps(frames))
    for frame in frames:
        image = np.full((720, 1280, 3), 90, np.uint8)
        image[200:400, 100:300] = (0, 0, 255)
        cv2.imwrite(str(images / frame["name"]), image)


def dataset_of(root: Path, frames: list[dict[str, Any]], **settings: Any) -> BDD100KDataset:
    write_data(root, frames)
    prefix = {"img": "images/100k/train"}
    return BDD100KDataset("labels/det_20/det_train.json", data_root=str(root), data_prefix=prefix, **settings)


def test_frames_become_instances_with_exclusive_corners(tmp_path: Path) -> None:
    first = dataset_of(tmp_path, FRAMES).get_data_info(0)
    assert first["img_path"] == str(tmp_path / "images/100k/train/a.jpg")
    assert (first["img_id"], first["width"], first["height"]) == ("a.jpg", 1280, 720)
    assert first["instances"] == [
        {"bbox": [100.0, 200.0, 300.0, 400.0], "bbox_label": CLASSES.index("car"), "ignore_flag": 0},
        {"bbox": [1000.5, 0.0, 1280.0, 720.0], "bbox_label": CLASSES.index("rider"), "ignore_flag": 0},
    ]


def test_the_dataset_names_the_ten_classes(tmp_path: Path) -> None:
    assert dataset_of(tmp_path, FRAMES).metainfo["classes"] == CLASSES


@pytest.mark.parametrize(
    ("given", "stands_for", "ignored"),
    [
        (label("person", (0, 0, 9, 9)), "pedestrian", 0),
        (label("motor", (0, 0, 9, 9)), "motorcycle", 0),
        (label("bike", (0, 0, 9, 9)), "bicycle", 0),
        (label("other person", (0, 0, 9, 9)), "pedestrian", 1),
        (label("other vehicle", (0, 0, 9, 9)), "car", 1),
        (label("trailer", (0, 0, 9, 9)), "truck", 1),
        (label("car", (0, 0, 9, 9), crowd=True), "car", 1),
        (label("car", (0, 0, 9, 9), ignored=True), "car", 1),
        (label("car", (0, 0, 9, 9), crowd=False, occluded=True), "car", 0),
    ],
)
def test_aliases_are_classes_and_regions_are_ignored(
    tmp_path: Path, given: dict[str, Any], stands_for: str, ignored: int
) -> None:
    (instance,) = dataset_of(tmp_path, [{"name": "a.jpg", "labels": [given]}]).get_data_info(0)["instances"]
    assert (instance["bbox_label"], instance["ignore_flag"]) == (CLASSES.index(stands_for), ignored)


def test_a_box_of_one_pixel_stays_and_smaller_ones_are_passed_over(tmp_path: Path) -> None:
    labels = [label("car", (5, 5, 5, 5)), label("bus", (5, 5, 4.5, 9)), label("bus", (9, 9, 2, 2))]
    (instance,) = dataset_of(tmp_path, [{"name": "a.jpg", "labels": labels}]).get_data_info(0)["instances"]
    assert instance["bbox"] == [5.0, 5.0, 6.0, 6.0]


SIZES = (None, {"width": 1280, "height": 720}, {"width": 640, "height": 360}, {"width": 40, "height": 30})
EDGES = [
    -1e4,
    -50,
    -1.5,
    -1,
    -0.5,
    -1e-9,
    0,
    0.25,
    1,
    29,
    30,
    39,
    40,
    359.5,
    360,
    639,
    640,
    719,
    719.5,
    720,
    1279,
    1280,
]
corners = st.one_of(st.sampled_from([float(each) for each in EDGES]), st.floats(-2000, 3000, allow_subnormal=False))
spans = st.one_of(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 99.0]), st.floats(-30, 400, allow_subnormal=False))


@st.composite
def labels_at_any_place(draw: st.DrawFn) -> dict[str, Any]:
    """Inside a frame, across its edges, outside, tiny, reversed, of every category; some without a box."""
    category = draw(st.sampled_from([*CLASSES, *CLASS_ALIASES, *IGNORED_CLASSES]))
    if draw(st.integers(0, 9)) == 0:
        return label(category, None)
    x1, y1, width, height = draw(corners), draw(corners), draw(spans), draw(spans)
    return label(category, (x1, y1, x1 + width, y1 + height), crowd=draw(st.booleans()))


labelled_frames = st.lists(
    st.fixed_dictionaries({"labels": st.lists(labels_at_any_place(), max_size=12), "size": st.sampled_from(SIZES)}),
    min_size=1,
    max_size=4,
)


def clipped(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The instances of mmdet's dataset, their boxes cut to the frame as its Resize cuts them."""
    edges = (info["width"], info["height"]) * 2
    cut = [
        [min(max(each, 0), edge) for each, edge in zip(one["bbox"], edges, strict=True)] for one in info["instances"]
    ]
    return [{**one, "bbox": box} for one, box in zip(info["instances"], cut, strict=True)]


def loaded_and_resized(info: Mapping[str, Any], scale: tuple[int, int]) -> torch.Tensor:
    """The boxes that a network learns from, ignored ones as well."""
    steps = Compose(
        [{"type": "LoadAnnotations", "with_bbox": True}, {"type": "Resize", "scale": scale, "keep_ratio": True}]
    )
    image = np.zeros((info["height"], info["width"], 3), np.uint8)
    boxes: torch.Tensor = steps({**info, "img": image, "img_shape": image.shape[:2]})["gt_bboxes"].tensor
    return boxes


@given(labelled_frames)
@settings(max_examples=150, deadline=None)
def test_instances_are_those_of_mmdets_coco_dataset_on_the_converted_labels(frames: list[dict[str, Any]]) -> None:
    # One box in pixels, for a file whose boxes all lie within 0 to 1 is refused.
    usual = {"id": "usual", "category": "car", "box2d": {"x1": 10.0, "y1": 20.0, "x2": 60.0, "y2": 90.0}}
    frames = [*frames, {"labels": [usual], "size": None}]
    for number, frame in enumerate(frames):
        frame["name"] = f"{number}.jpg"
    with TemporaryDirectory() as name:
        labels, coco = Path(name) / "labels.json", Path(name) / "coco.json"
        labels.write_text(json.dumps(frames))
        convert_file(labels, coco, "coco")
        ours = BDD100KDataset(str(labels), data_prefix={"img": ""}, serialize_data=False, test_mode=True)
        theirs = CocoDataset(
            str(coco), metainfo={"classes": CLASSES}, data_prefix={"img": ""}, serialize_data=False, test_mode=True
        )
    assert len(ours) == len(theirs) == len(frames)
    for one, other in zip(ours.data_list, theirs.data_list, strict=True):
        assert (one["width"], one["height"]) == (other["width"], other["height"])
        assert one["instances"] == clipped(other)
        if one["instances"]:
            found, expected = (loaded_and_resized(each, (1280, 624)) for each in (one, other))
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_boxes_outside_the_frame_are_dropped_and_those_across_its_edge_clipped(tmp_path: Path) -> None:
    inside, across = (10, 20, 49, 59), (-30, 700, 19, 800)
    outside = [(-20, 5, -1, 50), (1280, 5, 1300, 50), (5, -40, 60, -1.5), (5, 720, 60, 760)]
    reversed_ones = [(60, 10, 30, 50), (10, 50, 60, 20)]
    labels = [label("car", box) for box in (inside, *outside, across, *reversed_ones)]
    kept = dataset_of(tmp_path, [{"name": "a.jpg", "labels": labels}]).get_data_info(0)["instances"]
    assert [each["bbox"] for each in kept] == [[10, 20, 50, 60], [0, 700, 20, 720]]


def names(dataset: BDD100KDataset) -> list[str]:
    return [dataset.get_data_info(index)["img_id"] for index in range(len(dataset))]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"filter_cfg": {"filter_empty_gt": True}}, 2),
        ({"filter_cfg": {"filter_empty_gt": False}}, 4),
        ({}, 4),
        ({"filter_cfg": {"filter_empty_gt": True}, "test_mode": True}, 4),
        ({"filter_cfg": {"min_size": 720}}, 4),
        ({"filter_cfg": {"min_size": 721}, "test_mode": True}, 4),
    ],
)
def test_frames_without_boxes_are_left_out_where_asked(tmp_path: Path, settings: dict[str, Any], kept: int) -> None:
    assert names(dataset_of(tmp_path, FRAMES, **settings)) == [frame["name"] for frame in FRAMES[:kept]]


def test_frames_smaller_than_the_least_size_are_left_out(tmp_path: Path) -> None:
    sizes = {"a.jpg": (32, 99), "b.jpg": (31, 99), "c.jpg": (99, 31), "d.jpg": (99, 99)}
    frames = [
        {"name": name, "size": {"width": width, "height": height}, "labels": [label("car", (1, 1, 9, 9))]}
        for name, (width, height) in sizes.items()
    ]
    assert names(dataset_of(tmp_path, frames, filter_cfg={"min_size": 32})) == ["a.jpg", "d.jpg"]


def test_a_file_whose_boxes_are_all_dropped_has_nothing_to_learn_from(tmp_path: Path) -> None:
    frames = [{"name": "a.jpg", "labels": [label("car", (2000, 5, 2050, 50)), label("car", (60, 5, 20, 50))]}]
    with pytest.raises(InvalidFileError, match="expected a box inside a frame"):
        dataset_of(tmp_path, frames, filter_cfg={"filter_empty_gt": True})


def test_an_unknown_category_is_an_error_naming_file_frame_label_and_category(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        dataset_of(tmp_path, [{"name": "a.jpg", "labels": [label("tram", (0, 0, 9, 9))]}])
    for fact in (str(tmp_path / "labels/det_20/det_train.json"), "'a.jpg'", "'tram-1'", "'tram'"):
        assert fact in str(caught.value)


def config_for(name: str, root: Path) -> Config:
    return load_config(ZOO[name].config_path, data_root=str(root))


@pytest.mark.parametrize("name", RECIPES.values(), ids=RECIPES.keys())
def test_training_samples_have_the_promised_sizes_and_boxes(tmp_path: Path, name: str) -> None:
    write_data(tmp_path, FRAMES)
    settings = config_for(name, tmp_path).train_dataloader.dataset
    dataset = BDD100KDataset(**{key: value for key, value in settings.items() if key != "type"})
    np.random.seed(0)
    samples = [dataset[index % 2] for index in range(60)]
    heights = {720} if name.endswith("1x") else {600, 624, 648, 672, 696, 720}
    # Width 1280 and a lower height: the frame is scaled to that height, and its width by as much.
    expected = {(height, round(height * 1280 / 720)) for height in heights}
    assert {tuple(sample["inputs"].shape[1:]) for sample in samples} == expected
    assert {sample["data_samples"].flip for sample in samples} == {True, False}
    for sample in samples[::2]:
        check_red_square(sample)


def check_red_square(sample: Mapping[str, Any]) -> None:
    """The car of ``a.jpg`` is drawn in red: inside its box the image is red (BGR), just outside it is not."""
    image = sample["inputs"].permute(1, 2, 0)
    x1, y1, x2, y2 = sample["data_samples"].gt_instances.bboxes.tensor[0].round().int().tolist()
    assert image[y1 + 3, x1 + 3].tolist()[2] > 200
    assert image[y2 - 4, x2 - 4].tolist()[2] > 200
    assert image[y1 - 4, x1 + 3].tolist()[2] < 130
    assert image[y2 - 4, x2 + 4].tolist()[2] < 130


def test_ignored_regions_are_set_apart_from_objects(tmp_path: Path) -> None:
    write_data(tmp_path, FRAMES)
    settings = config_for("faster_rcnn_r50_fpn_1x", tmp_path).train_dataloader.dataset
    dataset = BDD100KDataset(**{key: value for key, value in settings.items() if key != "type"})
    sample = dataset[1]["data_samples"]
    assert sample.gt_instances.labels.tolist() == [CLASSES.index("motorcycle")]
    assert sample.ignored_instances.labels.tolist() == [CLASSES.index("pedestrian")]


def test_inference_samples_have_the_size_of_the_frame(tmp_path: Path) -> None:
    write_data(tmp_path, FRAMES, split="val")
    settings = config_for("retinanet_r50_fpn_3x", tmp_path).test_dataloader.dataset
    dataset = BDD100KDataset(**{key: value for key, value in settings.items() if key != "type"})
    assert len(dataset) == len(FRAMES)
    sample = dataset[3]
    assert sample["inputs"].shape == (3, 720, 1280)
    assert sample["data_samples"].metainfo["img_id"] == "empty.jpg"
    assert tuple(sample["data_samples"].scale_factor) == (1.0, 1.0)


def rates_by_epoch(config: Config, optimizer: torch.optim.Optimizer) -> list[float]:
    """The learning rate of the first group at the first iteration of each epoch, warm-up aside."""
    settings = dict(config.param_scheduler[1])
    scheduler = PARAM_SCHEDULERS.build(settings, default_args={"optimizer": optimizer})
    rates = []
    for _ in range(config.train_cfg.max_epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("name", FAMILIES)
def test_the_optimizer_and_schedule_of_a_family_build(name: str) -> None:
    config = load_config(ZOO[name].config_path)
    settings = dict(config.optim_wrapper)
    if settings["type"] == "AmpOptimWrapper":  # which mmengine builds on a GPU only
        settings = {**settings, "type": "OptimWrapper"}
        del settings["loss_scale"]
    optimizer = build_optim_wrapper(build_meta_model(config, name=name), settings).optimizer
    assert type(optimizer).__name__ == config.optim_wrapper.optimizer.type
    assert max(group["lr"] for group in optimizer.param_groups) == pytest.approx(
        config.optim_wrapper.optimizer.lr * (2 if "fcos" in name else 1)
    )
    start = optimizer.param_groups[0]["lr"]
    first, second = (9, 11) if "swin" in name or "convnext" in name else (8, 11)
    rates = [start] * first + [start / 10] * (second - first) + [start / 100] * (12 - second)
    assert rates_by_epoch(config, optimizer) == pytest.approx(rates)


@pytest.mark.parametrize(("name", "fraction"), [("faster_rcnn_r50_fpn_1x", 0.001), ("fcos_r50_fpn_1x", 1 / 3)])
def test_the_warm_up_starts_at_its_fraction_and_ends_at_iteration_500(name: str, fraction: float) -> None:
    config = load_config(ZOO[name].config_path)
    rate = config.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = PARAM_SCHEDULERS.build(dict(config.param_scheduler[0]), default_args={"optimizer": optimizer})
    rates = []
    for _ in range(502):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(rate * fraction)
    assert rates[498] < rate
    assert rates[500:] == pytest.approx([rate, rate])


def test_fcos_learns_biases_twice_as_fast_and_without_decay() -> None:
    config = load_config(ZOO["fcos_r50_fpn_1x"].config_path)
    model = build_meta_model(config, name="fcos_r50_fpn_1x")
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    by_id = {id(parameter): group for group in groups for parameter in group["params"]}
    head = model.bbox_head.conv_cls
    assert (by_id[id(head.bias)]["lr"], by_id[id(head.bias)]["weight_decay"]) == (0.02, 0.0)
    assert (by_id[id(head.weight)]["lr"], by_id[id(head.weight)]["weight_decay"]) == (0.01, 0.0001)


@pytest.fixture
def opencv_threads() -> Iterator[None]:
    threads = cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads)


@pytest.mark.usefixtures("opencv_threads")
@pytest.mark.filterwarnings("ignore:The distutils package is deprecated")  # mmengine lists the compiler by it
def test_mmengines_runner_takes_a_config_and_gives_batches(tmp_path: Path) -> None:
    write_data(tmp_path / "data", FRAMES)
    config = config_for("faster_rcnn_r50_fpn_1x", tmp_path / "data")
    config.merge_from_dict(
        {"work_dir": str(tmp_path / "work"), "log_level": "ERROR", "model": {"backbone": {"init_cfg": None}}}
    )
    config.train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    runner = Runner.from_cfg(config)
    batch = next(iter(runner.build_dataloader(config.train_dataloader)))
    assert [tuple(image.shape) for image in batch["inputs"]] == [(3, 720, 1280)] * 2
    assert batch.keys() == pseudo_collate([{"inputs": 0, "data_samples": 0}]).keys()
