"""Score every photograph of a split with one model, or with several, decoding each photograph once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.data.dataset import UNKNOWN_LABEL, LoadResult, Sample, stream
from roinspect.data.records import Record
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.evaluation.parts import Part
from roinspect.images.pixels import resize_image, resize_mask
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.scene import fault_of, measure
from roinspect.methods.loading import load_graph
from roinspect.methods.method import InspectionGraph, predict


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A bundle under evaluation, and its measures so far."""

    name: str
    path: Path
    bundle: Bundle
    graph: InspectionGraph
    metrics: RoiMetrics = field(default_factory=RoiMetrics)
    seconds: list[float] = field(default_factory=list)
    """Network time per image, one entry a batch."""

    def predict(self, samples: Sequence[Sample], parts: Sequence[Part]) -> list[tuple[float, str]]:
        """Score a batch and add its labelled parts to the measures.

        Args:
            samples: decoded, of any size in pixels.
            parts: the same photographs in the same order, with label and place.

        Returns:
            For each photograph its score and why it is not inspectable, or "".
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
                gt_mask=self._resized([samples[row].gt_mask for row in rows]),
                roi_mask=self._resized([samples[row].roi_mask for row in rows]),
                category=[parts[row].record.category for row in rows],
                group=[parts[row].record.group for row in rows],
                has_gt_mask=np.array([parts[row].place != "unknown" for row in rows]),
            )
        limits = self.bundle.scene
        scenes = (measure(*maps) for maps in zip(prediction.roi_map, prediction.novelty, strict=True))
        reasons = ["" if limits is None else fault_of(scene, limits) or "" for scene in scenes]
        return [(float(score), reason) for score, reason in zip(prediction.pred_score, reasons, strict=True)]

    def _resized(self, masks: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.stack([resize_mask(mask, self.bundle.size_hw) for mask in masks])


def load_models(bundle_paths: Sequence[Path]) -> list[EvaluatedModel]:
    """The bundles under the names of their folders, or under their paths where two folders share a name."""
    names = [path.resolve().name for path in bundle_paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in bundle_paths]
    return [
        EvaluatedModel(name, path, *load_graph(path)) for name, path in zip(names, bundle_paths, strict=True)
    ]


def score(
    models: Sequence[EvaluatedModel], records: Sequence[Record], *, batch_size: int, min_pixels: int
) -> list[Part]:
    """Score all photographs with all models; the models collect their measures.

    A photograph is decoded again only for a model that was trained with other `bits`.

    Args:
        models: one or more.
        records: the photographs.
        batch_size: photographs per pass through a network.
        min_pixels: as in `load_sample`.
    """
    sizes = {model.bundle.size_hw for model in models}
    size_hw = sizes.pop() if len(sizes) == 1 else None
    depths = dict.fromkeys(model.bundle.bits for model in models)
    streams = [stream(records, size_hw, batch_size, min_pixels=min_pixels, bits=bits) for bits in depths]
    parts = []
    for batches in zip(*streams, strict=True):
        parts += _score_batch(dict(zip(depths, batches, strict=True)), models)
    return parts


def _score_batch(batches: Mapping[int, Sequence[LoadResult]], models: Sequence[EvaluatedModel]) -> list[Part]:
    """Score one batch, given as decoded with each of the models' `bits`."""
    parts = [_part(results) for results in zip(*batches.values(), strict=True)]
    readable = [part for part in parts if not part.error]
    if not readable:
        return parts
    samples = {
        bits: [
            result.sample
            for result, part in zip(batch, parts, strict=True)
            if result.sample and not part.error
        ]
        for bits, batch in batches.items()
    }
    predictions = zip(*(model.predict(samples[model.bundle.bits], readable) for model in models), strict=True)
    return [part if part.error else _with_predictions(part, next(predictions)) for part in parts]


def _part(results: Sequence[LoadResult]) -> Part:
    """A photograph, with an error unless it could be read with the bits of every model."""
    for result in results:
        if result.sample is None:
            return Part(result.record, error=str(result.error))
    sample = results[0].sample
    assert sample is not None
    return Part(results[0].record, sample.label, sample.place, digest=sample.digest, taken=sample.taken)


def _with_predictions(part: Part, predictions: Sequence[tuple[float, str]]) -> Part:
    pred_scores, reasons = zip(*predictions, strict=True)
    return replace(part, pred_scores=pred_scores, reasons=reasons)
