"""PNG: verify every checksum, and pass only the still image to the decoder.

Other chunks are removed before decoding: OpenCV would decode an animation frame instead of the still image,
and libpng reports a broken colour profile on standard error.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from roinspect.images.formats.container import Container, DamagedError, Decoded, Pixels, most_parts
from roinspect.images.formats.exif import orientation as exif_orientation
from roinspect.images.formats.significant import of_sbit

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 3, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}


@dataclass(frozen=True, slots=True)
class PngContainer(Container):
    """The header of a PNG.

    Attributes:
        colour: the colour type.
        key: transparent colour of an image without palette: one value, or three.
        picture: (start, end) offsets of the chunks of the still image.
        has_more: whether there are other chunks.
        significant: the sBIT chunk, significant bits per channel; empty if missing.
    """

    colour: int = 0
    key: tuple[int, ...] = ()
    picture: tuple[tuple[int, int], ...] = ()
    has_more: bool = False
    significant: bytes = b""


def account(data: bytes) -> PngContainer:
    """Read the header and verify all chunks.

    Raises:
        struct.error: the file ends within a chunk.
    """
    damaged = PngContainer("PNG", whole=False)
    size_hw, depth, colour, orientation, key = (0, 0), 0, -1, 1, ()
    palette, significant = 0, b""
    parts: list[tuple[int, int]] = []
    has_more, last, position = False, b"", 8
    view = memoryview(data)
    for number in range(most_parts(data)):
        length, kind = struct.unpack_from(">I4s", data, position)
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        content = view[position + 8 : position + 8 + length]
        if zlib.crc32(content, zlib.crc32(kind)) != checksum or (kind == b"IHDR") != (number == 0):
            return damaged
        belongs = True
        if kind == b"IHDR":
            width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", content)
            size_hw = height, width
            if not height or not width or depth not in _DEPTHS.get(colour, ()) or methods[:2] != [0, 0]:
                return damaged
            if methods[2] > 1:
                return damaged
        elif kind == b"PLTE":
            if palette or b"IDAT" in last or length % 3 or not 0 < length <= 768:
                return damaged
            palette = length // 3
            belongs = colour == _PALETTE
            if belongs and palette > 1 << depth:
                return damaged
        elif kind == b"tRNS":
            # libpng warns about one in the wrong place or with the wrong length, and ignores it.
            is_early = last != b"IDAT" and (colour != _PALETTE or bool(palette))
            belongs = is_early and colour == _PALETTE and 0 < length <= palette
            if is_early and length == {_GREY: 2, _RGB: 6}.get(colour):
                key = tuple(value & (1 << depth) - 1 for value in struct.unpack(f">{length // 2}H", content))
        elif kind == b"IDAT":
            if colour == _PALETTE and not palette:
                return damaged
        elif kind == b"IEND":
            parts.append((position, position + 12 + length))
            is_whole = any(data[first + 4 : first + 8] == b"IDAT" for first, _ in parts)
            return PngContainer(
                "PNG",
                size_hw,
                orientation,
                depth,
                0,
                is_whole,
                colour,
                key,
                tuple(parts),
                has_more,
                significant,
            )
        else:
            # A capital first letter marks a critical chunk, which a decoder must understand.
            if not kind[0] & 0x20:
                return damaged
            if kind == b"eXIf":
                orientation = exif_orientation(bytes(content))
            elif kind == b"sBIT":
                significant = bytes(content)
            belongs = False
        if belongs:
            parts.append((position, position + 12 + length))
        has_more |= not belongs
        last = kind
        position += 12 + length
    return damaged


def decode(data: bytes, container: PngContainer) -> Decoded:
    """Decode the still image.

    Raises:
        DamagedError: the image does not match the header.
    """
    if container.has_more:
        view = memoryview(data)
        data = b"".join([SIGNATURE, *(view[first:end] for first, end in container.picture)])
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DamagedError
    kind = np.uint16 if container.depth == 16 else np.uint8
    if pixels.dtype != kind or pixels.shape[:2] != container.size_hw:
        raise DamagedError
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if container.colour == _GREY_ALPHA and channels == 4:
        return Decoded(np.ascontiguousarray(pixels[..., [0, 3]]))
    if container.colour != _PALETTE and channels != _CHANNELS[container.colour]:
        raise DamagedError
    if channels > 1:
        code = cv2.COLOR_BGRA2RGBA if channels == 4 else cv2.COLOR_BGR2RGB
        pixels = cv2.cvtColor(pixels, code)
    pixels = _without(pixels, container) if container.key else pixels
    return Decoded(pixels, bits=of_sbit(pixels, container.significant))


def _without(pixels: Pixels, container: PngContainer) -> Pixels:
    """Turn the transparent colour black."""
    scale = 255 // ((1 << container.depth) - 1) if container.depth < 8 else 1
    key = np.array(container.key, pixels.dtype) * scale
    is_key = pixels == key[0] if pixels.ndim == 2 else (pixels == key).all(axis=2)
    pixels[is_key] = 0
    return pixels
