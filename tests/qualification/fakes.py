"""An inspector without a network: the score is the share of bright pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.prediction import Prediction

SIZE = (16, 16)


def brightness(images: NDArray[np.uint8]) -> Prediction:
    maps = images.mean(3, dtype=np.float32) / 255
    return Prediction(maps.mean((1, 2)), maps, np.ones_like(maps), np.zeros(len(images), np.float32))


def inspector(threshold: float = 0.5, factor: float = 1.0, runtime: str = "fake") -> Inspector:
    """Rejects pictures whose mean, times a factor, is at least the threshold's share of white."""

    def scaled(images: NDArray[np.uint8]) -> Prediction:
        found = brightness(images)
        return found._replace(pred_score=found.pred_score * np.float32(factor))

    return Inspector(Bundle("fake", {}, SIZE, Threshold(threshold, "chosen")), scaled, runtime)


def grey(level: int) -> NDArray[np.uint8]:
    return np.full((*SIZE, 3), level, np.uint8)
