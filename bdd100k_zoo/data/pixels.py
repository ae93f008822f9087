"""What users pass as an image: a path, a PIL image, an array or a tensor → pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.errors import ImagesError, UnreadableImageError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Channels = Literal["bgr", "rgb"]
"""The order of an array's channels: ``bgr`` as OpenCV has it, ``rgb`` as PIL, imageio and matplotlib do."""

ImageInput: TypeAlias = Union["str | os.PathLike[str]", "Image.Image", "npt.NDArray[Any]", "Tensor"]
"""A path, a ``PIL.Image.Image``, a uint8 array or a uint8 tensor; see ``to_bgr``."""

EXPECTED = (
    "give a path, a PIL image, a uint8 array [height, width, 3] (also [height, width] or [height, width, 4]), or a "
    "uint8 tensor [3, height, width]"
)


def to_bgr(image: ImageInput, channels: Channels = "bgr") -> npt.NDArray[np.uint8]:
    """Return the pixels of an image as uint8 [height, width, 3], BGR.

    Args:
        image: a path (a file's EXIF rotation is applied); a PIL image, whose pixels are taken as they are; a uint8
            array [height, width, 3], [height, width] (grey) or [height, width, 4] (alpha is dropped); or a uint8 tensor
            [3, height, width] in RGB, as torchvision reads images, on any device.
        channels: the order of an array's channels. It has no effect on the others, whose order is known.

    Raises:
        UnreadableImageError: the file, also that of a PIL image, is not a complete image.
        ImagesError: it is something else; the message has its shape and dtype.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(Path(image))
    if isinstance(image, np.ndarray):
        return _from_array(image, channels)
    if _is_pil(image):
        return np.ascontiguousarray(np.asarray(_to_rgb(image))[..., ::-1])
    if hasattr(image, "detach") and hasattr(image, "permute"):  # a tensor, without importing torch
        return _from_tensor(image)
    kind = "a list of images: `detector.batch` takes several" if isinstance(image, (list, tuple)) else ""
    raise ImagesError(f"expected an image, found {kind or type(image).__name__}", EXPECTED)


def to_pil(image: ImageInput, channels: Channels = "bgr") -> Image.Image:
    """Return an image as a PIL image in RGB; arguments and errors are those of ``to_bgr``."""
    from PIL import Image

    if _is_pil(image):
        return _to_rgb(image)
    return Image.fromarray(np.ascontiguousarray(to_bgr(image, channels)[..., ::-1]))


def _is_pil(image: object) -> bool:
    from PIL import Image

    return isinstance(image, Image.Image)


def _to_rgb(image: Any) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # converting these would clip values above 255
        raise ImagesError(f"expected a PIL image of 8 bits a channel, found mode {image.mode} {image.size}", EXPECTED)
    try:
        converted: Image.Image = image.convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow decodes a file when its pixels are needed
        raise UnreadableImageError(
            Path(getattr(image, "filename", "") or "a PIL image"), f"is damaged: {error}"
        ) from error
    return converted


def _from_array(pixels: npt.NDArray[Any], channels: Channels) -> npt.NDArray[np.uint8]:
    if channels not in ("bgr", "rgb"):
        raise ImagesError(f"expected channels `bgr` or `rgb`, found {channels!r}", EXPECTED)
    is_grey = pixels.ndim == 2
    if pixels.dtype != np.uint8 or not (is_grey or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or not pixels.size:
        raise _wrong_pixels(pixels)
    if is_grey:
        return np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3] if channels == "bgr" else pixels[..., 2::-1])


def _from_tensor(pixels: Any) -> npt.NDArray[np.uint8]:
    if str(pixels.dtype) != "torch.uint8" or pixels.ndim != 3 or pixels.shape[0] != 3 or not pixels.numel():
        raise _wrong_pixels(pixels)
    rgb = pixels.detach().cpu().numpy()
    return np.ascontiguousarray(rgb.transpose(1, 2, 0)[..., ::-1])


def _wrong_pixels(pixels: Any) -> ImagesError:
    kind, shape = str(pixels.dtype).removeprefix("torch."), list(pixels.shape)
    hint = EXPECTED
    if kind.startswith(("float", "bfloat")):
        hint = f"scale the values to 0 to 255 and convert them to uint8; {EXPECTED}"
    return ImagesError(f"expected the pixels of one image, found {kind} {shape}", hint)
