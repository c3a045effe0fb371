"""The outputs of an inspection graph, whatever runtime computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError

OUTPUTS = ("pred_score", "anomaly_map", "roi_map", "novelty")
"""The outputs of every graph and export, in this order."""


class Prediction(NamedTuple):
    """Scores, maps and scenes of N images."""

    pred_score: NDArray[np.float32]
    """(N,), higher = more anomalous."""
    anomaly_map: NDArray[np.float32]
    """(N, H, W), higher = more anomalous."""
    roi_map: NDArray[np.float32]
    """(N, h, w), probability of the region of interest, on its own grid; ones if everything is inspected."""
    novelty: NDArray[np.float32]
    """(N,), distance of the whole image to the training images, at least 0."""


Predict: TypeAlias = Callable[[NDArray[np.uint8]], Prediction]
"""(N, H, W, 3) uint8 RGB of the bundle's size to a prediction. May be called from several threads."""


def checked(found: Prediction, count: int, map_hw: tuple[int, int] | None) -> Prediction:
    """A prediction whose shapes are those of `Prediction`: others can crash what reads them.

    Args:
        found: from any runtime.
        count: of the images.
        map_hw: height and width of the map; None for a network that only finds the region, whose map is
            on any grid.

    Raises:
        UserError: an output has another shape or type.
    """
    shapes = (
        (count,),
        (count, *(map_hw or _grid(found.anomaly_map))),
        (count, *_grid(found.roi_map)),
        (count,),
    )
    for name, values, shape in zip(OUTPUTS, found, shapes, strict=True):
        if values.shape != shape or values.dtype != np.float32:
            raise UserError(
                f"its {name} is {values.dtype} of shape {values.shape}, not float32 of shape {shape}",
                where="graph",
                remedy="export it again",
            )
    return found


def _grid(maps: NDArray[np.float32]) -> tuple[int | str, ...]:
    grid = np.shape(maps)[1:]
    return grid if len(grid) == 2 and 0 not in grid else ("h", "w")


def exported_prediction(outputs: Sequence[NDArray[np.float32]]) -> Prediction:
    """The outputs of an exported graph, in the order of `OUTPUTS`; its maps have one channel.

    Raises:
        UserError: a map has another shape.
    """
    pred_score, anomaly_map, roi_map, novelty = outputs
    for name, values in (("anomaly_map", anomaly_map), ("roi_map", roi_map)):
        if values.ndim != 4 or values.shape[1] != 1:
            raise UserError(
                f"its {name} is of shape {values.shape}, not (N, 1, height, width)",
                where="graph",
                remedy="export it again",
            )
    return Prediction(pred_score, anomaly_map[:, 0], roi_map[:, 0], novelty)
