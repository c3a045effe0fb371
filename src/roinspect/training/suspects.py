"""Good photographs that the trained model finds far stranger than the others: defects, or another product."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.data.dataset import DecodedCache
from roinspect.inspection.bundle import Threshold
from roinspect.inspection.calibration import LeftOut, by_group, choose_threshold

NAMED = 10
FEWEST = 10
EXPECTED = 0.1
"""Mentions to expect by mistake, in all photographs of a training, if the logarithms of scores are normal."""
_LEAST_SPREAD = 0.05
_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Suspects:
    """Suspicious good photographs.

    Attributes:
        names: keys, highest score first.
        compared: number of good photographs.
        threshold: what the threshold would be without them.
    """

    names: Sequence[str]
    compared: int
    threshold: float


def far_above(scores: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Which scores (N,) are far above the others: on average 0.1 of N log-normal ones.

    Their logarithms are compared with the median and the upper quartile, which outliers do not shift if they
    are fewer than a quarter.

    Example:
        >>> far_above(np.array([1.0, 1.1, 0.9, 1.2, 0.8, 1.0, 1.1, 0.9, 1.0, 5.0])).nonzero()[0].tolist()
        [9]
    """
    if len(scores) < FEWEST:
        return np.zeros(len(scores), np.bool_)
    logs = np.log(np.maximum(scores, _SMALLEST).astype(np.float64))
    median, upper = np.quantile(logs, [0.5, 0.75])
    spread = max(1.4826 * (upper - median), _LEAST_SPREAD)
    return np.asarray(logs > median + spread * NormalDist().inv_cdf(1 - EXPECTED / len(scores)))


def nothing_varies(fitted: DecodedCache) -> str:
    """A warning if good training photographs are all of one colour, or all the same picture; else ""."""
    good = np.flatnonzero(fitted.labels == 0)
    first = fitted.images[good[0]]
    # Both stop at the first photograph that differs.
    if all(bool((fitted.images[row] == fitted.images[row][0, 0]).all()) for row in good):
        fault = "show one colour each, and no part"
    elif all(np.array_equal(fitted.images[row], first) for row in good):
        fault = "are the same picture"
    else:
        return ""
    return (
        f"all {len(good):,} good photographs to train on {fault}: scores and threshold mean nothing; "
        "check the camera or the files"
    )


def suspects(
    scores: NDArray[np.float32],
    held_out: DecodedCache,
    held_out_groups: Sequence[str],
    fitted: DecodedCache,
    fitted_groups: Sequence[str],
    left_out: LeftOut | None,
    false_reject: float,
) -> Suspects | None:
    """Suspicious ones among the good photographs that have a score as if they had not been trained on.

    Args:
        scores: (N,), of the held-out photographs.
        held_out: these photographs.
        held_out_groups: their groups, "" for none.
        fitted: the training photographs.
        fitted_groups: their groups.
        left_out: scores of the good ones among them, if any.
        false_reject: for the threshold without suspicious photographs.
    """
    good = np.flatnonzero(held_out.labels == 0)
    parts = [held_out.records[row] for row in good]
    values = scores[good]
    if left_out is not None:
        rows = [row for group in by_group(fitted.labels, fitted_groups) for row in group]
        parts += [fitted.records[row] for row in rows]
        values = np.concatenate([values, left_out.scores])
    is_odd = far_above(values)
    if not is_odd.any():
        return None
    kept = np.ones(len(scores), np.bool_)
    kept[good] = ~is_odd[: len(good)]
    rest = None
    if left_out is not None:
        usual = ~is_odd[len(good) :]
        rest = LeftOut(
            left_out.scores[usual],
            [group for group, is_kept in zip(left_out.groups, usual, strict=True) if is_kept],
        )
    groups = [group for group, is_kept in zip(held_out_groups, kept, strict=True) if is_kept]
    without = choose_threshold(scores[kept], held_out.labels[kept], groups, false_reject, rest)
    highest = np.flatnonzero(is_odd)[np.argsort(-values[is_odd], kind="stable")]
    names = [parts[row].key or parts[row].image_path.name for row in highest]
    return Suspects(names, len(values), without.value)


def with_suspects(
    threshold: Threshold, metrics: Mapping[str, Any], found: Suspects | None
) -> tuple[Threshold, Mapping[str, Any]]:
    """The threshold with a warning of the suspicious photographs, and the metrics with their names."""
    if found is None:
        return threshold, metrics
    count = len(found.names)
    named = ", ".join(found.names[:NAMED]) + (", ..." if count > NAMED else "")
    warning = (
        f"{count:,} of {found.compared:,} good photographs score far above the others: {named}; look at "
        "them: if one shows a defect or another product, move it. Without them the threshold would be "
        f"{found.threshold:.4g} instead of {threshold.value:.4g}"
    )
    return (
        dataclasses.replace(threshold, warning="; ".join(filter(None, (threshold.warning, warning)))),
        {
            **metrics,
            "suspicious": list(found.names[:NAMED]),
            "suspicious_photographs": count,
            "threshold_without_suspicious": found.threshold,
        },
    )
