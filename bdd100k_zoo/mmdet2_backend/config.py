"""Configs for mmdet 3 → settings for mmdet 2. What both generations call the same passes through.

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

from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.mm_common.config import configs_of, without_pretrained
from bdd100k_zoo.mm_common.config import load_config as read_config
from bdd100k_zoo.mmdet2_backend.pipeline import pipeline_of_2, pipeline_of_3, preprocessor_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mmengine.config import ConfigDict

SYNONYMS: Mapping[str, str] = {"mstrain": "ms"}
"""Words in mmdet 2's file names, and what mmdet 3 calls them."""

OF_MMDET3 = "bdd100k_zoo.mmdet_backend."
"""Modules that configs import for mmdet 3 alone: BDD100K as a dataset of its registry."""

SCHEDULE = {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 500}
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
                return configs_of(package) / file
            return _told_as_3(shipped_by_2(file, shipped or configs_of("mmdet")), Path(folder))

        settings = read_config(path, overrides, shipped=told)
    _import_custom(settings.get("custom_imports"), str(path))
    return settings_for_2(settings.to_dict(), name=name or str(path))


def shipped_by_2(file: str, configs: Path) -> Path:
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


def settings_for_2(settings: Mapping[str, Any], *, name: str) -> dict[str, Any]:
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
    pipeline = pipeline_of_2(_unscoped(steps), model.pop("data_preprocessor", None) or {}, name=name)
    return {"model": model, "data": {"test": {"pipeline": pipeline}}}


def _told_as_3(path: Path, folder: Path) -> Path:
    """Write a config of mmdet 2 in mmdet 3's terms and give the file: model, test pipeline, places for a schedule."""
    old = Config.fromfile(path, import_custom_modules=False)
    steps = old.data.test.pipeline
    model = old.model.to_dict() | {"data_preprocessor": preprocessor_of(steps)}
    told = {
        "model": model,
        "test_dataloader": {"dataset": {"pipeline": pipeline_of_3(steps)}},
        "param_scheduler": [SCHEDULE],
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
    return (module for module in listed if not module.startswith(OF_MMDET3))


def _unscoped(node: Any) -> Any:
    """Copy nested settings with the types' names without ``mmdet.``, the scope in which mmdet 2 looks anyway."""
    if isinstance(node, dict):
        return {key: _bare(value) if key == "type" else _unscoped(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(map(_unscoped, node))
    return node


def _bare(kind: Any) -> Any:
    return kind.removeprefix("mmdet.") if isinstance(kind, str) else kind
