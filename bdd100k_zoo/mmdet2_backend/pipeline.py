"""Test pipelines of the two generations: what mmdet 3's data preprocessor does are steps of mmdet 2's pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Step = dict[str, Any]

PREPROCESSOR = "DetDataPreprocessor"
READ = frozenset({"type", "mean", "std", "bgr_to_rgb", "rgb_to_bgr", "pad_size_divisor", "pad_value"})
IDLE = frozenset({"pad_mask", "mask_pad_value", "pad_seg", "seg_pad_value", "boxtype2tensor", "non_blocking"})
"""Settings of the preprocessor that touch no pixel of an image that is only looked at."""
RESIZE = frozenset({"type", "scale", "scale_factor", "keep_ratio", "backend", "interpolation"})


def pipeline_of_2(steps: Sequence[Step], preprocessor: Mapping[str, Any], *, name: str) -> list[Step]:
    """Make mmdet 2's pipeline, for pixels in memory, of mmdet 3's and of the data preprocessor.

    Raises:
        ConfigError: a step or a setting that mmdet 2 has no counterpart for, or not exactly one Resize.
    """
    kinds = [step.get("type") for step in steps]
    known = {"LoadImageFromFile", "LoadAnnotations", "Resize", "PackDetInputs"}
    if other := [kind for kind in kinds if kind not in known]:
        raise ConfigError(name, f"mmdet 2 has no counterpart for the step {other[0]} of the test pipeline")
    if kinds.count("Resize") != 1:
        raise ConfigError(name, f"expected one Resize in the test pipeline, found {kinds.count('Resize')}")
    resize = steps[kinds.index("Resize")]
    as_floats = any(step.get("to_float32") for step in steps)
    transforms = [
        _resize(resize, name),
        {"type": "RandomFlip"},  # of the flip that is none: the model reads that an image was not flipped
        *_preprocessing(preprocessor, name),
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]
    return [
        {"type": "LoadImageFromWebcam", "to_float32": as_floats},
        {"type": "MultiScaleFlipAug", **_scale(resize, name), "flip": False, "transforms": transforms},
    ]


def pipeline_of_3(steps: Sequence[Step]) -> list[Step]:
    """Make mmdet 3's test pipeline of mmdet 2's, without what its data preprocessor does."""
    (augmented,) = (step for step in steps if step["type"] == "MultiScaleFlipAug")
    (resize,) = (step for step in augmented["transforms"] if step["type"] == "Resize")
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": augmented["img_scale"], "keep_ratio": resize["keep_ratio"]},
        {"type": "PackDetInputs"},
    ]


def preprocessor_of(steps: Sequence[Step]) -> Step:
    """Make mmdet 3's data preprocessor of mmdet 2's test pipeline."""
    (augmented,) = (step for step in steps if step["type"] == "MultiScaleFlipAug")
    found = {step["type"]: step for step in augmented["transforms"]}
    normalize, pad = found["Normalize"], found["Pad"]
    return {
        "type": PREPROCESSOR,
        "mean": list(normalize["mean"]),
        "std": list(normalize["std"]),
        "bgr_to_rgb": normalize["to_rgb"],
        "pad_size_divisor": pad["size_divisor"],
    }


def _resize(step: Step, name: str) -> Step:
    _refuse(step.keys() - RESIZE, "Resize of the test pipeline", name)
    kept = {key: value for key, value in step.items() if key not in ("scale", "scale_factor")}
    return {"keep_ratio": False, **kept}


def _scale(resize: Step, name: str) -> Step:
    scale, factor = resize.get("scale"), resize.get("scale_factor")
    if (scale is None) == (factor is None):
        raise ConfigError(name, "expected either scale or scale_factor in the Resize of the test pipeline")
    if factor is not None:
        return {"scale_factor": factor}
    return {"img_scale": tuple(scale) if isinstance(scale, (list, tuple)) else (scale, scale)}


def _preprocessing(preprocessor: Mapping[str, Any], name: str) -> list[Step]:
    kind = preprocessor.get("type", PREPROCESSOR)
    if kind != PREPROCESSOR:
        raise ConfigError(name, f"mmdet 2 has no counterpart for the data preprocessor {kind}")
    _refuse(
        {key for key in preprocessor.keys() - READ - IDLE if preprocessor[key] is not None}, "data_preprocessor", name
    )
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    swapped = bool(preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr"))
    pad = {
        "type": "Pad",
        "size_divisor": preprocessor.get("pad_size_divisor", 1),
        "pad_val": {"img": preprocessor.get("pad_value", 0)},
    }
    if mean is None or std is None:
        raise ConfigError(name, "data_preprocessor: expected mean and std, without which mmdet 2 normalises nothing")
    return [{"type": "Normalize", "mean": list(mean), "std": list(std), "to_rgb": swapped}, pad]


def _refuse(keys: set[str], place: str, name: str) -> None:
    if keys:
        raise ConfigError(name, f"mmdet 2 has no counterpart for {sorted(keys)[0]} in the {place}")
