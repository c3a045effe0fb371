"""Label Studio brush masks: bit-packed run lengths of RGBA bytes, whose alpha is the mask.

Header: number of bytes (32 bits), value width minus one (5 bits), then four length widths minus one (4 bits
each). Then runs until all bytes are filled: whether one value repeats (1 bit), which length width is used
(2 bits), the length minus one, and the value, once if repeated, otherwise one for each byte of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations import rle

_CHANNELS = 4
_LENGTH_BITS = (3, 4, 8, 16)
_PAINTED = 255


def decode(data: bytes, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode the painted pixels.

    Args:
        data: the packed run lengths.
        size_hw: height and width of the image.

    Returns:
        (H, W), uint8 in {0, 1}: 1 where alpha is above zero.

    Raises:
        ValueError: the run lengths are for another size, or too short or too long.
    """
    bits = _Bits(data)
    total = bits.take(32)
    if total != _CHANNELS * size_hw[0] * size_hw[1]:
        raise ValueError(f"run lengths of {total} bytes are not those of {size_hw[0]} x {size_hw[1]} pixels")
    value_bits = bits.take(5) + 1
    length_bits = [bits.take(4) + 1 for _ in range(4)]
    mask = np.zeros(total // _CHANNELS, np.uint8)
    position = 0
    while position < total:
        repeats = bits.take(1)
        run_end = position + 1 + bits.take(length_bits[bits.take(2)])
        if run_end > total:
            raise ValueError("the run lengths go past the image")
        if repeats:
            # Alpha is the last of four bytes: at 4 n + 3 for pixel n.
            mask[position // _CHANNELS : run_end // _CHANNELS] = bits.take(value_bits) > 0
        else:
            for index in range(position, run_end):
                value = bits.take(value_bits)
                if index % _CHANNELS == _CHANNELS - 1:
                    mask[index // _CHANNELS] = value > 0
        position = run_end
    return mask.reshape(size_hw)


def encode(mask: NDArray[np.uint8]) -> bytes:
    """The packed run lengths of a mask (H, W) in {0, 1}."""
    total = _CHANNELS * mask.size
    fields = [(total, 32), (7, 5), *((bits - 1, 4) for bits in _LENGTH_BITS)]
    for run, count in enumerate(rle.encode(mask.T)):
        fields += _runs(_CHANNELS * count, _PAINTED * (run % 2))
    packed = "".join(f"{value:0{bits}b}" for value, bits in fields)
    packed += "0" * (-len(packed) % 8)
    return int(packed, 2).to_bytes(len(packed) // 8, "big")


def _runs(count: int, value: int) -> Sequence[tuple[int, int]]:
    """Fields as (value, number of bits) for `count` bytes of one value."""
    fields: list[tuple[int, int]] = []
    while count:
        length = min(count, 1 << _LENGTH_BITS[-1])
        choice = next(index for index, bits in enumerate(_LENGTH_BITS) if length <= 1 << bits)
        fields += [(1, 1), (choice, 2), (length - 1, _LENGTH_BITS[choice]), (value, 8)]
        count -= length
    return fields


class _Bits:
    """Reads numbers of up to 32 bits from bytes, highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, count: int) -> int:
        first, end = self._place // 8, (self._place + count + 7) // 8
        if end > len(self._data):
            raise ValueError("the run lengths end too early")
        self._place += count
        window = int.from_bytes(self._data[first:end], "big")
        return window >> (8 * end - self._place) & ((1 << count) - 1)
