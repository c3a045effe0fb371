"""Number of significant bits of 16-bit samples, if declared by the file and consistent with its pixels."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from roinspect.images.formats.container import Pixels

SENSOR_BITS = (10, 12, 14)
"""Bit depths of sensors whose values are stored in 16 bits."""


def of_sbit(pixels: Pixels, declared: Collection[int]) -> int:
    """Bits from a PNG's sBIT chunk, which declares the number of significant bits but not their position.

    The standard requires values to be scaled to all 16 bits; then 16 is returned. Values are taken to be
    unscaled only if all fit into the low bits and some have bits set that scaling would leave empty. (The
    three ways of scaling, by shift, by repeating the highest bits and by the exact ratio, leave 0 or 1 there
    in a value this small. PNG, third edition, 11.3.2.4 and 12.4.)

    Args:
        pixels: decoded pixels.
        declared: the chunk's bytes, one per channel.
    """
    bits = _agreed(declared)
    if bits not in SENSOR_BITS or not _fit(pixels, bits):
        return 16
    empty = np.uint16((1 << 16 - bits) - 1)
    return bits if bool((np.asarray(pixels, np.uint16) & empty > 1).any()) else 16


def of_highest(pixels: Pixels, declared: Collection[int]) -> int:
    """Bits from a TIFF's MaxSampleValue or SMaxSampleValue, if it is the maximum of 10, 12 or 14 bits.

    TIFF 6.0 defines it as the highest value used. Other values are ignored: they were measured from the
    pixels and do not give the sensor's limit.

    Args:
        pixels: decoded pixels.
        declared: the tag's values, one per channel.
    """
    highest = _agreed(declared)
    return next((bits for bits in SENSOR_BITS if highest == (1 << bits) - 1 and _fit(pixels, bits)), 16)


def _agreed(declared: Collection[int]) -> int:
    """The value if it is the same for all channels, else 0."""
    return next(iter(declared)) if len(set(declared)) == 1 else 0


def _fit(pixels: Pixels, bits: int) -> bool:
    """Whether these are 16-bit colours without alpha that all fit into that many bits."""
    is_colour = pixels.ndim == 2 or pixels.shape[2] == 3
    return is_colour and pixels.dtype == np.uint16 and int(pixels.max()) < 1 << bits
