"""Drift: do parts still look as they did when the model was trained?

A lamp ages, a camera is knocked, a supplier changes: scores creep long before verdicts are wrong. Some
signals of every part are compared with those of held-out good parts by two-sided CUSUM charts (Page 1954),
which add up small deviations that persist. A chart's average run length, the parts between two false alarms,
follows from its limit (Siegmund 1985).
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from roinspect.inspection.scene import Scene

log = logging.getLogger(__name__)

LEAST_PARTS = 8
"""Held-out good parts without which nothing is known of what is usual."""
UNKNOWN = (
    f"fewer than {LEAST_PARTS} good parts were held out of training, so drift is not looked for; "
    "--drift-parts 0 turns it off without this line"
)
"""What a line says that runs for long."""
ALLOWANCE = 1.0
"""k of the chart, in deviations: a shift of less than this is not looked for, since mean and deviation come
from few parts, and parts of one day are alike."""
PARTS_BETWEEN = 100_000
"""Parts between two false alarms, of all signals together, where these are independent and normal."""
_LARGEST = 4.0
"""Deviations that one part counts at most: a defect is no drift."""
_SURE = 2.576
"""Normal quantile of the confidence with which the run length is kept, 99.5 % for each signal."""
_MEMORY = 0.05
"""Share of the newest part in the rolling mean."""
_LEAST = 1e-6


class Floor(NamedTuple):
    """What a signal is called, and how small a deviation counts."""

    words: str
    deviation: float


FLOORS: Mapping[str, Floor] = {
    "score": Floor("the score", 0.05),
    "roi_area": Floor("the region's area", 0.02),
    "roi_x": Floor("the region's place from the left", 0.005),
    "roi_y": Floor("the region's place from the top", 0.005),
    "certainty": Floor("the region's certainty", 0.01),
    "novelty": Floor("the distance to the training images", 0.05),
    "brightness": Floor("the brightness", 0.005),
    "sharpness": Floor("the sharpness", 0.02),
}
"""Smaller deviations, as of a region that is the same in every held-out part, count as this large. Score,
area, novelty and sharpness are logarithms, places shares of the picture's sides; brightness is in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is watched of one part, see `FLOORS`."""

    score: float
    roi_area: float
    roi_x: float
    roi_y: float
    certainty: float
    novelty: float
    brightness: float
    sharpness: float


@dataclass(frozen=True, slots=True)
class Usual:
    """The signals of held-out good parts, each as mean and standard deviation.

    Attributes:
        parts: how many there were.
    """

    parts: int
    score: tuple[float, float]
    roi_area: tuple[float, float]
    roi_x: tuple[float, float]
    roi_y: tuple[float, float]
    certainty: tuple[float, float]
    novelty: tuple[float, float]
    brightness: tuple[float, float]
    sharpness: tuple[float, float]


def signals_of(pred_score: float, scene: Scene, light: tuple[float, float]) -> Signals:
    """The signals of one part.

    Args:
        pred_score: of the part, finite.
        scene: what its photograph shows.
        light: brightness and sharpness, see `images.light.light_of`.
    """
    return Signals(
        score=_log(pred_score),
        roi_area=_log(scene.roi_area),
        roi_x=scene.place_xy[0],
        roi_y=scene.place_xy[1],
        certainty=scene.certainty,
        novelty=_log(scene.novelty),
        brightness=light[0],
        sharpness=_log(light[1]),
    )


def usual_of(signals: Iterable[Signals]) -> Usual | None:
    """What is usual, from held-out good parts; None of fewer than `LEAST_PARTS`."""
    listed = list(signals)
    if len(listed) < LEAST_PARTS:
        return None
    found = {}
    for field in fields(Signals):
        values = [getattr(one, field.name) for one in listed]
        mean = math.fsum(values) / len(values)
        square = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        found[field.name] = (mean, max(math.sqrt(square), FLOORS[field.name].deviation))
    return Usual(len(listed), **found)


def limit_of(parts_between: float, charts: int) -> float:
    """The limit h of each of so many one-sided charts, for a false alarm of any in `parts_between` parts.

    Siegmund's approximation of the average run length, with b = h + 1.166:
    ``ARL = (exp(2 k b) - 2 k b - 1) / (2 k^2)``.

    Example:
        >>> round(limit_of(100_000, 16), 2)
        6.32
    """
    wanted, low, high = parts_between * charts, 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        twice = 2 * ALLOWANCE * (middle + 1.166)
        if (math.exp(twice) - twice - 1) / (2 * ALLOWANCE**2) < wanted:
            low = middle
        else:
            high = middle
    return high


@dataclass(slots=True)
class _Chart:
    """A one-sided chart.

    Attributes:
        total: what has added up.
        parts: since it was last 0.
    """

    total: float = 0.0
    parts: int = 0


class DriftMonitor:
    """Charts of the parts that a line inspects; thread-safe.

    Args:
        usual: of the bundle.
        parts_between: parts between two false alarms, on average.
        where: the bundle, for messages.
    """

    def __init__(self, usual: Usual, parts_between: float = PARTS_BETWEEN, where: object = "") -> None:
        self.usual, self._where = usual, where
        self.level = dict.fromkeys(FLOORS, 0.0)
        """Of each signal the rolling mean of its deviations from what is usual, in standard deviations."""
        self._charts = {name: (_Chart(), _Chart()) for name in FLOORS}
        self._moved: dict[str, int] = {}
        self._limit = limit_of(parts_between, 2 * len(FLOORS))
        self._lock = threading.Lock()
        self._widened, self._allowance = _caution(usual.parts)

    @property
    def moved(self) -> tuple[str, ...]:
        """Names of the signals that have moved, in the order of `FLOORS`."""
        with self._lock:
            return tuple(name for name in FLOORS if name in self._moved)

    def see(self, signals: Signals) -> list[str]:
        """Take note of an inspectable part.

        Returns:
            In words, one line for each signal that has moved; empty if none has.
        """
        with self._lock:
            for name in FLOORS:
                self._add(name, getattr(signals, name))
            return [self._words(name) for name in FLOORS if name in self._moved]

    def _add(self, name: str, value: float) -> None:
        mean, deviation = getattr(self.usual, name)
        away = (value - mean) / (deviation * self._widened)
        away = max(-_LARGEST, min(_LARGEST, away))
        self.level[name] += _MEMORY * (away - self.level[name])
        charts = self._charts[name]
        for chart, sign in zip(charts, (1, -1), strict=True):
            chart.total = max(0.0, chart.total + sign * away - self._allowance)
            chart.parts = chart.parts + 1 if chart.total else 0
        highest = max(charts, key=lambda chart: chart.total)
        if highest.total > self._limit:
            is_new = name not in self._moved
            self._moved[name] = 1 if highest is charts[0] else -1
            # The usual estimate of a CUSUM chart, from the parts that have raised the alarm.
            self.level[name] = self._moved[name] * (self._allowance + highest.total / highest.parts)
            for chart in charts:
                chart.total, chart.parts = 0.0, 0
            if is_new:
                log.warning(f"{self._where}: drift: {self._words(name)}".removeprefix(": "))
        elif name in self._moved and abs(self.level[name]) < ALLOWANCE / 2:
            del self._moved[name]
            log.info(f"{self._where}: {FLOORS[name].words} is as usual again".removeprefix(": "))

    def _words(self, name: str) -> str:
        side = "above" if self._moved[name] > 0 else "below"
        return (
            f"{FLOORS[name].words} is {abs(self.level[name]):.1f} deviations {side} that of "
            f"{self.usual.parts} held-out good parts"
        )


def monitor_of(usual: Usual | None, parts_between: float, where: object) -> DriftMonitor | None:
    """A monitor; None for 0 parts, or if it is not known what is usual, see `UNKNOWN`."""
    return DriftMonitor(usual, parts_between, where) if parts_between and usual is not None else None


def _caution(parts: int) -> tuple[float, float]:
    """By what deviations are multiplied, and the charts' k, where mean and deviation come from so few parts.

    Taken at the ends of their confidence intervals: charts with estimates in their place would raise a
    false alarm every few hundred parts (Jensen et al., 2006). The chi-square quantile is Wilson and
    Hilferty's (1931).
    """
    freedom = parts - 1
    lowest = freedom * (1 - 2 / (9 * freedom) - _SURE * math.sqrt(2 / (9 * freedom))) ** 3
    widened = math.sqrt(freedom / lowest)
    return widened, ALLOWANCE + _SURE / math.sqrt(parts) / widened


def _log(value: float) -> float:
    return math.log(max(value, _LEAST))
