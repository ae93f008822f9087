"""Read predictions files with scalabel's own reader, and say what it found."""

import sys

from scalabel.label.io import load

for path in sys.argv[1:]:
    frames = load(path, nprocs=1).frames
    boxes = sum(len(frame.labels or ()) for frame in frames)
    if not frames or not boxes:
        sys.exit(f"{path}: {len(frames)} frames, {boxes} boxes")
    sys.stdout.write(f"{path}: scalabel reads {len(frames)} frames, {boxes} boxes\n")
