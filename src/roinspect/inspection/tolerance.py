"""How far the answers of two runtimes to the same image may differ; shared by thresholds and exports."""

from __future__ import annotations

import numpy as np

SCORE_TOLERANCE = 1e-4
"""Largest difference of two scores, as a share of the score, or of 1 % of the threshold if that is more."""

MAP_TOLERANCE = 1e-3
"""Largest difference of two maps at any pixel, as a share of the map's maximum, or of the same 1 %."""

LEAST = 0.01
"""Share of the threshold below which a score counts as this large."""


def above(score: float) -> float:
    """A threshold that a part of this score passes in every runtime, at every thread count.

    It lies twice `SCORE_TOLERANCE` above the score: a runtime may differ by that once, and the parity gate
    takes a score within that of the threshold for undecided.

    Args:
        score: finite.

    Returns:
        A float32 number, as scores are: a float64 might be rounded back onto the part's own score.

    Example:
        >>> above(10.0) > 10.0 * (1 + SCORE_TOLERANCE), above(0.0) > 0.0
        (True, True)
    """
    room = np.float32(score + 2 * SCORE_TOLERANCE * abs(score))
    return float(np.nextafter(room, np.float32(np.inf)))
