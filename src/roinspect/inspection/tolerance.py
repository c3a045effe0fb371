"""How far two runtimes may differ on the same image; used by thresholds and exports."""

from __future__ import annotations

import numpy as np

SCORE_TOLERANCE = 1e-4
"""Largest difference of two scores, as a share of the score, or of 1 % of the threshold if that is more."""

MAP_TOLERANCE = 1e-3
"""Largest difference of two maps at any pixel, as a share of the map's maximum, or of the same 1 %."""

REDUCED_TOLERANCE = 1e-2
"""The same for an export in INT8 or bfloat16, beside its own scores where it was made: processors round
differently, and a fault changes more."""

LEAST = 0.01
"""Share of the threshold; lower scores count as this large."""


def above(score: float) -> float:
    """A threshold that a part with this score passes in every runtime, with any number of threads.

    It lies twice `SCORE_TOLERANCE` above the score: a runtime may differ by one tolerance, and the parity
    gate considers a score within one tolerance of the threshold undecided.

    Args:
        score: finite.

    Returns:
        A float32 number, like the scores: a float64 could be rounded back to the part's own score.

    Example:
        >>> above(10.0) > 10.0 * (1 + SCORE_TOLERANCE), above(0.0) > 0.0
        (True, True)
    """
    raised = np.float32(score + 2 * SCORE_TOLERANCE * abs(score))
    return float(np.nextafter(raised, np.float32(np.inf)))
