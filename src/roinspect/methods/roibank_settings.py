"""Settings and presets of roibank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from roinspect.errors import UserError
from roinspect.settings import Share, check

Bank = Literal["neighbours", "gaussian"]

_MOST = 10_000_000


@dataclass(frozen=True, slots=True)
class RoiBankSettings:
    """Settings of roibank; the defaults are the `compact` preset.

    Attributes:
        backbone: a CNN of timm, or "auto": efficientnet_b0 where its pretrained weights are available, else
            tf_efficientnet_lite0.
        weights: "auto" (package, hub cache, hub), a file with weights of the backbone, or "none" for random
            ones.
        strides: pixels per cell of the levels that are used, finest first; the first is the map's grid.
        neighbourhood: cells along the square over which a level is averaged, odd; 1 is none.
        dimensions: of a whitened patch vector.
        whitening: how far the directions are evened out for distances: 0 keeps their variance among normal
            patches (each channel scaled to 1), as in PatchCore; 1 is the Mahalanobis distance, as in PaDiM.
        bank: "neighbours" keeps normal patches, "gaussian" only their mean and directions: the smallest
            model.
        memory_size: normal patches that are kept.
        candidates: patches among which they are chosen: a uniform sample of all inside the ROI.
        reweight: neighbours of PatchCore's re-weighting of the score, the nearest patch itself among them; 0
            is none.
        roi_head: predict the ROI; false scores the whole image with the memory of the ROI.
        pasted: share of the images that the ROI head also sees turned, moved and with synthetic defects
            pasted into the photograph; each costs a pass of the backbone.
        swapped: share of an image's patches, at most, that are foreign in a step of the ROI head: synthetic
            defects among the features, which cost nothing. Without either, a defect changes what the head
            sees and can argue itself out of the ROI.
        learning_rate: of the ROI head's AdamW, at its peak.
        rotation: degrees by which those images are turned at most, either way, with their ROI: for few
            photographs of a product that lies in any way.
        shift: share of a side by which they are moved at most, likewise.
        smoothing: deviation of the Gaussian that smooths the map, in cells; 0 is none.
        border: cells beside the predicted ROI in which a distance still counts, as much as normal parts allow
            there: what touches the ROI matters, and a cell that its border cuts is never sure. 0 lets such
            defects fade.
        crop_margin: pixels about the box of all training ROIs beyond which an image is not looked at, for a
            camera that stands still; None looks at all of it.
        known_defects: let defective training photographs with masks weigh the directions of a distance. They
            neither enter the memory nor train the ROI head.
        feature_memory_gb: room for the features from which whitening and ROI head are learned. Photographs
            beyond it only give patches to the memory.
    """

    backbone: str = "auto"
    weights: str = "auto"
    strides: tuple[int, ...] = (4, 8)
    neighbourhood: Annotated[int, Ge(1), Le(31)] = 1
    dimensions: Annotated[int, Ge(1), Le(4096)] = 64
    whitening: Share = 0.25
    bank: Bank = "neighbours"
    memory_size: Annotated[int, Ge(1), Le(_MOST)] = 2000
    candidates: Annotated[int, Ge(1), Le(_MOST)] = 65536
    reweight: Annotated[int, Ge(0), Le(100)] = 0
    roi_head: bool = True
    pasted: Share = 0.5
    swapped: Share = 0.5
    learning_rate: Annotated[float, Ge(0), Le(10)] = 0.003
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0
    shift: Share = 0.0
    smoothing: Annotated[float, Ge(0), Le(32)] = 0.7
    border: Annotated[int, Ge(0), Le(16)] = 1
    crop_margin: Annotated[int, Ge(0)] | None = None
    known_defects: bool = False
    feature_memory_gb: Annotated[float, Ge(0.001), Le(1000)] = 1.0

    def __post_init__(self) -> None:
        """Validate the settings."""
        check(self, "method.")
        if not self.strides or sorted(set(self.strides)) != list(self.strides) or self.strides[0] < 1:
            raise UserError(
                f"must be different and ascending, not {list(self.strides)}",
                where="method.strides",
                remedy="such as [8, 16]",
            )
        if self.neighbourhood % 2 == 0:
            raise UserError("must be odd", where="method.neighbourhood", remedy="use 1, 3 or 5")
        if self.reweight == 1:
            raise UserError(
                "one neighbour is the patch itself, and weighs nothing",
                where="method.reweight",
                remedy="use 0, or at least 2",
            )
        if self.reweight and self.bank == "gaussian":
            raise UserError("needs a memory", where="method.reweight", remedy="use 0 with bank=gaussian")

    @classmethod
    def preset(cls, name: Literal["compact", "paper"]) -> RoiBankSettings:
        """Settings by name: "compact" trains on two CPU cores in seconds, "paper" has PatchCore's sizes."""
        if name == "compact":
            return cls()
        return cls(backbone="wide_resnet50_2", dimensions=256, memory_size=20_000, candidates=400_000)

    def training(self, preset: Literal["compact", "paper"]) -> dict[str, int]:
        """What `TrainingSettings` a preset goes with: none of its own."""
        return {}
