"""From features to a verdict and its heatmap: pooling, an optional norm, one linear layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from roinspect.nn.coordinates import with_coordinates
from roinspect.nn.gradcam import head_weights, linear_cam
from roinspect.nn.roi_head import roi_convolutions

GOOD, DEFECT = 0, 1
_BEHIND = 1e4


class Evidence(NamedTuple):
    """What a classifier makes of N images."""

    logits: Tensor
    """(N, 2): good, defect; before softmax."""
    features: Tensor
    """(N, C, h, w), what the linear layer pools."""
    roi_logits: Tensor
    """(N, 1, h, w), that a defect there would matter."""


class Classifier(nn.Module):
    """A trunk of convolutions, maybe a trainable block on it, and a head whose Grad-CAM has a closed form.

    Args:
        trunk: image (N, 3, H, W) in [0, 1] to features (N, channels, h, w).
        channels: of the trunk.
        linear: the last layer, from the block's channels, or the trunk's without one, to two logits.
        norm: batch norm between pooling and linear layer.
        block: channels of a 3 x 3 convolution that stands between trunk and head; 0 is none.
        coordinates: block and ROI head also see where in the image a cell lies.
        pooling: share of the cells, those with the most evidence for a defect, that are averaged; 1 is global
            average pooling. A pit of two cells among 640 is lost in the average of all.
        roi_head: let the ROI, which dilated convolutions predict from the trunk's features, gate what the
            head sees: evidence from outside does not reach the verdict. Without it the ROI is predicted all
            the same, to tell what a picture shows, and neither moves the features nor the verdict.
        margin: the evidence for a defect is the difference of both logits; false is the defect logit alone.

    Attributes:
        shift, scale: (1, channels, 1, 1), taken off and divided out of the trunk's features for block and ROI
            head, see `standardise`; 0 and 1 at first.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        trunk: nn.Module,
        channels: int,
        *,
        linear: nn.Linear | None = None,
        norm: nn.BatchNorm1d | None = None,
        block: int = 0,
        coordinates: bool = True,
        pooling: float = 1.0,
        roi_head: bool = False,
        margin: bool = True,
    ) -> None:
        super().__init__()
        self.trunk, self.norm, self.coordinates, self.pooling = trunk, norm, coordinates, pooling
        self.against = GOOD if margin else None
        self.register_buffer("shift", torch.zeros(1, channels, 1, 1))
        self.register_buffer("scale", torch.ones(1, channels, 1, 1))
        inputs = channels + (2 if coordinates else 0)
        self.block: nn.Module = nn.Identity()
        if block:
            # Group norm: what it does to a part depends neither on the batch nor on how it is shared out.
            # GELU: first steps lower all evidence, as defects are rare; with ReLU that can kill all cells.
            self.block = nn.Sequential(
                nn.Conv2d(inputs, block, 3, padding=1, bias=False),
                nn.GroupNorm(8 if block % 8 == 0 else 1, block),
                nn.GELU(),
            )
        self.has_block = block > 0
        self.linear = linear if linear is not None else nn.Linear(block or channels, 2)
        self.is_gated = roi_head
        self.roi_head = roi_convolutions(inputs)

    def forward(self, image: Tensor) -> Evidence:
        """(N, 3, H, W) in [0, 1] to logits, pooled features and the predicted ROI."""
        return self.head(self.trunk(image))

    def head(self, features: Tensor) -> Evidence:
        """The same from the trunk's features (N, channels, h, w)."""
        placed = (features - self.shift) / self.scale
        if self.coordinates:
            placed = with_coordinates(placed)
        pooled = self.block(placed) if self.has_block else features
        roi_logits = self.roi_head(placed if self.is_gated else placed.detach())
        if self.is_gated:
            pooled = pooled * roi_logits.sigmoid()
        vector = self._pool(pooled, roi_logits if self.is_gated else None)
        logits = self.linear(vector if self.norm is None else self.norm(vector))
        return Evidence(logits, pooled, roi_logits)

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Bring every channel to mean 0 and deviation 1 on these features (N, channels, h, w), once for all.

        A pretrained network's channels differ in scale, by far more than fresh layers can make up for.
        """
        deviation, mean = torch.std_mean(features, (0, 2, 3), keepdim=True)
        self.shift.copy_(mean)
        self.scale.copy_(deviation.clamp_min(1e-3 * deviation.mean()).clamp_min(1e-6))

    def heatmap(self, features: Tensor, *, detach_weights: bool = False) -> Tensor:
        """Grad-CAM of the defect (N, 1, h, w) in [0, 1] from the pooled features, in closed form."""
        return linear_cam(
            features,
            self.linear,
            DEFECT,
            against=self.against,
            norm=self.norm,
            detach_weights=detach_weights,
        )

    def _pool(self, features: Tensor, roi_logits: Tensor | None) -> Tensor:
        """(N, C, h, w) to (N, C): the mean over the cells with the most evidence, the ROI's own first."""
        cells = features.flatten(2)
        # While torch traces, a size is a tensor, which Python cannot round.
        every = int(cells.shape[2])
        count = max(1, round(self.pooling * every))
        if count >= every:
            return cells.mean(2)
        weights = head_weights(self.linear, DEFECT, against=self.against, norm=self.norm).detach()
        evidence = torch.einsum("ncp,c->np", cells.detach().float(), weights)
        if roi_logits is not None:
            # A cell that is gated shut says nothing, which is more than a sound one inside says for a defect:
            # chosen, it would teach nothing, and a network that only chose such cells could never learn.
            evidence = evidence - _BEHIND * (roi_logits.flatten(1) < 0)
        best = evidence.topk(count, dim=1).indices
        chosen = cells.gather(2, best.unsqueeze(1).expand(-1, cells.shape[1], -1))
        return chosen.mean(2)
