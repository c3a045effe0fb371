"""JPEG, by simplejpeg (TurboJPEG).

libjpeg fills missing data with grey and only prints a warning on standard error. simplejpeg raises an error,
returns the same values as OpenCV, and is faster.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roinspect.images.formats.container import Container, DamagedError, Decoded, UnsupportedError, most_parts
from roinspect.images.formats.exif import EXIF_PREFIX
from roinspect.images.formats.exif import orientation as exif_orientation

SIGNATURE = b"\xff\xd8"
MOST_SCANS = 100
"""Maximum number of scans. A decoder processes the whole image for each, and a scan may be only 70 bytes: a
thousand of them take a minute. Sequential files have up to 4, progressive ones about 10."""

# In JPEG's compressed data, 0xFF before 0x00 is a plain byte, before D0-D7 a restart, before 0xFF padding.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_LS = 0xF7
_KINDS = {
    0xC3: "lossless JPEG",
    _JPEG_LS: "JPEG-LS",
    0xC9: "JPEG with arithmetic coding",
    0xCA: "JPEG with arithmetic coding",
}
# Warnings of libjpeg for intact images.
_HARMLESS = ("Invalid SOS parameters", "Unknown Adobe color transform")
_ODD_SAMPLING = "Could not determine subsampling"


@dataclass(frozen=True, slots=True)
class JpegContainer(Container):
    """The header of a JPEG.

    Attributes:
        frame: the frame marker, which gives the kind of coding.
        channels: number of channels.
        is_adobe: has an Adobe marker, which defines the meaning of four channels.
    """

    frame: int = 0
    channels: int = 0
    is_adobe: bool = False


def account(data: bytes) -> JpegContainer:
    """Read the header by walking the segments to the end marker.

    Raises:
        struct.error: the file ends within a segment.
    """
    size_hw: tuple[int, int] | None = None
    orientation, scans, position = 1, 0, 2
    frame = depth = channels = 0
    is_adobe = False
    whole = False
    for _ in range(most_parts(data)):
        match = _MARKER.search(data, position)
        if match is None:
            break
        marker, position = data[match.end() - 1], match.end()
        if marker == 0xD9:
            whole = size_hw is not None
            break
        if marker == 0x01:
            continue
        if marker == 0xDA:
            scans += 1
            if scans > MOST_SCANS:
                break
        (length,) = struct.unpack_from(">H", data, position)
        segment = data[position + 2 : position + length]
        if marker in _FRAMES or marker == _JPEG_LS:
            depth, height, width, channels = struct.unpack_from(">BHHB", segment)
            size_hw, frame = (height, width), marker
        elif marker == 0xE1 and segment.startswith(EXIF_PREFIX):
            orientation = exif_orientation(segment)
        elif marker == 0xEE and segment.startswith(b"Adobe"):
            is_adobe = True
        position += length
    return JpegContainer("JPEG", size_hw, orientation, depth, scans, whole, frame, channels, is_adobe)


def decode(data: bytes, container: JpegContainer) -> Decoded:
    """Decode the image.

    Raises:
        DamagedError: a scan is truncated, or the image does not match the header.
        UnsupportedError: it uses a coding that cameras do not produce.
    """
    if container.frame not in (0xC0, 0xC1, 0xC2):
        raise UnsupportedError(_KINDS.get(container.frame, "hierarchical JPEG"))
    if container.depth != 8:
        raise UnsupportedError(f"{container.depth}-bit JPEG", "save it as 16-bit PNG")
    if container.channels not in (1, 3, 4) or (container.channels == 4 and not container.is_adobe):
        raise UnsupportedError(f"JPEG of {container.channels} channels")
    if container.size_hw is None or 0 in container.size_hw:
        raise UnsupportedError("JPEG whose header does not tell its height")
    colours = {1: "GRAY", 3: "RGB", 4: "CMYK"}[container.channels]
    pixels = _strictly(data, colours)
    if pixels.shape != (*container.size_hw, container.channels):
        raise DamagedError
    if container.channels == 1:
        return Decoded(pixels[..., 0], is_lossy=True)
    return Decoded(_rgb_of(pixels) if container.channels == 4 else pixels, is_lossy=True)


def _strictly(data: bytes, colours: str) -> NDArray[np.uint8]:
    import simplejpeg

    try:
        return np.asarray(simplejpeg.decode_jpeg(data, colours, strict=True), np.uint8)
    except ValueError as error:
        reason = str(error)
    if reason.startswith(_HARMLESS):
        try:
            return np.asarray(simplejpeg.decode_jpeg(data, colours, strict=False), np.uint8)
        except ValueError as error:
            reason = str(error)
    if _ODD_SAMPLING in reason:
        raise UnsupportedError("JPEG of this chroma sampling")
    raise DamagedError(reason.removeprefix("Corrupt JPEG data: "))


def _rgb_of(cmyk: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert Adobe's inverted CMYK, where 0 is full ink, to RGB."""
    ink = cmyk[..., :3].astype(np.uint16)
    black = cmyk[..., 3:].astype(np.uint16)
    return (black - ((255 - ink) * black >> 8)).astype(np.uint8)
