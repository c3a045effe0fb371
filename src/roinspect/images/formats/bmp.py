"""BMP: 1 to 32 bits per pixel, uncompressed or run-length encoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.images.formats.container import Container, DamagedError, Decoded, UnsupportedError

_RGB, _RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG, _ALPHA_BITFIELDS = 0, 1, 2, 3, 4, 5, 6
_OS2, _WINDOWS = 12, (40, 52, 56, 108, 124)
_OS2_LATE = (16, 64)
_555, _888 = (0x7C00, 0x3E0, 0x1F), (0xFF0000, 0xFF00, 0xFF)


@dataclass(frozen=True, slots=True)
class BmpContainer(Container):
    """The header of a BMP.

    Attributes:
        header: size of the header in bytes, which identifies the version.
        bits: bits per pixel.
        compression: 0 for none.
        is_upright: rows are stored from top to bottom.
        colours: number of palette colours; 0 for the maximum.
        start: offset of the pixels.
    """

    header: int = 0
    bits: int = 0
    compression: int = 0
    is_upright: bool = False
    colours: int = 0
    start: int = 0


def account(data: bytes) -> BmpContainer:
    """Read the header.

    Raises:
        struct.error: the file ends within the header.
    """
    start, header = struct.unpack_from("<II", data, 10)
    if header == _OS2:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return BmpContainer("BMP", (height, width), depth=8, header=header, bits=bits, start=start)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    (colours,) = struct.unpack_from("<I", data, 46) if header in _WINDOWS else (0,)
    whole = width > 0 and height != 0
    return BmpContainer(
        "BMP", (abs(height), width), 1, 8, 0, whole, header, bits, compression, height < 0, colours, start
    )


def decode(data: bytes, container: BmpContainer) -> Decoded:
    """Decode the image; a fourth byte of a pixel is padding.

    Raises:
        DamagedError: the file or its palette is shorter than the header says.
        UnsupportedError: the version or compression is not supported.
    """
    assert container.size_hw is not None
    bits, compression = container.bits, container.compression
    if container.header in _OS2_LATE:
        raise UnsupportedError("BMP of OS/2's second version")
    if container.header != _OS2 and container.header not in _WINDOWS:
        raise DamagedError("its header is of an unknown length")
    if compression in (_JPEG, _PNG):
        raise UnsupportedError(f"{'JPEG' if compression == _JPEG else 'PNG'} inside a BMP")
    if (compression, bits) in ((_RLE8, 8), (_RLE4, 4)):
        return Decoded(_run_lengths(data, container))
    if compression in (_BITFIELDS, _ALPHA_BITFIELDS) and bits in (16, 32):
        return Decoded(_fields(_rows(data, container), bits, _masks(data, container)))
    if compression != _RGB or bits not in (1, 4, 8, 16, 24, 32):
        raise UnsupportedError(f"BMP of {bits} bits with compression {compression}")
    rows = _rows(data, container)
    if bits == 16:
        return Decoded(_fields(rows, bits, _555))
    if bits in (24, 32):
        pixels = np.ascontiguousarray(rows).reshape(*container.size_hw, bits // 8)
        code = cv2.COLOR_BGR2RGB if bits == 24 else cv2.COLOR_BGRA2RGB
        return Decoded(cv2.cvtColor(pixels, code))
    return Decoded(_looked_up(rows, data, container))


def _rows(data: bytes, container: BmpContainer) -> NDArray[np.uint8]:
    """Rows (H, bytes per row) from top to bottom, without padding."""
    assert container.size_hw is not None
    height, width = container.size_hw
    used = (width * container.bits + 7) // 8
    stride = (used + 3) // 4 * 4
    if container.start < 14 + container.header or container.start + height * stride > len(data):
        raise DamagedError("it is shorter than its header says")
    flat = np.frombuffer(data, np.uint8, height * stride, container.start)
    rows = flat.reshape(height, stride)[:, :used]
    return rows if container.is_upright else rows[::-1]


def _palette(data: bytes, container: BmpContainer) -> NDArray[np.uint8]:
    entry_size = 3 if container.header == _OS2 else 4
    offset = 14 + container.header
    if container.compression in (_BITFIELDS, _ALPHA_BITFIELDS) and container.header == 40:
        offset += 12
    room = (container.start - offset) // entry_size
    count = min(container.colours or 1 << container.bits, 1 << container.bits, room)
    if count <= 0 or offset + count * entry_size > len(data):
        raise DamagedError("its palette is missing")
    table = np.frombuffer(data, np.uint8, count * entry_size, offset).reshape(count, entry_size)
    return np.ascontiguousarray(table[:, 2::-1])


def _looked_up(rows: NDArray[np.uint8], data: bytes, container: BmpContainer) -> NDArray[np.uint8]:
    assert container.size_hw is not None
    width, bits = container.size_hw[1], container.bits
    table = _palette(data, container)
    if bits == 8:
        indices = rows
    else:
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        indices = (rows[..., None] >> shifts & np.uint8((1 << bits) - 1)).reshape(len(rows), -1)[:, :width]
    if indices.size and int(indices.max()) >= len(table):
        raise DamagedError("a pixel's colour is not in its palette")
    return table[indices]


def _masks(data: bytes, container: BmpContainer) -> tuple[int, ...]:
    # After the oldest header or inside the later ones: the offset is the same.
    masks = struct.unpack_from("<III", data, 54)
    whole = (1 << container.bits) - 1
    for mask in masks:
        low = mask & -mask
        if (
            not mask
            or mask & ~whole
            or (mask // low) & (mask // low + 1)
            or mask.bit_length() - low.bit_length() > 7
        ):
            raise UnsupportedError(f"BMP with the bit masks {', '.join(f'{value:x}' for value in masks)}")
    return masks


def _fields(rows: NDArray[np.uint8], bits: int, masks: tuple[int, ...]) -> NDArray[np.uint8]:
    values = np.ascontiguousarray(rows).view("<u2" if bits == 16 else "<u4")
    picture = np.empty((*values.shape, 3), np.uint8)
    for channel, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1
        maximum = mask >> shift
        # Rounded; all ones become 255.
        picture[..., channel] = (((values & mask) >> shift).astype(np.uint32) * 510 + maximum) // (
            2 * maximum
        )
    return picture


def _run_lengths(data: bytes, container: BmpContainer) -> NDArray[np.uint8]:
    """Decode run lengths; skipped pixels get the first colour of the palette."""
    assert container.size_hw is not None
    if container.is_upright:
        raise UnsupportedError("BMP with run lengths from the top down")
    table = _palette(data, container)
    height, width = container.size_hw
    indices = np.zeros((height, width), np.uint8)
    bits, position, row, column = container.bits, container.start, 0, 0
    while True:
        if position + 2 > len(data):
            raise DamagedError("its runs break off")
        count, value = data[position : position + 2]
        position += 2
        if count:
            packed = bytes([value]) * (count if bits == 8 else (count + 1) // 2)
        elif value == 1:
            break
        elif value == 0:
            row, column = row + 1, 0
            continue
        elif value == 2:
            across, up = data[position : position + 2].ljust(2, b"\0")
            position, row, column = position + 2, row + up, column + across
            continue
        else:
            count, size = value, value if bits == 8 else (value + 1) // 2
            if position + size > len(data):
                raise DamagedError("its runs break off")
            packed = data[position : position + size]
            position += size + size % 2
        # Some writers encode the padding of a row too.
        end = min(column + count, width)
        if row >= height or column + count > (width + 3) // 4 * 4:
            raise DamagedError("a run leaves the picture")
        if end > column:
            run = np.frombuffer(packed, np.uint8) if bits == 8 else _nibbles(packed)
            indices[row, column:end] = run[: end - column]
        column += count
    if row < height - 1:
        raise DamagedError("its runs end before the picture does")
    if int(indices.max()) >= len(table):
        raise DamagedError("a pixel's colour is not in its palette")
    return table[indices[::-1]]


def _nibbles(packed: bytes) -> NDArray[np.uint8]:
    pairs = np.frombuffer(packed, np.uint8)
    return np.stack([pairs >> 4, pairs & 15], axis=1).reshape(-1)
