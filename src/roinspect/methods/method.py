"""The base class of methods: a learner that yields one inspection graph."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roinspect.data.dataset import DecodedCache
from roinspect.errors import UserError
from roinspect.inspection.bundle import Threshold
from roinspect.inspection.calibration import LeftOut, choose_threshold
from roinspect.inspection.prediction import Prediction
from roinspect.methods.learner import Learner
from roinspect.methods.registry import BUILT_IN, METHODS
from roinspect.nn.appearance import Appearance


class Look(NamedTuple):
    """The output of a method for N prepared images."""

    pred_score: Tensor
    """(N,), higher = more anomalous."""
    anomaly_map: Tensor
    """(N, 1, H, W), higher = more anomalous."""
    roi_map: Tensor
    """(N, 1, h, w), probability of the ROI on its own grid; ones if the whole image is inspected."""


class InspectionGraph(nn.Module):
    """Prepared image to verdict, with normalisation, smoothing and pooling.

    Validation, evaluation and export all run this graph and nothing else.

    Attributes:
        appearance: the distance of a whole image to the training images.
        in_int8: name of the module whose convolutions an export in INT8 reduces; "" for all.
    """

    in_int8: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.appearance = Appearance()

    @abstractmethod
    def look(self, image: Tensor) -> Look:
        """The output for images (N, 3, H, W) in [0, 1]."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) in [0, 1] to the four `OUTPUTS`.

        Returns:
            `pred_score` (N,), `anomaly_map` (N, 1, H, W), `roi_map` (N, 1, h, w), `novelty` (N,).
        """
        return *self.look(image), self.appearance(image)

    def reconstruct(self, image: Tensor) -> Tensor | None:
        """The repaired image (N, 3, H, W) in [0, 1], or None for methods that do not repair."""
        return None

    def predict_roi(self, image: Tensor) -> Tensor | None:
        """The probability (N, 1, H, W) of the ROI, or None for methods that do not predict it."""
        return None


class Method(Learner):
    """A method in training; for the arguments see `Learner`.

    Attributes:
        trains_on: "good" images only, or "all".
        map_share: see `Bundle.map_share`.
        starts_from_bundle: whether a training can start from a bundle's weights.
        fills_budget: whether a comparison trains for its whole time budget instead of the default length.
    """

    trains_on: ClassVar[Literal["good", "all"]]
    map_share: ClassVar[float | None] = None
    starts_from_bundle: ClassVar[bool] = True
    fills_budget: ClassVar[bool] = True

    @abstractmethod
    def inspection_graph(self) -> InspectionGraph:
        """The graph to ship; it shares its weights with this module."""

    @classmethod
    @abstractmethod
    def build_graph(cls, settings: Any, size_hw: tuple[int, int]) -> InspectionGraph:
        """The same graph with fresh weights, for loading a bundle."""

    @classmethod
    def for_tiles(cls, settings: Any) -> Any:
        """The settings with which to learn from tiles instead of whole photographs."""
        return settings

    @classmethod
    def without_region(cls, settings: Any) -> Any:
        """The settings with which to learn where all of every photograph is inspected."""
        return settings

    @classmethod
    def learns_from(cls, settings: Any) -> Literal["good", "all"]:
        """The images that a training with these settings uses."""
        return cls.trains_on

    def preview(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """The anomaly map, and the repaired images."""
        graph = self.inspection_graph()
        return graph(image)[1], graph.reconstruct(image)

    def left_out_scores(self, fitted: DecodedCache, groups: Sequence[str]) -> LeftOut | None:
        """Scores of good training images, each computed without the image and its group.

        Args:
            fitted: the decoded training images.
            groups: their group names, "" for none.

        Returns:
            In the order of `calibration.by_group`; None if that would require a training per group.
        """
        return None

    def judge(
        self,
        scores: NDArray[np.float32],
        kept: DecodedCache,
        groups: Sequence[str],
        false_reject: float | None,
        left_out: LeftOut | None = None,
    ) -> tuple[Threshold, Mapping[str, Any]]:
        """Choose the threshold from held-out images.

        Args:
            scores: (N,), finite, of the held-out images.
            kept: these images, decoded.
            groups: N group names of near-duplicates, "" for none.
            false_reject: largest share of good parts rejected, in [0, 1); None maximises F1.
            left_out: see `left_out_scores`.

        Returns:
            The threshold, and measures for the bundle.
        """
        return choose_threshold(scores, kept.labels, groups, false_reject, left_out), {}


def method_class(name: str) -> type[Method]:
    """The method's class.

    Raises:
        UserError: there is no such method, or its package is damaged.
    """
    if name not in METHODS:
        raise UserError(f"no such method: {name}", remedy=f"choose one of {', '.join(METHODS)}")
    module, attribute = METHODS[name].split(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if name in BUILT_IN:
            raise
        raise UserError(
            f"cannot be imported ({error})", where=f"method {name}", remedy="install its package again"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Method) and cls.name == name):
        raise UserError(
            f"{METHODS[name]} is not a Method of this name",
            where=f"method {name}",
            remedy="report it to the authors of its package",
        )
    return cls


def predict(graph: InspectionGraph, images: NDArray[np.uint8]) -> Prediction:
    """Run the inspection graph on decoded images; all scores are computed here.

    Args:
        graph: in evaluation mode, on any device.
        images: (N, H, W, 3), uint8, RGB, at the size of the graph.

    Returns:
        The prediction in float32.
    """
    device = graph.appearance.memory.device
    batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(255)
    with torch.inference_mode():
        pred_score, anomaly_map, roi_map, novelty = graph(batch)
    found = (pred_score, anomaly_map[:, 0], roi_map[:, 0], novelty)
    return Prediction(*(values.float().cpu().numpy() for values in found))
