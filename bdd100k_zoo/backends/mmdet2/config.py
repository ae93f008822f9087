"""Configs for mmdet 3 as settings for mmdet 2, test pipelines included.

A base ``mmdet::FILE`` is looked for among the configs that mmdet 2 ships, whose file names have the same words in
another order, and told in mmdet 3's terms; the config that is based on it then runs as it stands, and overrides have
the keys that they have with mmdet 3. What comes of both is told in mmdet 2's terms.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from bdd100k_zoo.backends.common.config import find_package_configs, without_pretrained
from bdd100k_zoo.backends.common.config import load_config as read_config
from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mmengine.config import ConfigDict

PipelineStep = dict[str, Any]

PREPROCESSOR = "DetDataPreprocessor"
CONVERTED_KEYS = frozenset({"type", "mean", "std", "bgr_to_rgb", "rgb_to_bgr", "pad_size_divisor", "pad_value"})
IGNORED_KEYS = frozenset({"pad_mask", "mask_pad_value", "pad_seg", "seg_pad_value", "boxtype2tensor", "non_blocking"})
"""Settings of the preprocessor that touch no pixel of an image that is only looked at."""
RESIZE_KEYS = frozenset({"type", "scale", "scale_factor", "keep_ratio", "backend", "interpolation"})


def to_mmdet2_pipeline(
    steps: Sequence[PipelineStep], preprocessor: Mapping[str, Any], *, name: str
) -> list[PipelineStep]:
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


def to_mmdet3_pipeline(steps: Sequence[PipelineStep]) -> list[PipelineStep]:
    """Make mmdet 3's test pipeline of mmdet 2's, without what its data preprocessor does."""
    (augmented,) = (step for step in steps if step["type"] == "MultiScaleFlipAug")
    (resize,) = (step for step in augmented["transforms"] if step["type"] == "Resize")
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": augmented["img_scale"], "keep_ratio": resize["keep_ratio"]},
        {"type": "PackDetInputs"},
    ]


def to_data_preprocessor(steps: Sequence[PipelineStep]) -> PipelineStep:
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


def _resize(step: PipelineStep, name: str) -> PipelineStep:
    _refuse(step.keys() - RESIZE_KEYS, "Resize of the test pipeline", name)
    kept = {key: value for key, value in step.items() if key not in ("scale", "scale_factor")}
    return {"keep_ratio": False, **kept}


def _scale(resize: PipelineStep, name: str) -> PipelineStep:
    scale, factor = resize.get("scale"), resize.get("scale_factor")
    if (scale is None) == (factor is None):
        raise ConfigError(name, "expected either scale or scale_factor in the Resize of the test pipeline")
    if factor is not None:
        return {"scale_factor": factor}
    return {"img_scale": tuple(scale) if isinstance(scale, (list, tuple)) else (scale, scale)}


def _preprocessing(preprocessor: Mapping[str, Any], name: str) -> list[PipelineStep]:
    kind = preprocessor.get("type", PREPROCESSOR)
    if kind != PREPROCESSOR:
        raise ConfigError(name, f"mmdet 2 has no counterpart for the data preprocessor {kind}")
    _refuse(
        {key for key in preprocessor.keys() - CONVERTED_KEYS - IGNORED_KEYS if preprocessor[key] is not None},
        "data_preprocessor",
        name,
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


SYNONYMS: Mapping[str, str] = {"mstrain": "ms"}
"""Words in mmdet 2's file names, and what mmdet 3 calls them."""

MMDET3_MODULE_PREFIX = "bdd100k_zoo.backends.mmdet3."
"""Modules that configs import for mmdet 3 alone: BDD100K as a dataset of its registry."""

PLACEHOLDER_SCHEDULE = {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 500}
"""Stands for the base's warm-up, which configs carry over into schedules of their own: nothing is trained here."""


def load_config(
    path: Path, overrides: Mapping[str, object] | None = None, *, name: str = "", shipped: Path | None = None
) -> dict[str, Any]:
    """Run a config and its bases, and give what mmdet 2 builds a detector of: ``model`` and ``data.test.pipeline``.

    Args:
        path: a config for mmdet 3, in mmengine's text style.
        overrides: values by dotted key, the keys being mmdet 3's.
        name: what errors call the model; the config's path by default.
        shipped: the folder of the configs that mmdet 2 ships; that of the installed one by default.

    Raises:
        ConfigError: the config does not run, an override does not fit it, or mmdet 2 has no counterpart for a setting.
        MissingPackageError: a module that it imports needs a package that is not there.
    """
    with TemporaryDirectory(prefix="bdd100k-zoo-") as folder:

        def told(package: str, file: str) -> Path:
            if package != "mmdet":
                return find_package_configs(package) / file
            return _told_as_3(find_mmdet2_config(file, shipped or find_package_configs("mmdet")), Path(folder))

        settings = read_config(path, overrides, shipped=told)
    _import_custom(settings.get("custom_imports"), str(path))
    return to_mmdet2_settings(settings.to_dict(), name=name or str(path))


def find_mmdet2_config(file: str, configs: Path) -> Path:
    """Find the config that mmdet 2 ships for one of mmdet 3's: in the folder of that name, with the same words.

    Raises:
        FileNotFoundError: there is none, or more than one.
    """
    wanted = configs / file
    alike = [path for path in wanted.parent.glob("*.py") if _words(path) == _words(wanted)]
    if len(alike) != 1:
        raise FileNotFoundError(f"mmdet 2 ships {'more than one config' if alike else 'no config'} like {file}")
    return alike[0]


def _words(path: Path) -> Counter[str]:
    return Counter(SYNONYMS.get(word, word) for word in re.split(r"[-_]", path.stem))


def to_mmdet2_settings(settings: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """Tell settings of mmdet 3 in mmdet 2's terms, with nothing left that would be fetched.

    Raises:
        ConfigError: there is no model or no test pipeline, or mmdet 2 has no counterpart for a setting.
    """
    model = _unscoped(without_pretrained(dict(settings.get("model") or {})))
    if not model:
        raise ConfigError(name, "describes no model")
    try:
        steps = settings["test_dataloader"]["dataset"]["pipeline"]
    except (KeyError, TypeError) as error:
        raise ConfigError(name, "has no test_dataloader.dataset.pipeline") from error
    pipeline = to_mmdet2_pipeline(_unscoped(steps), model.pop("data_preprocessor", None) or {}, name=name)
    return {"model": model, "data": {"test": {"pipeline": pipeline}}}


def _told_as_3(path: Path, folder: Path) -> Path:
    """Write a config of mmdet 2 in mmdet 3's terms and give the file: model, test pipeline, places for a schedule."""
    old = Config.fromfile(path, import_custom_modules=False)
    steps = old.data.test.pipeline
    model = old.model.to_dict() | {"data_preprocessor": to_data_preprocessor(steps)}
    told = {
        "model": model,
        "test_dataloader": {"dataset": {"pipeline": to_mmdet3_pipeline(steps)}},
        "param_scheduler": [PLACEHOLDER_SCHEDULE],
        "optim_wrapper": {"optimizer": {}},
        "train_cfg": {},
    }
    written = folder / path.name
    written.write_text("".join(f"{key} = {value!r}\n" for key, value in told.items()), encoding="utf-8")
    return written


def _import_custom(imports: ConfigDict | None, name: str) -> None:
    for module in _modules(imports):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(name, f"imports {module}, which does not import: {error}") from error


def _modules(imports: ConfigDict | None) -> Iterator[str]:
    named = (imports or {}).get("imports") or []
    listed = [named] if isinstance(named, str) else named
    return (module for module in listed if not module.startswith(MMDET3_MODULE_PREFIX))


def _unscoped(node: Any) -> Any:
    """Copy nested settings with the types' names without ``mmdet.``, the scope in which mmdet 2 looks anyway."""
    if isinstance(node, dict):
        return {key: _bare(value) if key == "type" else _unscoped(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(map(_unscoped, node))
    return node


def _bare(kind: Any) -> Any:
    return kind.removeprefix("mmdet.") if isinstance(kind, str) else kind
