"""From bundles and labelled images to metrics, a report and one row per part."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.data.account import missed_line
from roinspect.data.dataset import EMPTY_REMEDY, UNKNOWN_LABEL, LoadResult, Sample, is_empty_defect, stream
from roinspect.data.likeness import undeclared_groups
from roinspect.data.reading import read_data
from roinspect.errors import UserError
from roinspect.evaluation.examples import choose, load_examples
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.evaluation.parts import Part, table
from roinspect.evaluation.report import ModelReport, ReportContent, write_report
from roinspect.evaluation.values import MetricValues
from roinspect.files import write_whole
from roinspect.images.pixels import resize_image, resize_mask
from roinspect.inspection.bundle import Bundle, read_trained_on, shortened
from roinspect.inspection.scene import fault_of, measure
from roinspect.methods.method import InspectionGraph, load_graph, predict
from roinspect.segmenter.roi import with_roi
from roinspect.version import __version__

log = logging.getLogger(__name__)

REPORT, METRICS, PREDICTIONS = "report.html", "metrics.json", "predictions.csv"


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A bundle under evaluation, and its predictions so far."""

    name: str
    path: Path
    bundle: Bundle
    graph: InspectionGraph
    metrics: RoiMetrics = field(default_factory=RoiMetrics)
    seconds: list[float] = field(default_factory=list)
    """What the network took for one image, once a batch."""

    def predict(self, samples: Sequence[Sample], parts: Sequence[Part]) -> list[tuple[float, str]]:
        """Score a batch of any size in pixels and add it to the measures; a part without a label is left out.

        Args:
            samples: decoded.
            parts: the same, in the same order, with label and place.

        Returns:
            Of each its score, and why its picture is not inspectable, "" where it is.
        """
        images = np.stack([resize_image(sample.image, self.bundle.size_hw) for sample in samples])
        start = time.perf_counter()
        prediction = predict(self.graph, images)
        self.seconds.append((time.perf_counter() - start) / len(samples))
        rows = [row for row, part in enumerate(parts) if part.label != UNKNOWN_LABEL]
        if rows:
            self.metrics.update(
                pred_score=prediction.pred_score[rows],
                anomaly_map=prediction.anomaly_map[rows],
                label=np.array([parts[row].label for row in rows]),
                outside_only=np.array([parts[row].is_outside_only for row in rows]),
                gt_mask=self._masks([samples[row].gt_mask for row in rows]),
                roi_mask=self._masks([samples[row].roi_mask for row in rows]),
                category=[parts[row].record.category for row in rows],
                group=[parts[row].record.group for row in rows],
                has_gt_mask=np.array([parts[row].place != "unknown" for row in rows]),
            )
        limits = self.bundle.scene
        scenes = (measure(*shown) for shown in zip(prediction.roi_map, prediction.novelty, strict=True))
        reasons = ["" if limits is None else fault_of(scene, limits) or "" for scene in scenes]
        return [(float(score), reason) for score, reason in zip(prediction.pred_score, reasons, strict=True)]

    def _masks(self, masks: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.stack([resize_mask(mask, self.bundle.size_hw) for mask in masks])


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
    """Measure one bundle, as `evaluate_models` does.

    Returns:
        The measures, at the bundle's threshold.
    """
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
    that cannot be read costs its row alone. Each photograph is decoded once for all bundles, whatever their
    sizes, unless they were trained with different `bits`; what counts as a defect is decided by the first
    bundle's training settings.

    Args:
        bundle_paths: one bundle, or two.
        data: a folder or a manifest, as `read_records` takes it.
        out: the folder to write to; files of an earlier evaluation are replaced.
        roi: where the ROI masks are, as `with_roi` takes it; used for the measures, never by a model.
        columns: the manifest's column names.
        good: names of good parts' folders or labels; None takes those that the first bundle was trained with.
        split: "train", "val" or "test".
        batch_size: photographs per pass through a network.

    Returns:
        The measures, at each bundle's own threshold.

    Raises:
        UserError: a bundle or the data cannot be used, no part of the split is labelled and readable, or
            the disk refuses.
    """
    models = _load(bundle_paths)
    source = read_data(data, roi, columns, good, usual_good=models[0].bundle.training.get("good"))
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

    parts, start = list[Part](), time.perf_counter()
    min_pixels = int(models[0].bundle.training.get("min_defect_pixels", 1))
    sizes = {model.bundle.size_hw for model in models}
    size_hw = sizes.pop() if len(sizes) == 1 else None
    depths = dict.fromkeys(model.bundle.bits for model in models)
    streams = [stream(records, size_hw, batch_size, min_pixels=min_pixels, bits=bits) for bits in depths]
    for batches in zip(*streams, strict=True):
        parts += _inspected(dict(zip(depths, batches, strict=True)), models)
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
    if empty := [part for part in parts if is_empty_defect(part.record, part.place)]:
        log.warning(
            f"{len(empty)} photographs are labelled defective but their masks are empty: they count as good "
            f"(first: {empty[0].record.key}); {EMPTY_REMEDY}"
        )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        values = [model.metrics.compute(model.bundle.threshold.value) for model in models]
    # What the data lacks it lacks for every model.
    remarks = list(dict.fromkeys(str(warning.message) for warning in told))
    known_before = [_trained_on(model, known) for model in models]
    remarks += [
        f"{model.name} was trained on {count:,} of these {len(known):,} photographs: what it makes of them "
        "says nothing of others"
        for model, count in zip(models, known_before, strict=True)
        if count
    ]
    good_parts = [part for part in known if part.label == 0]
    if suggested := undeclared_groups(
        [part.record for part in good_parts], [part.taken for part in good_parts]
    ):
        remarks.append(f"{suggested} among the good parts; not declared, they make intervals too narrow")
    unseen = [_unseen(row, model, known) for row, model in enumerate(models)]
    for remark in remarks:
        log.warning(remark)
    for model, lost in zip(models, unseen, strict=True):
        if lost["such_as"]:
            log.warning(f"{model.name}: {_unseen_words(lost)}")

    about = {
        "data": str(data),
        "split": split,
        "roi": roi,
        "photographs": len(parts),
        "unreadable": len(unread),
        "roinspect_version": __version__,
    }
    thresholds = [model.bundle.threshold.value for model in models]
    graphs = [(model.bundle, model.graph) for model in models]
    content = ReportContent(
        title=_title(models, data, split),
        models=[
            _model_report(row, model, values[row], known, unseen[row], {"bundle": str(model.path), **about})
            for row, model in enumerate(models)
        ],
        labels=np.array([part.label for part in known]),
        outside_only=np.array([part.is_outside_only for part in known]),
        paths=[part.record.key for part in known],
        examples=list(load_examples(choose(known, thresholds), graphs, min_pixels=min_pixels)),
        timings={
            **{
                f"network{f' of {model.name}' if len(models) > 1 else ''}, median per image": (
                    f"{1000 * float(np.median(model.seconds)):.1f} ms"
                )
                for model in models
            },
            "reading, network and measures": f"{whole:.1f} s for {len(parts)} images, {batch_size} at a time",
        },
        remarks=remarks,
    )
    write_whole(out / PREDICTIONS, table(parts, thresholds))
    write_whole(out / METRICS, _metrics_json(about, models, values, known_before, unseen))
    write_report(out / REPORT, content)
    return values


def _load(bundle_paths: Sequence[Path]) -> list[EvaluatedModel]:
    names = [path.resolve().name for path in bundle_paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in bundle_paths]
    return [
        EvaluatedModel(name, path, *load_graph(path)) for name, path in zip(names, bundle_paths, strict=True)
    ]


def _inspected(batches: Mapping[int, Sequence[LoadResult]], models: Sequence[EvaluatedModel]) -> list[Part]:
    """What becomes of a batch, given by the bits it was read with; every model scores it and measures."""
    parts = [_part(loaded) for loaded in zip(*batches.values(), strict=True)]
    read = [part for part in parts if not part.error]
    if not read:
        return parts
    samples = {
        bits: [
            loaded.sample
            for loaded, part in zip(batch, parts, strict=True)
            if loaded.sample and not part.error
        ]
        for bits, batch in batches.items()
    }
    found = zip(*(model.predict(samples[model.bundle.bits], read) for model in models), strict=True)
    return [part if part.error else _judged(part, next(found)) for part in parts]


def _part(loaded: Sequence[LoadResult]) -> Part:
    """One photograph, which counts where it can be read with the bits of every model."""
    for one in loaded:
        if one.sample is None:
            return Part(one.record, error=str(one.error))
    first = loaded[0].sample
    assert first is not None
    return Part(loaded[0].record, first.label, first.place, digest=first.digest, taken=first.taken)


def _judged(part: Part, found: Sequence[tuple[float, str]]) -> Part:
    pred_scores, reasons = zip(*found, strict=True)
    return replace(part, pred_scores=pred_scores, reasons=reasons)


def _title(models: Sequence[EvaluatedModel], data: Path, split: str) -> str:
    first, *others = models
    named = f"{first.name}: {first.bundle.method}" if not others else ""
    named = named or " against ".join(model.name for model in models)
    return f"{named} on {data.resolve().name}, {split} split"


def _model_report(
    row: int,
    model: EvaluatedModel,
    values: MetricValues,
    known: Sequence[Part],
    unseen: Mapping[str, object],
    about: Mapping[str, object],
) -> ModelReport:
    bundle = model.bundle
    return ModelReport(
        name=model.name,
        metrics=values,
        threshold_origin=bundle.threshold.origin,
        threshold_warning=bundle.threshold.warning,
        unseen=_unseen_words(unseen) if unseen["such_as"] else "",
        pro_curve=model.metrics.pro_curve(),
        scores=np.array([part.pred_scores[row] for part in known]),
        training_curves=bundle.history,
        settings={
            "evaluation": about,
            "size": "x".join(map(str, bundle.size_hw)),
            "method": {"name": bundle.method, **bundle.method_settings},
            "training": bundle.training,
        },
        fingerprints=bundle.fingerprints,
    )


def _trained_on(model: EvaluatedModel, known: Sequence[Part]) -> int:
    """How many of the parts the model was trained on, by file content."""
    digests = read_trained_on(model.path)
    return sum(shortened(part.digest) in digests for part in known)


def _unseen(row: int, model: EvaluatedModel, known: Sequence[Part]) -> dict[str, Any]:
    """How many parts of each label are not inspectable, and the first of them."""
    lost = [part for part in known if part.is_unseen(model.bundle.threshold.value, row)]
    first = f"{lost[0].record.key}: {lost[0].reasons[row]}" if lost else ""
    return {
        "good": sum(part.label == 0 for part in lost),
        "defective": sum(part.label == 1 for part in lost),
        "such_as": first,
    }


def _unseen_words(lost: Mapping[str, object]) -> str:
    return (
        f"{lost['good']} good and {lost['defective']} defective parts that the score alone would pass are "
        f"not inspectable (such as {lost['such_as']})."
    )


def _metrics_json(
    about: Mapping[str, object],
    models: Sequence[EvaluatedModel],
    values: Sequence[MetricValues],
    known_before: Sequence[int],
    unseen: Sequence[Mapping[str, object]],
) -> str:
    """The first model's measures, and the other's under "against"."""
    first, *others = (
        {
            "bundle": str(model.path),
            "threshold_origin": model.bundle.threshold.origin,
            "threshold_warning": model.bundle.threshold.warning,
            "trained_on": count,
            "not_inspectable": lost,
            **measured.to_dict(),
        }
        for model, measured, count, lost in zip(models, values, known_before, unseen, strict=True)
    )
    against = {"against": others[0]} if others else {}
    return json.dumps({**about, **first, **against}, indent=1, allow_nan=False) + "\n"
