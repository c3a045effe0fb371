"""From features to a verdict and its heatmap: pooling, an optional norm, one linear layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from roinspect.nn.coordinates import with_coordinates
from roinspect.nn.gradcam import head_weights, linear_cam, linear_evidence
from roinspect.nn.roi_head import roi_convolutions

GOOD, DEFECT = 0, 1
_BEHIND = 1e4


class Evidence(NamedTuple):
    """Output of a classifier for N images."""

    logits: Tensor
    """(N, 2): good, defect; before softmax."""
    features: Tensor
    """(N, C, h, w), the input of the pooling."""
    roi_logits: Tensor
    """(N, 1, h, w), whether a cell belongs to the ROI."""


class Classifier(nn.Module):
    """A convolutional trunk, an optional trainable block, and a head whose Grad-CAM has a closed form.

    Args:
        trunk: image (N, 3, H, W) in [0, 1] to features (N, channels, h, w).
        channels: of the trunk.
        linear: the last layer, from the channels of the block, else of the trunk, to two logits.
        norm: batch norm between pooling and linear layer.
        block: channels of a 3 x 3 convolution between trunk and head; 0 is none.
        coordinates: block and ROI head also get the position of each cell.
        pooling: share of the cells, those with the most evidence for a defect, that are averaged; 1 is global
            average pooling. A pit of two cells among 640 vanishes in the average of all.
        roi_head: gate the head's input by the ROI, which dilated convolutions predict from the trunk's
            features, so that evidence from outside does not reach the verdict. If False, the ROI is still
            predicted, as a description of the scene, without effect on features or verdict.
        margin: the evidence for a defect is the difference of both logits; false is the defect logit alone.

    Attributes:
        shift, scale: (1, channels, 1, 1), standardise the trunk's features for block and ROI head, see
            `standardise`; initially 0 and 1.
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
            # Group norm does not depend on the batch or its distribution over devices. GELU: the first steps
            # lower all evidence, as defects are rare; with ReLU that can kill all cells.
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
        """The evidence from the trunk's features (N, channels, h, w)."""
        located = (features - self.shift) / self.scale
        if self.coordinates:
            located = with_coordinates(located)
        pooled = self.block(located) if self.has_block else features
        roi_logits = self.roi_head(located if self.is_gated else located.detach())
        if self.is_gated:
            pooled = pooled * roi_logits.sigmoid()
        vector = self._pool(pooled, roi_logits if self.is_gated else None)
        logits = self.linear(vector if self.norm is None else self.norm(vector))
        return Evidence(logits, pooled, roi_logits)

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Fit `shift` and `scale` to features (N, channels, h, w): each channel gets mean 0, deviation 1.

        The scales of pretrained channels differ too much for new layers to compensate.
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

    def cell_evidence(self, features: Tensor) -> Tensor:
        """What each cell says for a defect (N, 1, h, w), in logits, of either sign."""
        return linear_evidence(features, self.linear, DEFECT, against=self.against, norm=self.norm)

    def defect_logit(self, logits: Tensor) -> Tensor:
        """The score that the heatmap explains, (N,): the margin between both logits, or the defect's."""
        return logits[:, DEFECT] - (0 if self.against is None else logits[:, self.against])

    def _pool(self, features: Tensor, roi_logits: Tensor | None) -> Tensor:
        """(N, C, h, w) to (N, C): mean over the cells with the most evidence, those inside the ROI first."""
        cells = features.flatten(2)
        # During tracing a size is a tensor, which Python cannot round.
        every = int(cells.shape[2])
        count = max(1, round(self.pooling * every))
        if count >= every:
            return cells.mean(2)
        weights = head_weights(self.linear, DEFECT, against=self.against, norm=self.norm).detach()
        evidence = torch.einsum("ncp,c->np", cells.detach().float(), weights)
        if roi_logits is not None:
            # A gated cell has evidence 0, which exceeds the negative evidence of a good cell inside. If such
            # cells were selected, the network would get no gradient.
            evidence = evidence - _BEHIND * (roi_logits.flatten(1) < 0)
        best = evidence.topk(count, dim=1).indices
        chosen = cells.gather(2, best.unsqueeze(1).expand(-1, cells.shape[1], -1))
        return chosen.mean(2)
