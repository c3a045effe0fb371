"""Record what good parts look like, and the limits beyond which an image is not inspectable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from roinspect.data.dataset import DecodedCache
from roinspect.inspection.scene import Scene, SceneLimits, limits_of, measure
from roinspect.methods.method import InspectionGraph, predict
from roinspect.nn.appearance import MEMORY, describe

_AT_ONCE = 8


def survey(
    graph: InspectionGraph, fitted: DecodedCache, groups: Sequence[str], held_out: DecodedCache
) -> SceneLimits:
    """Let a trained graph remember good parts, and find the limits that they set.

    Up to 256 good training photographs are remembered, evenly spaced. Each counts with its distance to those
    of other groups: beside its near-duplicates it would look less new than the next part will. Held-out good
    parts count with what the graph says of them.

    Args:
        graph: trained, in evaluation mode; its `appearance` is filled.
        fitted: the training photographs.
        groups: one a training photograph, what near-duplicates share, "" for none.
        held_out: photographs that were not trained on; maybe none.
    """
    good = np.flatnonzero(fitted.labels == 0)
    rows = good[np.unique(np.linspace(0, len(good) - 1, min(len(good), MEMORY)).round().astype(int))]
    described = torch.cat([_described(fitted.images[part]) for part in _parts(rows)])
    names = [groups[row] or f"\0{row}" for row in rows]
    numbers = torch.from_numpy(np.unique(names, return_inverse=True)[1])
    apart = graph.appearance.remember(described, numbers).cpu().numpy()
    seen = [
        Scene(scene.roi_area, scene.pieces, scene.certainty, scene.place_xy, float(novelty))
        for scene, novelty in zip(_scenes(graph, fitted, rows), apart, strict=True)
    ]
    return limits_of([*seen, *_scenes(graph, held_out, np.flatnonzero(held_out.labels == 0))])


def _described(images: NDArray[np.uint8]) -> torch.Tensor:
    return describe(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)


def _scenes(graph: InspectionGraph, cache: DecodedCache, rows: NDArray[np.intp]) -> list[Scene]:
    found = [predict(graph, cache.images[part]) for part in _parts(rows)]
    return [
        measure(roi_map, float(novelty))
        for prediction in found
        for roi_map, novelty in zip(prediction.roi_map, prediction.novelty, strict=True)
    ]


def _parts(rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE)]
