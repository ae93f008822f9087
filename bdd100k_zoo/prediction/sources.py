"""What detectors are given: frames that paths name, or images that the caller passes → pixels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

import numpy as np

from bdd100k_zoo.data.images import Frame, find_images
from bdd100k_zoo.data.pixels import Channels, ImageInput, to_bgr
from bdd100k_zoo.errors import ImagesError, NotFiniteError, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from bdd100k_zoo.data.images import FrameReader
    from bdd100k_zoo.progress import Progress

StreamSource: TypeAlias = Union["str | os.PathLike[str]", "Iterable[ImageInput | tuple[str, ImageInput]]"]
"""A folder, pattern, list file or video, a list of those, or any iterable of images; see ``Detector.stream``."""

SOURCE_HINT = (
    "pass a folder, a pattern, a list file, a video or a list of those; or an iterable of images or (name, image) pairs"
)


class GivenImage(NamedTuple):
    """An image that the caller passes."""

    name: str
    image: ImageInput
    channels: Channels
    """The order of an array's channels."""


Source: TypeAlias = Frame | GivenImage


def describe_source(source: Source) -> str:
    """Return what messages call an image: an image file's path, else its name."""
    if isinstance(source, GivenImage):
        return str(source.image) if _is_path(source.image) else source.name
    return str(source.path) if source.index is None else source.name


def read_pixels(source: Source, reader: FrameReader) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image: uint8 [height, width, 3], BGR.

    Raises:
        UnreadableImageError: a file is not a complete image.
        ImagesError: a file has changed since it was found, or the caller's image has a wrong type, dtype or shape.
    """
    if isinstance(source, Frame):
        return reader.read(source)
    with name_image_in_errors(source.name):
        return to_bgr(source.image, source.channels)


@contextmanager
def name_image_in_errors(name: str) -> Iterator[None]:
    """Add an image's name to the errors of the block that lack it; no name adds nothing."""
    try:
        yield
    except UnreadableImageError:  # has the path
        raise
    except ImagesError as error:
        if not name:
            raise
        raise ImagesError(f"{name}: {error}", error.hint) from error
    except NotFiniteError as error:
        raise NotFiniteError(error.model, error.precision, name) from error


def given_images(images: Iterable[ImageInput], channels: Channels) -> list[GivenImage]:
    """Return the caller's images, with the names by which errors call them: paths, else numbers from 0."""
    if _is_path(images):
        hint = "`detector(path)` takes one image, `detector.stream(path)` folders, patterns, lists and videos"
        raise ImagesError(f"expected several images, found the path {str(images)!r}", hint)
    numbered = enumerate(_check_several(images))
    return [GivenImage(str(each) if _is_path(each) else f"image {number}", each, channels) for number, each in numbered]


def open_source(source: StreamSource, channels: Channels, every: int, progress: Progress) -> Iterable[Source]:
    """Return the images of a source: those that paths name sorted by name, those of an iterable in its order.

    An iterable is consumed as the result is. Its paths are named by their base names, and other images by their number
    from 0, in seven digits, unless pairs give the name.

    Args:
        source: see ``StreamSource``.
        channels: the order of the channels of arrays.
        every: of a video, take frames 0, ``every``, 2 ``every`` …
        progress: where to report files of folders that are no images.

    Raises:
        ImagesError: paths name no image, or ``source`` is a single image or no iterable.
        UnreadableImageError, MissingPackageError, StorageError, InvalidFileError: see ``find_images``.
    """
    several: Iterable[Any] = [source] if _is_path(source) else _check_several(source)
    if isinstance(several, (list, tuple)) and several and all(map(_is_path, several)):
        found = find_images([os.fspath(each) for each in several], every=every)
        if ignored := found.describe_ignored():
            progress.note(ignored)
        return found.frames
    return _name_images(several, channels)


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike))


def _check_several(images: Any) -> Iterable[Any]:
    """Return an iterable of images; raises ImagesError for one image, whose rows would be taken for images."""
    pixels_of_one = getattr(images, "ndim", 0) in (2, 3)
    if pixels_of_one or not isinstance(images, Iterable) or isinstance(images, bytes):
        kind = type(images).__name__
        found = f"{getattr(images, 'dtype', kind)} {list(images.shape)}" if pixels_of_one else kind
        raise ImagesError(f"expected several images, found {found}", f"`detector(image)` takes one; {SOURCE_HINT}")
    return images


def _name_images(images: Iterable[Any], channels: Channels) -> Iterator[GivenImage]:
    for number, each in enumerate(images):
        name, image = f"{number:07}", each
        if isinstance(each, tuple):
            if len(each) != 2 or not isinstance(each[0], str):
                kinds = ", ".join(type(part).__name__ for part in each)
                raise ImagesError(f"image {number}: expected an image or (name, image), found ({kinds})", SOURCE_HINT)
            name, image = each
        elif _is_path(each):
            name = os.path.basename(each)  # noqa: PTH119
        yield GivenImage(name, _copy_pixels(image), channels)


def _copy_pixels(image: Any) -> Any:
    """Copy pixels that are read ahead: the caller may overwrite them, as readers of videos reuse their buffers."""
    if isinstance(image, np.ndarray):
        return image.copy()
    return image.clone() if hasattr(image, "clone") else image
