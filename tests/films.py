"""Small videos, made while tests run: every frame has its number in its top rows, as black and white blocks."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

av = pytest.importorskip("av", reason="NOT TESTED: videos, as PyAV is not installed")

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEIGHT, WIDTH = 48, 64
BITS = 8


def drawing(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Moving colours, RGB, with the number in binary above them."""
    down, right = np.mgrid[0:height, 0:width]
    colours = [(right * 2 + number * 7) % 256, (down * 5 + number * 3) % 256, (right + down) * 3 % 256]
    pixels = np.stack(colours, axis=-1).astype(np.uint8)
    for bit in range(BITS):
        block = width // BITS
        pixels[: height // 6, bit * block : (bit + 1) * block] = 255 * (number >> bit & 1)
    return pixels


def number_in(pixels: np.ndarray) -> int:
    """Read the number off a frame again."""
    height, width, _ = pixels.shape
    block, row = width // BITS, height // 12
    return sum(int(pixels[row, bit * block + block // 2].mean() > 128) << bit for bit in range(BITS))


def film(
    path: Path,
    frames: int = 30,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    *,
    keys: int | None = None,
    between: int | None = None,
    times: Sequence[int] | None = None,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    container: dict[str, str] | None = None,
) -> Path:
    """Make a video of numbered frames.

    Args:
        path: its suffix chooses the container.
        frames: how many.
        codec: name of an encoder.
        pixels: FFmpeg's name of the pixel format.
        options: of the encoder.
        keys: largest distance of key frames.
        between: largest number of B-frames in a row.
        times: of presentation, in milliseconds; 30 a second where not given.
        size: height and width.
        container: options of the container.
    """
    if codec not in av.codecs_available:
        pytest.skip(f"NOT TESTED: this build of PyAV has no {codec}")
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=30, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        if keys is not None:
            stream.codec_context.gop_size = keys
        if between is not None:
            stream.codec_context.max_b_frames = between
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(drawing(number, *size), format="rgb24").reformat(format=pixels)
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, 30) if times is None else Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def tune(path: Path, *, with_cover: bool = False) -> Path:
    """Make a file of sound alone, or of sound and a still picture of its cover."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        if with_cover:
            cover = output.add_stream("mjpeg", rate=1)
            cover.height, cover.width, cover.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic.value
            output.mux(cover.encode(av.VideoFrame.from_ndarray(drawing(0), format="rgb24").reformat(format="yuvj420p")))
            output.mux(cover.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def with_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix into the header of an MP4's only track: ISO 14496-12, 8.3.2, version 0."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def with_first_frames_cut(path: Path, frames: int) -> Path:
    """Let the edit list of an MP4 begin later, by so many frames: ISO 14496-12, 8.6.6, version 0."""
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 16
    (begin,) = struct.unpack_from(">i", content, place)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        duration = int(1 / (stream.average_rate * stream.time_base))
    struct.pack_into(">i", content, place, begin + frames * duration)
    path.write_bytes(content)
    return path


def with_damaged_packet(path: Path, place: int) -> int:
    """Change some bytes within the packet at a place, counted in the order of the file; give its presentation time."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        position, size, time = packets[place].pos, packets[place].size, packets[place].pts
    content = bytearray(path.read_bytes())
    for offset in (size // 2, size * 2 // 3):
        content[position + offset] ^= 0x5A
    path.write_bytes(content)
    return time
