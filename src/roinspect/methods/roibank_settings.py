"""Settings and presets of roibank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from roinspect.errors import UserError
from roinspect.settings import Share, check

_MOST = 10_000_000


@dataclass(frozen=True, slots=True)
class RoiBankSettings:
    """Settings of roibank; the defaults are the `compact` preset.

    Attributes:
        backbone: a CNN or a vision transformer of timm, or "auto": efficientnet_b0 where its pretrained
            weights are available, else tf_efficientnet_lite0.
        weights: "auto" (package, hub cache, hub), a file with weights of the backbone, or "none" for random
            ones.
        strides: pixels per cell of the feature levels, finest first; the first is the map's grid. Each has a
            memory of its own, on its own grid. A vision transformer has one level, that of its patches, which
            takes the place of the default.
        shrinkage: how far the variances of a level's directions are pulled towards their mean before they are
            evened out: 0 is the sample's Mahalanobis distance, 1 scales channels only.
        memory_size: normal patches that each level's memory keeps.
        candidates: patches among which they are chosen: a uniform sample of all inside the ROI.
        defect_head: learn to tell synthetic defects from normal patches; its evidence is fused with the
            memories' distances.
        places: also measure how far a patch is from the mean of its place, for products that lie still; where
            they do not, it hardly counts.
        synthetic: share of the good photographs into whose ROI a synthetic defect is put for the defect head;
            each costs a pass of the backbone.
        light: largest change of brightness, contrast and colour that counts as normal, as a share; 0 is none.
            Each good photograph is also memorised in a changed light and with synthetic damage outside its
            ROI, which costs a pass of the backbone.
        roi_head: predict the ROI; false scores the whole image with the memory of the ROI. Always false where
            there is no ROI (``--roi none``).
        pasted: share of the images that the ROI head also sees turned, moved and with synthetic defects
            pasted into the photograph; each costs a pass of the backbone.
        swapped: share of an image's patches, at most, that are foreign in a step of the ROI head: synthetic
            defects among the features, which cost nothing. Without either, a defect changes what the head
            sees and can argue itself out of the ROI.
        learning_rate: of the ROI head's AdamW, at its peak.
        rotation: degrees by which those images are turned at most, either way, with their ROI: for few
            photographs of a product that lies in any way.
        shift: share of a side by which they are moved at most, likewise.
        smoothing: standard deviation of the Gaussian that smooths each level's distances, in cells; 0: none.
        strictness: exponent of the weights of levels and defect head, which follow from how well each tells
            synthetic defects from good parts: 0 gives all the same weight.
        relative: subtract a photograph's own level of strangeness from that of its fine cells. It tells a
            defect from a surface that is rougher or darker all over; false where such a surface is the
            defect. Never on tiles: what is in a tile must not depend on where it lies.
        border: cells beside the predicted ROI in which a distance still counts, as much as normal parts allow
            there: what touches the ROI matters, and a cell that its border cuts is never sure. 0 lets such
            defects fade.
        known_defects: let defective training photographs with masks train the defect head as well, and weigh
            the levels, where this is no worse on defects that it has not seen. They neither enter the
            memories nor train the ROI head. Needs the defect head.
        labels_alone: use those without masks too: their strangest patches count as defective. Measured, this
            helped on one product of three, and on another raised alarms by damage outside the ROI.
        feature_memory_gb: room for the features from which whitening and heads are learned. Photographs
            beyond it only give patches to the memories.
    """

    backbone: str = "auto"
    weights: str = "auto"
    strides: tuple[int, ...] = (4, 8, 16, 32)
    shrinkage: Share = 0.05
    memory_size: Annotated[int, Ge(1), Le(_MOST)] = 1500
    candidates: Annotated[int, Ge(1), Le(_MOST)] = 16384
    defect_head: bool = True
    places: bool = True
    synthetic: Share = 1.0
    light: Share = 0.2
    roi_head: bool = True
    pasted: Share = 0.5
    swapped: Share = 0.5
    learning_rate: Annotated[float, Ge(0), Le(10)] = 0.003
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0
    shift: Share = 0.0
    smoothing: Annotated[float, Ge(0), Le(32)] = 0.7
    strictness: Annotated[float, Ge(0), Le(16)] = 4.0
    relative: bool = True
    border: Annotated[int, Ge(0), Le(16)] = 1
    known_defects: bool = True
    labels_alone: bool = False
    feature_memory_gb: Annotated[float, Ge(0.001), Le(1000)] = 1.0

    def __post_init__(self) -> None:
        """Validate the settings."""
        check(self, "method.")
        if not self.strides or sorted(set(self.strides)) != list(self.strides) or self.strides[0] < 1:
            raise UserError(
                f"must be different and ascending, not {list(self.strides)}",
                where="method.strides",
                remedy="such as [4, 8, 16]",
            )

    @classmethod
    def preset(cls, name: Literal["compact", "paper"]) -> RoiBankSettings:
        """Settings by name: "compact" trains on two CPU cores in seconds, "paper" has PatchCore's sizes."""
        if name == "compact":
            return cls()
        return cls(backbone="wide_resnet50_2", strides=(8, 16), memory_size=20_000, candidates=400_000)

    def training(self, preset: Literal["compact", "paper"]) -> dict[str, int]:
        """What `TrainingSettings` a preset goes with: none of its own."""
        return {}
