"""The Knapp test: does the machine reject what human inspectors reject, at least as reliably?

Knapp and Kushner (J. Parenter. Drug Assoc. 34, 14 and 369, 1980) let inspectors look at each part repeatedly
and take its share of rejections as its probability of rejection p. Parts with p >= 0.7 form the reject zone,
those with p <= 0.3 the accept zone, and the rest the grey zone. The reject-zone efficiency (RZE) is the mean
probability of rejection in the reject zone. The machine passes if its RZE, over the same parts, is at least
that of the inspectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

REJECT_ZONE = 0.7
ACCEPT_ZONE = 0.3
_ROUNDING = 1e-9
"""7 of 10 looks are 0.7, whatever the last bit."""


@dataclass(frozen=True, slots=True)
class Knapp:
    """The test.

    Attributes:
        parts: all of them.
        in_reject_zone: parts that inspectors reject with a probability of at least 0.7.
        in_grey_zone: parts between the zones.
        in_accept_zone: parts that inspectors reject with a probability of at most 0.3.
        manual: reject-zone efficiency of the inspectors; NaN with an empty reject zone.
        machine: of the machine.
        manual_false: the inspectors' mean probability of rejection in the accept zone; NaN if it is empty.
        machine_false: the machine's.
        fewest_manual_looks: looks at a part by all inspectors together, at least.
        fewest_machine_looks: photographs of a part, at least.
    """

    parts: int
    in_reject_zone: int
    in_grey_zone: int
    in_accept_zone: int
    manual: float
    machine: float
    manual_false: float
    machine_false: float
    fewest_manual_looks: int
    fewest_machine_looks: int

    @property
    def is_passed(self) -> bool:
        """Whether the machine's efficiency is at least the inspectors'; false without a reject zone."""
        return self.machine >= self.manual - _ROUNDING


def knapp(
    manual: NDArray[Any], machine: NDArray[Any], *, fewest_manual_looks: int, fewest_machine_looks: int
) -> Knapp:
    """Compare the machine with the inspectors.

    Args:
        manual: (N,) each part's share of rejections by the inspectors, in [0, 1].
        machine: (N,) its share of rejections by the machine.
        fewest_manual_looks: that a share is from, at least.
        fewest_machine_looks: the same of the machine.
    """
    by_hand, by_machine = np.asarray(manual, np.float64), np.asarray(machine, np.float64)
    reject, accept = by_hand >= REJECT_ZONE - _ROUNDING, by_hand <= ACCEPT_ZONE + _ROUNDING
    return Knapp(
        parts=len(by_hand),
        in_reject_zone=int(reject.sum()),
        in_grey_zone=int((~reject & ~accept).sum()),
        in_accept_zone=int(accept.sum()),
        manual=_mean(by_hand[reject]),
        machine=_mean(by_machine[reject]),
        manual_false=_mean(by_hand[accept]),
        machine_false=_mean(by_machine[accept]),
        fewest_manual_looks=fewest_manual_looks,
        fewest_machine_looks=fewest_machine_looks,
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan
