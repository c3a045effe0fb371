"""Score every photograph of a split with one model, or with several, decoding each photograph once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from roinspect.data.dataset import UNKNOWN_LABEL, LoadResult, Sample, stream
from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.evaluation.parts import Part
from roinspect.images.pixels import resize_mask
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.looks import Looked, Looks
from roinspect.inspection.scene import fault_of, measure
from roinspect.methods.loading import load_graphs
from roinspect.methods.method import InspectionGraph


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A bundle under evaluation, and its measures so far."""

    name: str
    path: Path
    bundle: Bundle
    graph: InspectionGraph
    """The method's."""
    looks: Looks
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
        start = time.perf_counter()
        predictions = self.looks([sample.image for sample in samples])
        self.seconds.append((time.perf_counter() - start) / len(samples))
        for looked, sample, part in zip(predictions, samples, parts, strict=True):
            if part.label == UNKNOWN_LABEL:
                continue
            map_hw = (looked.anomaly_map.shape[0], looked.anomaly_map.shape[1])
            self.metrics.update(
                pred_score=np.array([looked.pred_score]),
                anomaly_map=looked.anomaly_map[None],
                label=np.array([part.label]),
                outside_only=np.array([part.is_outside_only]),
                gt_mask=resize_mask(sample.gt_mask, map_hw)[None],
                roi_mask=resize_mask(sample.roi_mask, map_hw)[None],
                category=[part.record.category],
                group=[part.record.group],
                has_gt_mask=np.array([part.place != "unknown"]),
            )
        return [(looked.pred_score, self._reason(looked)) for looked in predictions]

    def _reason(self, looked: Looked) -> str:
        limits = self.bundle.scene
        fault = None if limits is None else fault_of(measure(looked.roi_map, looked.novelty), limits)
        return fault or looked.unseen


def load_models(bundle_paths: Sequence[Path]) -> list[EvaluatedModel]:
    """The bundles under the names of their folders, or under their paths where two folders share a name."""
    names = [path.resolve().name for path in bundle_paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in bundle_paths]
    models = []
    for name, path in zip(names, bundle_paths, strict=True):
        graphs = load_graphs(path)
        models.append(EvaluatedModel(name, path, graphs.bundle, graphs.close or graphs.graph, graphs.looks()))
    return models


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
    if any(model.bundle.tiles is not None for model in models):
        # Photographs at their own size, which may fill the memory.
        size_hw, batch_size = None, 1
    depths = dict.fromkeys(model.bundle.bits for model in models)
    streams = [stream(records, size_hw, batch_size, min_pixels=min_pixels, bits=bits) for bits in depths]
    parts = []
    for batches in zip(*streams, strict=True):
        parts += _score_batch(dict(zip(depths, batches, strict=True)), models)
    return parts


def _score_batch(batches: Mapping[int, Sequence[LoadResult]], models: Sequence[EvaluatedModel]) -> list[Part]:
    """Score one batch, given as decoded with each of the models' `bits`."""
    parts = [_part(results, models) for results in zip(*batches.values(), strict=True)]
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


def _part(results: Sequence[LoadResult], models: Sequence[EvaluatedModel]) -> Part:
    """A photograph, with an error unless every model can read it."""
    for result in results:
        if result.sample is None:
            return Part(result.record, error=str(result.error))
    sample = results[0].sample
    assert sample is not None
    try:
        for model in models:
            if model.bundle.tiles is not None:
                native_hw = (sample.image.shape[0], sample.image.shape[1])
                model.bundle.tiles.refuse_other_size(native_hw, results[0].record.key)
    except UserError as error:
        return Part(results[0].record, error=str(error))
    return Part(results[0].record, sample.label, sample.place, digest=sample.digest, taken=sample.taken)


def _with_predictions(part: Part, predictions: Sequence[tuple[float, str]]) -> Part:
    pred_scores, reasons = zip(*predictions, strict=True)
    return replace(part, pred_scores=pred_scores, reasons=reasons)
