"""The BDD100K detection model zoo as software.

from bdd100k_zoo import load_detector

detector = load_detector("cascade_rcnn_r50_fpn_3x")
detections = detector("frame.jpg")   # or a uint8 array [height, width, 3] in BGR order
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.prediction.detector import Detector, load_detector
    from bdd100k_zoo.registry import load_zoo

__all__ = ["Detections", "Detector", "__version__", "load_detector", "load_zoo"]
__version__ = "0.1.0"

_HOMES = {
    "Detections": "bdd100k_zoo.data.detections",
    "Detector": "bdd100k_zoo.prediction.detector",
    "load_zoo": "bdd100k_zoo.registry",
    "load_detector": "bdd100k_zoo.prediction.detector",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, when it is asked for: the command line must start without torch or numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
