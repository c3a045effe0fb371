"""A self-contained HTML report of one model, or of two side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.evaluation import charts
from roinspect.evaluation.example_images import Example, pictures
from roinspect.evaluation.intervals import AT_THRESHOLD
from roinspect.evaluation.metrics import PRO_LIMITS
from roinspect.evaluation.values import Breakdown, MetricValues
from roinspect.evaluation.wording import confusion, likely_rate, measure_rows, sampling, verdict_sentences
from roinspect.files import write_whole

LISTED = 10
"""Number of escapes, and of false rejects, listed by name."""

BROKEN_DOWN = 15
"""Number of categories, and of groups, listed."""

STAGES = ("train", "held-out")
"""Training curves named `STAGE/NAME` for these stages share one plot."""

STAGE_WORDS = ("photographs it learns from", "photographs held back")
PLOT_WORDS = {
    "roi_head": "error in finding the region",
    "roi_iou": "region found, share of 1 (higher is better)",
    "loss": "error",
}
"""Names of training curves in plain words."""

KINDS = {"good": "good", "outside": "damage only outside the region", "defective": "defective"}
"""The kinds of parts, from harmless to worst, and their captions."""

_NO_CURVE = (np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model's results for the parts."""

    name: str
    metrics: MetricValues
    """Computed at the model's threshold."""
    threshold_origin: str
    """How the threshold was chosen, in words."""
    scores: NDArray[Any]
    """(N,), one per part."""
    score_says: str = ""
    """What a score means, in words, see `Bundle.score_says`."""
    threshold_warning: str = ""
    """A warning about the threshold, if any."""
    not_inspectable: str = ""
    """Which parts it cannot inspect, in words, if any."""
    pro_curve: tuple[NDArray[Any], NDArray[Any]] = _NO_CURVE
    """False-positive rates and covered shares, see `curves.pro_curve`; empty if undefined."""
    training_curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """(epoch, value) pairs by measure."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """May be nested; shown with dotted names."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportContent:
    """The content of a report. Lists of N have one entry per part, in the same order."""

    title: str
    models: Sequence[ModelReport]
    """One, or two to compare."""
    labels: NDArray[Any]
    """(N,) in {0, 1}: 1 where a defect lies inside the ROI."""
    outside_only: NDArray[Any]
    """(N,) true where a defect lies outside the ROI only."""
    paths: Sequence[str]
    """N names of the parts."""
    examples: Sequence[Example] = ()
    timings: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    """Warnings about the data and the measures."""
    date: str = ""
    """When the parts were inspected."""
    product: str = ""


def write_report(path: Path, content: ReportContent) -> None:
    """Writes the report to a single file without external resources, completely or not at all.

    Raises:
        UserError: the file cannot be written.
        ValueError: see `render`.
    """
    write_whole(path, render(content))


def render(content: ReportContent) -> str:
    """Returns the report as HTML.

    Raises:
        ValueError: the lists differ in length, a model's metrics have no threshold, or there are not one or
            two models.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if not 1 <= len(content.models) <= len(charts.SERIES):
        raise ValueError(f"a report shows one model or two, not {len(content.models)}")
    is_defective = np.asarray(content.labels).astype(bool)
    lengths = {len(model.scores) for model in content.models}
    if lengths | {len(content.outside_only), len(content.paths)} != {len(is_defective)}:
        raise ValueError("scores, labels, outside_only and paths differ in length")
    outside = np.asarray(content.outside_only).astype(bool) & ~is_defective
    kinds = dict(zip(KINDS, (~is_defective & ~outside, outside, is_defective), strict=True))
    names = [model.name for model in content.models]
    views = [
        _view(css, model, kinds, content.paths)
        for css, model in zip(charts.SERIES, content.models, strict=False)
    ]
    curves = [(model.scores, view["threshold"]) for model, view in zip(content.models, views, strict=True)]
    both = is_defective.any() and not is_defective.all()
    environment = Environment(
        loader=PackageLoader("roinspect.evaluation", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=content.title,
        date=content.date,
        product=content.product,
        models=views,
        measures=list(measure_rows([model.metrics for model in content.models])),
        roc=charts.roc_svg(curves, is_defective) if both else "",
        pro=charts.pro_svg([model.pro_curve for model in content.models], *PRO_LIMITS),
        breakdowns=_breakdowns([model.metrics for model in content.models]),
        sampling=sampling(content.models[0].metrics),
        remarks=content.remarks,
        stages=list(zip(charts.SERIES, STAGE_WORDS, strict=True)),
        plot=(charts.LEFT, charts.RIGHT),
        examples=[(example, list(pictures(example, names))) for example in content.examples],
        shown=[example.caption for example in content.examples],
        timings=content.timings,
    )


def signed(report: str, *, product: str = "", operator: str = "") -> str:
    """A report with the names of the product and of the operator; an empty one leaves it as it is."""
    for name, text in (("product", product), ("operator", operator)):
        before, mark, rest = report.partition(f'<dd data-about="{name}">')
        if text and mark:
            report = f"{before}{mark}{escape(text)}<{rest.partition('<')[2]}"
    return report


def _view(
    css: str, model: ModelReport, kinds: Mapping[str, NDArray[np.bool_]], paths: Sequence[str]
) -> dict[str, Any]:
    """One model's values on the page."""
    verdict, threshold = verdict_sentences(model.metrics), model.metrics.threshold
    verdict += [model.not_inspectable] if model.not_inspectable else []
    assert threshold is not None
    scores = np.asarray(model.scores, np.float64)
    groups = {kind: scores[which] for kind, which in kinds.items() if which.any()}
    histogram, span = "", (0.0, 1.0)
    if groups:
        span = charts.score_range(scores, threshold)
        shown = [(kind, KINDS[kind], group) for kind, group in groups.items()]
        histogram = charts.histogram_svg(shown, *span, threshold)
    is_defective, alarm = kinds["defective"], scores >= threshold
    return {
        "css": css,
        "name": model.name,
        "metrics": model.metrics,
        "threshold": threshold,
        "threshold_origin": model.threshold_origin,
        "score_says": model.score_says,
        "threshold_warning": model.threshold_warning,
        "verdict": verdict,
        "likely": {name: likely_rate(model.metrics, name) for name in AT_THRESHOLD},
        "histogram": histogram,
        "confusion": list(confusion(groups, threshold)),
        "slider": {
            "span": span,
            "threshold": threshold,
            "groups": {kind: np.sort(group).tolist() for kind, group in groups.items()},
        },
        "training": [
            (name, stages, charts.training_svg(plot_words(name), stages))
            for name, stages in training_plots(model.training_curves).items()
        ],
        "escapes": _worst(scores, paths, is_defective & ~alarm, lowest=True),
        "rejects": _worst(scores, paths, ~is_defective & alarm, lowest=False),
        "settings": dict(_flat(model.settings)),
        "fingerprints": model.fingerprints,
    }


def _breakdowns(models: Sequence[MetricValues]) -> list[tuple[str, list[list[Breakdown]], int]]:
    """Tables by category and by group: title, rows with one entry per model, and the number of omitted rows.

    Tables with a single row are omitted. Long tables show the rows with the most mistakes.
    """
    tables = []
    for title, name in (("By category", "categories"), ("By group", "groups")):
        rows = [list(row) for row in zip(*(getattr(model, name) for model in models), strict=True)]
        if len(rows) > BROKEN_DOWN:
            rows.sort(key=lambda row: -sum((part.escapes or 0) + (part.false_rejects or 0) for part in row))
        if len(rows) > 1:
            tables.append((title, rows[:BROKEN_DOWN], max(0, len(rows) - BROKEN_DOWN)))
    return tables


def training_plots(curves: Mapping[str, charts.Curve]) -> dict[str, list[charts.Curve]]:
    """Groups training curves into plots: `train/NAME` and `held-out/NAME` share the plot NAME.

    Returns:
        Name of the plot to its curves, one per stage, empty for a missing stage. Other curves get their own
        plot.

    Example:
        >>> training_plots({"train/loss": [(1, 2.0)], "held-out/loss": [(1, 3.0)], "rate": [(1, 0.1)]})
        {'loss': [[(1, 2.0)], [(1, 3.0)]], 'rate': [[(1, 0.1)]]}
    """
    plots: dict[str, list[charts.Curve]] = {}
    for name, curve in curves.items():
        stage, _, measure = name.partition("/")
        if stage in STAGES and measure:
            plots.setdefault(measure, [[] for _ in STAGES])[STAGES.index(stage)] = curve
        else:
            plots[name] = [curve]
    return plots


def plot_words(name: str) -> str:
    """The name of a plot of `training_plots` in plain words."""
    return PLOT_WORDS.get(name, name.replace("_", " "))


def _worst(
    scores: NDArray[np.float64], paths: Sequence[str], which: NDArray[np.bool_], *, lowest: bool
) -> list[tuple[str, float]]:
    parts = sorted(
        ((paths[i], float(scores[i])) for i in np.flatnonzero(which).tolist()), key=lambda pair: pair[1]
    )
    return (parts if lowest else parts[::-1])[:LISTED]


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
