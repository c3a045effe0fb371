"""Pixel scores inside the region of interest, counted in bounded memory.

The bins are the top 20 bits of the float32 score: sign, exponent and 11 bits of mantissa, so only scores
closer than 0.05 % share a bin, and all from 0 to 5e-42 that of zero. That is 24 MB whatever the number of
images.

Where scores crowd, that is too coarse: a bin that holds more than 0.5 % of the pixels, or of the truth's, is
split by the other 12 bits, into bins of one score each, before the image that crowds it is counted. So bins
that were not split in time hold so little that pixel AUROC errs by 0.005 at most. No more than 400 bins can
be so full at once; older ones that are not so any more are put together again: 40 MB at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.evaluation import curves

KEY_BITS = 20
"""How many of a float32's leading bits tell two pixel scores apart."""

ZERO = 2 ** (KEY_BITS - 1)
"""The key of zero."""


FINE_BITS = 32 - KEY_BITS

CROWDED = 0.005
"""Share of all pixels of either kind in one bin from which the bin is split."""

_MOST_SPLIT = 400

_PLACE_BITS, _MIDDLE = FINE_BITS + 2, 2**FINE_BITS + 1
_LAST = 2 * 2**FINE_BITS + 2
"""Places within a bin: even ones are its scores', 0 lies below and the last one above them."""

Unplaced: TypeAlias = Literal["between", "best", "worst"]


class PixelCounts(NamedTuple):
    """What lies in each bin that holds a pixel, highest score first; all (B,)."""

    positive: NDArray[np.int64]
    """Pixels of truth and ROI."""
    negative: NDArray[np.int64]
    """Other pixels of the ROI."""
    overlap: NDArray[np.float64]
    """Sum over all truth regions of the share of the region's pixels in this bin."""
    tied: NDArray[np.bool_]
    """Whether the bin's scores are all equal: it was split, or is that of zero, the value of much of many
    maps."""


def order_keys(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Maps float32 to integers in [0, 2**20) that never reverse an order: a <= b gives key(a) <= key(b).

    Example:
        >>> keys = order_keys(np.array([-2.0, -1.0, -0.0, 0.0, 1e-9, 1.0], np.float32))
        >>> bool((np.diff(keys) >= 0).all()), int(keys[3] - keys[2])
        (True, 0)
    """
    return (_order_bits(values) >> np.uint32(FINE_BITS)).astype(np.intp)


def _order_bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """All 32 bits, as integers in the order of the values."""
    # Adding zero turns -0.0, which equals 0.0 but has other bits, into 0.0.
    bits = (values + np.float32(0)).view(np.int32)
    # Negative floats rank backwards as integers: flip all their bits, and of the others the sign alone.
    bits ^= (bits >> 31) | np.int32(-(2**31))
    return bits.view(np.uint32)


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
        self._split: dict[int, _Split] = {}
        """What was counted of a crowded bin since it was split; the arrays above hold what was before."""
        self._total = self._truth_total = 0
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
        # Counting over the keys in use, not over all 2**20, keeps a small image as cheap as its pixels.
        low, high = int(keys.min()), int(keys.max()) + 1
        keys -= low
        self._pixels[low:high] += np.bincount(keys)
        if len(shares):
            truth_keys = keys[is_truth]
            self._truth_pixels[low:high] += np.bincount(truth_keys, minlength=high - low)
            self._overlap[low:high] += np.bincount(truth_keys, shares, minlength=high - low)

    def _split_crowded(self, keys: NDArray[np.intp], is_truth: NDArray[np.bool_]) -> None:
        """Split the bins that this image makes too full."""
        for own, counted, total in (
            (keys, self._pixels, self._total),
            (keys[is_truth], self._truth_pixels, self._truth_total),
        ):
            found, times = np.unique(own, return_counts=True)
            for key in found[counted[found] + times > CROWDED * total].tolist():
                if key != ZERO and key not in self._split:
                    self._split[key] = _Split()
        if len(self._split) > _MOST_SPLIT:
            self._put_together()

    def _put_together(self) -> None:
        """Give the bins that are no longer full back to the histogram."""
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
            unplaced: where, among the scores of a split bin, lie the pixels that were counted before it was
                split: "between" puts them all in the middle, "best" the truth's first and the others last,
                "worst" the other way round. The exact measure lies between those of the last two.
        """
        used: NDArray[Any] = np.flatnonzero(self._pixels)
        pixels, truth, overlap = self._pixels[used], self._truth_pixels[used], self._overlap[used]
        order = (used.astype(np.int64) << _PLACE_BITS) + _MIDDLE
        columns = [[order, pixels, truth, overlap, used == ZERO]]
        early = np.isin(used, list(self._split))
        if unplaced != "between" and early.any():
            kept = ~early
            first, last = (_LAST, 0) if unplaced == "best" else (0, _LAST)
            keys, none = used[early].astype(np.int64) << _PLACE_BITS, np.zeros(int(early.sum()), bool)
            columns = [
                [one[kept] for one in columns[0]],
                [keys + first, truth[early], truth[early], overlap[early], none],
                [keys + last, pixels[early] - truth[early], 0 * truth[early], 0 * overlap[early], none],
            ]
        for key, split in self._split.items():
            fine = np.flatnonzero(split.pixels)
            one = [
                split.pixels[fine],
                split.truth_pixels[fine],
                split.overlap[fine],
                np.ones(len(fine), bool),
            ]
            columns.append([(key << _PLACE_BITS) + 2 * fine + 2, *one])
        order, pixels, truth, overlap, tied = (np.concatenate(one) for one in zip(*columns, strict=True))
        falling = np.argsort(-order, kind="stable")
        positive = truth[falling]
        return PixelCounts(positive, pixels[falling] - positive, overlap[falling], tied[falling])

    def estimate(self, measure: Callable[[PixelCounts], curves.Estimate]) -> curves.Estimate:
        """A measure of the counts, and how far the exact one may lie from it."""
        value, error = measure(self.counts())
        if not any(self._pixels[key] for key in self._split):
            return curves.Estimate(value, error)
        best, worst = measure(self.counts("best")), measure(self.counts("worst"))
        high, low = best.value + best.error, worst.value - worst.error
        return curves.Estimate(value, max(high - value, value - low))

    def mass_inside(self) -> float:
        """Returns the share of all maps' total that lies inside the ROI; negatives are zero, 0 / 0 is NaN."""
        return self._mass_inside / self._mass if self._mass else float("nan")


class _Split:
    """The counts of one bin by the score's last bits."""

    def __init__(self) -> None:
        self.pixels = np.zeros(2**FINE_BITS, np.int64)
        self.truth_pixels = np.zeros(2**FINE_BITS, np.int64)
        self.overlap = np.zeros(2**FINE_BITS, np.float64)

    def add(
        self, bits: NDArray[np.uint32], is_truth: NDArray[np.bool_], weights: NDArray[np.float64]
    ) -> None:
        """Count pixels (P,) of this bin by their order bits."""
        fine = (bits & np.uint32(2**FINE_BITS - 1)).astype(np.intp)
        self.pixels += np.bincount(fine, minlength=2**FINE_BITS)
        self.truth_pixels += np.bincount(fine[is_truth], minlength=2**FINE_BITS)
        self.overlap += np.bincount(fine, weights, minlength=2**FINE_BITS)
