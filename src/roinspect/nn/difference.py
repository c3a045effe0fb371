"""GRD-Net without a U-Net: where an image differs from its reconstruction it is anomalous.

Ferrari et al., *Integration of deep generative anomaly detection algorithm in high-speed industrial line*,
2026 (arXiv 2603.07577), score by 1 - SSIM(X, G(X)).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roinspect.nn.coordinates import with_coordinates
from roinspect.nn.roi_head import roi_convolutions
from roinspect.nn.ssim import ssim_map
from roinspect.nn.unet import Heads, logit_of_product

_EPS = 1e-6
"""Distance of a probability from 0 and 1, so that its logit is finite."""
_WIDTHS = (16, 32)


class Difference(nn.Module):
    """Two images to the logit of their dissimilarity per pixel, in the place of a `UNet`.

    The dissimilarity is (1 - SSIM) / 2, in [0, 1], the mean over the colours. It has no weights; only the
    region of interest is predicted, by a few convolutions at an eighth of the resolution from the first image
    and the positions.

    Args:
        coordinates: as of `UNet`.
        roi_head: gate the dissimilarity by the predicted region. If False, the region is still predicted, as
            a description of the scene.

    Example:
        >>> Difference(coordinates=True)(torch.rand(1, 6, 32, 48)).shape
        torch.Size([1, 1, 32, 48])
    """

    def __init__(self, *, coordinates: bool, roi_head: bool = False) -> None:
        super().__init__()
        self.coordinates, self.is_gated = coordinates, roi_head
        first, last = _WIDTHS
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 4, stride=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, last, 2, stride=2),
            nn.ReLU(inplace=True),
        )
        self.roi_head = roi_convolutions(last + 2 * coordinates)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, H, W) in [0, 1], an image and its reconstruction, to logits (N, 1, H, W)."""
        return self.with_heads(x)[0]

    def with_heads(self, x: Tensor) -> tuple[Tensor, Heads]:
        """The logits of `forward`, and those of the dissimilarity and of the ROI."""
        image, repaired = x.chunk(2, dim=1)
        unlike = ((1 - ssim_map(repaired, image)) / 2).mean(1, keepdim=True)
        defect = unlike.clamp(_EPS, 1 - _EPS).logit()
        roi = self.region(image)
        return (logit_of_product(defect, roi) if self.is_gated else defect), Heads(defect, roi)

    def region(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to the logits of the ROI (N, 1, H, W), all that is to be trained."""
        features = self.features(image)
        if self.coordinates:
            features = with_coordinates(features)
        return F.interpolate(self.roi_head(features), image.shape[2:], mode="bilinear", align_corners=False)


def noise_loss(noisy: Tensor, reconstruction: Tensor, image: Tensor, noise_mask: Tensor) -> Tensor:
    """How far the noise that was removed is from the noise that was added, where there is any.

    With N = X_n - X the noise, and X_n - G(X_n) what was removed of it:
    ``sum M |(X_n - G(X_n)) - N| / (C sum M)``. That is the L1 distance of the reconstruction, over the
    damaged pixels alone, of which L1 over the image has few. The 2026 paper names such a loss; this form is
    ours.

    Args:
        noisy: (N, C, H, W) in [0, 1].
        reconstruction: the same shape.
        image: the same shape, before the noise.
        noise_mask: (N, 1, H, W) in {0, 1}, the changed pixels M.

    Returns:
        A scalar in [0, 1], at least float32; 0 without noise.

    Example:
        >>> image, mask = torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> mask[..., :2] = 1
        >>> noise_loss(0.5 * mask + image, 0.25 * mask + image, image, mask).item()
        0.25
    """
    dtype = torch.promote_types(reconstruction.dtype, torch.float32)
    removed, added = (noisy - reconstruction).to(dtype), (noisy - image).to(dtype)
    mask = noise_mask.to(dtype)
    return ((removed - added).abs() * mask).sum() / (image.shape[1] * mask.sum()).clamp_min(1)
