"""Label Studio brush masks: bit-packed run lengths of RGBA bytes, whose alpha is the mask.

The bits are: the number of bytes in 32; in 5 the bits of a value less one; four times in 4 the bits of a
length less one. Then, until there are enough bytes: one bit that says whether one value repeats, two that
choose the length's bits, the length less one, and the value once or as often as the length says.
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
    """The painted pixels.

    Args:
        data: the packed run lengths.
        size_hw: height and width of the image.

    Returns:
        (H, W), uint8 in {0, 1}: 1 where alpha is above zero.

    Raises:
        ValueError: they are of another size, or end too early or too late.
    """
    bits = _Bits(data)
    total = bits.take(32)
    if total != _CHANNELS * size_hw[0] * size_hw[1]:
        raise ValueError(f"run lengths of {total} bytes are not those of {size_hw[0]} x {size_hw[1]} pixels")
    value_bits = bits.take(5) + 1
    length_bits = [bits.take(4) + 1 for _ in range(4)]
    mask = np.zeros(total // _CHANNELS, np.uint8)
    place = 0
    while place < total:
        repeats = bits.take(1)
        past = place + 1 + bits.take(length_bits[bits.take(2)])
        if past > total:
            raise ValueError("the run lengths go past the image")
        if repeats:
            # Alpha is the last of four bytes: pixel n has it at 4 n + 3.
            mask[place // _CHANNELS : past // _CHANNELS] = bits.take(value_bits) > 0
        else:
            for one in range(place, past):
                value = bits.take(value_bits)
                if one % _CHANNELS == _CHANNELS - 1:
                    mask[one // _CHANNELS] = value > 0
        place = past
    return mask.reshape(size_hw)


def encode(mask: NDArray[np.uint8]) -> bytes:
    """The packed run lengths of a mask (H, W) in {0, 1}."""
    total = _CHANNELS * mask.size
    fields = [(total, 32), (7, 5), *((bits - 1, 4) for bits in _LENGTH_BITS)]
    for place, count in enumerate(rle.encode(mask.T)):
        fields += _runs(_CHANNELS * count, _PAINTED * (place % 2))
    packed = "".join(f"{value:0{bits}b}" for value, bits in fields)
    packed += "0" * (-len(packed) % 8)
    return int(packed, 2).to_bytes(len(packed) // 8, "big")


def _runs(count: int, value: int) -> Sequence[tuple[int, int]]:
    """The fields, each with its number of bits, of `count` bytes of one value."""
    fields: list[tuple[int, int]] = []
    while count:
        length = min(count, 1 << _LENGTH_BITS[-1])
        choice = next(place for place, bits in enumerate(_LENGTH_BITS) if length <= 1 << bits)
        fields += [(1, 1), (choice, 2), (length - 1, _LENGTH_BITS[choice]), (value, 8)]
        count -= length
    return fields


class _Bits:
    """Takes numbers of up to 32 bits from bytes, highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, count: int) -> int:
        first, past = self._place // 8, (self._place + count + 7) // 8
        if past > len(self._data):
            raise ValueError("the run lengths end too early")
        self._place += count
        window = int.from_bytes(self._data[first:past], "big")
        return window >> (8 * past - self._place) & ((1 << count) - 1)
