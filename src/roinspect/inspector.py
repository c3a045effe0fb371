"""A bare image in, a verdict out: no mask, no training code."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.bundle import Bundle
from roinspect.data.threads import in_threads
from roinspect.errors import UserError
from roinspect.pixels import read_image, resize_image
from roinspect.regions import Region, find_regions

Predict = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""(N, H, W, 3) uint8 RGB to `pred_score` (N,) and `anomaly_map` (N, H, W)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one image. Where `error` is set there is no verdict: neither good nor defective.

    Attributes:
        image_path: the file as it was given, "" for pixels or bytes.
        pred_score: higher = more anomalous; NaN with an error.
        is_defect: whether `pred_score >= threshold`; None with an error.
        threshold: of the bundle.
        image: (H, W, 3) uint8 RGB, what was inspected, as it was decoded; None with an error.
        anomaly_map: (H, W) float32 at the image's own size, higher = more anomalous; None with an error.
        map_level: the map value from which a region counts as found, as `Bundle.map_level`.
        regions: what was found, in the image's own pixels, highest score first. They come from the map as the
            model gives it: one enlarged or reduced to the image's size may miss its peak.
        latency_ms: decoding, resizing, network and regions together, in milliseconds.
        error: one line on why there is no verdict, else None.
    """

    image_path: str
    pred_score: float
    is_defect: bool | None
    threshold: float
    latency_ms: float
    image: NDArray[np.uint8] | None = None
    anomaly_map: NDArray[np.float32] | None = None
    map_level: float | None = None
    regions: tuple[Region, ...] = ()
    error: str | None = None


class Inspector:
    """A trained model, ready for images.

    Args:
        bundle: the manifest; its size and threshold are used.
        predict: runs the inspection graph on images of the bundle's size.

    Example::

        inspector = Inspector.load("zipper.model")
        rejected = inspector.inspect("part.png").is_defect
    """

    def __init__(self, bundle: Bundle, predict: Predict) -> None:
        self.bundle = bundle
        self._predict = predict

    @classmethod
    def load(cls, bundle: Path | str) -> Inspector:
        """Load a bundle's inspection graph.

        Raises:
            UserError: the bundle is missing, damaged, or of another version.
        """
        from roinspect.methods.method import load_graph, predict

        manifest, graph = load_graph(Path(bundle))
        return cls(manifest, lambda images: predict(graph, images))

    @property
    def threshold(self) -> float:
        """The score from which on a part is rejected."""
        return self.bundle.threshold.value

    def inspect(self, image: Path | str | bytes | NDArray[np.uint8]) -> Verdict:
        """Inspect one image.

        Args:
            image: a file, a whole encoded file as bytes, or pixels (H, W, 3) uint8 RGB.

        Raises:
            UserError: the image cannot be read, or the model's answer is not a number.
        """
        start = time.perf_counter()
        pixels = _checked(image) if isinstance(image, np.ndarray) else read_image(image)
        decoding_ms = 1000 * (time.perf_counter() - start)
        return self._verdict(str(image) if isinstance(image, Path | str) else "", pixels, decoding_ms)

    def inspect_many(self, images: Iterable[Path | str]) -> Iterator[Verdict]:
        """Inspect files in order; the next ones are decoded meanwhile.

        A file that cannot be inspected yields a verdict with `error` set, and the rest goes on.
        """

        def decode(path: Path | str) -> tuple[str, NDArray[np.uint8] | UserError, float]:
            start = time.perf_counter()
            try:
                pixels: NDArray[np.uint8] | UserError = read_image(path)
            except UserError as error:
                pixels = error
            return str(path), pixels, 1000 * (time.perf_counter() - start)

        for path, pixels, decoding_ms in in_threads(decode, images, workers=1, ahead=4):
            try:
                if isinstance(pixels, UserError):
                    raise pixels
                yield self._verdict(path, pixels, decoding_ms)
            except UserError as error:
                yield Verdict(path, math.nan, None, self.threshold, decoding_ms, error=str(error))

    def _verdict(self, path: str, pixels: NDArray[np.uint8], decoding_ms: float) -> Verdict:
        start = time.perf_counter()
        scores, maps = self._predict(resize_image(pixels, self.bundle.size_hw)[None])
        score = float(scores[0])
        # A comparison with NaN is false: without this check it would pass for a good part.
        if not math.isfinite(score):
            raise UserError(
                "the model answered NaN or infinity", where=path or "image", remedy="train again, in float32"
            )
        height, width = pixels.shape[:2]
        level = self.bundle.map_level(score, maps[0])
        found = [] if level is None else find_regions(maps[0], level)
        factors = width / maps.shape[2], height / maps.shape[1]
        return Verdict(
            image_path=path,
            pred_score=score,
            is_defect=score >= self.threshold,
            threshold=self.threshold,
            image=pixels,
            anomaly_map=resize_image(maps[0], (height, width)),
            map_level=level,
            regions=tuple(region.scaled(*factors) for region in found),
            latency_ms=decoding_ms + 1000 * (time.perf_counter() - start),
        )


def _checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(
            f"an array of {pixels.dtype} {pixels.shape} is no image",
            where="image",
            remedy="give uint8 RGB pixels of shape (height, width, 3)",
        )
    return pixels
