"""The outputs of an inspection graph, whatever runtime computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

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


def exported_prediction(outputs: Sequence[NDArray[np.float32]]) -> Prediction:
    """The outputs of an exported graph, in the order of `OUTPUTS`; its maps have one channel."""
    pred_score, anomaly_map, roi_map, novelty = outputs
    return Prediction(pred_score, anomaly_map[:, 0], roi_map[:, 0], novelty)
