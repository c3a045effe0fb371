"""How many bits the values of 16-bit samples use, where the file says so and its pixels agree."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from roinspect.images.formats.container import Pixels

SENSOR_BITS = (10, 12, 14)
"""Depths of sensors whose values are stored in 16 bits."""


def of_sbit(pixels: Pixels, told: Collection[int]) -> int:
    """Bits by a PNG's sBIT chunk, which tells how many bits of a sample mean something, not where they are.

    The standard wants values scaled to all 16 bits, and then nothing is to be done. Only values that are
    evidently not scaled are taken to lie at the low end: all fit there, and in some the bits that scaling
    leaves empty are set. (A shift, a repeat of the highest bits and the exact ratio, the three ways to scale,
    leave 0 or 1 there in a value this small. PNG, third edition, 11.3.2.4 and 12.4.)

    Args:
        pixels: as decoded.
        told: the chunk's bytes, one a channel.
    """
    bits = _agreed(told)
    if bits not in SENSOR_BITS or not _fit(pixels, bits):
        return 16
    empty = np.uint16((1 << 16 - bits) - 1)
    return bits if bool((np.asarray(pixels, np.uint16) & empty > 1).any()) else 16


def of_highest(pixels: Pixels, told: Collection[int]) -> int:
    """Bits by a TIFF's MaxSampleValue or SMaxSampleValue, where it is the highest of 10, 12 or 14 bits.

    TIFF 6.0 calls it the highest value used. A writer who has counted it in the pixels tells another number,
    unless the brightest of them is at the sensor's limit, and is not believed.

    Args:
        pixels: as decoded.
        told: the tag's values, one a channel.
    """
    highest = _agreed(told)
    return next((bits for bits in SENSOR_BITS if highest == (1 << bits) - 1 and _fit(pixels, bits)), 16)


def _agreed(told: Collection[int]) -> int:
    """What is told of all channels alike, else 0."""
    return next(iter(told)) if len(set(told)) == 1 else 0


def _fit(pixels: Pixels, bits: int) -> bool:
    """Whether these are 16-bit colours without alpha, none of them above what that many bits hold."""
    is_colour = pixels.ndim == 2 or pixels.shape[2] == 3
    return is_colour and pixels.dtype == np.uint16 and int(pixels.max()) < 1 << bits
