"""Rates with exact one-sided confidence bounds, and how many parts a limit needs."""

from __future__ import annotations

from dataclasses import dataclass

from roinspect.inspection.calibration import highest_rate

MOST_PARTS = 1_000_000
"""Limits that need more parts than this are said to need more, without a number."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of independent parts.

    Attributes:
        found: how many of them.
        parts: of how many; 0 where there are none, and then nothing is known.
        low: lower confidence bound.
        high: upper confidence bound. Each holds by itself with the stated confidence.
    """

    found: int
    parts: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The observed share; NaN without parts."""
        return self.found / self.parts if self.parts else float("nan")


def rate_of(found: int, parts: int, confidence: float) -> Rate:
    """A rate with its one-sided bounds (Clopper and Pearson, 1934).

    Args:
        found: in [0, parts].
        parts: independent ones.
        confidence: of each bound, in (0, 1).

    Example:
        >>> rate = rate_of(29, 29, 0.95)  # 29 of 29 show 90 %
        >>> rate.share, round(rate.low, 3), rate.high
        (1.0, 0.902, 1.0)
    """
    if not parts:
        return Rate(0, 0, 0.0, 1.0)
    return Rate(
        found,
        parts,
        1.0 - highest_rate(parts - found, parts, confidence),
        highest_rate(found, parts, confidence),
    )


def parts_needed(limit: float, wrong: int, confidence: float) -> int | None:
    """The fewest parts of which `wrong` may be wrong while the bound of their rate is at most `limit`.

    Args:
        limit: highest rate of wrong parts, in (0, 1).
        wrong: parts with a wrong result, at least 0.
        confidence: of the bound, in (0, 1).

    Returns:
        A number of parts; None for more than `MOST_PARTS`.

    Example:
        >>> parts_needed(0.1, 0, 0.95), parts_needed(0.05, 0, 0.95), parts_needed(0.05, 1, 0.95)
        (29, 59, 93)
    """
    if not 0 < limit < 1:
        raise ValueError(f"a limit must be in (0, 1), not {limit}")
    few, enough = wrong, max(2 * wrong, 1)
    while highest_rate(wrong, enough, confidence) > limit:
        few, enough = enough, 2 * enough
        if enough > 2 * MOST_PARTS:
            return None
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if highest_rate(wrong, middle, confidence) > limit else (few, middle)
    return enough if enough <= MOST_PARTS else None
