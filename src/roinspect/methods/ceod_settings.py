"""Settings and presets of CEOD. Equations and sections are those of the papers named in `ceod`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from roinspect.errors import UserError
from roinspect.nn.forms import (
    ENERGY,
    Areas,
    Clip,
    Denominator,
    Explanation,
    Gate,
    Resolution,
    Soften,
    Variant,
)
from roinspect.settings import check

Area = Literal["roi", "defect"]
Cam = Literal["closed", "autograd"]
Schedule = Literal["cosine", "constant"]

_MOST = 1_000_000
_Size = Annotated[int, Ge(1), Le(_MOST)]
_Number = Annotated[int, Ge(0), Le(_MOST)]
_Weight = Annotated[float, Ge(0), Le(_MOST)]
_Positive = Annotated[float, Gt(0), Le(1)]

_RIM = ("soften", "reach")
_HEATMAP = ("cam", "detach_weights")
_DISTANCE = ("variant", "denominator", "clip", "areas", "resolution", *_RIM)
_WITHOUT: dict[Explanation, tuple[str, ...]] = {
    "ceod": (),
    "energy": ("variant", "denominator", "clip", "areas", *_RIM),
    "evidence": ("variant", "denominator", "clip", "areas", "resolution", *_HEATMAP),
    "res": _DISTANCE,
    "rrr": (*_DISTANCE, *_HEATMAP),
    "isnet": (*_DISTANCE, *_HEATMAP),
}
"""Settings without effect for each loss."""


@dataclass(frozen=True, slots=True)
class CeodSettings:
    """Settings of CEOD; the defaults are the `compact` preset. ``omega=0`` is plain cross-entropy.

    Attributes:
        backbone: a CNN of timm, "customnet" (the papers' small one, from scratch), or "auto": efficientnet_b0
            if its pretrained weights are available, otherwise tf_efficientnet_lite0.
        weights: "auto" (package, hub cache, hub), a file with weights of the backbone, or "none" for random
            weights.
        stride: pixels per cell of the backbone's features; None uses the whole backbone up to its pooling.
        finetune: number of last convolutional layers of the backbone that are trained; 0 is transfer
            learning. The statistics of its batch norms are never updated.
        block: channels of a trainable 3 x 3 convolution on the backbone's features; 0 is none, as in the
            papers.
        coordinates: give block and ROI head the position of each cell in the image.
        pooling: share of the cells, those with the most evidence, that are averaged for the verdict; 1 is
            global average pooling, as in the papers.
        roi_head: predict the ROI in the network, and use only evidence from inside; not in the papers. False
            predicts the ROI separately, only to describe what an image shows.
        roi_head_weight: weight of the ROI head's loss.
        margin: the heatmap explains defect logit minus good logit; False: the defect logit, as in the papers.
        loss: what steers the explanation, with weight `omega`: "ceod", the overlap distance; "energy", its
            form in Rao et al. 2023; "evidence", on each cell's evidence before the ReLU of Grad-CAM, with a
            gradient even if all heat is outside; "res" (after Gao et al. 2022), "rrr" (Ross et al. 2017),
            "isnet" (after Bassi et al. 2024). "rrr" and "isnet" explain the input of what is trained: the
            image, or the features of a frozen backbone. Settings that a loss does not use must keep their
            default.
        omega: weight of the overlap distance (Eq. 7), or of the loss that replaces it.
        area: target area of the heat: "roi", as in the papers' experiments; or "defect": the drawn defect
            inside the ROI if there is one, otherwise the ROI. With "roi" the network may still use something
            else inside the ROI that correlates with defects, such as grease or light.
        gate: "defects" applies the distance to parts with a defect (2024), "all" to every part (2022).
        variant: "log" (Eq. 4) or "linear" (2022).
        denominator: "min" (Eq. 3), or "heatmap": the share of the heat inside.
        soften: shape of the mask's rim, see `overlap_distance`.
        reach: width of the rim of "falloff", in cells.
        clip: "smooth" or "hard" (Eq. 8).
        areas: "soft" (Eq. 8), or "hard": each of the hottest cells counts as 1.
        resolution: compare on the "grid" of the features, or in the pixels of the "image".
        cam: "closed" computes alpha from the head's weights, "autograd" by differentiation; same result.
        detach_weights: no gradient through alpha.
        balanced: weight the classes by inverse frequency.
        learning_rate: of Adamax; the papers' 0.002 is for whole networks, not for a few new layers.
        schedule: "cosine" decays to 1 % over the training, "constant" is the papers'.
        rotation: largest rotation in degrees, in either direction. If not 0, the features of a frozen
            backbone must be computed again in every epoch.
        light: largest change of brightness and contrast, as a share; same note as `rotation`.
        feature_memory_gb: memory for the features of a frozen backbone, which are then computed only once.
    """

    backbone: str = "auto"
    weights: str = "auto"
    stride: _Size | None = 16
    finetune: _Number = 0
    block: _Number = 48
    coordinates: bool = True
    pooling: _Positive = 0.025
    roi_head: bool = True
    roi_head_weight: _Weight = 1.0
    margin: bool = True
    loss: Explanation = "ceod"
    omega: _Weight = 0.3
    area: Area = "defect"
    gate: Gate = "defects"
    variant: Variant = "log"
    denominator: Denominator = "min"
    soften: Soften = "clip"
    reach: _Size = 3
    clip: Clip = "smooth"
    areas: Areas = "soft"
    resolution: Resolution = "grid"
    cam: Cam = "closed"
    detach_weights: bool = False
    balanced: bool = False
    learning_rate: _Positive = 0.01
    schedule: Schedule = "cosine"
    rotation: _Weight = 0.0
    light: _Weight = 0.0
    feature_memory_gb: _Weight = 4.0

    def __post_init__(self) -> None:
        """Validate the settings."""
        check(self, "method.")
        for field in fields(self):
            if field.name in _WITHOUT[self.loss] and getattr(self, field.name) != field.default:
                raise UserError(
                    f"{getattr(self, field.name)} has no effect with loss {self.loss}",
                    where=f"method.{field.name}",
                    remedy="leave it out, or use loss ceod",
                )

    @classmethod
    def preset(cls, name: Literal["compact", "paper"]) -> CeodSettings:
        """Settings by name: "compact" trains on two CPU cores in minutes, "paper" has the papers' choices."""
        if name == "compact":
            return cls()
        return cls(
            stride=None,
            finetune=20,
            block=0,
            coordinates=False,
            pooling=1.0,
            roi_head=False,
            margin=False,
            omega=0.001,
            area="roi",
            learning_rate=0.002,
            schedule="constant",
        )

    def training(self, preset: Literal["compact", "paper"]) -> dict[str, int]:
        """`TrainingSettings` of a preset; the papers' numbers of epochs are those for the zipper (5.2.1)."""
        if preset == "compact":
            return {}
        return {"batch_size": 32, "epochs": 100 if self.backbone == "customnet" else 1000}

    @property
    def overlap(self) -> dict[str, Any]:
        """Options of the distance, for `ceod_loss`."""
        names = ("gate", "variant", "denominator", "soften", "reach", "clip", "areas", "resolution")
        options = {name: getattr(self, name) for name in names}
        return options | dict(ENERGY) if self.loss == "energy" else options
