"""Generate the pictures of docs/show.md: the synthetic street with made-up detections, without and with its labels.

python docs/images/street.py
"""

from __future__ import annotations

from pathlib import Path

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.boxes import BoxMark, draw_boxes
from bdd100k_zoo.sample_data import draw_sample_frame

HERE = Path(__file__).resolve().parent

LABELS = [((330, 470, 520, 584), "car"), ((740, 390, 830, 446), "car"), ((900, 140, 930, 220), "traffic light")]
DETECTIONS = [
    ((326, 468, 522, 588), "car", 0.97),
    ((898, 138, 931, 221), "traffic light", 0.88),
    ((560, 330, 600, 352), "truck", 0.34),
    ((629, 508, 650, 602), "traffic sign", 0.41),
    ((341, 477, 505, 520), "bus", 0.36),
]
VERDICTS = ("true", "true", "false", "false", "false")
FOUND = ("found", "missed", "found")
"""What the detections make of the labels."""


def main() -> None:
    """Write both pictures."""
    street, number = draw_sample_frame(), CLASSES.index
    detections = [BoxMark(box, number(name), score, "detection") for box, name, score in DETECTIONS]
    judged = [
        *(
            BoxMark(box, number(name), score, kind)
            for (box, name, score), kind in zip(DETECTIONS, VERDICTS, strict=True)
        ),
        *(BoxMark(box, number(name), None, kind) for (box, name), kind in zip(LABELS, FOUND, strict=True)),
    ]
    for file, marks, legend in (
        ("street.jpg", detections, None),
        ("street-judged.jpg", judged, "at IoU 0.5, score 30% and up"),
    ):
        draw_boxes(street, marks, legend).save(HERE / file, quality=85, subsampling=0)


if __name__ == "__main__":
    main()
