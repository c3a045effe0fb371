"""Pixel scores inside the region of interest, counted in bounded memory.

The bins are the top 20 bits of the float32 score: sign, exponent and 11 bits of mantissa, so only scores
closer than 0.05 % share a bin, and all from 0 to 5e-42 that of zero. That is 24 MB whatever the number of
images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

KEY_BITS = 20
"""How many of a float32's leading bits tell two pixel scores apart."""

ZERO = 2 ** (KEY_BITS - 1)
"""The key of zero."""


class PixelCounts(NamedTuple):
    """What lies in each bin that holds a pixel, highest score first; all (B,)."""

    positive: NDArray[np.int64]
    """Pixels of truth and ROI."""
    negative: NDArray[np.int64]
    """Other pixels of the ROI."""
    overlap: NDArray[np.float64]
    """Sum over all truth regions of the share of the region's pixels in this bin."""
    tied: NDArray[np.bool_]
    """Whether the bin's scores are all equal: it is that of zero, the value of much of many maps."""


def order_keys(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Maps float32 to integers in [0, 2**20) that never reverse an order: a <= b gives key(a) <= key(b).

    Example:
        >>> keys = order_keys(np.array([-2.0, -1.0, -0.0, 0.0, 1e-9, 1.0], np.float32))
        >>> bool((np.diff(keys) >= 0).all()), int(keys[3] - keys[2])
        (True, 0)
    """
    # Adding zero turns -0.0, which equals 0.0 but has other bits, into 0.0.
    bits = (values + np.float32(0)).view(np.int32)
    # Negative floats rank backwards as integers: flip all their bits, and of the others the sign alone.
    bits ^= (bits >> 31) | np.int32(-(2**31))
    return (bits.view(np.uint32) >> np.uint32(32 - KEY_BITS)).astype(np.intp)


def region_shares(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weighs each pixel of a truth mask by one over the size of its 8-connected region.

    Args:
        truth: (H, W).

    Returns:
        (P,) weights of the P truth pixels in row order; they sum to the number of regions.

    Example:
        >>> region_shares(np.array([[True, True, False, True]])).tolist()
        [0.5, 0.5, 1.0]
    """
    _, labels = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
    members = labels[truth]
    weights: NDArray[np.float64] = 1.0 / np.bincount(members)[members]
    return weights


class PixelHistogram:
    """Histograms of pixel scores inside the ROI, and how much of the maps' total lies there."""

    def __init__(self) -> None:
        self._pixels = np.zeros(2**KEY_BITS, np.int64)
        self._truth_pixels = np.zeros(2**KEY_BITS, np.int64)
        self._overlap = np.zeros(2**KEY_BITS, np.float64)
        self._mass = 0.0
        self._mass_inside = 0.0

    def add(
        self, anomaly_map: NDArray[np.float32], truth: NDArray[np.bool_] | None, roi: NDArray[np.bool_]
    ) -> None:
        """Adds one image.

        Args:
            anomaly_map: (H, W), finite.
            truth: (H, W), or None where it is unknown: then only the share of the mass is counted.
            roi: (H, W).
        """
        inside = anomaly_map[roi]
        self._mass += float(np.maximum(anomaly_map, 0).sum(dtype=np.float64))
        self._mass_inside += float(np.maximum(inside, 0).sum(dtype=np.float64))
        if truth is None or not inside.size:
            return
        keys = order_keys(inside)
        # Counting over the keys in use, not over all 2**20, keeps a small image as cheap as its pixels.
        low, high = int(keys.min()), int(keys.max()) + 1
        keys -= low
        self._pixels[low:high] += np.bincount(keys)
        truth = truth & roi
        if truth.any():
            truth_keys = keys[truth[roi]]
            self._truth_pixels[low:high] += np.bincount(truth_keys, minlength=high - low)
            self._overlap[low:high] += np.bincount(truth_keys, region_shares(truth), minlength=high - low)

    def counts(self) -> PixelCounts:
        """Returns the counts of the bins in use."""
        used: NDArray[Any] = np.flatnonzero(self._pixels)[::-1]
        positive = self._truth_pixels[used]
        return PixelCounts(positive, self._pixels[used] - positive, self._overlap[used], used == ZERO)

    def mass_inside(self) -> float:
        """Returns the share of all maps' total that lies inside the ROI; negatives are zero, 0 / 0 is NaN."""
        return self._mass_inside / self._mass if self._mass else float("nan")
