"""Identify an image file by its signature, read its header, and choose its decoder.

Each decoder handles only what it decodes correctly; everything else is rejected as damaged or not supported.
Even a decoded image must match its header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from roinspect.images.formats import bmp, jpeg, png, tiff, tiff_directory, webp
from roinspect.images.formats.container import Container, DamagedError, Decoded, UnsupportedError
from roinspect.images.formats.jpeg import MOST_SCANS

__all__ = ["MOST_PIXELS", "MOST_SCANS", "Container", "DamagedError", "UnsupportedError", "decode", "identify"]

MOST_PIXELS = 2**30
"""Larger images are not decoded."""

_ACCOUNTS: dict[str, Callable[[bytes], Container]] = {
    "PNG": png.account,
    "JPEG": jpeg.account,
    "WebP": webp.account,
    "BMP": bmp.account,
    "TIFF": tiff.account,
}


def identify(data: bytes) -> Container | None:
    """Parse the header of an encoded image; None for an unsupported format. Never raises."""
    kind = _kind(data)
    if kind is None:
        return None
    try:
        return _ACCOUNTS[kind](data)
    except (struct.error, OverflowError):
        return Container(kind, whole=False)


def _kind(data: bytes) -> str | None:
    if data.startswith(png.SIGNATURE):
        return "PNG"
    if data.startswith(jpeg.SIGNATURE):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith(tiff_directory.SIGNATURES):
        return "TIFF"
    return "BMP" if data.startswith(b"BM") else None


def decode(data: bytes, container: Container) -> Decoded:
    """Decode an image and check that it matches its header.

    Args:
        data: the file.
        container: result of `identify`.

    Raises:
        DamagedError: the file is truncated, damaged, or does not match its header.
        UnsupportedError: it may be intact, but no decoder here supports it.
    """
    if not container.whole:
        raise DamagedError
    try:
        decoded = _decoded(data, container)
    except (struct.error, ValueError, OverflowError, IndexError):
        # A header can be inconsistent in more ways than can be listed.
        raise DamagedError("it contradicts itself") from None
    if decoded.pixels.shape[:2] != container.size_hw:
        raise DamagedError("the picture is not of the size that the header promises")
    return decoded


def _decoded(data: bytes, container: Container) -> Decoded:
    match container:
        case png.PngContainer():
            return png.decode(data, container)
        case jpeg.JpegContainer():
            return jpeg.decode(data, container)
        case webp.WebpContainer():
            return webp.decode(data, container)
        case bmp.BmpContainer():
            return bmp.decode(data, container)
        case tiff.TiffContainer():
            return tiff.decode(data, container)
        case _:
            raise DamagedError
