"""PNG: colour types, depths, interlacing, row filters, transparency, orientation and other chunks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pixel_files.made import Made, picture, shown

KINDS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
BESIDE = {
    "none": (),
    "a broken colour profile": ((b"iCCP", b"x\0\0ab"),),
    "gamma": ((b"gAMA", struct.pack(">I", 100000)), (b"sRGB", b"\0")),
    "text": ((b"tEXt", b"Comment\0by hand"), (b"pHYs", bytes(9)), (b"bKGD", bytes(2))),
}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def files() -> Iterator[Made]:
    hw = 13, 19
    for colour, depths in KINDS.items():
        for depth, interlaced, filtered, has_key in product(depths, (False, True), range(5), (False, True)):
            if has_key and colour in (4, 6):
                continue
            samples = _samples(colour, depth, hw)
            palette = picture(np.uint8, 1, 1 << min(depth, 8), 3, seed=3)[0] if colour == 3 else None
            alpha = (np.arange(1 << depth) * 37 % 256).astype(np.uint8) if colour == 3 and has_key else None
            key = samples[5, 7] if has_key and colour != 3 else None
            truth = _truth(samples, colour, depth, palette, alpha, key)
            chunks = _picture_chunks(palette, alpha, key)
            data = write(samples, colour, depth, chunks, interlaced=interlaced, filtered=filtered)
            words = f"colour type {colour}, {depth} bit, filter {filtered}"
            yield Made(
                "PNG", f"{words}{', interlaced' * interlaced}{', transparency' * has_key}", data, truth
            )
    for (colour, depth), orientation in product(((0, 8), (2, 16), (6, 8), (3, 4)), range(1, 9)):
        samples = _samples(colour, depth, hw)
        palette = picture(np.uint8, 1, 1 << depth, 3, seed=3)[0] if colour == 3 else None
        block = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
        data = write(samples, colour, depth, (*_picture_chunks(palette, None, None), (b"eXIf", block)))
        truth = _truth(samples, colour, depth, palette, None, None, orientation)
        yield Made("PNG", f"colour type {colour}, {depth} bit, orientation {orientation}", data, truth)
    for beside, (colour, depth) in product(BESIDE, ((0, 8), (2, 8), (2, 16), (6, 8), (0, 16))):
        samples = _samples(colour, depth, hw)
        data = write(samples, colour, depth, BESIDE[beside])
        yield Made(
            "PNG",
            f"colour type {colour}, {depth} bit, beside: {beside}",
            data,
            _truth(samples, colour, depth),
        )
    for colour, depth in ((0, 8), (2, 8), (2, 16), (6, 8)):
        samples = _samples(colour, depth, hw)
        for is_in_animation in (False, True):
            data = write(samples, colour, depth, animation=is_in_animation)
            name = f"colour type {colour}, {depth} bit, animated, still picture is in it: {is_in_animation}"
            yield Made("PNG", name, data, _truth(samples, colour, depth))


def _samples(colour: int, depth: int, hw: tuple[int, int]) -> NDArray[np.uint16]:
    wide = picture(np.uint16, *hw, CHANNELS[colour], seed=depth)
    return wide >> (16 - depth) if depth < 16 else wide


def _truth(
    samples: NDArray[np.uint16],
    colour: int,
    depth: int,
    palette: NDArray[np.uint8] | None = None,
    alpha: NDArray[np.uint8] | None = None,
    key: NDArray[np.uint16] | None = None,
    orientation: int = 1,
) -> NDArray[np.uint8]:
    if palette is not None:
        indices = samples[..., 0]
        return shown(palette[indices], None if alpha is None else alpha[indices], orientation)
    full = samples if depth == 16 else (samples * (255 // ((1 << depth) - 1))).astype(np.uint8)
    if key is not None:
        full = np.where((samples == key).all(axis=2, keepdims=True), 0, full).astype(full.dtype)
    colours = full[..., 0] if colour in (0, 4) else full[..., :3]
    return shown(np.ascontiguousarray(colours), full[..., -1] if colour in (4, 6) else None, orientation)


def _picture_chunks(
    palette: NDArray[np.uint8] | None, alpha: NDArray[np.uint8] | None, key: NDArray[np.uint16] | None
) -> tuple[tuple[bytes, bytes], ...]:
    chunks: list[tuple[bytes, bytes]] = []
    if palette is not None:
        chunks.append((b"PLTE", palette.tobytes()))
    if alpha is not None:
        chunks.append((b"tRNS", alpha.tobytes()))
    if key is not None:
        chunks.append((b"tRNS", key.astype(">u2").tobytes()))
    return tuple(chunks)


def write(
    samples: NDArray[np.uint16],
    colour: int,
    depth: int,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    *,
    interlaced: bool = False,
    filtered: int = 0,
    animation: bool | None = None,
) -> bytes:
    """A PNG of samples (H, W, C); its still image is part of the animation, or separate."""
    height, width, _ = samples.shape
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in passes]
    raw = b"".join(_rows(part, depth, filtered) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + b"".join(chunk(*one) for one in chunks)
    if animation is not None:
        control = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)
        body += chunk(b"acTL", struct.pack(">II", 1 + animation, 0))
        body += chunk(b"fcTL", control) if animation else b""
    packed = zlib.compress(raw)
    middle = len(packed) // 2
    body += chunk(b"IDAT", packed[:middle]) + chunk(b"IDAT", packed[middle:])
    if animation is not None:
        other = zlib.compress(_rows(samples[::-1, ::-1] // 2, depth, 0))
        number = 1 if animation else 0
        body += chunk(b"fcTL", struct.pack(">I", number) + control[4:])
        body += chunk(b"fdAT", struct.pack(">I", number + 1) + other)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def _rows(samples: NDArray[np.uint16], depth: int, filtered: int) -> bytes:
    height, _, channels = samples.shape
    if depth == 16:
        rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    elif depth == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        bits = (samples[..., 0][..., None] >> np.arange(depth - 1, -1, -1) & 1).astype(np.uint8)
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    step = max(1, channels * depth // 8)
    before = np.zeros_like(rows[0])
    lines: list[bytes] = []
    for row in rows:
        left = (
            np.concatenate([np.zeros(step, np.uint8), row[:-step]])[: len(row)]
            if len(row) > step
            else row * 0
        )
        corner = (
            np.concatenate([np.zeros(step, np.uint8), before[:-step]])[: len(row)]
            if len(row) > step
            else row * 0
        )
        a, b, c = (values.astype(int) for values in (left, before, corner))
        distance = abs(b - c), abs(a - c), abs(a + b - 2 * c)
        paeth = np.where(
            (distance[0] <= distance[1]) & (distance[0] <= distance[2]),
            a,
            np.where(distance[1] <= distance[2], b, c),
        )
        predicted = (0 * a, a, b, (a + b) // 2, paeth)[filtered]
        lines.append(bytes([filtered]) + (row.astype(int) - predicted).astype(np.uint8).tobytes())
        before = row
    return b"".join(lines)
