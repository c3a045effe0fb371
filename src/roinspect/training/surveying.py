"""Store descriptors of good parts, and the limits beyond which an image is not inspectable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from roinspect.data.dataset import DecodedCache
from roinspect.images.light import light_of
from roinspect.inspection.drift import Usual, signals_of, usual_of
from roinspect.inspection.scene import Scene, SceneLimits, limits_of, measure
from roinspect.methods.method import InspectionGraph, predict
from roinspect.nn.appearance import MEMORY, describe

_BATCH = 8


def survey(
    graph: InspectionGraph, fitted: DecodedCache, groups: Sequence[str], held_out: DecodedCache
) -> tuple[SceneLimits, list[Scene]]:
    """Store good parts in a trained graph, and determine the limits of an inspectable scene.

    Up to 256 good training photographs are stored, evenly spaced. The novelty of each is its distance to
    photographs of other groups, as near-duplicates would make it smaller than that of the next part. For
    held-out good parts it is the output of the graph.

    Args:
        graph: trained, in evaluation mode; `appearance` is filled in place.
        fitted: the training photographs.
        groups: the group of near-duplicates of each training photograph, "" for none.
        held_out: photographs that were not trained on; may be empty.

    Returns:
        The limits, and the scenes of the held-out good parts, in their order.
    """
    good = np.flatnonzero(fitted.labels == 0)
    rows = good[np.unique(np.linspace(0, len(good) - 1, min(len(good), MEMORY)).round().astype(int))]
    described = torch.cat([_described(fitted.images[part]) for part in _batches(rows)])
    names = [groups[row] or f"\0{row}" for row in rows]
    group_numbers = torch.from_numpy(np.unique(names, return_inverse=True)[1])
    novelties = graph.appearance.remember(described, group_numbers).cpu().numpy()
    scenes = [
        Scene(scene.roi_area, scene.pieces, scene.certainty, scene.place_xy, float(novelty))
        for scene, novelty in zip(_scenes(graph, fitted, rows), novelties, strict=True)
    ]
    new = _scenes(graph, held_out, np.flatnonzero(held_out.labels == 0))
    return limits_of([*scenes, *new]), new


def usual(scores: NDArray[np.float32], scenes: Sequence[Scene], held_out: DecodedCache) -> Usual | None:
    """What is usual of the held-out good parts, for the drift of later ones.

    Args:
        scores: (N,) of the held-out photographs.
        scenes: of the good ones, see `survey`.
        held_out: these photographs.
    """
    good = np.flatnonzero(held_out.labels == 0)
    return usual_of(
        signals_of(float(scores[row]), scene, light_of(held_out.images[row]))
        for row, scene in zip(good, scenes, strict=True)
    )


def _described(images: NDArray[np.uint8]) -> torch.Tensor:
    return describe(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)


def _scenes(graph: InspectionGraph, cache: DecodedCache, rows: NDArray[np.intp]) -> list[Scene]:
    predictions = [predict(graph, cache.images[part]) for part in _batches(rows)]
    return [
        measure(roi_map, float(novelty))
        for prediction in predictions
        for roi_map, novelty in zip(prediction.roi_map, prediction.novelty, strict=True)
    ]


def _batches(rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [rows[first : first + _BATCH] for first in range(0, len(rows), _BATCH)]
