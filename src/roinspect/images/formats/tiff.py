"""TIFF: decode strips and tiles one by one and assemble them, for any layout.

OpenCV's reader returns partial data for a damaged or unsupported strip, and uninitialised memory for 16-bit
planes; Pillow does not support 16-bit colours.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roinspect.images.formats import jpeg, tiff_codecs
from roinspect.images.formats import tiff_directory as tags
from roinspect.images.formats.container import Container, DamagedError, Decoded, Pixels, UnsupportedError
from roinspect.images.formats.significant import of_highest
from roinspect.images.formats.tiff_directory import TiffPage, photograph_page

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_NEEDED = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
"""Number of channels required by each photometric interpretation."""
_COLOURS = {
    4: "a transparency mask",
    8: "the colour space CIELab",
    9: "the colour space ICCLab",
    10: "the colour space ITULab",
    32803: "a raw sensor's mosaic",
    32844: "the colour space LogL",
    32845: "the colour space LogLuv",
    34892: "a raw sensor's picture",
}
_TYPES = {
    (1, 8): "u1", (1, 16): "u2", (1, 32): "u4", (1, 64): "u8",
    (2, 8): "i1", (2, 16): "i2", (2, 32): "i4", (2, 64): "i8",
    (3, 16): "f2", (3, 32): "f4", (3, 64): "f8",
}  # fmt: skip
_STRAIGHT = 2
_MOST_CHANNELS = 5
_BLOCK = 16
"""Maximum side of a JPEG coding block in pixels."""


@dataclass(frozen=True, slots=True)
class TiffContainer(Container):
    """The header of a TIFF.

    Attributes:
        page: the page of the photograph.
    """

    page: TiffPage | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """The layout of a page.

    Attributes:
        hw: size of the page.
        part_hw: size of a strip or tile.
        channels: stored channels per pixel.
        planes: 1, or the number of channels.
        bits: bits per sample.
        kind: NumPy type code of a sample; "" below eight bits.
    """

    hw: tuple[int, int]
    part_hw: tuple[int, int]
    is_tiled: bool
    channels: int
    planes: int
    bits: int
    kind: str
    compression: int
    predictor: int
    photometric: int


def account(data: bytes) -> TiffContainer:
    """Find the photograph's page and read its size.

    Raises:
        struct.error: a directory is broken.
    """
    page = photograph_page(data)
    size_hw = page.value(tags.HEIGHT), page.value(tags.WIDTH)
    orientation = page.value(tags.ORIENTATION, 1)
    orientation = orientation if 1 <= orientation <= 8 else 1
    depth = page.value(tags.BITS, 1)
    return TiffContainer("TIFF", size_hw, orientation, depth, 0, min(size_hw) > 0, page)


def decode(data: bytes, container: TiffContainer) -> Decoded:
    """Decode the photograph's page.

    Raises:
        DamagedError: a strip or tile is missing or broken.
        UnsupportedError: its colours, samples or compression are not supported.
    """
    page = container.page
    assert page is not None
    try:
        plan = _plan(page)
        if plan.compression == tiff_codecs.JPEG:
            return Decoded(_shown(_assembled_jpeg(data, page, plan), page, plan), is_lossy=True)
        pixels = _shown(_assembled(data, page, plan), page, plan)
        declared = (_optional(page, tag) for tag in (tags.MAX_SAMPLE, tags.S_MAX_SAMPLE))
        return Decoded(pixels, bits=min(of_highest(pixels, values) for values in declared))
    except struct.error as error:
        raise DamagedError(str(error)) from None


def _optional(page: TiffPage, tag: int) -> tuple[int, ...]:
    """The whole numbers, one per channel, of an optional tag; empty if it is broken."""
    _, count, _ = page.entries.get(tag, (0, 0, 0))
    if count > _MOST_CHANNELS:
        return ()
    try:
        return page.values(tag)
    except struct.error:
        return ()


def _plan(page: TiffPage) -> _Plan:
    compression = page.value(tags.COMPRESSION, 1)
    tiff_codecs.refuse_unknown(compression)
    channels = page.value(tags.CHANNELS, 1)
    photometric = page.value(tags.PHOTOMETRIC, -1)
    depths = set(page.values(tags.BITS)) or {1}
    formats = set(page.values(tags.SAMPLE_FORMAT)) or {1}
    if photometric == -1:
        raise DamagedError("it does not tell its colours")
    is_jpeg = compression == tiff_codecs.JPEG
    if photometric not in _NEEDED:
        raise UnsupportedError(_COLOURS.get(photometric, f"TIFF's colour space {photometric}"))
    if is_jpeg != (photometric == _YCBCR) and photometric in (_YCBCR, _CMYK):
        what = "YCbCr without" if photometric == _YCBCR else "CMYK with"
        raise UnsupportedError(f"{what} JPEG compression", tiff_codecs.REMEDY)
    if channels < _NEEDED[photometric]:
        raise DamagedError("it has fewer channels than colours")
    if channels > _MOST_CHANNELS:
        raise UnsupportedError(f"a picture of {channels} channels", "save three of them as PNG")
    if len(depths) > 1 or len(formats) > 1:
        raise UnsupportedError("a mixture of depths")
    bits, form = depths.pop(), formats.pop()
    form = 1 if form == 4 else form
    kind = _TYPES.get((form, bits), "")
    if not kind and not (form == 1 and bits in (1, 2, 4)):
        what = {1: "unsigned", 2: "signed", 3: "float"}.get(form, "complex")
        raise UnsupportedError(f"a sample of {bits} bits ({what})", "save it as 8 or 16 bit unsigned")
    if bits > 16 and channels > 1:
        raise UnsupportedError(f"{bits}-bit colour", "save it as 8 or 16 bit unsigned")
    if photometric == _CMYK and kind not in ("u1", "u2"):
        raise UnsupportedError(f"CMYK of {bits} bits")
    if photometric == _PALETTE and (form != 1 or bits > 16 or channels != 1):
        raise UnsupportedError(f"a palette of {bits}-bit indices")
    predictor = page.value(tags.PREDICTOR, 1)
    if predictor not in (1, 2) or (predictor == 2 and (bits < 8 or kind[0] == "f")):
        predicted = "floating point" if predictor == 3 else f"number {predictor} at {bits} bits"
        raise UnsupportedError(f"the predictor for {predicted}", tiff_codecs.REMEDY)
    if is_jpeg and (bits != 8 or form != 1):
        raise UnsupportedError(f"{bits}-bit JPEG compression", tiff_codecs.REMEDY)
    if page.value(tags.FILL_ORDER, 1) != 1:
        raise UnsupportedError("the reversed order of bits", tiff_codecs.REMEDY)
    planar = page.value(tags.PLANAR, 1)
    if planar not in (1, 2):
        raise DamagedError(f"it has the planar configuration {planar}")
    hw = page.value(tags.HEIGHT), page.value(tags.WIDTH)
    is_tiled = tags.TILE_WIDTH in page.entries
    rows = page.value(tags.ROWS, hw[0]) or hw[0]
    part_hw = (
        (page.value(tags.TILE_HEIGHT), page.value(tags.TILE_WIDTH)) if is_tiled else (min(rows, hw[0]), hw[1])
    )
    if min(part_hw) < 1 or (is_tiled and (part_hw[0] > hw[0] + 4096 or part_hw[1] > hw[1] + 4096)):
        raise DamagedError("its tiles are of no possible size")
    planes = channels if planar == 2 else 1
    return _Plan(hw, part_hw, is_tiled, channels, planes, bits, kind, compression, predictor, photometric)


def _parts(data: bytes, page: TiffPage, plan: _Plan) -> Iterator[tuple[int, slice, slice, bytes]]:
    """For each strip or tile: its plane, its rows and columns in the image, and its packed bytes."""
    (height, width), (tall, wide) = plan.hw, plan.part_hw
    down, across = math.ceil(height / tall), math.ceil(width / wide)
    offsets = page.values(tags.TILE_OFFSETS if plan.is_tiled else tags.STRIP_OFFSETS)
    counts = page.values(tags.TILE_COUNTS if plan.is_tiled else tags.STRIP_COUNTS)
    number = down * across * plan.planes
    if not counts and number == 1 and len(offsets) == 1:
        counts = (max(len(data) - offsets[0], 0),)
    if len(offsets) < number or len(counts) < number:
        raise DamagedError("strips are missing")
    for index in range(number):
        plane, position = divmod(index, down * across)
        top, left = position // across * tall, position % across * wide
        first, count = offsets[index], counts[index]
        if not first or not count or first + count > len(data):
            raise DamagedError("a strip lies beyond its end")
        rows = slice(top, min(top + tall, height))
        yield plane, rows, slice(left, min(left + wide, width)), data[first : first + count]


def _assembled(data: bytes, page: TiffPage, plan: _Plan) -> Pixels:
    """The samples (H, W, channels) as stored."""
    inner = plan.channels if plan.planes == 1 else 1
    kind = np.dtype(f"{page.order}{plan.kind}") if plan.kind else np.dtype(np.uint8)
    picture = np.empty((*plan.hw, plan.channels), kind.newbyteorder("="))
    wide = plan.part_hw[1]
    row_bytes = (wide * inner * plan.bits + 7) // 8
    for plane, rows, columns, packed in _parts(data, page, plan):
        # Tiles always have full size; the last strip may have fewer rows.
        tall = plan.part_hw[0] if plan.is_tiled else rows.stop - rows.start
        flat = np.frombuffer(_unpacked(packed, plan, tall, row_bytes), np.uint8).reshape(tall, row_bytes)
        samples = flat.view(kind) if plan.kind else _samples(flat, plan.bits, wide * inner)
        samples = samples.reshape(tall, wide, inner)
        if plan.predictor == 2:
            samples = np.cumsum(samples, axis=1, dtype=kind.newbyteorder("="))
        part = samples[: rows.stop - rows.start, : columns.stop - columns.start]
        if plan.planes == 1:
            picture[rows, columns] = part
        else:
            picture[rows, columns, plane] = part[..., 0]
    return picture


def _unpacked(packed: bytes, plan: _Plan, tall: int, row_bytes: int) -> bytes:
    if plan.compression == tiff_codecs.NONE:
        if len(packed) < tall * row_bytes:
            raise DamagedError("a strip is cut off")
        return packed[: tall * row_bytes]
    return tiff_codecs.unpacked(packed, plan.compression, tall, row_bytes)


def _samples(flat: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Unpack samples of less than eight bits, highest bits first; each row starts at a new byte."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return np.ascontiguousarray(
        (flat[..., None] >> shifts & ((1 << bits) - 1)).reshape(len(flat), -1)[:, :count]
    )


def _assembled_jpeg(data: bytes, page: TiffPage, plan: _Plan) -> Pixels:
    """The samples (H, W, channels) of a page whose strips are JPEG files without tables."""
    inner = plan.channels if plan.planes == 1 else 1
    tables = page.raw(tags.JPEG_TABLES).removeprefix(jpeg.SIGNATURE).removesuffix(b"\xff\xd9")
    # Adobe's marker tells the decoder whether the colours are RGB already.
    is_ycc = plan.photometric == _YCBCR and inner == 3
    adobe = b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, is_ycc) if inner == 3 else b""
    picture = np.empty((*plan.hw, plan.channels), np.uint8)
    if plan.photometric == _YCBCR and inner != 3:
        raise UnsupportedError("YCbCr in planes", tiff_codecs.REMEDY)
    for plane, rows, columns, packed in _parts(data, page, plan):
        if not packed.startswith(jpeg.SIGNATURE):
            raise DamagedError("a strip is no JPEG")
        whole = jpeg.SIGNATURE + adobe + tables + packed[2:]
        header = jpeg.account(whole)
        if not header.whole or header.size_hw is None:
            raise DamagedError("a strip is cut off")
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        # Check the size before decoding: a strip may claim a huge one. Writers may round up to whole blocks.
        smallest, limit = (tall, wide), (plan.part_hw[0] + _BLOCK, plan.part_hw[1] + _BLOCK)
        if not all(
            low <= side < high for low, side, high in zip(smallest, header.size_hw, limit, strict=True)
        ):
            raise DamagedError("a strip is of another size than the header says")
        part = jpeg.decode(whole, header).pixels.reshape(*header.size_hw, -1)
        if part.shape[2] != inner:
            raise DamagedError("a strip has other channels than the header says")
        if plan.planes == 1:
            picture[rows, columns] = part[:tall, :wide]
        else:
            picture[rows, columns, plane] = part[:tall, :wide, 0]
    return picture


def _shown(picture: Pixels, page: TiffPage, plan: _Plan) -> Pixels:
    """Convert to (H, W) grey or (H, W, 3) RGB, with an alpha channel if colours are not premultiplied."""
    maximum = (1 << plan.bits) - 1
    if plan.photometric == _PALETTE:
        return _looked_up(picture[..., 0], page, plan)
    if plan.kind == "" and plan.bits < 8:
        picture = picture * np.uint8(255 // maximum)
        maximum = 255
    needed = _NEEDED[plan.photometric]
    if plan.photometric == _CMYK:
        picture, needed = _rgb_of(picture, maximum), 3
    if plan.photometric == _WHITE_IS_ZERO:
        if plan.kind[:1] in ("i", "f"):
            raise UnsupportedError("a signed value that counts from white", "save it as 8 or 16 bit unsigned")
        picture[..., 0] = maximum - picture[..., 0]
    extra = page.values(tags.EXTRA_SAMPLES)
    if _STRAIGHT in extra and picture.shape[2] > needed:
        alpha = needed + extra.index(_STRAIGHT)
        if alpha >= picture.shape[2]:
            raise DamagedError("its alpha is no channel")
        return np.ascontiguousarray(picture[..., [*range(needed), alpha]])
    return picture[..., 0] if needed == 1 else picture[..., :3]


def _rgb_of(picture: Pixels, maximum: int) -> Pixels:
    """Convert four inks, where 0 is no ink, to RGB; further channels are kept."""
    ink, black = picture[..., :3].astype(np.uint32), picture[..., 3:4].astype(np.uint32)
    rgb = ((maximum - ink) * (maximum - black) + maximum // 2) // maximum
    return np.concatenate([rgb.astype(picture.dtype), picture[..., 4:]], axis=2)


def _looked_up(indices: Pixels, page: TiffPage, plan: _Plan) -> Pixels:
    colours = page.values(tags.COLOUR_MAP)
    size = 1 << plan.bits
    if len(colours) < 3 * size or not 0 <= min(colours) <= max(colours) < 1 << 16:
        raise DamagedError("its palette is missing")
    table = np.array(colours[: 3 * size], np.uint16).reshape(3, size).T
    # Entries have 16 bits, but some writers store 8-bit values.
    eight = table >> 8 if int(table.max(initial=0)) > 255 else table
    return np.ascontiguousarray(eight.astype(np.uint8)[indices])
