"""Frames → pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.inference.images import check_unchanged, read_image

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.inference.decoding import Video
    from bdd100k_zoo.inference.images import Frame


class FrameReader:
    """Reads frames for one thread; every thread has its own. It holds the last video open, and closes it at the end."""

    def __init__(self) -> None:
        self._video: Video | None = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, frame: Frame) -> npt.NDArray[np.uint8]:
        """Decode a frame: uint8 [height, width, 3], BGR.

        An image file is read by ``images.read_image``. A frame of a video is converted by ``decoding.pixels_of``; its
        pixels are the same in whatever order frames are read, but in order of their numbers it takes the least time.

        Raises:
            ImageChangedError: the file is not the one that was found.
            UnreadableImageError: the file cannot be read, or its frame cannot be decoded.
            MissingPackageError: the frame is a video's, and PyAV is missing.
        """
        check_unchanged(frame)
        if frame.index is None:
            return read_image(frame.path)
        if self._video is None or self._video.path != frame.path:
            self._close()
            from bdd100k_zoo.inference.decoding import Video

            self._video = Video(frame.path)
        return self._video.read(frame.index)

    def _close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None


def reader_key(frame: Frame) -> str | None:
    """Say which frames one reader should read, in order: those of equal keys. None where any reader will do."""
    return None if frame.index is None else str(frame.path)
