"""How bright and how sharp a photograph is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def light_of(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Brightness, the mean grey in [0, 1], and sharpness, the mean absolute Laplacian in grey levels.

    Args:
        image: (H, W, 3) uint8 RGB; compare photographs of one size only.

    Example:
        >>> light_of(np.full((8, 8, 3), 51, np.uint8))
        (0.2, 0.0)
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_16S)
    return float(grey.mean() / 255), float(cv2.norm(edges, cv2.NORM_L1) / grey.size)
