"""Training length: train until a held-out measure stops rising, then decay the learning rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

_RISE = 0.02
"""Smallest improvement over the best measure that counts as a rise."""
_PATIENCE = 3
"""Number of measures without a rise after which training ends."""
_WARM = 0.2
"""Length of the warm-up, as a share of the minimum training."""
_COOL = 1 / 3
"""Length of the decay, as a share of the minimum training."""


@dataclass(slots=True)
class Course:
    """A schedule of whole epochs: warm-up, a constant rate for any number of epochs, and decay to 0.

    The rate depends on the step and on the start of the decay, which a checkpoint stores; the length need
    not be known in advance. Hu et al., *MiniCPM*, 2024, section 4: warm-up, stable, decay.

    Attributes:
        least: minimum number of epochs.
        most: maximum number of epochs; equal to `least` if the length is set.
        good_enough: below this measure training continues up to `most`.
        last: the final epoch; 0 while it is open.
        best: the highest measure so far.
        stale: number of measures since then.
    """

    least: int
    most: int
    good_enough: float = 0.0
    last: int = 0
    best: float = -math.inf
    stale: int = 0

    @property
    def cooling(self) -> int:
        """Number of epochs of the decay."""
        return max(1, math.ceil(_COOL * self.least))

    def hear(self, measure: float) -> None:
        """Record a held-out measure; higher is better."""
        if measure > self.best + _RISE:
            self.best, self.stale = measure, 0
        else:
            self.stale += 1

    def is_over(self, done: int) -> bool:
        """Whether training ends after `done` epochs; may also start the decay."""
        if not self.last:
            # Without a measure there is no reason to continue.
            is_measured = self.best > -math.inf
            is_rising = is_measured and (self.stale < _PATIENCE or self.best < self.good_enough)
            ends_here = done + self.cooling
            if ends_here >= self.most or (ends_here >= self.least and not is_rising):
                self.last = max(ends_here, self.least)
        return 0 < self.last <= done

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate in a step, counted from 0, relative to the peak: (0, 1]; 0 after the end."""
        warm = max(1.0, _WARM * self.least * steps_per_epoch)
        share = min(1.0, (step + 1) / warm)
        if self.last:
            left = self.last * steps_per_epoch - step
            share = min(share, max(0.0, left / (self.cooling * steps_per_epoch)))
        return share

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return asdict(self)
