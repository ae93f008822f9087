"""Translate configs for mmdet 3, including their test pipelines, to settings for mmdet 2.

mmdet 2 ships the same base configs as mmdet 3, under file names with the same words in another order. A base
``mmdet::FILE`` is therefore read from mmdet 2 and translated to mmdet 3's settings. The config that is based on it then
runs unchanged, and overrides have the same keys as with mmdet 3. The result is translated to mmdet 2's settings.
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
    from collections.abc import Iterable, Mapping, Sequence

    from mmengine.config import ConfigDict

PipelineStep = dict[str, Any]

PREPROCESSOR = "DetDataPreprocessor"
CONVERTED_KEYS = frozenset({"type", "mean", "std", "bgr_to_rgb", "rgb_to_bgr", "pad_size_divisor", "pad_value"})
IGNORED_KEYS = frozenset({"pad_mask", "mask_pad_value", "pad_seg", "seg_pad_value", "boxtype2tensor", "non_blocking"})
"""Settings of the preprocessor that change no pixel of an image without labels."""
RESIZE_KEYS = frozenset({"type", "scale", "scale_factor", "keep_ratio", "backend", "interpolation"})
KNOWN_STEPS = frozenset({"LoadImageFromFile", "LoadAnnotations", "Resize", "PackDetInputs"})
SYNONYMS: Mapping[str, str] = {"mstrain": "ms"}
"""Words in mmdet 2's file names, and mmdet 3's words for them."""
MMDET3_MODULES = ("bdd100k_zoo.training.", "bdd100k_zoo.backends.mmdet3.")
"""Modules that configs import for mmdet 3 only: BDD100K as a dataset of its registry, and networks."""
CONVNEXT: Mapping[str, object] = {
    "type": "mmcls.ConvNeXt",
    "out_indices": [0, 1, 2, 3],
    "gap_before_final_norm": False,
}
"""What mmcls calls this package's backbone ConvNeXt, and the settings with which it computes the same."""
PLACEHOLDER_SCHEDULE = {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 500}
"""A placeholder for the base's warm-up, which configs copy into their schedules; mmdet 2 is not used for training."""


def load_config(
    path: Path, overrides: Mapping[str, object] | None = None, *, shipped: Path | None = None
) -> dict[str, Any]:
    """Run a config and its bases, and return mmdet 2's settings: ``model`` and ``data.test.pipeline``.

    Args:
        path: a config for mmdet 3, in mmengine's text style.
        overrides: values by dotted key, with the keys of mmdet 3.
        shipped: the folder of the configs that mmdet 2 ships; that of the installed one by default.

    Raises:
        ConfigError: the config does not run, an override does not fit it, or mmdet 2 does not support a setting.
        MissingPackageError: a module that it imports needs a package that is not installed.
    """
    with TemporaryDirectory(prefix="bdd100k-zoo-") as folder:

        def find_base(package: str, file: str) -> Path:
            if package != "mmdet":
                return find_package_configs(package) / file
            old = find_mmdet2_config(file, shipped or find_package_configs("mmdet"))
            return _write_mmdet3_config(old, Path(folder))

        settings = read_config(path, overrides, shipped=find_base)
    _import_custom_modules(settings.get("custom_imports"), str(path))
    return to_mmdet2_settings(settings.to_dict(), name=str(path))


def find_mmdet2_config(file: str, configs: Path) -> Path:
    """Return the config of mmdet 2 for one of mmdet 3: in the folder of that name, the one with the same words.

    Raises:
        FileNotFoundError: there is none, or more than one.
    """
    wanted = configs / file
    alike = [path for path in wanted.parent.glob("*.py") if _count_words(path) == _count_words(wanted)]
    if len(alike) != 1:
        raise FileNotFoundError(f"mmdet 2 ships {'more than one config' if alike else 'no config'} like {file}")
    return alike[0]


def _count_words(path: Path) -> Counter[str]:
    return Counter(SYNONYMS.get(word, word) for word in re.split(r"[-_]", path.stem))


def _write_mmdet3_config(path: Path, folder: Path) -> Path:
    """Write a config of mmdet 2 with mmdet 3's settings: model, test pipeline, keys of a schedule. Return the file."""
    old = Config.fromfile(path, import_custom_modules=False)
    steps = old.data.test.pipeline
    settings = {
        "model": old.model.to_dict() | {"data_preprocessor": to_data_preprocessor(steps)},
        "test_dataloader": {"dataset": {"pipeline": to_mmdet3_pipeline(steps)}},
        "param_scheduler": [PLACEHOLDER_SCHEDULE],
        "optim_wrapper": {"optimizer": {}},
        "train_cfg": {},
    }
    written = folder / path.name
    written.write_text("".join(f"{key} = {value!r}\n" for key, value in settings.items()), encoding="utf-8")
    return written


def _import_custom_modules(imports: ConfigDict | None, name: str) -> None:
    named = (imports or {}).get("imports") or []
    for module in [named] if isinstance(named, str) else named:
        if module.startswith(MMDET3_MODULES):
            continue
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(name, f"imports {module}, which cannot be imported: {error}") from error


def to_mmdet2_settings(settings: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """Translate settings of mmdet 3 to mmdet 2's, without pretrained weights, which would be downloaded.

    Raises:
        ConfigError: there is no model or no test pipeline, or mmdet 2 does not support a setting.
    """
    model = _strip_scope(without_pretrained(dict(settings.get("model") or {})))
    if not model:
        raise ConfigError(name, "describes no model")
    if (backbone := model.get("backbone") or {}).get("type") == "ConvNeXt":
        model["backbone"] = {**backbone, **CONVNEXT}
    try:
        steps = settings["test_dataloader"]["dataset"]["pipeline"]
    except (KeyError, TypeError) as error:
        raise ConfigError(name, "has no test_dataloader.dataset.pipeline") from error
    pipeline = to_mmdet2_pipeline(_strip_scope(steps), model.pop("data_preprocessor", None) or {}, name=name)
    return {"model": model, "data": {"test": {"pipeline": pipeline}}}


def _strip_scope(node: Any) -> Any:
    """Copy nested settings, with type names without the scope ``mmdet.``, which mmdet 2 does not know."""
    if isinstance(node, dict):
        copied = {key: _strip_scope(value) for key, value in node.items()}
        if isinstance(kind := node.get("type"), str):
            copied["type"] = kind.removeprefix("mmdet.")
        return copied
    return type(node)(map(_strip_scope, node)) if isinstance(node, (list, tuple)) else node


# Pipelines


def to_mmdet2_pipeline(
    steps: Sequence[PipelineStep], preprocessor: Mapping[str, Any], *, name: str
) -> list[PipelineStep]:
    """Translate mmdet 3's test pipeline and data preprocessor to mmdet 2's pipeline, for pixels in memory.

    Raises:
        ConfigError: mmdet 2 does not support a step or a setting, or there is not exactly one Resize.
    """
    kinds = [step.get("type") for step in steps]
    for kind in kinds:
        if kind not in KNOWN_STEPS:
            raise ConfigError(name, f"mmdet 2 does not support the step {kind} of the test pipeline")
    if kinds.count("Resize") != 1:
        raise ConfigError(name, f"expected one Resize in the test pipeline, found {kinds.count('Resize')}")
    resize = steps[kinds.index("Resize")]
    _refuse_settings(resize.keys() - RESIZE_KEYS, "Resize of the test pipeline", name)
    kept = {key: value for key, value in resize.items() if key not in ("scale", "scale_factor")}
    scale, factor = resize.get("scale"), resize.get("scale_factor")
    if (scale is None) == (factor is None):
        raise ConfigError(name, "expected either scale or scale_factor in the Resize of the test pipeline")
    size: PipelineStep = {"scale_factor": factor}
    if scale is not None:
        size = {"img_scale": tuple(scale) if isinstance(scale, (list, tuple)) else (scale, scale)}
    transforms = [
        {"keep_ratio": False, **kept},
        {"type": "RandomFlip"},  # it flips nothing, but adds the metadata that says so
        *_to_mmdet2_preprocessing(preprocessor, name),
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]
    return [
        {"type": "LoadImageFromWebcam", "to_float32": any(step.get("to_float32") for step in steps)},
        {"type": "MultiScaleFlipAug", **size, "flip": False, "transforms": transforms},
    ]


def _to_mmdet2_preprocessing(preprocessor: Mapping[str, Any], name: str) -> list[PipelineStep]:
    kind = preprocessor.get("type", PREPROCESSOR)
    if kind != PREPROCESSOR:
        raise ConfigError(name, f"mmdet 2 does not support the data preprocessor {kind}")
    unknown = preprocessor.keys() - CONVERTED_KEYS - IGNORED_KEYS
    _refuse_settings((key for key in unknown if preprocessor[key] is not None), "data_preprocessor", name)
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    if mean is None or std is None:
        raise ConfigError(name, "data_preprocessor: expected mean and std, which mmdet 2 needs to normalise images")
    swapped = bool(preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr"))
    return [
        {"type": "Normalize", "mean": list(mean), "std": list(std), "to_rgb": swapped},
        {
            "type": "Pad",
            "size_divisor": preprocessor.get("pad_size_divisor", 1),
            "pad_val": {"img": preprocessor.get("pad_value", 0)},
        },
    ]


def _refuse_settings(keys: Iterable[str], place: str, name: str) -> None:
    if unknown := sorted(keys):
        raise ConfigError(name, f"mmdet 2 does not support {unknown[0]} in the {place}")


def to_mmdet3_pipeline(steps: Sequence[PipelineStep]) -> list[PipelineStep]:
    """Translate mmdet 2's test pipeline to mmdet 3's, without the steps that are in the data preprocessor there."""
    augmentation = _find_step(steps, "MultiScaleFlipAug")
    resize = _find_step(augmentation["transforms"], "Resize")
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": augmentation["img_scale"], "keep_ratio": resize["keep_ratio"]},
        {"type": "PackDetInputs"},
    ]


def to_data_preprocessor(steps: Sequence[PipelineStep]) -> PipelineStep:
    """Return mmdet 3's data preprocessor for mmdet 2's test pipeline."""
    transforms = _find_step(steps, "MultiScaleFlipAug")["transforms"]
    normalize = _find_step(transforms, "Normalize")
    return {
        "type": PREPROCESSOR,
        "mean": list(normalize["mean"]),
        "std": list(normalize["std"]),
        "bgr_to_rgb": normalize["to_rgb"],
        "pad_size_divisor": _find_step(transforms, "Pad")["size_divisor"],
    }


def _find_step(steps: Sequence[PipelineStep], kind: str) -> PipelineStep:
    (step,) = (step for step in steps if step["type"] == kind)
    return step
