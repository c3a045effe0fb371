"""From bundles and labelled images to metrics, a report and one row per part."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from roinspect.data.account import missed_line
from roinspect.data.dataset import EMPTY_REMEDY, UNKNOWN_LABEL, is_empty_defect
from roinspect.data.likeness import undeclared_groups
from roinspect.data.reading import read_data
from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.evaluation.examples import choose, load_examples
from roinspect.evaluation.parts import Part, table
from roinspect.evaluation.report import ReportContent, write_report
from roinspect.evaluation.results import ModelResult, metrics_json, model_result
from roinspect.evaluation.scoring import EvaluatedModel, load_models, score
from roinspect.evaluation.values import MetricValues
from roinspect.files import write_whole
from roinspect.segmenter.roi import with_roi
from roinspect.version import __version__

log = logging.getLogger(__name__)

REPORT, METRICS, PREDICTIONS = "report.html", "metrics.json", "predictions.csv"


def default_out(bundle: Path) -> Path:
    """The default folder of an evaluation, next to the bundle."""
    whole = bundle if bundle.name not in ("", "..") else bundle.resolve()
    return whole.with_name(f"{whole.name}.evaluation")


def evaluate(
    bundle_path: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
    split: str = "test",
    batch_size: int = 8,
) -> MetricValues:
    """Measure one bundle; see `evaluate_models`."""
    return evaluate_models(
        [Path(bundle_path)],
        Path(data),
        Path(out),
        roi=roi,
        columns=columns,
        good=good,
        split=split,
        batch_size=batch_size,
    )[0]


def evaluate_models(
    bundle_paths: Sequence[Path],
    data: Path,
    out: Path,
    *,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
    split: str = "test",
    batch_size: int = 8,
) -> list[MetricValues]:
    """Measure one bundle, or two side by side, on one split of labelled data.

    Writes OUT/report.html, OUT/metrics.json and OUT/predictions.csv, each whole or not at all. A photograph
    that cannot be read gets a row with an error. The first bundle's training settings decide what counts as a
    defect.

    Args:
        bundle_paths: one bundle, or two.
        data: a folder or a manifest, as in `read_records`.
        out: the folder to write to; files of an earlier evaluation are replaced.
        roi: where the ROI masks are, as in `with_roi`; used for the measures, never by a model.
        columns: the manifest's column names.
        good: names of good parts' folders or labels; None: those that the first bundle was trained with.
        split: "train", "val" or "test".
        batch_size: photographs per pass through a network.

    Returns:
        The measures, at each bundle's own threshold.

    Raises:
        UserError: a bundle or the data cannot be used, no part of the split is labelled and readable, or
            the results cannot be written.
    """
    models = load_models(bundle_paths)
    records = _records(data, roi, columns, good, split, models[0])
    min_pixels = int(models[0].bundle.training.get("min_defect_pixels", 1))
    start = time.perf_counter()
    parts = score(models, records, batch_size=batch_size, min_pixels=min_pixels)
    seconds = time.perf_counter() - start
    labelled = _labelled(parts, data, split, out / PREDICTIONS)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = [model.metrics.compute(model.bundle.threshold.value) for model in models]
    # Data that lack something lack it for every model: each warning once.
    remarks = list(dict.fromkeys(str(warning.message) for warning in caught))
    results = [model_result(row, model, values[row], labelled) for row, model in enumerate(models)]
    remarks += _remarks(results, labelled)
    for remark in remarks:
        log.warning(remark)
    for result in results:
        if result.not_inspectable_words:
            log.warning(f"{result.model.name}: {result.not_inspectable_words}")

    about = {
        "data": str(data),
        "split": split,
        "roi": roi,
        "photographs": len(parts),
        "unreadable": sum(bool(part.error) for part in parts),
        "roinspect_version": __version__,
    }
    thresholds = [model.bundle.threshold.value for model in models]
    total = f"{seconds:.1f} s for {len(parts)} images, {batch_size} at a time"
    content = ReportContent(
        title=_title(models, data, split),
        models=[result.report(about) for result in results],
        labels=np.array([part.label for part in labelled]),
        outside_only=np.array([part.is_outside_only for part in labelled]),
        paths=[part.record.key for part in labelled],
        examples=list(load_examples(choose(labelled, thresholds), models, min_pixels=min_pixels)),
        timings={**_network_times(models), "reading, network and measures": total},
        remarks=remarks,
        date=time.strftime("%Y-%m-%d %H:%M"),
        product=data.resolve().name,
    )
    write_whole(out / PREDICTIONS, table(parts, thresholds))
    write_whole(out / METRICS, metrics_json(about, results))
    write_report(out / REPORT, content)
    return values


def _records(
    data: Path,
    roi: str,
    columns: Mapping[str, str] | None,
    good: Sequence[str] | None,
    split: str,
    first: EvaluatedModel,
) -> list[Record]:
    source = read_data(data, roi, columns, good, usual_good=first.bundle.training.get("good"))
    records = source.split(split)
    if not records:
        raise UserError(
            f"no photographs in the {split} split",
            where=data,
            remedy="add some, or name another split; `roinspect check` lists what there is",
        )
    records = with_roi(source, records)
    if unused := missed_line(source):
        log.warning(unused)
    return records


def _labelled(parts: Sequence[Part], data: Path, split: str, predictions: Path) -> list[Part]:
    """The readable parts with a label; logs a warning about the others."""
    labelled = [part for part in parts if part.label != UNKNOWN_LABEL]
    unreadable = [part for part in parts if part.error]
    if not labelled:
        first = f" (first: {unreadable[0].error})" if unreadable else ""
        raise UserError(
            f"none of {len(parts)} photographs of the {split} split is labelled and readable{first}",
            where=data,
            remedy="label them good or defective; see `roinspect check`",
        )
    if unreadable:
        log.warning(f"{len(unreadable)} of {len(parts)} photographs could not be read, see {predictions}")
    if empty := [part for part in parts if is_empty_defect(part.record, part.place)]:
        log.warning(
            f"{len(empty)} photographs are labelled defective but their masks are empty: they count as good "
            f"(first: {empty[0].record.key}); {EMPTY_REMEDY}"
        )
    return labelled


def _remarks(results: Sequence[ModelResult], labelled: Sequence[Part]) -> list[str]:
    """Reasons why the measures may look better, or surer, than they are."""
    remarks = [
        f"{result.model.name} was trained on {result.trained_on:,} of these {len(labelled):,} photographs: "
        "its results on them say nothing about other photographs"
        for result in results
        if result.trained_on
    ]
    good = [part for part in labelled if part.label == 0]
    if suggested := undeclared_groups([part.record for part in good], [part.taken for part in good]):
        remarks.append(f"{suggested} among the good parts; not declared, they make intervals too narrow")
    return remarks


def _title(models: Sequence[EvaluatedModel], data: Path, split: str) -> str:
    first, *others = models
    subject = (
        " against ".join(model.name for model in models) if others else f"{first.name}: {first.bundle.method}"
    )
    return f"{subject} on {data.resolve().name}, {split} split"


def _network_times(models: Sequence[EvaluatedModel]) -> dict[str, str]:
    return {
        f"network{f' of {model.name}' if len(models) > 1 else ''}, median per image": (
            f"{1000 * float(np.median(model.seconds)):.1f} ms"
        )
        for model in models
    }
