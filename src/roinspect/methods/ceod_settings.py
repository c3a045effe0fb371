"""Settings and presets of CEOD. Equations and sections are those of the papers named in `ceod`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from roinspect.nn.ceod import Gate, Resolution
from roinspect.nn.overlap import Areas, Clip, Denominator, Soften, Variant
from roinspect.settings import check

Area = Literal["roi", "defect"]
Cam = Literal["closed", "autograd"]
Schedule = Literal["cosine", "constant"]

_MOST = 1_000_000
_Size = Annotated[int, Ge(1), Le(_MOST)]
_Number = Annotated[int, Ge(0), Le(_MOST)]
_Weight = Annotated[float, Ge(0), Le(_MOST)]
_Positive = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True, slots=True)
class CeodSettings:
    """Settings of CEOD; the defaults are the `compact` preset. ``omega=0`` is plain cross-entropy.

    Attributes:
        backbone: a CNN of timm, "customnet" (the papers' small one, from scratch), or "auto": efficientnet_b0
            where its pretrained weights are available, else tf_efficientnet_lite0.
        weights: "auto" (package, hub cache, hub), a file with weights of the backbone, or "none" for random
            ones.
        stride: pixels per cell of the backbone's features; None takes all of it, down to its pooling.
        finetune: how many of the backbone's last convolutional layers are trained too; 0 is transfer
            learning. Its batch norms always stay as they are.
        block: channels of a trainable 3 x 3 convolution on the backbone's features; 0 is none, as in the
            papers.
        coordinates: block and ROI head see where in the image a cell lies.
        pooling: share of the cells, those with the most evidence, that the verdict averages; 1 is global
            average pooling, as in the papers.
        roi_head: the network predicts the ROI and lets only evidence from inside through. Ours. False
            predicts it beside the network, only to tell what a picture shows.
        roi_head_weight: weight of the ROI head's cross-entropy.
        margin: the heatmap explains defect logit minus good logit; false: the defect logit, as in the papers.
        omega: weight of the overlap distance (Eq. 7).
        area: where the heat should lie: "roi", as in the papers' experiments, or "defect": on the drawn
            defect inside the ROI where a part has one, else in the ROI. An ROI says where to look, and leaves
            the network free to find something else there that goes with defects, such as grease or light.
        gate: "defects" steers parts with a defect only (2024), "all" every part (2022).
        variant: "log" (Eq. 4) or "linear" (2022).
        denominator: "min" (Eq. 3), or "heatmap": share of the heat inside.
        soften: how the mask's rim falls off, see `overlap_distance`.
        reach: cells over which "falloff" falls.
        clip: "smooth" or "hard" (Eq. 8).
        areas: "soft" (Eq. 8) or "hard": the hottest cells count alike.
        resolution: "grid" compares on the features' cells, "image" in the photograph's pixels.
        cam: "closed" reads alpha off the head's weights, "autograd" differentiates. The same result.
        detach_weights: no gradient through alpha.
        balanced: weighs the classes by their rarity.
        learning_rate: of Adamax; the papers' 0.002 is for whole networks, not for a few fresh layers.
        schedule: "cosine" goes down to 1 % over the training, "constant" is the papers'.
        rotation: degrees; every image is turned by up to this much either way. Not 0: a frozen backbone must
            then see a new version of every image in every epoch.
        light: brightness and contrast vary by up to this share; as above.
        feature_memory_gb: features of a frozen backbone are computed once and kept, up to this much.
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
        """What `TrainingSettings` a preset goes with; the papers' lengths are those on the zipper (5.2.1)."""
        if preset == "compact":
            return {}
        return {"batch_size": 32, "epochs": 100 if self.backbone == "customnet" else 1000}

    @property
    def overlap(self) -> dict[str, Any]:
        """Options of the distance, as `ceod_loss` takes them."""
        names = ("gate", "variant", "denominator", "soften", "reach", "clip", "areas", "resolution")
        return {name: getattr(self, name) for name in names}
