"""Histogram of pixel scores inside the region of interest, in bounded memory.

The bins are the top 20 bits of the float32 score (sign, exponent and 11 bits of mantissa), so only scores
that differ by less than 0.05 % share a bin; all from 0 to 5e-42 share that of zero. This takes 24 MB for any
number of images.

This is too coarse where many scores are nearly equal. A bin with more than 0.5 % of all pixels, or of the
truth pixels, is therefore split by the other 12 bits into bins of one score each, before the image that fills
it is counted. Unsplit bins hold so little that the error of pixel AUROC is at most 0.005. At most 400 bins
can be that full; split bins that no longer are get merged again: 40 MB at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.evaluation import curves

KEY_BITS = 20
"""Leading bits of a float32 score that select its bin."""

ZERO = 2 ** (KEY_BITS - 1)
"""The key of zero."""

FINE_BITS = 32 - KEY_BITS

CROWDED = 0.005
"""Share of all pixels, or of all truth pixels, from which a bin is split."""

_MOST_SPLIT = 400

_PLACE_BITS, _MIDDLE = FINE_BITS + 2, 2**FINE_BITS + 1
_LAST = 2 * 2**FINE_BITS + 2
"""Positions within a bin: even ones are its scores; 0 lies below and the last one above them."""

Unplaced: TypeAlias = Literal["between", "best", "worst"]


class PixelCounts(NamedTuple):
    """The content of each non-empty bin, highest score first; all (B,)."""

    positive: NDArray[np.int64]
    """Truth pixels inside the ROI."""
    negative: NDArray[np.int64]
    """Other pixels of the ROI."""
    overlap: NDArray[np.float64]
    """Sum over all truth regions of the share of the region's pixels in this bin."""
    tied: NDArray[np.bool_]
    """Whether the bin's scores are all equal: it comes from a split bin, or is that of zero."""


def order_keys(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Maps float32 to integers in [0, 2**20), monotonically: a <= b gives key(a) <= key(b).

    Example:
        >>> keys = order_keys(np.array([-2.0, -1.0, -0.0, 0.0, 1e-9, 1.0], np.float32))
        >>> bool((np.diff(keys) >= 0).all()), int(keys[3] - keys[2])
        (True, 0)
    """
    return (_order_bits(values) >> np.uint32(FINE_BITS)).astype(np.intp)


def _order_bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The 32 bits as integers in the order of the values."""
    # Adding zero turns -0.0, which equals 0.0 but has other bits, into 0.0.
    bits = (values + np.float32(0)).view(np.int32)
    # As integers, negative floats have the reverse order: flip all their bits, and only the sign of the
    # others.
    bits ^= (bits >> 31) | np.int32(-(2**31))
    return bits.view(np.uint32)


def region_shares(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights each pixel of a truth mask by one over the size of its 8-connected region.

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
    """Histograms of pixel scores inside the ROI, and the share of the maps' total inside it."""

    def __init__(self) -> None:
        self._pixels = np.zeros(2**KEY_BITS, np.int64)
        self._truth_pixels = np.zeros(2**KEY_BITS, np.int64)
        self._overlap = np.zeros(2**KEY_BITS, np.float64)
        self._split: dict[int, _Split] = {}
        """Counts of each split bin since it was split; the arrays above have the counts from before."""
        self._total = self._truth_total = 0
        self._mass = 0.0
        self._mass_inside = 0.0

    def add(
        self, anomaly_map: NDArray[np.float32], truth: NDArray[np.bool_] | None, roi: NDArray[np.bool_]
    ) -> None:
        """Adds one image.

        Args:
            anomaly_map: (H, W), finite.
            truth: (H, W), or None if unknown; then only the share of the total is counted.
            roi: (H, W).
        """
        inside = anomaly_map[roi]
        self._mass += float(np.maximum(anomaly_map, 0).sum(dtype=np.float64))
        self._mass_inside += float(np.maximum(inside, 0).sum(dtype=np.float64))
        if truth is None or not inside.size:
            return
        bits = _order_bits(inside)
        keys = (bits >> np.uint32(FINE_BITS)).astype(np.intp)
        truth = truth & roi
        is_truth = truth[roi]
        shares = region_shares(truth) if is_truth.any() else np.zeros(0)
        self._total += len(keys)
        self._truth_total += len(shares)
        self._split_crowded(keys, is_truth)
        if self._split:
            apart = np.isin(keys, list(self._split))
            weights = np.zeros(len(keys))
            weights[is_truth] = shares
            for key in np.unique(keys[apart]).tolist():
                which = keys == key
                self._split[key].add(bits[which], is_truth[which], weights[which])
            keys, shares, is_truth = keys[~apart], weights[is_truth & ~apart], is_truth[~apart]
            if not len(keys):
                return
        # Counting only the range of keys in use, not all 2**20, keeps small images cheap.
        low, high = int(keys.min()), int(keys.max()) + 1
        keys -= low
        self._pixels[low:high] += np.bincount(keys)
        if len(shares):
            truth_keys = keys[is_truth]
            self._truth_pixels[low:high] += np.bincount(truth_keys, minlength=high - low)
            self._overlap[low:high] += np.bincount(truth_keys, shares, minlength=high - low)

    def _split_crowded(self, keys: NDArray[np.intp], is_truth: NDArray[np.bool_]) -> None:
        """Split the bins that this image fills too much."""
        for own, counted, total in (
            (keys, self._pixels, self._total),
            (keys[is_truth], self._truth_pixels, self._truth_total),
        ):
            unique, times = np.unique(own, return_counts=True)
            for key in unique[counted[unique] + times > CROWDED * total].tolist():
                if key != ZERO and key not in self._split:
                    self._split[key] = _Split()
        if len(self._split) > _MOST_SPLIT:
            self._merge()

    def _merge(self) -> None:
        """Merge split bins that are no longer full."""
        for key, split in list(self._split.items()):
            pixels, truth = int(split.pixels.sum()), int(split.truth_pixels.sum())
            if pixels > CROWDED / 2 * self._total or truth > CROWDED / 2 * max(self._truth_total, 1):
                continue
            self._pixels[key] += pixels
            self._truth_pixels[key] += truth
            self._overlap[key] += split.overlap.sum()
            del self._split[key]

    def counts(self, unplaced: Unplaced = "between") -> PixelCounts:
        """Returns the counts of the bins in use.

        Args:
            unplaced: where to put the pixels of a split bin that were counted before it was split: "between"
                puts all in the middle, "best" the truth pixels first and the others last, "worst" the
                reverse. The exact measure lies between the last two.
        """
        used: NDArray[Any] = np.flatnonzero(self._pixels)
        pixels, truth, overlap = self._pixels[used], self._truth_pixels[used], self._overlap[used]
        order = (used.astype(np.int64) << _PLACE_BITS) + _MIDDLE
        columns = [[order, pixels, truth, overlap, used == ZERO]]
        early = np.isin(used, list(self._split))
        if unplaced != "between" and early.any():
            late = ~early
            first, last = (_LAST, 0) if unplaced == "best" else (0, _LAST)
            keys, none = used[early].astype(np.int64) << _PLACE_BITS, np.zeros(int(early.sum()), bool)
            columns = [
                [column[late] for column in columns[0]],
                [keys + first, truth[early], truth[early], overlap[early], none],
                [keys + last, pixels[early] - truth[early], 0 * truth[early], 0 * overlap[early], none],
            ]
        for key, split in self._split.items():
            fine = np.flatnonzero(split.pixels)
            counts = [
                split.pixels[fine],
                split.truth_pixels[fine],
                split.overlap[fine],
                np.ones(len(fine), bool),
            ]
            columns.append([(key << _PLACE_BITS) + 2 * fine + 2, *counts])
        order, pixels, truth, overlap, tied = (
            np.concatenate(column) for column in zip(*columns, strict=True)
        )
        falling = np.argsort(-order, kind="stable")
        positive = truth[falling]
        return PixelCounts(positive, pixels[falling] - positive, overlap[falling], tied[falling])

    def estimate(self, measure: Callable[[PixelCounts], curves.Estimate]) -> curves.Estimate:
        """A measure of the counts, and the bound of its error."""
        value, error = measure(self.counts())
        if not any(self._pixels[key] for key in self._split):
            return curves.Estimate(value, error)
        best, worst = measure(self.counts("best")), measure(self.counts("worst"))
        high, low = best.value + best.error, worst.value - worst.error
        return curves.Estimate(value, max(high - value, value - low))

    def mass_inside(self) -> float:
        """Returns the share of all maps' total inside the ROI; negatives count as zero, 0 / 0 is NaN."""
        return self._mass_inside / self._mass if self._mass else float("nan")


class _Split:
    """The counts of a split bin by the score's last bits."""

    def __init__(self) -> None:
        self.pixels = np.zeros(2**FINE_BITS, np.int64)
        self.truth_pixels = np.zeros(2**FINE_BITS, np.int64)
        self.overlap = np.zeros(2**FINE_BITS, np.float64)

    def add(
        self, bits: NDArray[np.uint32], is_truth: NDArray[np.bool_], weights: NDArray[np.float64]
    ) -> None:
        """Count pixels (P,) of this bin, given by their order bits."""
        fine = (bits & np.uint32(2**FINE_BITS - 1)).astype(np.intp)
        self.pixels += np.bincount(fine, minlength=2**FINE_BITS)
        self.truth_pixels += np.bincount(fine[is_truth], minlength=2**FINE_BITS)
        self.overlap += np.bincount(fine, weights, minlength=2**FINE_BITS)
