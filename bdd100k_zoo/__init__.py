"""The BDD100K detection model zoo as software.

from bdd100k_zoo import evaluate, load_detector, predict

detector = load_detector("cascade_rcnn_r50_fpn_3x")
detections = detector("frame.jpg")   # or a uint8 array [height, width, 3] in BGR order
run = predict("cascade_rcnn_r50_fpn_3x", split="val", data="ROOT")
print(evaluate(run, data="ROOT"))

See docs/python.md. Errors are those of ``bdd100k_zoo.errors``; messages go to the logger ``bdd100k_zoo``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bdd100k_zoo.api.downloads import download
    from bdd100k_zoo.api.exchange import convert, submit
    from bdd100k_zoo.api.pictures import report, show
    from bdd100k_zoo.api.prediction import Run, predict
    from bdd100k_zoo.api.reproduction import Reproduction, reproduce
    from bdd100k_zoo.api.scoring import Comparison, Evaluation, compare, evaluate
    from bdd100k_zoo.api.tables import table
    from bdd100k_zoo.api.training import Training, train
    from bdd100k_zoo.data.detections import Detection, Detections
    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.prediction.detector import Detector, load_detector
    from bdd100k_zoo.registry import Model, Zoo, list_models, load_zoo

__all__ = [
    "Comparison",
    "Detection",
    "Detections",
    "Detector",
    "Evaluation",
    "Model",
    "Reproduction",
    "Run",
    "Scores",
    "Training",
    "Zoo",
    "__version__",
    "compare",
    "convert",
    "download",
    "evaluate",
    "list_models",
    "load_detector",
    "load_zoo",
    "predict",
    "report",
    "reproduce",
    "show",
    "submit",
    "table",
    "train",
]
__version__ = "0.1.0"

_NAMES_BY_HOME = {
    "api.downloads": ("download",),
    "api.exchange": ("convert", "submit"),
    "api.training": ("Training", "train"),
    "api.pictures": ("report", "show"),
    "api.prediction": ("Run", "predict"),
    "api.reproduction": ("Reproduction", "reproduce"),
    "api.scoring": ("Comparison", "Evaluation", "compare", "evaluate"),
    "api.tables": ("table",),
    "data.detections": ("Detection", "Detections"),
    "evaluation.scores": ("Scores",),
    "prediction.detector": ("Detector", "load_detector"),
    "registry": ("Model", "Zoo", "list_models", "load_zoo"),
}
_HOMES = {name: f"bdd100k_zoo.{home}" for home, names in _NAMES_BY_HOME.items() for name in names}


def __getattr__(name: str) -> object:
    """Import what is asked for, when it is asked for: the command line must start without torch or numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
