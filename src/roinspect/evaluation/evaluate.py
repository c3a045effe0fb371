"""A bundle and labelled photographs to measures, a report, and one line for every part."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from roinspect import __version__
from roinspect.bundle import Bundle
from roinspect.data.dataset import UNKNOWN_LABEL, Loaded, Sample, load_sample, stream
from roinspect.data.records import Record, read_records
from roinspect.data.roi import attach_roi
from roinspect.errors import UserError
from roinspect.evaluation.metrics import MetricValues, RoiMetrics
from roinspect.evaluation.report import Example, ReportContent, write_report, write_whole
from roinspect.methods.method import InspectionGraph, load_graph, predict
from roinspect.pixels import resize_image

log = logging.getLogger(__name__)

EXAMPLES = 8
"""Parts that the report shows as pictures."""

REPORT, METRICS, PREDICTIONS = "report.html", "metrics.json", "predictions.csv"


@dataclass(frozen=True, slots=True)
class Part:
    """What became of one photograph: a row of predictions.csv.

    Attributes:
        record: the photograph.
        label: the label in use: 0 good, 1 defective inside the ROI, -1 unknown.
        place: where its defect lies, as `Sample.place`; "" where it could not be read.
        pred_score: higher = more anomalous; NaN where it could not be read.
        error: why it could not be read, else "".
    """

    record: Record
    label: int = UNKNOWN_LABEL
    place: str = ""
    pred_score: float = math.nan
    error: str = ""

    @property
    def is_outside_only(self) -> bool:
        """Whether it counts as good although it has a defect, which lies outside the ROI."""
        return self.label == 0 and self.place in ("outside", "both")


def default_out(bundle: Path) -> Path:
    """The folder beside the bundle where its evaluation goes."""
    whole = bundle if bundle.name not in ("", "..") else bundle.resolve()
    return whole.with_name(f"{whole.name}.evaluation")


def evaluate(
    bundle_path: Path,
    data: Path,
    out: Path,
    *,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    split: str = "test",
    batch_size: int = 8,
) -> MetricValues:
    """Measure a bundle on one split of labelled data.

    Writes OUT/report.html, OUT/metrics.json and OUT/predictions.csv, each whole or not at all. A photograph
    that cannot be read costs its row alone.

    Args:
        bundle_path: the bundle.
        data: a folder or a manifest, as `read_records` takes it.
        out: the folder to write to; files of an earlier evaluation are replaced.
        roi: where the ROI masks are, as `attach_roi` takes it; used for the measures, never by the model.
        columns: the manifest's column names.
        split: "train", "val" or "test".
        batch_size: photographs per pass through the network.

    Returns:
        The measures, at the bundle's threshold.

    Raises:
        UserError: the bundle or the data cannot be used, no part of the split is labelled and readable, or
            the disk refuses.
    """
    bundle, graph = load_graph(bundle_path)
    records = [record for record in read_records(data, columns=columns) if record.split == split]
    if not records:
        raise UserError(
            f"no photographs in the {split} split",
            where=data,
            remedy="add some, or name another split; `roinspect check` lists what there is",
        )
    records = attach_roi(records, roi, data, columns=columns)

    metrics, parts, seconds = RoiMetrics(), list[Part](), list[float]()
    start = time.perf_counter()
    for batch in stream(records, bundle.size_hw, batch_size, min_pixels=_min_pixels(bundle)):
        parts += _inspected(batch, graph, metrics, seconds)
    whole = time.perf_counter() - start
    known = [part for part in parts if part.label != UNKNOWN_LABEL]
    unread = [part for part in parts if part.error]
    if not known:
        first = f" (first: {unread[0].error})" if unread else ""
        raise UserError(
            f"none of {len(parts)} photographs of the {split} split is labelled and readable{first}",
            where=data,
            remedy="label them good or defective; see `roinspect check`",
        )
    if unread:
        log.warning(f"{len(unread)} of {len(parts)} photographs could not be read, see {out / PREDICTIONS}")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        values = metrics.compute(bundle.threshold.value)
    for warning in told:
        log.warning(str(warning.message))

    about = {
        "bundle": str(bundle_path),
        "data": str(data),
        "split": split,
        "roi": roi,
        "photographs": len(parts),
        "unreadable": len(unread),
        "threshold_origin": bundle.threshold.origin,
        "roinspect_version": __version__,
    }
    content = ReportContent(
        title=f"{bundle_path.resolve().name}: {bundle.method} on {data.resolve().name}, {split} split",
        metrics=values,
        threshold_origin=bundle.threshold.origin,
        scores=np.array([part.pred_score for part in known]),
        labels=np.array([part.label for part in known]),
        outside_only=np.array([part.is_outside_only for part in known]),
        paths=[part.record.key for part in known],
        examples=list(_examples(known, bundle, graph)),
        map_threshold=bundle.threshold.value,
        training_curves=bundle.history,
        settings={
            "evaluation": about,
            "size": "x".join(map(str, bundle.size_hw)),
            "method": {"name": bundle.method, **bundle.method_settings},
            "training": bundle.training,
        },
        fingerprints=bundle.fingerprints,
        timings={
            "network, median per image": f"{1000 * float(np.median(seconds)):.1f} ms",
            "reading, network and measures": f"{whole:.1f} s for {len(parts)} images, {batch_size} at a time",
        },
    )
    write_whole(out / PREDICTIONS, _table(parts, bundle.threshold.value))
    write_whole(out / METRICS, json.dumps({**about, **values.to_dict()}, indent=1, allow_nan=False) + "\n")
    write_report(out / REPORT, content)
    return values


def _inspected(
    batch: Sequence[Loaded], graph: InspectionGraph, metrics: RoiMetrics, seconds: list[float]
) -> list[Part]:
    """Run the graph on a batch, add it to the metrics, and note the seconds an image took."""
    samples = [loaded.sample for loaded in batch if loaded.sample is not None]
    if not samples:
        return [Part(loaded.record, error=str(loaded.error)) for loaded in batch]
    start = time.perf_counter()
    prediction = predict(graph, np.stack([sample.image for sample in samples]))
    seconds.append((time.perf_counter() - start) / len(samples))
    scores = iter(prediction.pred_score.tolist())
    parts = [
        Part(loaded.record, error=str(loaded.error))
        if loaded.sample is None
        else Part(loaded.record, loaded.sample.label, loaded.sample.place, next(scores))
        for loaded in batch
    ]
    _gather(metrics, samples, [part for part in parts if not part.error], prediction.anomaly_map)
    return parts


def _min_pixels(bundle: Bundle) -> int:
    return int(bundle.training.get("min_defect_pixels", 1))


def _gather(
    metrics: RoiMetrics, samples: Sequence[Sample], parts: Sequence[Part], maps: NDArray[np.float32]
) -> None:
    """Add a batch; a part without a label is left out."""
    rows = [row for row, part in enumerate(parts) if part.label != UNKNOWN_LABEL]
    if not rows:
        return
    metrics.update(
        pred_score=np.array([parts[row].pred_score for row in rows]),
        anomaly_map=maps[rows],
        label=np.array([parts[row].label for row in rows]),
        outside_only=np.array([parts[row].is_outside_only for row in rows]),
        gt_mask=np.stack([samples[row].gt_mask for row in rows]),
        roi_mask=np.stack([samples[row].roi_mask for row in rows]),
        category=[parts[row].record.category for row in rows],
        has_gt_mask=np.array([parts[row].place != "unknown" for row in rows]),
    )


def _table(parts: Sequence[Part], threshold: float) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "category", "label", "place", "pred_score", "is_defect", "error"))
    for part in parts:
        label = "" if part.label == UNKNOWN_LABEL else part.label
        verdict = ("", "") if part.error else (repr(part.pred_score), int(part.pred_score >= threshold))
        writer.writerow((part.record.key, part.record.category, label, part.place, *verdict, part.error))
    return text.getvalue()


def _chosen(parts: Sequence[Part], threshold: float) -> list[tuple[str, Part]]:
    """The parts worth seeing, with their verdicts: the worst of each kind first, then the next worst."""
    kinds: list[tuple[str, Callable[[Part], bool]]] = [
        ("escape", lambda part: part.label == 1 and part.pred_score < threshold),
        ("false reject", lambda part: _is_good(part) and part.pred_score >= threshold),
        ("alarm on outside damage", lambda part: part.is_outside_only and part.pred_score >= threshold),
        ("rightly rejected", lambda part: part.label == 1 and part.pred_score >= threshold),
        ("outside damage rightly passed", lambda part: part.is_outside_only and part.pred_score < threshold),
        ("rightly passed", lambda part: _is_good(part) and part.pred_score < threshold),
    ]
    groups: list[list[tuple[str, Part]]] = []
    for verdict, belongs in kinds:
        # The worst escape has the lowest score; of all others the highest tells most.
        rank = sorted(filter(belongs, parts), key=lambda part: part.pred_score, reverse=verdict != "escape")
        groups.append([(verdict, part) for part in rank])
    turns = chain.from_iterable(zip_longest(*groups))
    chosen = [one for one in turns if one is not None][:EXAMPLES]
    order = [verdict for verdict, _ in kinds]
    return sorted(chosen, key=lambda one: order.index(one[0]))


def _is_good(part: Part) -> bool:
    return part.label == 0 and not part.is_outside_only


def _examples(parts: Sequence[Part], bundle: Bundle, graph: InspectionGraph) -> Iterator[Example]:
    """Load the chosen parts once more, at their own size, with what the model makes of them."""
    for verdict, part in _chosen(parts, bundle.threshold.value):
        sample = load_sample(part.record, None, min_pixels=_min_pixels(bundle))
        image = resize_image(sample.image, bundle.size_hw)
        yield Example(
            caption=part.record.key,
            image=sample.image,
            roi_mask=sample.roi_mask,
            gt_mask=None if part.place == "unknown" else sample.gt_mask,
            anomaly_map=predict(graph, image[None]).anomaly_map[0],
            reconstruction=_repaired(graph, image),
            pred_score=part.pred_score,
            verdict=verdict,
        )


def _repaired(graph: InspectionGraph, image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """What the graph takes for the flawless image, (H, W, 3) uint8; None for methods that repair nothing."""
    device = next(graph.parameters()).device
    with torch.inference_mode():
        repaired = graph.reconstruct(
            torch.from_numpy(image)[None].to(device).permute(0, 3, 1, 2).float() / 255
        )
    if repaired is None:
        return None
    pixels = repaired[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return np.asarray(pixels, np.uint8)
