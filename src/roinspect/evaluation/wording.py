"""Metrics in words and formatted figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.evaluation.intervals import UNKNOWN
from roinspect.evaluation.values import MetricValues


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table of measures.

    Attributes:
        name: of the measure.
        meaning: in a few words.
        values: as text, one per model; a dash if undefined.
        best: whether a model's value is the better one; all false for a single model or equal values.
        intervals: 95 % confidence intervals as text, one per model; "" if there is none.
    """

    name: str
    meaning: str
    values: tuple[str, ...]
    best: tuple[bool, ...]
    intervals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfusionRow:
    """A kind of parts in the confusion matrix."""

    kind: str
    """"good", "outside" or "defective"."""
    passed: int
    rejected: int
    passing_is_right: bool

    @property
    def total(self) -> int:
        """Parts of this kind."""
        return self.passed + self.rejected


_MEASURES = (
    # name, attribute, attribute of its error, meaning
    ("Image AUROC", "image_auroc", "", "chance that a defective part scores higher than another"),
    ("Image average precision", "image_ap", "", "mean share of rightly rejected parts"),
    ("Image F1, best", "image_f1_max", "", "at the threshold that suits these parts best"),
    ("Pixel AUROC", "pixel_auroc", "pixel_auroc_error", "the same by pixel, inside the region"),
    ("Pixel average precision", "pixel_ap", "pixel_ap_error", "inside the region"),
    ("Pixel F1, best", "pixel_f1_max", "pixel_f1_max_error", "inside the region"),
    ("AUPRO, up to 0.3", "aupro", "aupro_error", "how well each single defect is covered"),
    ("AUPRO, up to 0.05", "aupro_005", "aupro_005_error", "the same with few false pixels"),
)
_AT_RECALL = "when 95 % of the defective parts are caught"
_RATES = (
    # name, attribute, meaning, sign: 1 where more is better
    ("Alarms on outside damage", "outside_alarm_rate_at_recall95", _AT_RECALL, -1),
    ("Alarms on good parts", "good_alarm_rate_at_recall95", _AT_RECALL, -1),
    ("Heat inside the region", "roi_mass", "share of the anomaly maps' total", 1),
)


def verdict_sentences(metrics: MetricValues) -> list[str]:
    """The verdicts on the parts, in plain words.

    Raises:
        ValueError: the metrics were computed without a threshold.
    """
    if metrics.escapes is None or metrics.good_rejects is None or metrics.outside_alarms is None:
        raise ValueError("the verdict needs metrics that were computed with a threshold")
    sentences = []
    if metrics.defective_parts:
        escaped = f"{metrics.escapes} escaped" if metrics.escapes else "none escaped"
        sentences.append(
            f"Of {_parts(metrics.defective_parts, 'defective')}, {metrics.caught} were caught and {escaped}."
        )
    if metrics.good_parts:
        rejected = metrics.good_rejects or "none"
        were = "was" if metrics.good_rejects == 1 else "were"
        sentences.append(f"Of {_parts(metrics.good_parts, 'good')}, {rejected} {were} rejected.")
    if metrics.outside_only_parts:
        share = metrics.outside_alarms / metrics.outside_only_parts
        of = _parts(metrics.outside_only_parts, "")
        sentences.append(
            f"{100 * share:.0f} % of the {of} with damage only outside the region raised an alarm."
        )
    return sentences or ["There was no part to inspect."]


def measure_rows(models: Sequence[MetricValues]) -> Iterator[Measure]:
    """Yields every measure of one or more models."""
    for name, value, error, meaning in _MEASURES:
        values = [getattr(model, value) for model in models]
        errors = [getattr(model, error) if error else 0.0 for model in models]
        texts = tuple(_number(*pair) for pair in zip(values, errors, strict=True))
        likely = tuple(_likely(model, value) for model in models)
        yield Measure(name, meaning, texts, _best(values, texts), likely)
    for name, value, meaning, sign in _RATES:
        values = [getattr(model, value) for model in models]
        texts = tuple(_percent(value) for value in values)
        best = _best([sign * value for value in values], texts)
        yield Measure(name, meaning, texts, best, tuple(likely_rate(model, value) for model in models))


def likely_rate(metrics: MetricValues, name: str) -> str:
    """The interval of a rate in per cent, or ""."""
    low, high = metrics.intervals.bounds.get(name, UNKNOWN)
    return "" if np.isnan(low) else f"{100 * low:.1f}–{100 * high:.1f} %"


def sampling(metrics: MetricValues) -> str:
    """What the intervals are based on, in words."""
    intervals = metrics.intervals
    units = f"{intervals.units:,} {intervals.unit}s"
    units += " of near-duplicates" if intervals.unit == "group" else ""
    return f"{intervals.level:.0%} confidence intervals, from {units}"


def confusion(groups: Mapping[str, NDArray[Any]], threshold: float) -> Iterator[ConfusionRow]:
    """Yields the numbers of passed and rejected parts of each kind.

    Args:
        groups: scores by kind: "good", "outside", "defective".
        threshold: a score at or above it is rejected.
    """
    for kind, scores in groups.items():
        rejected = int((scores >= threshold).sum())
        yield ConfusionRow(kind, len(scores) - rejected, rejected, kind != "defective")


def _likely(metrics: MetricValues, name: str) -> str:
    low, high = metrics.intervals.bounds.get(name, UNKNOWN)
    return "" if np.isnan(low) else f"{low:.3f}–{high:.3f}"


def _best(values: Sequence[float], texts: Sequence[str]) -> tuple[bool, ...]:
    if len(set(texts)) < 2:
        return (False,) * len(texts)
    highest = np.nanmax(values)
    return tuple(value == highest for value in values)


def _parts(count: int, kind: str) -> str:
    return " ".join(word for word in (str(count), kind, "part" if count == 1 else "parts") if word)


def _number(value: float, error: float = 0.0) -> str:
    if np.isnan(value):
        return "–"
    # The histogram's error bound is shown only if it would change a printed digit.
    return f"{value:.3f}" + (f" ± {error:.3f}" if error >= 0.0005 else "")


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f} %"
