"""The camera: where a point of the world stands in the frame.

World coordinates are metres from the point of the road below the camera: x to the right, y up, z ahead. Frame
coordinates are pixels from the upper left corner, x to the right, y down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from bdd100k_zoo.demo.dice import Dice

WIDTH, HEIGHT = 1280, 720
Floats = npt.NDArray[np.float64]


class Camera(NamedTuple):
    """A camera behind a windscreen, level, on a road that bends."""

    focal: float
    """In pixels."""
    centre: float
    """Column of the point straight ahead."""
    horizon: float
    """Its row."""
    height: float
    """Above the road, in metres."""
    bend: float
    """Metres sideways that the road gains, for the square of each metre ahead."""

    def shift(self, z: float) -> float:
        """Give the pixels by which the bend moves what stands at ``z`` metres."""
        return self.focal * self.bend * z

    def scale(self, z: float) -> float:
        """Give the pixels of a metre that stands at ``z`` metres."""
        return self.focal / z

    def scales(self, points: Floats) -> Floats:
        """Give the pixels of a metre at each of the points [..., 3]."""
        return self.focal / np.maximum(points[..., 2], 0.3)

    def project(self, points: Floats, depth: Floats) -> Floats:
        """Give columns and rows [n, corners, 2] of points [n, corners, 3], moved with the road at ``depth`` [n]."""
        scale = self.scales(points)
        shift = self.focal * self.bend * depth[:, None]
        columns = self.centre + shift + points[..., 0] * scale
        return np.stack((columns, self.horizon + (self.height - points[..., 1]) * scale), axis=-1)


def draw_camera(dice: Dice) -> Camera:
    """Mount a camera somewhere behind the windscreen."""
    return Camera(
        focal=dice.between(880, 1080),
        centre=dice.between(590, 690),
        horizon=dice.between(310, 390),
        height=dice.between(1.25, 1.65),
        bend=dice.between(-0.0008, 0.0008) * dice.unit(),
    )
