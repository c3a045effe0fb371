"""Run-length encoded masks in COCO's order: column by column, starting with zeros."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def encode(mask: NDArray[np.uint8]) -> tuple[int, ...]:
    """Run lengths of a mask (H, W) in {0, 1}, column by column, of alternating zeros and ones.

    Example:
        >>> encode(np.array([[0, 1], [1, 1]], np.uint8)), encode(np.ones((1, 2), np.uint8))
        ((1, 3), (0, 2))
    """
    flat = mask.ravel(order="F") != 0
    if not flat.size:
        return ()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    counts = np.diff(ends, prepend=0).tolist()
    return (0, *counts) if flat[0] else tuple(counts)


def decode(counts: Sequence[int], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode run lengths to a mask.

    Args:
        counts: run lengths down the columns, starting with zeros.
        size_hw: height and width.

    Returns:
        (H, W), uint8 in {0, 1}.

    Raises:
        ValueError: a count is negative, or they do not add up to H * W.
    """
    if any(count < 0 for count in counts) or sum(counts) != size_hw[0] * size_hw[1]:
        raise ValueError(f"run lengths do not add up to {size_hw[0]} x {size_hw[1]} pixels")
    values = (np.arange(len(counts)) % 2).astype(np.uint8)
    flat = np.repeat(values, np.asarray(counts, np.int64))
    return np.ascontiguousarray(flat.reshape(size_hw, order="F"))


def pack(counts: Sequence[int]) -> str:
    """COCO's compressed string, five bits per letter.

    From the fourth count on, the difference to the count two before is stored.
    """
    letters = bytearray()
    for index, count in enumerate(counts):
        rest = count - counts[index - 2] if index > 2 else count
        while True:
            bits, rest = rest & 0x1F, rest >> 5
            is_last = rest == (-1 if bits & 0x10 else 0)
            letters.append(bits + 48 if is_last else bits + 32 + 48)
            if is_last:
                break
    return letters.decode("ascii")


def unpack(text: str) -> tuple[int, ...]:
    """The counts of COCO's compressed string.

    Raises:
        ValueError: the string contains other letters or ends within a count, or a count exceeds 2^40.

    Example:
        >>> unpack(pack((3, 40, 7, 1000)))
        (3, 40, 7, 1000)
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError("no compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the compressed run lengths end too early")
    return tuple(counts)


def encode_part(part: NDArray[np.uint8], top: int, left: int, size_hw: tuple[int, int]) -> tuple[int, ...]:
    """Run lengths of a full-size mask that contains `part` at `top` and `left`.

    The part is clipped at the borders.
    """
    whole = np.zeros(size_hw, np.uint8)
    rows = slice(max(top, 0), max(top + part.shape[0], 0))
    columns = slice(max(left, 0), max(left + part.shape[1], 0))
    inside = whole[rows, columns]
    inside[...] = part[rows.start - top :, columns.start - left :][: inside.shape[0], : inside.shape[1]]
    return encode(whole)


def decode_part(counts: Sequence[int], size_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], int, int]:
    """The smallest part of a mask with all its ones (one zero if there are none), and its top and left."""
    whole = decode(counts, size_hw)
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not rows.size:
        return whole[:1, :1], 0, 0
    top, left = int(rows[0]), int(columns[0])
    return whole[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1], top, left
