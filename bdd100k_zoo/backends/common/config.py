"""Load model configs, and check their settings."""

from __future__ import annotations

import traceback
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mmengine.config import Config
from mmengine.registry import DefaultScope

from bdd100k_zoo.errors import ConfigError, ZooError
from bdd100k_zoo.registry.loading import CONFIG_FOLDER
from bdd100k_zoo.registry.overrides import apply_overrides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Node = TypeVar("Node")

DATASET_TYPE = "BDD100KDataset"
"""The registered name of ``training.dataset``'s class."""

PRETRAINED_KEYS = ("init_cfg", "pretrained")

RUNNER_KEYS = frozenset(
    """
    model train_dataloader train_cfg optim_wrapper param_scheduler auto_scale_lr
    val_dataloader val_cfg val_evaluator test_dataloader test_cfg test_evaluator
    custom_imports default_scope default_hooks custom_hooks data_preprocessor visualizer log_processor log_level
    load_from resume launcher env_cfg randomness experiment_name work_dir
    model_wrapper_cfg sync_bn find_unused_parameters activation_checkpointing efficient_conv_bn_eval compile
    """.split()  # noqa: SIM905  (one a line would fill the screen)
)
"""The settings that mmengine's Runner reads at a config's top level. All others are helper variables of the file."""

NMS_OPS = ("nms", "soft_nms")
"""The functions of ``mmcv.ops`` for upright boxes that a head may name. mmcv passes this text to ``eval``."""

NUMBERS = ("score_thr", "iou_threshold", "min_bbox_size")
WHOLE_NUMBERS = ("max_per_img", "nms_pre")
"""Settings that heads do not read when they are built, but only when they select boxes."""


def load_config(
    path: Path,
    overrides: Mapping[str, object] | None = None,
    data_root: str | None = None,
    shipped: Callable[[str, str], Path] | None = None,
) -> Config:
    """Run a config and its bases, and return its settings without helper variables.

    A base may be a path relative to the config, ``mmdet::FILE`` (a config that mmdet ships) or ``bdd100k_zoo::FILE``
    (a config of this package). The modules of its ``custom_imports`` are imported, unless ``shipped`` is given.

    Args:
        path: the config.
        overrides: values by dotted key, as ``registry.overrides.parse_overrides`` returns them.
        data_root: the folder of BDD100K, in place of the one in the config.
        shipped: returns the path for ``PACKAGE::FILE`` of another package; by default, that file among the configs that
            the package ships.

    Raises:
        ConfigError: the config does not run, or an override does not fit it.
        MissingPackageError: a module that it imports needs a package that is not installed.
    """
    read = _run_config(path, shipped)
    settings = {key: value for key, value in read.to_dict().items() if key in RUNNER_KEYS}
    for key in overrides or {}:
        if key.partition(".")[0] not in RUNNER_KEYS:
            raise ConfigError(str(path), f"the override of {key!r} does not fit: nothing reads it")
    apply_overrides(str(path), settings, overrides or {})
    if data_root is not None:
        root = {"data_root": data_root}
        settings = _map_dicts(settings, lambda node: node | root if node.get("type") == DATASET_TYPE else node)
    return Config(settings, cfg_text=read.text, filename=str(path))


def _run_config(path: Path, shipped: Callable[[str, str], Path] | None) -> Config:
    with _resolve_bases(shipped or (lambda package, file: find_package_configs(package) / file)):
        try:
            return Config.fromfile(path, import_custom_modules=shipped is None)
        except ZooError:
            raise
        except Exception as error:  # a config is code, and may raise anything
            traceback.clear_frames(error.__traceback__)  # they would keep mmengine's temporary files open
            raise ConfigError(str(path), describe_error(error)) from error


_patch_lock = RLock()


@contextmanager
def _resolve_bases(shipped: Callable[[str, str], Path]) -> Iterator[None]:
    """Replace the function by which mmengine finds bases, inside the block.

    For ``PACKAGE::FILE`` mmengine itself needs pkg_resources, which setuptools removed in version 82.
    """

    def get_cfg_path(base: str, config: str) -> tuple[str, None]:
        package, separator, file = base.partition("::")
        if not separator:
            found = Path(config).parent / base
        else:
            found = CONFIG_FOLDER / file if package == "bdd100k_zoo" else shipped(package, file)
        return str(found), None

    with _patch_lock, warnings.catch_warnings():
        # mmengine does not close its temporary copy of a config that fails.
        warnings.simplefilter("ignore", ResourceWarning)
        original = Config.__dict__["_get_cfg_path"]
        Config._get_cfg_path = staticmethod(get_cfg_path)
        try:
            yield
        finally:
            Config._get_cfg_path = original


def find_package_configs(package: str) -> Path:
    """Return the folder of the configs that a package ships; raises ModuleNotFoundError if it is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"a base is in the package {package!r}, which is not installed")
    return Path(spec.submodule_search_locations[0]) / ".mim" / "configs"


def is_package_config(path: Path) -> bool:
    """Return whether a config belongs to this package, rather than to a user."""
    return path.resolve().is_relative_to(CONFIG_FOLDER)


def without_pretrained(settings: Node) -> Node:
    """Copy nested settings with every ``init_cfg`` and ``pretrained`` set to None, so that nothing is fetched."""
    return _map_dicts(settings, lambda node: node | {key: None for key in PRETRAINED_KEYS if key in node})


def _map_dicts(node: Node, function: Callable[[dict[str, Any]], dict[str, Any]]) -> Node:
    """Copy nested containers, keeping their types, with a function applied to every dict."""
    copied: Any = node
    if isinstance(node, dict):
        copied = type(node)(function({key: _map_dicts(value, function) for key, value in node.items()}))
    elif isinstance(node, (list, tuple)):
        copied = type(node)(_map_dicts(value, function) for value in node)
    return cast("Node", copied)


def check_postprocessing(settings: object, *, name: str, place: str = "model") -> None:
    """Check the settings by which heads select boxes, the ops' names and the numbers, wherever they are nested.

    Raises:
        ConfigError: a value that no head can use, with its dotted key.
    """
    entries: Iterable[tuple[object, object]] = ()
    if isinstance(settings, dict):
        entries = settings.items()
    elif isinstance(settings, (list, tuple)):
        entries = enumerate(settings)
    for key, value in entries:
        if expected := _expected(key, value):
            raise ConfigError(name, f"{place}.{key}: expected {expected}, found {value!r}")
        check_postprocessing(value, name=name, place=f"{place}.{key}")


def _expected(key: object, value: object) -> str:
    """Return what is expected instead of a value; empty if the value fits."""
    if value is None:
        return ""
    if key == "nms":
        kind = value.get("type", "nms") if isinstance(value, dict) else ""
        return f"a dict with a type of {' or '.join(NMS_OPS)}" if isinstance(kind, str) and kind not in NMS_OPS else ""
    if key in WHOLE_NUMBERS and (isinstance(value, bool) or not isinstance(value, int)):
        return "a whole number"
    return "a number" if key in NUMBERS and (isinstance(value, bool) or not isinstance(value, (int, float))) else ""


@contextmanager
def mmdet_default_scope() -> Iterator[None]:
    """Make mmengine's registries look into mmdet's inside the block; their scope is global.

    mmdet itself uses names that mmengine deprecates, and a layer of mmcv announces its settings; these warnings are
    suppressed.
    """
    with DefaultScope.overwrite_default_scope("mmdet"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "DeprecationWarning", UserWarning)  # so mmdet marks its own
        warnings.filterwarnings("ignore", "In MMCV v1.4.4", UserWarning)  # HSigmoid, in DyHead
        yield


@contextmanager
def translate_config_errors(job: str, *, name: str, library: str = "mmdet") -> Iterator[None]:
    """Raise ConfigError for any other error of the block: with unsuitable settings, mmdet raises errors of any type."""
    try:
        yield
    except ZooError:
        raise
    except Exception as error:
        raise ConfigError(name, f"{library} cannot {job}: {describe_error(error)}") from error


def describe_error(error: Exception) -> str:
    """Return an error's type and its text, if any, on one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))
