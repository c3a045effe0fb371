"""Settings and presets of the segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from roinspect.errors import UserError

Moves = Literal["auto", "yes", "no"]


@dataclass(frozen=True, slots=True)
class SegmenterSettings:
    """Settings of the segmenter; the defaults are the `compact` preset.

    Attributes:
        backbone: a CNN of timm, or "auto": efficientnet_b0 where its pretrained weights are to be had, else
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
    width: int = 32
    coordinates: bool = True
    learning_rate: float = 0.003
    backbone_learning_rate: float = 0.0
    moves: Moves = "auto"
    rotation: float = 30.0
    shift: float = 0.2
    zoom: float = 0.2
    mirror: bool = True
    light: float = 0.3
    tint: float = 0.1
    pasted: float = 0.7
    gaps: float = 1.0
    smallest_part: float = 0.05
    largest_hole: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.moves not in get_args(Moves):
            raise UserError(
                f"{self.moves!r} is not known",
                where="method.moves",
                remedy=f"use {', '.join(get_args(Moves))}",
            )
        if not self.strides or sorted(set(self.strides)) != list(self.strides) or self.strides[0] < 1:
            raise UserError(
                f"must be different and ascending, not {list(self.strides)}",
                where="method.strides",
                remedy="such as [4, 8, 16, 32]",
            )
        if self.width < 8 or self.width % 8:
            raise UserError(f"must be a multiple of 8, not {self.width}", where="method.width")
        ranges: dict[str, tuple[float, float]] = {
            "learning_rate": (0, 10),
            "backbone_learning_rate": (0, 10),
            "rotation": (0, 180),
            "shift": (0, 1),
            "zoom": (0, 0.9),
            "light": (0, 1),
            "tint": (0, 1),
            "pasted": (0, 1),
            "gaps": (0, 1),
            "smallest_part": (0, 1),
            "largest_hole": (0, 1),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise UserError(
                    f"must lie in [{low:g}, {high:g}], not {getattr(self, name)}", where=f"method.{name}"
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
