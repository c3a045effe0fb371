"""`CeodLoss` in a plain PyTorch loop: a classifier that learns where to look.

Defective parts have a dark spot on the strip (the region of interest), and a sticker next to it. The sticker
correlates with the label, so cross-entropy alone would learn from it as well.

python examples/ceod_in_your_own_loop.py [STEPS]
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from roinspect import CeodLoss, linear_cam


def parts(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images (N, 3, 32, 32) in [0, 1], labels (N,) and ROI masks (N, 1, 32, 32)."""
    image = 0.5 + 0.1 * torch.randn(count, 3, 32, 32, generator=generator)
    label = torch.arange(count) % 2
    roi_mask = torch.zeros(count, 1, 32, 32)
    roi_mask[..., 16:28] = 1
    for index in label.nonzero().flatten():
        top = int(torch.randint(2, 24, (), generator=generator))
        image[index, :, top : top + 5, 20:25] -= 0.4  # the defect, on the strip
        image[index, :, 4:10, 4:10] += 0.3  # the sticker, next to it
    return image.clamp(0, 1), label, roi_mask


def heat_inside(omega: float, steps: int) -> float:
    """Train; returns the share of the defective parts' heat that lies inside the ROI."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    trunk = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
    )
    head = nn.Linear(32, 2)
    # With the papers' denominator, a heatmap that covers the whole image would cost nothing.
    criterion = CeodLoss(omega, denominator="heatmap")
    optimizer = torch.optim.Adam([*trunk.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(steps):
        image, label, roi_mask = parts(16, generator)
        features = trunk(image)
        loss = criterion(head(features.mean((2, 3))), label, features, roi_mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        image, label, roi_mask = parts(64, generator)
        heat = linear_cam(trunk(image), head, 1)[label == 1]
        inside = nn.functional.adaptive_avg_pool2d(roi_mask[label == 1], heat.shape[-2:])
        return float((heat * inside).sum() / heat.sum())


def main(steps: int = 200) -> tuple[float, float]:
    """The share of heat inside the ROI without and with the overlap distance."""
    shares = heat_inside(0, steps), heat_inside(1, steps)
    print("heat inside the region of interest: {:.0%} by cross-entropy, {:.0%} by CEOD".format(*shares))
    return shares


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
