"""What a detector may be given: pixels in memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bdd100k_zoo.errors import ImageShapeError
from bdd100k_zoo.mm_common.settings import told

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME = (720, 1280)
"""Height and width of a frame of BDD100K, in pixels: what every pipeline must be able to take."""


def check_image(image: Any) -> None:
    """Check that something is an image in memory: uint8 [height, width, 3], not empty.

    Raises:
        ImageShapeError: it is something else.
    """
    is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not (is_array and image.shape[2] == 3 and image.size):
        expected = "expected a numpy array, uint8 [height, width, 3] in BGR order, not empty"
        raise ImageShapeError(shape_of(image), expected)


@contextmanager
def blamed_on_image(image: Any) -> Iterator[None]:
    """Check an image, and tell what a test pipeline, which has been tried on a frame, refuses inside.

    Raises:
        ImageShapeError: it is no image, or the pipeline cannot take it.
    """
    check_image(image)
    try:
        yield
    # A frame went through: what is refused now is this image, in whatever words OpenCV has for it.
    except Exception as error:
        raise ImageShapeError(shape_of(image), f"the test pipeline cannot take it ({told(error)})") from error


def shape_of(image: object) -> str:
    """Say what was given in place of an image, or as one."""
    if isinstance(image, np.ndarray):
        return f"{image.dtype} {list(image.shape)}"
    kind = type(image)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
