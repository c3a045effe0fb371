"""Training length: until a held-out metric stops rising, then a while with smaller steps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

_RISE = 0.02
"""Of the measure, by which it must pass its best to count as risen."""
_PATIENCE = 3
"""Looks in a row without a rise after which it has stopped."""
_WARM = 0.2
"""Share of the least training in which the rate rises to its peak."""
_COOL = 1 / 3
"""Of the least training: its length at a falling rate."""


@dataclass(slots=True)
class Course:
    """A course of whole epochs: a warm-up, a level stretch of any length, and a fall to nothing.

    The rate depends on the steps done and on when the fall began, which a checkpoint keeps. One cycle of a
    given length would have to know the end at the beginning. (Hu et al., *MiniCPM*, 2024, section 4, call it
    warm-up, stable, decay.)

    Attributes:
        least: epochs that are trained at least.
        most: at most; the same where the length was asked for.
        good_enough: a measure below this goes on being improved for as long as may be.
        last: the epoch that the course ends with; 0 while nobody knows.
        best: the highest measure heard so far.
        stale: how often it has not risen since.
    """

    least: int
    most: int
    good_enough: float = 0.0
    last: int = 0
    best: float = -math.inf
    stale: int = 0

    @property
    def cooling(self) -> int:
        """Epochs at a falling rate."""
        return max(1, math.ceil(_COOL * self.least))

    def hear(self, measure: float) -> None:
        """Take note of a held-out measure, the higher the better."""
        if measure > self.best + _RISE:
            self.best, self.stale = measure, 0
        else:
            self.stale += 1

    def is_over(self, done: int) -> bool:
        """After so many epochs: decide how it goes on, and say whether it does not."""
        if not self.last:
            # Nothing heard is no reason to go on.
            heard = self.best > -math.inf
            is_rising = heard and (self.stale < _PATIENCE or self.best < self.good_enough)
            ends_here = done + self.cooling
            if ends_here >= self.most or (ends_here >= self.least and not is_rising):
                self.last = max(ends_here, self.least)
        return 0 < self.last <= done

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Share of the peak learning rate in a step, counted from 0: (0, 1]; 0 after the end."""
        warm = max(1.0, _WARM * self.least * steps_per_epoch)
        share = min(1.0, (step + 1) / warm)
        if self.last:
            left = self.last * steps_per_epoch - step
            share = min(share, max(0.0, left / (self.cooling * steps_per_epoch)))
        return share

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self)
