"""From a bare image to a verdict, without mask or training code, and without torch if there is an export."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.audit.recording import record
from roinspect.errors import UserError
from roinspect.files import read_file
from roinspect.images.light import light_of
from roinspect.images.overlay import overlay
from roinspect.images.pixels import declared_size, encode_image, read_image, resize_image
from roinspect.inspection.backends import open_runtime
from roinspect.inspection.bundle import Bundle, bundle_version, read_bundle, read_references
from roinspect.inspection.drift import DriftMonitor, Signals, signals_of
from roinspect.inspection.looks import Looked, Looks
from roinspect.inspection.prediction import Predict
from roinspect.inspection.references import OnFailure, SelfTest, compared
from roinspect.inspection.regions import Region, find_regions
from roinspect.inspection.scene import Outcome, Scene, fault_of, measure, outcome
from roinspect.inspection.threads import cores, in_threads

if TYPE_CHECKING:
    from PIL import Image

Source: TypeAlias = "Path | str | bytes | NDArray[np.uint8] | Image.Image"
"""A path, the bytes of an image file, pixels (H, W, 3) uint8 RGB or (H, W) uint8 grey, or a Pillow image."""
log = logging.getLogger(__name__)

SHOWN = 1024
"""Longer side, in pixels, of a picture in a notebook at most."""


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The result for one image. If `error` is set, there is no verdict.

    Attributes:
        image_path: the path as passed in, "" for pixels or bytes.
        pred_score: higher = more anomalous; NaN with an error.
        verdict: "good", "defective" or "not inspectable", see `outcome`; None with an error.
        is_defect: whether the verdict is "defective"; None with an error or if it is "not inspectable".
        is_inspectable: whether the image resembles the good training parts; None with an error, or if the
            bundle has no limits.
        reason: why it is not inspectable, else None.
        scene: what the image shows; None with an error.
        roi_map: (h, w) float32, the predicted probability of the region of interest, on the model's own grid;
            all ones if the whole image is inspected; None with an error.
        signals: what is watched for drift; None with an error.
        threshold: of the bundle.
        image: (H, W, 3) uint8 RGB, the decoded image; None with an error.
        anomaly_map: (H, W) float32 at the image's own size, higher = more anomalous; None with an error.
        map_level: the map value from which a pixel belongs to a region, see `Bundle.map_level`.
        regions: the findings, in pixels of the image, highest score first. They are computed on the model's
            own map, because resizing can flatten its peaks.
        latency_ms: decoding, resizing, network and regions, in milliseconds; the network's time for a batch
            is divided equally among its images.
        error: why there is no verdict, in one line, else None.
    """

    image_path: str
    pred_score: float
    verdict: Outcome | None
    threshold: float
    latency_ms: float
    image: NDArray[np.uint8] | None = None
    anomaly_map: NDArray[np.float32] | None = None
    map_level: float | None = None
    regions: tuple[Region, ...] = ()
    is_inspectable: bool | None = None
    reason: str | None = None
    scene: Scene | None = None
    roi_map: NDArray[np.float32] | None = None
    signals: Signals | None = None
    error: str | None = None

    @property
    def is_defect(self) -> bool | None:
        """See above."""
        return {"defective": True, "good": False}.get(self.verdict or "")

    def __repr__(self) -> str:
        name = self.image_path or "image"
        if self.error is not None:
            return f"<Verdict on {name}: {self.error}>"
        said = f"{self.verdict}, score {self.pred_score:.4g}, threshold {self.threshold:.4g}"
        regions = f"{len(self.regions)} region" + "s" * (len(self.regions) != 1)
        return f"<Verdict on {name}: {said}, {regions}>"

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON.

        Returns:
            `image_path`, `verdict`, `pred_score`, `is_defect` (null if the verdict is "not inspectable"),
            `threshold`, `regions` as in `Region.to_dict`, and `reason` if the image is not inspectable; for
            an image that cannot be read only `image_path` and `error`, one line.
        """
        if self.error is not None:
            return {"image_path": self.image_path, "error": self.error}
        reason = {} if self.reason is None else {"reason": self.reason}
        return {
            "image_path": self.image_path,
            "verdict": self.verdict,
            "pred_score": self.pred_score,
            "is_defect": self.is_defect,
            "threshold": self.threshold,
            "regions": [region.to_dict() for region in self.regions],
            **reason,
        }

    def overlay(self) -> NDArray[np.uint8]:
        """The image with heat and outlines drawn in, (H, W, 3) uint8 RGB, see `images.overlay.overlay`.

        Raises:
            UserError: the image could not be read.
        """
        if self.image is None:
            raise UserError(
                "could not be inspected", where=self.image_path or "image", remedy="see its error"
            )
        return overlay(self.image, self.anomaly_map, level=self.map_level)

    def show(self) -> None:
        """Show the overlay in a notebook, reduced to at most `SHOWN` pixels on either side.

        Raises:
            UserError: IPython is not installed.
        """
        try:
            from IPython.display import display
        except ImportError:
            raise UserError(
                "needs IPython", where="Verdict.show", remedy="use Verdict.overlay() outside notebooks"
            ) from None
        display(self)  # type: ignore[no-untyped-call]  # IPython has no types

    def _repr_png_(self) -> bytes | None:
        """How a notebook shows a verdict."""
        if self.image is None:
            return None
        drawn = self.overlay()
        factor = min(1.0, SHOWN / max(drawn.shape[:2]))
        height, width = (max(1, round(factor * side)) for side in drawn.shape[:2])
        return encode_image(resize_image(drawn, (height, width)), ".png", "notebook")


class _Image(NamedTuple):
    path: str
    pixels: NDArray[np.uint8] | None
    resized: NDArray[np.uint8] | None
    error: UserError | None
    latency_ms: float


class _Scored(NamedTuple):
    image: _Image
    looked: Looked | None
    latency_ms: float


class Inspector:
    """A trained model, ready to inspect images; thread-safe.

    Args:
        bundle: the manifest, for size, bits and threshold.
        predict: runs the inspection graph on images of the bundle's size; with tiles, the coarse look.
        runtime: the name of the runtime behind `predict`, if any.
        streams: concurrent calls of `predict`.
        close: runs the graph for tiles, where the bundle has `tiles`.
        photographs: the files of the bundle's references, for `self_test`.
        at_export: see `references.compared`.

    Example::

        inspector = Inspector.load("zipper.model")
        rejected = inspector.inspect("part.png").is_defect
    """

    def __init__(
        self,
        bundle: Bundle,
        predict: Predict,
        runtime: str | None = None,
        streams: int = 1,
        *,
        close: Predict | None = None,
        photographs: Sequence[bytes] = (),
        at_export: Mapping[str, float] | None = None,
    ) -> None:
        self.bundle = bundle
        self.runtime = runtime
        self._looks = Looks(bundle, predict, close)
        self._streams = streams
        self._photographs, self._at_export = photographs, at_export

    @classmethod
    def load(
        cls,
        bundle: Path | str,
        runtime: str = "auto",
        *,
        threads: int | None = None,
        streams: int = 1,
        providers: Sequence[str] = (),
        self_test: OnFailure = "off",
        is_recorded: bool = True,
    ) -> Inspector:
        """Load a bundle's inspection graph.

        Args:
            bundle: the folder that training wrote.
            runtime: "openvino", "onnxruntime" and "torchscript" run an exported graph, "torch" the weights;
                "auto" uses OpenVINO or else ONNX Runtime if it has a usable export, and otherwise torch.
            threads: for one image or batch; None leaves it to the runtime, which uses all cores, or an equal
                share of them with several streams.
            streams: images or batches that run concurrently in `inspect_many`. As many as there are cores
                gives the highest throughput; 1 the lowest latency.
            providers: names of ONNX Runtime's execution providers in order of preference, such as
                "TensorrtExecutionProvider", "CUDAExecutionProvider".
            self_test: inspect the bundle's reference photographs first; if they do not score as in training,
                "stop" raises an error, and "warn" logs a warning. "off" skips the test.
            is_recorded: in the audit log, if there is one; False for a load that is only a trial.

        Raises:
            UserError: the bundle is missing, damaged, of another version or a segmenter's; an export is
                missing, damaged or of other weights; a runtime or a provider is unknown or not installed; the
                self-test failed.
        """
        path, facts = Path(bundle), dict[str, Any](self_test=self_test)
        try:
            manifest = read_bundle(path)
            facts |= {"version": bundle_version(path), "threshold": manifest.threshold.value}
            opened = open_runtime(
                path, manifest, runtime, threads=threads, streams=streams, providers=providers
            )
            facts |= {"runtime": opened.runtime, "files_sha256": dict(opened.files)}
            inspector = cls(
                manifest,
                opened.whole,
                opened.runtime,
                streams,
                close=opened.close,
                photographs=read_references(path, manifest.references),
                at_export=opened.scores,
            )
            if self_test != "off":
                facts["self_test"] = str(inspector.tested(path, self_test))
        except UserError as error:
            if is_recorded:
                record("not loaded", path, {**facts, "error": str(error)})
            raise
        if is_recorded:
            record("loaded", path, facts)
        return inspector

    @property
    def threshold(self) -> float:
        """The score from which a part is rejected."""
        return self.bundle.threshold.value

    def warm_up(self) -> None:
        """Run every network once, on black images.

        Raises:
            UserError: see `Looks.warm_up`.
        """
        self._looks.warm_up()

    def self_test(self) -> SelfTest:
        """Inspect the bundle's reference photographs, and compare scores and verdicts with those expected."""
        verdicts = list(self.inspect_many(self._photographs))
        return compared(
            self.bundle.references,
            verdicts,
            self.threshold,
            runtime=self.runtime or "",
            at_export=self._at_export,
        )

    def tested(self, where: object, on_failure: OnFailure = "stop") -> SelfTest:
        """Run the self-test, and say how it went.

        Args:
            where: the bundle, for the message.
            on_failure: "stop" raises an error, anything else logs a warning.

        Raises:
            UserError: it failed.
        """
        result = self.self_test()
        if not self.bundle.references:
            log.info(f"{where}: {result}; train again with --references to have some")
        elif on_failure == "stop":
            result.require(where)
        elif not result.is_passed:
            log.warning(f"{where}: the self-test failed: {result}")
        return result

    def inspect(self, image: Source) -> Verdict:
        """Inspect one image.

        Raises:
            UserError: the image cannot be read, or the score is not a finite number.
        """
        (scored,) = self._score([self._prepare(image)])
        return self._verdict(scored)

    def inspect_many(
        self, images: Iterable[Source], *, batch_size: int = 1, workers: int | None = None
    ) -> Iterator[Verdict]:
        """Inspect images, in order; one that cannot be inspected yields a verdict with `error` set.

        Decoding, network and region search run in their own threads, at most a few batches ahead of the
        caller.

        Args:
            images: any number of images; iterated in the caller's thread.
            batch_size: images per call of the network; more than one is useful on GPUs.
            workers: threads that decode; None is half of the cores, but at least as many as streams.

        Raises:
            UserError: a number is below 1.
        """
        streams = self._streams
        workers = max(streams, cores() // 2) if workers is None else workers
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise UserError(f"must be at least 1, not {value}", where=name)
        ahead = workers + (streams + 1) * batch_size
        prepared = in_threads(self._prepare, images, workers=workers, ahead=ahead)
        batches = _batches(prepared, batch_size)
        scored = in_threads(self._score, batches, workers=streams, ahead=streams + 1)
        return in_threads(self._verdict_or_error, chain.from_iterable(scored), workers=1, ahead=2)

    # -- the stages ------------------------------------------------------------------------------------------

    def _prepare(self, image: Source) -> _Image:
        """Decode and resize, or record the error."""
        start = time.perf_counter()
        path = str(image) if isinstance(image, Path | str) else ""
        try:
            pixels = self._read(image, path) if isinstance(image, Path | str | bytes) else _rgb(image)
            self._refuse_other_size((pixels.shape[0], pixels.shape[1]), path)
            resized = resize_image(pixels, self.bundle.size_hw)
        except UserError as error:
            return _Image(path, None, None, error, _since(start))
        except (MemoryError, cv2.error):
            return _Image(path, None, None, _too_large(path), _since(start))
        return _Image(path, pixels, resized, None, _since(start))

    def _read(self, image: Path | str | bytes, path: str) -> NDArray[np.uint8]:
        content = image if isinstance(image, bytes) else read_file(Path(image))
        # Before a scan of 400 megapixels is decoded.
        if (declared := declared_size(content)) is not None:
            self._refuse_other_size(declared, path)
        return read_image(content, self.bundle.bits, name=path or None)

    def _refuse_other_size(self, size_hw: tuple[int, int], path: str) -> None:
        if self.bundle.tiles is not None:
            self.bundle.tiles.refuse_other_size(size_hw, path or "image")

    def _score(self, batch: Sequence[_Image]) -> list[_Scored]:
        """Run the networks on all readable images."""
        start = time.perf_counter()
        readable = [image for image in batch if image.pixels is not None and image.resized is not None]
        looked = iter(
            self._looks(
                [image.pixels for image in readable if image.pixels is not None],
                [image.resized for image in readable if image.resized is not None],
            )
        )
        share = _since(start) / max(1, len(readable))
        return [
            _Scored(image, None, image.latency_ms)
            if image.resized is None
            else _Scored(image, next(looked), image.latency_ms + share)
            for image in batch
        ]

    def _verdict(self, scored: _Scored) -> Verdict:
        start = time.perf_counter()
        image, looked, latency_ms = scored
        if image.error is not None:
            raise image.error
        assert image.pixels is not None and image.resized is not None and looked is not None
        score, anomaly_map, roi_map, novelty, unseen = looked
        scene = measure(roi_map, novelty)
        # Any comparison with NaN is false: without this check the part would pass.
        if not (math.isfinite(score) and math.isfinite(anomaly_map.max()) and np.isfinite(roi_map).all()):
            raise UserError(
                "the model answered NaN or infinity",
                where=image.path or "image",
                remedy="train again, in float32",
            )
        height, width = image.pixels.shape[:2]
        level = self.bundle.map_level(score, anomaly_map)
        regions = [] if level is None else find_regions(anomaly_map, level)
        limits = self.bundle.scene
        reason = (None if limits is None else fault_of(scene, limits)) or unseen or None
        factors = width / anomaly_map.shape[1], height / anomaly_map.shape[0]
        return Verdict(
            image_path=image.path,
            pred_score=score,
            verdict=outcome(score, self.threshold, reason),
            threshold=self.threshold,
            image=image.pixels,
            anomaly_map=resize_image(anomaly_map, (height, width)),
            map_level=level,
            regions=tuple(region.scaled(*factors) for region in regions),
            latency_ms=latency_ms + _since(start),
            is_inspectable=None if limits is None and not unseen else reason is None,
            reason=reason,
            scene=scene,
            roi_map=roi_map,
            signals=signals_of(score, scene, light_of(image.resized)),
        )

    def _verdict_or_error(self, scored: _Scored) -> Verdict:
        try:
            return self._verdict(scored)
        except UserError as user_error:
            error = user_error
        except (MemoryError, cv2.error):
            error = _too_large(scored.image.path)
        return Verdict(scored.image.path, math.nan, None, self.threshold, scored.latency_ms, error=str(error))


def drift_row(monitor: DriftMonitor | None, verdict: Verdict) -> dict[str, list[str]]:
    """Let a monitor see a verdict; `drift` with what has moved, in words, or nothing.

    A picture that is not inspectable says nothing of the parts.
    """
    if monitor is None or verdict.signals is None or verdict.verdict == "not inspectable":
        return {}
    moved = monitor.see(verdict.signals)
    return {"drift": moved} if moved else {}


def _too_large(path: str) -> UserError:
    return UserError(
        "does not fit into the memory that is left", where=path or "image", remedy="save it smaller"
    )


def _batches(images: Iterator[_Image], size: int) -> Iterator[list[_Image]]:
    while batch := list(islice(images, size)):
        yield batch


def _since(start: float) -> float:
    return 1000 * (time.perf_counter() - start)


def _rgb(image: Any) -> NDArray[np.uint8]:
    """An array or a Pillow image as RGB."""
    # By its mode, as Pillow need not be installed.
    mode = getattr(image, "mode", None)
    if mode in ("L", "RGB"):
        image = np.asarray(image)
    elif mode is not None:
        raise UserError(
            f"a Pillow image of mode {mode} is not supported",
            where="image",
            remedy='pass it in mode "RGB" or "L", or pass the path of its file',
        )
    pixels = np.asarray(image)
    if (
        pixels.dtype != np.uint8
        or pixels.ndim not in (2, 3)
        or pixels.shape[2:] not in ((), (3,))
        or not pixels.size
    ):
        raise UserError(
            f"an array of {pixels.dtype} {pixels.shape} is not an image",
            where="image",
            remedy="pass uint8 pixels, RGB of shape (height, width, 3) or grey of shape (height, width)",
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8) if pixels.ndim == 2 else pixels
