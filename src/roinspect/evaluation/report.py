"""One HTML file that shows how well a model inspects; it opens anywhere, offline."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.evaluation import charts
from roinspect.evaluation.metrics import MetricValues
from roinspect.evaluation.overlay import overlay

LISTED = 10
"""How many of the worst escapes and of the worst false rejects are listed by name."""

SHOWN_SIDES = (384, 640)
"""Pictures are scaled so that their longer side lies between these, in pixels."""


@dataclass(frozen=True, slots=True)
class Example:
    """One inspected part, as pictures. Masks and maps may be smaller than the image."""

    caption: str
    image: NDArray[np.uint8]
    """(H, W, 3), RGB."""
    roi_mask: NDArray[Any] | None
    """(h, w), non-zero where it was looked at; None for everywhere."""
    gt_mask: NDArray[Any] | None
    """(h, w), non-zero on the defects; None where unknown."""
    anomaly_map: NDArray[Any]
    """(h, w), 0 for normal to 1 for most anomalous."""
    reconstruction: NDArray[np.uint8] | None
    """(H, W, 3), RGB; None for methods that repair nothing."""
    pred_score: float
    verdict: str
    """A few words, such as "escape" or "rightly rejected"."""


@dataclass(frozen=True, slots=True)
class ReportContent:
    """What a report shows. The score lists have one entry a part, in one order."""

    title: str
    metrics: MetricValues
    """Computed with the threshold in use."""
    threshold_origin: str
    """How the threshold was chosen, in words."""
    scores: NDArray[Any]
    """(N,)."""
    labels: NDArray[Any]
    """(N,) in {0, 1}: 1 where a defect lies inside the ROI."""
    outside_only: NDArray[Any]
    """(N,) true where a defect lies outside the ROI only."""
    paths: Sequence[str]
    """N names of the parts."""
    examples: Sequence[Example] = ()
    map_threshold: float | None = None
    """Value of the examples' anomaly maps from which a region is outlined as found."""
    training_curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """(epoch, value) pairs under the name of what was measured."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """May be nested; shown with dotted names."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    timings: Mapping[str, str] = field(default_factory=dict)


def verdict_sentences(metrics: MetricValues) -> list[str]:
    """Says in plain words what would have happened to the parts.

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


def write_report(path: Path, content: ReportContent) -> None:
    """Writes the report, whole or not at all; nothing in it is fetched from elsewhere.

    Raises:
        UserError: the file cannot be written.
        ValueError: the score lists differ in length, or the metrics have no threshold.
    """
    write_whole(path, render(content))


def write_whole(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all; folders that are missing are made.

    Raises:
        UserError: the file cannot be written.
    """
    # A random name, so that two runs never write into the same unfinished file.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", newline="")
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UserError(
            f"cannot be written ({error.strerror})",
            where=path,
            remedy="choose a folder that can be written to and has room",
        ) from error


def render(content: ReportContent) -> str:
    """Returns the report as HTML.

    Raises:
        ValueError: the score lists differ in length, or the metrics have no threshold.
    """
    from jinja2 import Environment, StrictUndefined

    scores = np.asarray(content.scores, np.float64)
    is_defective = np.asarray(content.labels).astype(bool)
    outside = np.asarray(content.outside_only).astype(bool) & ~is_defective
    if len({len(scores), len(is_defective), len(outside), len(content.paths)}) != 1:
        raise ValueError("scores, labels, outside_only and paths differ in length")
    verdict, threshold = verdict_sentences(content.metrics), content.metrics.threshold
    assert threshold is not None
    good = ~is_defective & ~outside
    groups = {"good": scores[good], "outside": scores[outside], "defective": scores[is_defective]}
    captions = {"good": "good", "outside": "damage only outside the region", "defective": "defective"}
    histogram, span = "", (0.0, 1.0)
    if len(scores):
        span = charts.score_range(scores, threshold)
        shown = [(name, captions[name], group) for name, group in groups.items() if len(group)]
        histogram = charts.histogram_svg(shown, *span, threshold)
    both = is_defective.any() and not is_defective.all()
    template = (files("roinspect.evaluation") / "report.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        content=content,
        metrics=content.metrics,
        threshold=threshold,
        verdict=verdict,
        rows=list(measure_rows(content.metrics)),
        histogram=histogram,
        span=span,
        plot_left=charts.LEFT,
        plot_right=charts.RIGHT,
        groups={name: np.sort(group).tolist() for name, group in groups.items()},
        roc=charts.roc_svg(scores, is_defective, threshold) if both else "",
        training=[charts.training_svg(name, curve) for name, curve in content.training_curves.items()],
        examples=[(example, _pictures(example, content.map_threshold)) for example in content.examples],
        escapes=_worst(scores, content.paths, is_defective & (scores < threshold), lowest=True),
        rejects=_worst(scores, content.paths, ~is_defective & (scores >= threshold), lowest=False),
        settings=dict(_flat(content.settings)),
    )


def measure_rows(metrics: MetricValues) -> Iterator[tuple[str, str, str]]:
    """Yields name, value and meaning of every measure; a value that the data cannot give is a dash."""
    m = metrics
    yield "Image AUROC", _number(m.image_auroc), "chance that a defective part scores higher than another"
    yield "Image average precision", _number(m.image_ap), "mean share of rightly rejected parts"
    yield "Image F1, best", _number(m.image_f1_max), "at the threshold that suits these parts best"
    yield "Pixel AUROC", _number(m.pixel_auroc, m.pixel_auroc_error), "the same by pixel, inside the region"
    yield "Pixel average precision", _number(m.pixel_ap, m.pixel_ap_error), "inside the region"
    yield "Pixel F1, best", _number(m.pixel_f1_max, m.pixel_f1_max_error), "inside the region"
    yield "AUPRO, up to 0.3", _number(m.aupro, m.aupro_error), "how well each single defect is covered"
    at_recall = "when 95 % of the defective parts are caught"
    yield "Alarms on outside damage", _percent(m.outside_alarm_rate_at_recall95), at_recall
    yield "Alarms on good parts", _percent(m.good_alarm_rate_at_recall95), at_recall
    yield "Heat inside the region", _percent(m.roi_mass), "share of the anomaly maps' total"


def _pictures(example: Example, map_threshold: float | None) -> Iterator[tuple[str, str]]:
    image = _enlarged(example.image)
    outlines = "region and truth" if example.gt_mask is not None else "region"
    yield "photograph", _data_uri(image)
    yield outlines, _data_uri(overlay(image, None, example.roi_mask, example.gt_mask))
    heat = overlay(image, example.anomaly_map, example.roi_mask, threshold=map_threshold)
    yield "found", _data_uri(heat)
    if example.reconstruction is not None:
        yield "as repaired", _data_uri(_enlarged(example.reconstruction))


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = max(image.shape[:2])
    factor = min(max(side, SHOWN_SIDES[0]), SHOWN_SIDES[1]) / side
    size = (max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)


def _data_uri(image: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _worst(
    scores: NDArray[np.float64], paths: Sequence[str], which: NDArray[np.bool_], *, lowest: bool
) -> list[tuple[str, float]]:
    found = sorted(
        ((paths[i], float(scores[i])) for i in np.flatnonzero(which).tolist()), key=lambda pair: pair[1]
    )
    return (found if lowest else found[::-1])[:LISTED]


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _parts(count: int, kind: str) -> str:
    return " ".join(word for word in (str(count), kind, "part" if count == 1 else "parts") if word)


def _number(value: float, error: float = 0.0) -> str:
    if np.isnan(value):
        return "–"
    # The bound of the histogram is shown only where it would change a digit that is shown.
    return f"{value:.3f}" + (f" ± {error:.3f}" if error >= 0.0005 else "")


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f} %"
