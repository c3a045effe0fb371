"""Whether an exported graph answers as the trained one does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from roinspect.backends import Predict
from roinspect.tolerance import LEAST, MAP_TOLERANCE, SCORE_TOLERANCE

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Parity:
    """How the answers of two graphs to the same images differ.

    Attributes:
        images: how many were compared.
        score: the largest relative difference of scores; NaN where one is no number.
        mean_score: the mean relative difference of scores.
        map: the largest relative difference of maps.
        changed: images with another verdict, without the close ones.
        close: images whose score lies within `SCORE_TOLERANCE` of the threshold: whatever runs the graph,
            rounding decides on them.
    """

    images: int
    score: float
    mean_score: float
    map: float
    changed: int
    close: int

    @property
    def is_equal(self) -> bool:
        """Whether scores, maps and verdicts agree within the tolerances."""
        return self.score <= SCORE_TOLERANCE and self.map <= MAP_TOLERANCE and not self.changed

    def table(self) -> str:
        """What differs by how much, and what is allowed, in lines of text."""
        rows = (
            ("score, relative", f"{self.score:.2g}", f"{SCORE_TOLERANCE:.0e}"),
            ("map, relative to its maximum", f"{self.map:.2g}", f"{MAP_TOLERANCE:.0e}"),
            ("verdicts changed", str(self.changed), "0"),
        )
        head = f"{f'of {self.images} images':30}{'largest':>10}{'allowed':>10}"
        return "\n".join([head, *(f"{name:30}{found:>10}{allowed:>10}" for name, found, allowed in rows)])


def compare(
    reference: Predict, candidate: Predict, images: Iterable[NDArray[np.uint8]], threshold: float
) -> Parity:
    """Run two graphs on the same images and compare their answers.

    The reference sees one image at a time, the candidate one alone and then batches: a graph that works for
    one batch size alone, or mixes images of a batch up, is found out.

    Args:
        reference: the trained graph.
        candidate: the exported one.
        images: (H, W, 3) uint8 RGB at the graph's size, at least one.
        threshold: the score from which on a part is rejected.
    """
    least = max(LEAST * abs(threshold), float(np.finfo(np.float32).tiny))
    scores, maps, changed, close = list[float](), list[float](), 0, 0
    for batch in _batches(images):
        for image, found, found_map in zip(batch, *candidate(batch), strict=True):
            scored, (expected_map,) = reference(image[None])
            score, expected = float(found), float(scored[0])
            scores.append(abs(score - expected) / max(abs(expected), least))
            highest = max(float(np.abs(expected_map).max()), least)
            maps.append(float(np.abs(found_map - expected_map).max()) / highest)
            is_close = abs(expected - threshold) <= SCORE_TOLERANCE * max(abs(expected), abs(threshold))
            close += is_close
            changed += not is_close and (score >= threshold) != (expected >= threshold)
    # The maximum of numpy, unlike Python's, keeps a NaN.
    return Parity(
        len(scores), float(np.max(scores)), float(np.mean(scores)), float(np.max(maps)), changed, close
    )


def _batches(images: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    remaining = iter(images)
    count = 1
    while batch := list(islice(remaining, count)):
        yield np.stack(batch)
        count = _AT_ONCE
