"""Settings and presets of the segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, MultipleOf

from roinspect.errors import UserError
from roinspect.settings import Share, check

Moves = Literal["auto", "yes", "no"]


@dataclass(frozen=True, slots=True)
class SegmenterSettings:
    """Settings of the segmenter; the defaults are the `compact` preset.

    Attributes:
        backbone: a CNN of timm, or "auto": efficientnet_b0 where its pretrained weights are available, else
            tf_efficientnet_lite0.
        weights: "auto" (package, hub cache, hub), a file with weights of the backbone, or "none" for random
            ones.
        strides: pixels per cell of the levels that are used, finest first.
        width: channels of the decoder, a multiple of 8.
        coordinates: let the decoder see where in the image a cell lies.
        learning_rate: of the decoder's AdamW, at its peak.
        backbone_learning_rate: likewise of the backbone; 0 leaves it as it was pretrained.
        moves: whether the region lies elsewhere in each image: then image and mask are turned, moved, scaled
            and mirrored together. "auto" looks at the masks: they are taken to lie still where two of them
            overlap by 90 % on average.
        rotation: degrees by which such images are turned at most, either way.
        shift: share of a side by which they are moved at most.
        zoom: share of their size by which they grow or shrink at most.
        mirror: flip half of them left to right, and half of them top to bottom.
        light: share by which brightness and contrast change at most.
        tint: share by which each colour changes at most.
        pasted: share of the images with synthetic defects pasted in, which the region does not follow: so it
            has no holes where real ones are.
        gaps: share of the images in which parts of the region are covered with what lies around it, likewise:
            where a tooth is missing, the region has no notch.
        smallest_part: parts of a predicted region that are smaller than this share of its largest part are
            dropped; 1 keeps the largest alone, 0 keeps all.
        largest_hole: holes in a predicted region up to this share of it are filled; 1 fills all, 0 none.
    """

    backbone: str = "auto"
    weights: str = "auto"
    strides: tuple[int, ...] = (4, 8, 16, 32)
    width: Annotated[int, Ge(8), MultipleOf(8)] = 32
    coordinates: bool = True
    learning_rate: Annotated[float, Ge(0), Le(10)] = 0.003
    backbone_learning_rate: Annotated[float, Ge(0), Le(10)] = 0.0
    moves: Moves = "auto"
    rotation: Annotated[float, Ge(0), Le(180)] = 30.0
    shift: Share = 0.2
    zoom: Annotated[float, Ge(0), Le(0.9)] = 0.2
    mirror: bool = True
    light: Share = 0.3
    tint: Share = 0.1
    pasted: Share = 0.7
    gaps: Share = 1.0
    smallest_part: Share = 0.05
    largest_hole: Share = 0.05

    def __post_init__(self) -> None:
        """Validate the settings."""
        check(self, "method.")
        if not self.strides or sorted(set(self.strides)) != list(self.strides) or self.strides[0] < 1:
            raise UserError(
                f"must be different and ascending, not {list(self.strides)}",
                where="method.strides",
                remedy="such as [4, 8, 16, 32]",
            )

    @classmethod
    def preset(cls, name: Literal["compact", "paper"]) -> SegmenterSettings:
        """Settings by name: "compact" trains on two CPU cores in minutes, "paper" also trains the backbone.

        The papers name no network for their masks; theirs for images is an EfficientNet-B0.
        """
        if name == "compact":
            return cls()
        return cls(backbone="efficientnet_b0", width=64, backbone_learning_rate=1e-4)

    def training(self, preset: Literal["compact", "paper"]) -> dict[str, int]:
        """What `TrainingSettings` a preset goes with: none of its own."""
        return {}
