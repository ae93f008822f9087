"""Drawn images of several sizes, as arrays: every stack is given the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bdd100k_zoo.demo.scenes import draw_scene

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]


def small_images() -> dict[str, Pixels]:
    """Draw what costs a detector little: narrow parts, enlarged until they are as high or as wide as a frame.

    Returns:
        uint8 [height, width, 3], BGR, by name.
    """
    upright, lying = _street(11), _street(12)
    return {
        "upright 64x320": _part(upright, 300, 620, 560, 624),
        "lying 400x48": _part(lying, 336, 384, 430, 830),
    }


def all_images() -> dict[str, Pixels]:
    """Draw the small images, and others: a frame, enlarged and reduced ones, a square, a portrait, odd sides.

    Returns:
        uint8 [height, width, 3], BGR, by name.
    """
    frame, other = _street(13), _street(14)
    return {
        **small_images(),
        "frame 1280x720": frame,
        "reduced 640x360": np.ascontiguousarray(other[::2, ::2]),
        "enlarged 1920x1080": np.ascontiguousarray(frame.repeat(3, 0)[::2].repeat(3, 1)[:, ::2]),
        "square 720x720": _part(other, 0, 720, 280, 1000),
        "portrait 405x720": _part(frame, 0, 720, 437, 842),
        "odd 311x237": _part(other, 301, 538, 403, 714),
    }


def _street(seed: int) -> Pixels:
    return np.ascontiguousarray(draw_scene(seed).pixels[..., ::-1])


def _part(image: Pixels, top: int, bottom: int, left: int, right: int) -> Pixels:
    return np.ascontiguousarray(image[top:bottom, left:right])
