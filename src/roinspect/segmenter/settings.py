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
        backbone: a CNN of timm, or "auto": efficientnet_b0 if its pretrained weights are available, otherwise
            tf_efficientnet_lite0.
        weights: "auto" (package, hub cache, hub), a file with weights of the backbone, or "none" for random
            weights.
        strides: pixels per cell of the feature levels, finest first.
        width: channels of the decoder, a multiple of 8.
        coordinates: give the decoder the position of each cell in the image.
        learning_rate: peak rate of AdamW for the decoder.
        backbone_learning_rate: peak rate for the backbone; 0 freezes it.
        moves: whether the position of the region varies between images; if so, image and mask are rotated,
            shifted, scaled and mirrored together. "auto": no if masks overlap by 90 % on average.
        rotation: largest rotation in degrees, in either direction.
        shift: largest shift, as a share of a side.
        zoom: largest change of the size, as a share.
        mirror: flip half of the images horizontally, and half of them vertically.
        light: largest change of brightness and contrast, as a share.
        tint: largest change of each colour, as a share.
        pasted: share of the images with synthetic defects; their masks do not change, so that defects do not
            cause holes in the predicted region.
        gaps: share of the images in which parts of the region are covered by its surroundings; their masks do
            not change, so that a missing tooth does not cause a notch.
        smallest_part: parts of a predicted region smaller than this share of its largest part are dropped; 1
            keeps only the largest, 0 keeps all.
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

        The papers do not name the network for their masks; their classifier is an EfficientNet-B0.
        """
        if name == "compact":
            return cls()
        return cls(backbone="efficientnet_b0", width=64, backbone_learning_rate=1e-4)

    def training(self, preset: Literal["compact", "paper"]) -> dict[str, int]:
        """`TrainingSettings` of a preset: none."""
        return {}
