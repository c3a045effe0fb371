"""Plots as SVG text that opens anywhere: no script, font or library required.

Colours and line styles are CSS classes (`good`, `outside`, `defective`, `line`, `grid`, ...) of the page.
Series that share a plot have the classes in `SERIES`, in order; the page explains them. Written by hand:
matplotlib's SVG is four to seven times as large, and has none of the classes that the page's style and its
threshold slider need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from roinspect.evaluation import curves

WIDTH = 640
LEFT, RIGHT = 16, 624
BAND = 92
BINS = 48

PLOTTED = 300
"""Resolution of a curve's axes, in steps."""

SERIES = ("first", "second")

Curve = Sequence[tuple[float, float]]


class Series(NamedTuple):
    """A line of a plot, and the point marked on it."""

    css: str
    curve: Curve
    point: tuple[float, float] | None = None


def score_range(scores: NDArray[Any], threshold: float) -> tuple[float, float]:
    """Returns the range of an axis that shows all scores and the threshold, with a small margin."""
    low, high = min(float(scores.min()), threshold), max(float(scores.max()), threshold)
    margin = (high - low) * 0.03 or max(abs(high), 1.0) * 0.05
    return low - margin, high + margin


def ticks(low: float, high: float, *, count: int = 5, least: float = 0.0) -> list[float]:
    """Returns about `count` round numbers in a range, at least `least` apart.

    Example:
        >>> ticks(0.03, 1.02)
        [0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = max((high - low) / count, least)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def histogram_svg(
    groups: Sequence[tuple[str, str, NDArray[Any]]], low: float, high: float, threshold: float
) -> str:
    """Draws a histogram for each group of scores above a common axis, and the threshold as a line.

    Args:
        groups: (CSS class, caption, scores) from top to bottom.
        low: score at the left edge.
        high: score at the right edge.
        threshold: position of the line.

    Returns:
        SVG text; the threshold line has the class `threshold`.
    """
    height = BAND * len(groups) + 34
    edges = np.linspace(low, high, BINS + 1)
    step = (RIGHT - LEFT) / BINS
    parts = []
    for row, (css, caption, scores) in enumerate(groups):
        base = BAND * (row + 1)
        counts, _ = np.histogram(scores, edges)
        peak = max(int(counts.max()), 1)
        bars = "".join(
            f'<rect x="{LEFT + i * step:.1f}" y="{base - h:.1f}" width="{step - 1:.1f}" height="{h:.1f}"/>'
            for i, count in enumerate(counts)
            if (h := (BAND - 36) * count / peak)
        )
        parts.append(f'<g class="{css}">{bars}</g>{_line("axis", LEFT, RIGHT, base, base)}')
        parts.append(f'<text class="caption" x="{LEFT}" y="{base - BAND + 24}">{escape(caption)}</text>')
    bottom = BAND * len(groups)
    for tick in ticks(low, high):
        x = _place(tick, low, high, LEFT, RIGHT)
        parts += [_line("axis", x, x, bottom, bottom + 4), _tick(x, bottom + 20, f"{tick:g}", "middle")]
    x = _place(threshold, low, high, LEFT, RIGHT)
    parts.append(_line("threshold", x, x, 4, bottom))
    return _svg(height, parts, "Scores of all parts, with the threshold")


def roc_svg(models: Sequence[tuple[NDArray[Any], float]], labels: NDArray[Any]) -> str:
    """Draws the share of caught defective parts against that of rejected others, and marks the thresholds.

    Args:
        models: (scores (N,), threshold) of each; a part at or above the threshold is rejected.
        labels: (N,) in {0, 1}, both present, the same for all models.
    """
    is_defective = np.asarray(labels) == 1
    series = []
    for css, (scores, threshold) in zip(SERIES, models, strict=False):
        _, positive, negative = curves.tally(scores, labels)
        x = np.concatenate([[0.0], np.cumsum(negative) / negative.sum()])
        y = np.concatenate([[0.0], np.cumsum(positive) / positive.sum()])
        alarm = np.asarray(scores) >= threshold
        point = (float(alarm[~is_defective].mean()), float(alarm[is_defective].mean()))
        series.append(Series(css, thinned(x, y, 1.0), point))
    return plot(
        series,
        (0.0, 1.0),
        (0.0, 1.0),
        diagonal=True,
        x_label="other parts rejected",
        y_label="defective parts caught",
        title="ROC curve",
    )


def pro_svg(models: Sequence[tuple[NDArray[Any], NDArray[Any]]], limit: float, mark: float) -> str:
    """Draws the covered share of each defect against false-positive pixels (PRO curve).

    Args:
        models: (false-positive rates, covered shares) of each, from (0, 0) to (1, 1); empty if undefined.
        limit: highest false-positive rate shown.
        mark: false-positive rate marked by a vertical line.

    Returns:
        SVG text; empty if no model has a curve.
    """
    series = [
        Series(css, thinned(x, y, limit)) for css, (x, y) in zip(SERIES, models, strict=False) if len(x)
    ]
    if not series:
        return ""
    return plot(
        series,
        (0.0, limit),
        (0.0, 1.0),
        mark=mark,
        x_label="good pixels found",
        y_label="share of each defect that is found",
        title="PRO curve",
    )


def thinned(x: NDArray[Any], y: NDArray[Any], limit: float) -> Curve:
    """The points of a rising curve up to ``x = limit`` that differ in a plot.

    Args:
        x: (P,) rising, from 0.
        y: (P,) rising, in [0, 1].
        limit: end of the curve; the value there is interpolated.

    Example:
        >>> thinned(np.linspace(0, 1, 100_001), np.linspace(0, 1, 100_001), 0.5)[-1]
        (0.5, 0.5)
    """
    inside = int(np.searchsorted(x, limit, "right"))
    cells = np.stack([x[:inside] / limit, y[:inside]]) * PLOTTED
    moved = np.diff(np.floor(cells), axis=1, prepend=-1).any(0)
    # Also keep the point before each jump; otherwise a step would become a slope.
    is_drawn = moved | np.append(moved[1:], True)
    end = (limit, float(np.interp(limit, x, y)))
    return [*zip(x[:inside][is_drawn].tolist(), y[:inside][is_drawn].tolist(), strict=True), end]


def training_svg(name: str, stages: Sequence[Curve]) -> str:
    """Draws a measure over the epochs and marks the last value of each curve.

    Args:
        name: of the measure.
        stages: (epoch, value) pairs, for instance on training and on held-out data; values that are not
            finite are skipped.

    Returns:
        SVG text; empty if no value is finite.
    """
    finite = [[(x, y) for x, y in curve if math.isfinite(y)] for curve in stages]
    series = [Series(css, curve, curve[-1]) for css, curve in zip(SERIES, finite, strict=False) if curve]
    if not series:
        return ""
    xs, ys = zip(*(pair for line in series for pair in line.curve), strict=True)
    pad = (max(ys) - min(ys)) * 0.05 or max(abs(ys[0]), 1e-6) * 0.1
    spans = (min(xs), max(max(xs), min(xs) + 1)), (min(ys) - pad, max(ys) + pad)
    return plot(series, *spans, x_label="round of training", y_label=name, title=name, least_x=1.0)


def plot(
    series: Sequence[Series],
    x_span: tuple[float, float],
    y_span: tuple[float, float],
    *,
    x_label: str,
    y_label: str,
    title: str,
    diagonal: bool = False,
    mark: float | None = None,
    least_x: float = 0.0,
    dots: Sequence[tuple[str, float, float]] = (),
) -> str:
    """Draws lines above two axes.

    Args:
        series: the lines.
        x_span: lowest and highest x.
        y_span: lowest and highest y.
        x_label: of the axis.
        y_label: of the axis.
        title: for screen readers.
        diagonal: draws a line from corner to corner.
        mark: x of a vertical line.
        least_x: smallest distance of two ticks.
        dots: single points, (CSS class, x, y).
    """
    width, height, left, top, bottom = 360, 300, 56, 30, 254
    right = width - 12

    def at(x: float, y: float) -> tuple[float, float]:
        return _place(x, *x_span, left, right), _place(y, *y_span, bottom, top)

    parts = [f'<text class="caption" x="0" y="14">{escape(y_label)}</text>']
    for tick in ticks(*x_span, least=least_x):
        x, _ = at(tick, y_span[0])
        parts.append(_tick(x, bottom + 18, f"{tick:g}", "middle"))
    for tick in ticks(*y_span):
        _, y = at(x_span[0], tick)
        parts += [_line("grid", left, right, y, y), _tick(left - 6, y + 4, f"{tick:g}", "end")]
    parts.append(_tick(right, bottom + 38, escape(x_label), "end"))
    if diagonal:
        parts.append(_line("chance", left, right, bottom, top))
    if mark is not None:
        x, _ = at(mark, y_span[0])
        parts.append(_line("chance", x, x, bottom, top))
    for css, x_value, y_value in dots:
        x, y = at(x_value, y_value)
        parts.append(f'<circle class="dot {css}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    for css, curve, _ in series:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*pair) for pair in curve))
        parts.append(f'<polyline class="line {css}" points="{path}"/>')
    for css, _, point in series:
        if point is not None:
            x, y = at(*point)
            parts.append(f'<circle class="point {css}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
    return _svg(height, parts, title, width)


def _line(css: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _tick(x: float, y: float, text: object, anchor: str) -> str:
    return f'<text class="tick" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{text}</text>'


def _place(value: float, low: float, high: float, start: float, end: float) -> float:
    return start + (value - low) / (high - low) * (end - start)


def _svg(height: int, parts: Sequence[str], title: str, width: int = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )
