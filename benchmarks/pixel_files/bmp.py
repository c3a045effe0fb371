"""BMP: header versions, depths, bit masks, run lengths, top-down and bottom-up."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pixel_files.made import Made, picture, shown

HEADERS = (12, 40, 52, 56, 108, 124)
MASKS = {
    (16, "565"): (0xF800, 0x7E0, 0x1F),
    (16, "555"): (0x7C00, 0x3E0, 0x1F),
    (16, "444"): (0xF00, 0xF0, 0xF),
    (32, "888"): (0xFF0000, 0xFF00, 0xFF),
    (32, "888 reversed"): (0xFF, 0xFF00, 0xFF0000),
    (32, "888 high"): (0xFF000000, 0xFF0000, 0xFF00),
    (32, "10 bits"): (0x3FF00000, 0xFFC00, 0x3FF),
}


def files() -> Iterator[Made]:
    for (height, width), header, bits, upright in product(
        ((13, 19), (8, 16)), HEADERS, (1, 4, 8, 16, 24, 32), (False, True)
    ):
        if header == 12 and (upright or bits in (16, 32)):
            continue
        rows, palette, truth = _plain(height, width, bits)
        data = write(rows, width, bits, header, palette=palette, upright=upright)
        name = f"header of {header}, {bits} bit, {width} x {height}{', from the top' * upright}"
        yield Made("BMP", name, data, truth)
    for ((bits, name), masks), header, upright in product(MASKS.items(), HEADERS[1:], (False, True)):
        values, truth = _masked(13, 19, bits, masks)
        data = write(values, 19, bits, header, compression=3, masks=masks, upright=upright)
        yield Made(
            "BMP", f"header of {header}, {bits} bit masks {name}{', from the top' * upright}", data, truth
        )
    for bits, padded, colours in product((4, 8), (False, True), (4, 16)):
        indices = np.repeat(picture(np.uint8, 14, 9, seed=7) // 16 % colours, 2, axis=1)[:, :17]
        palette = picture(np.uint8, 1, 1 << bits, 3, seed=3)[0]
        packed = _run_lengths(indices, bits, padded=padded)
        rows, compression = np.frombuffer(packed, np.uint8)[None], 3 - bits // 4
        data = write(rows, 17, bits, 40, palette=palette, compression=compression, height=14)
        name = f"run lengths of {bits} bit, {colours} colours{', padded' * padded}"
        yield Made("BMP", name, data, shown(palette[indices]))


def _plain(
    height: int, width: int, bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, NDArray[np.uint8]]:
    if bits <= 8:
        indices = picture(np.uint8, height, width) >> (8 - bits)
        palette = picture(np.uint8, 1, 1 << bits, 3, seed=3)[0]
        planes = (indices[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(height, -1)
        return np.packbits(planes, axis=1), palette, shown(palette[indices])
    if bits == 16:
        values, truth = _masked(height, width, 16, MASKS[16, "555"])
        return values, None, truth
    pixels = picture(np.uint8, height, width, bits // 8)
    return (
        np.ascontiguousarray(pixels[..., [2, 1, 0, *range(3, bits // 8)]]).reshape(height, -1),
        None,
        shown(pixels[..., :3]),
    )


def _masked(
    height: int, width: int, bits: int, masks: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rgb = picture(np.uint16, height, width, 3)
    whole = np.zeros((height, width), np.uint32)
    truth = np.zeros((height, width, 3), np.uint8)
    for channel, mask in enumerate(masks):
        most = mask // (mask & -mask)
        value = rgb[..., channel].astype(np.int64) * most // 65535
        whole |= (value * (mask & -mask)).astype(np.uint32)
        truth[..., channel] = np.floor(value * 255 / most + 0.5)
    kind = "<u2" if bits == 16 else "<u4"
    return whole.astype(kind).view(np.uint8).reshape(height, -1), truth


def write(
    rows: NDArray[np.uint8],
    width: int,
    bits: int,
    header: int,
    *,
    palette: NDArray[np.uint8] | None = None,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    upright: bool = False,
    height: int = 0,
) -> bytes:
    """A bitmap from rows of bytes, top row first."""
    is_packed = bool(height)
    height = height or len(rows)
    table = b""
    if palette is not None:
        bgr = palette[:, ::-1]
        table = (
            bgr if header == 12 else np.concatenate([bgr, np.zeros((len(bgr), 1), np.uint8)], axis=1)
        ).tobytes()
    ordered = rows if upright or is_packed else rows[::-1]
    body = b"".join(row.tobytes() + bytes(-len(row) % 4 * (not is_packed)) for row in ordered)
    if header == 12:
        told = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        colours = 0 if palette is None else len(palette)
        sides, size = (width, -height if upright else height), len(body)
        told = struct.pack("<IiiHHIIiiII", header, *sides, 1, bits, compression, size, 2835, 2835, colours, 0)
        more = struct.pack("<III", *masks) if masks else b""
        told = told + more if header == 40 else (told + more).ljust(header, b"\0")
    start = 14 + len(told) + len(table)
    return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + told + table + body


def _run_lengths(indices: NDArray[np.uint8], bits: int, *, padded: bool) -> bytes:
    """Runs and, where neighbours differ, literal pixels; each row ends with its end code."""
    lines: list[bytes] = []
    for row in indices[::-1]:
        values = list(row) + [int(row[-1])] * (-len(row) % 4 if padded else 0)
        line, at = b"", 0
        while at < len(values):
            run = 1
            while at + run < len(values) and values[at + run] == values[at] and run < 255:
                run += 1
            literal = min(6, len(values) - at)
            if run == 1 and literal >= 3:
                part = values[at : at + literal]
                if bits == 4:
                    pairs = part + [0] * (len(part) % 2)
                    packed = bytes(high << 4 | low for high, low in zip(pairs[::2], pairs[1::2], strict=True))
                else:
                    packed = bytes(part)
                line += bytes([0, literal]) + packed + bytes(len(packed) % 2)
                at += literal
            else:
                value = int(values[at])
                line += bytes([run, value << 4 | value if bits == 4 else value])
                at += run
        lines.append(line + b"\0\0")
    return b"".join(lines) + b"\0\1"
