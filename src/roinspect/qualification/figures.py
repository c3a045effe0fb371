"""The report's plots, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roinspect.evaluation.charts import Series, plot
from roinspect.qualification.outcomes import Part
from roinspect.qualification.plan import HIGHEST
from roinspect.qualification.pod import PodCurve, lower_bound
from roinspect.qualification.robustness import Disturbance

_POINTS = 120
_UNITS = {
    "brightness": "share",
    "contrast": "share",
    "blur": "pixels",
    "shift": "share of the side",
    "rotation": "degrees",
    "jpeg": "100 - quality",
    "noise": "grey levels",
}
assert _UNITS.keys() == HIGHEST.keys()


def pod_svg(curve: PodCurve, parts: Sequence[Part]) -> str:
    """POD against size, its lower bound, each hit and miss, and a90/95 as a vertical line.

    Args:
        curve: fitted to the parts.
        parts: defective ones of known size.
    """
    sizes = np.array([part.width for part in parts])
    hits = np.array([part.is_right for part in parts], bool)
    end = 1.05 * curve.largest
    if np.isfinite(curve.a90_bound) and curve.a90_bound < 2 * curve.largest:
        end = max(end, 1.1 * curve.a90_bound)
    drawn = [(x, curve.probability(x)) for x in np.linspace(end / _POINTS, end, _POINTS).tolist()]
    bound = [(size, probability) for size, probability in lower_bound(sizes, hits, curve) if size <= end]
    dots = [
        ("hit" if is_hit else "miss", size, 1.0 if is_hit else 0.0)
        for size, is_hit in zip(sizes.tolist(), hits.tolist(), strict=True)
    ]
    series = [Series("first", drawn)] + ([Series("second", bound)] if len(bound) > 1 else [])
    return plot(
        series,
        (0.0, end),
        (0.0, 1.0),
        x_label="width of the defect in pixels of the photograph",
        y_label="probability of detection",
        title="Probability of detection against size",
        mark=curve.a90_bound if curve.a90_bound <= end else None,
        dots=dots,
    )


def robustness_svg(disturbance: Disturbance) -> str:
    """Shares of wrong verdicts against the strength of a disturbance; the line marks what is too much."""
    levels = disturbance.levels
    series = []
    if levels[0].good:
        series.append(Series("first", [(level.strength, level.not_passed / level.good) for level in levels]))
    if levels[0].defective:
        series.append(
            Series("second", [(level.strength, level.escaped / level.defective) for level in levels])
        )
    return plot(
        series,
        (0.0, levels[-1].strength),
        (0.0, 1.0),
        x_label=_UNITS[disturbance.kind],
        y_label="share of the photographs",
        title=f"Wrong verdicts against {disturbance.kind}",
        mark=disturbance.fails_at,
    )
