"""Compare an exported graph's predictions with those of the trained graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from roinspect.inspection.prediction import Predict
from roinspect.inspection.scene import SceneLimits, fault_of, measure
from roinspect.inspection.tolerance import LEAST, MAP_TOLERANCE, SCORE_TOLERANCE

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences between two graphs' predictions on the same images.

    Attributes:
        images: how many were compared.
        score: the largest relative difference of scores; NaN if a score is NaN.
        mean_score: the mean relative difference of scores.
        map: the largest relative difference of maps.
        scene: the largest difference of the predicted ROI at any cell, or relative difference of the novelty,
            whichever is larger.
        changed: images whose verdict changes, without the close ones.
        close: images whose score is within `SCORE_TOLERANCE` of the threshold, where rounding decides.
    """

    images: int
    score: float
    mean_score: float
    map: float
    scene: float
    changed: int
    close: int

    @property
    def is_equal(self) -> bool:
        """Whether scores, maps, scenes and verdicts agree within the tolerances."""
        differences = ((self.score, SCORE_TOLERANCE), (self.map, MAP_TOLERANCE), (self.scene, MAP_TOLERANCE))
        return all(found <= allowed for found, allowed in differences) and not self.changed

    def table(self) -> str:
        """Differences and tolerances, as lines of text."""
        rows = (
            ("score, relative", f"{self.score:.2g}", f"{SCORE_TOLERANCE:.0e}"),
            ("map, relative to its maximum", f"{self.map:.2g}", f"{MAP_TOLERANCE:.0e}"),
            ("scene, ROI or novelty", f"{self.scene:.2g}", f"{MAP_TOLERANCE:.0e}"),
            ("verdicts changed", str(self.changed), "0"),
        )
        head = f"{f'of {self.images} images':30}{'largest':>10}{'allowed':>10}"
        return "\n".join([head, *(f"{name:30}{found:>10}{allowed:>10}" for name, found, allowed in rows)])


def compare(
    reference: Predict,
    candidate: Predict,
    images: Iterable[NDArray[np.uint8]],
    threshold: float,
    limits: SceneLimits | None = None,
) -> Parity:
    """Run two graphs on the same images and compare their predictions.

    The reference gets one image at a time, the candidate a single image and then batches, to detect graphs
    that work for only one batch size or mix up the images of a batch.

    Args:
        reference: the trained graph.
        candidate: the exported one.
        images: (H, W, 3) uint8 RGB at the graph's size, at least one.
        threshold: the score from which a part is rejected.
        limits: beyond which an image is not inspectable, which is a verdict too.
    """
    least = max(LEAST * abs(threshold), float(np.finfo(np.float32).tiny))
    scores, maps, scenes, changed, close = list[float](), list[float](), list[float](), 0, 0
    for batch in _batches(images):
        for image, new_score, new_map, new_roi, new_novelty in zip(batch, *candidate(batch), strict=True):
            (old_score,), (expected_map,), (roi_map,), (novelty,) = reference(image[None])
            score, expected = float(new_score), float(old_score)
            scores.append(abs(score - expected) / max(abs(expected), least))
            highest = max(float(np.abs(expected_map).max()), least)
            maps.append(float(np.abs(new_map - expected_map).max()) / highest)
            scenes.append(float(np.abs(new_roi - roi_map).max()))
            scenes.append(abs(float(new_novelty) - float(novelty)) / max(float(novelty), LEAST))
            is_close = abs(expected - threshold) <= SCORE_TOLERANCE * max(abs(expected), abs(threshold))
            close += is_close
            sees, saw = _sees(new_roi, new_novelty, limits), _sees(roi_map, novelty, limits)
            rejects, rejected = score >= threshold, expected >= threshold
            changed += not is_close and (rejects != rejected or (not rejected and sees != saw))
    # NumPy's maximum, unlike Python's, keeps a NaN.
    return Parity(
        images=len(scores),
        score=float(np.max(scores)),
        mean_score=float(np.mean(scores)),
        map=float(np.max(maps)),
        scene=float(np.max(scenes)),
        changed=changed,
        close=close,
    )


def _sees(roi_map: NDArray[np.float32], novelty: float, limits: SceneLimits | None) -> bool:
    return limits is None or fault_of(measure(roi_map, float(novelty)), limits) is None


def _batches(images: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    remaining = iter(images)
    count = 1
    while batch := list(islice(remaining, count)):
        yield np.stack(batch)
        count = _AT_ONCE
