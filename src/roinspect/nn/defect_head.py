"""Tell synthetic defects from normal patches by frozen, whitened features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BOUND = 6.0
"""Whitened features of something never seen can be huge; the head answers for the range it was trained on."""
_STEPS, _BATCH, _RATE = 300, 768, 3e-3
_NOISE = 0.5, 1.5
"""Range of the standard deviation of the feature noise; whitened features have a deviation of about 1."""


class DefectHead(nn.Module):
    """Whitened patches to the evidence of a defect, by one hidden layer, cell by cell.

    The answer is the mean of several heads, each trained without a share of the images: an image can then be
    scored by the head that has not seen it.

    Args:
        dimensions: D, of a patch vector.
        hidden: units of each head.
        folds: number of heads.

    Attributes:
        share: (folds,), how much each head counts; the sum is 1.

    Reference:
        Liu et al., *SimpleNet*, 2023, and Rolih et al., *SuperSimpleNet*, 2024, for noise on frozen features.

    Example:
        >>> DefectHead(16)(torch.rand(2, 16, 8, 12)).shape
        torch.Size([2, 1, 8, 12])
    """

    share: Tensor

    def __init__(self, dimensions: int, hidden: int = 32, folds: int = 4) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(dimensions, hidden * folds, 1)
        self.last = nn.Conv2d(hidden * folds, folds, 1, groups=folds)
        self.register_buffer("share", torch.full((folds,), 1 / folds))

    def forward(self, patches: Tensor) -> Tensor:
        """(N, D, h, w) to evidence (N, 1, h, w): the logit of a defect."""
        return (self._logits(patches) * self.share.view(1, -1, 1, 1)).sum(1, keepdim=True)

    def _logits(self, patches: Tensor) -> Tensor:
        logits: Tensor = self.last(F.relu(self.hidden(patches.clamp(-_BOUND, _BOUND))))
        return logits

    @torch.no_grad()
    def unseen_evidence(self, patches: Tensor, folds: Tensor) -> Tensor:
        """Evidence (P,) for patches (P, D), of each by the head that was trained without its fold (P,)."""
        if not len(patches):
            return patches[:, 0]
        logits = self._logits(patches.T[None, :, :, None])[0, :, :, 0]
        return logits.gather(0, folds.to(logits.device)[None])[0]

    @torch.enable_grad()
    def fit(
        self,
        normal: Tensor,
        defective: Tensor,
        normal_folds: Tensor,
        defective_folds: Tensor,
        *,
        generator: torch.Generator,
    ) -> None:
        """Train every head on the patches that are not of its own fold, in place.

        Besides the defective patches, normal ones with Gaussian noise count as defective.

        Args:
            normal: (P, D) whitened patches of good parts.
            defective: (Q, D) whitened patches on defects, Q may be 0.
            normal_folds: (P,) int64, the fold of each patch's image.
            defective_folds: (Q,) likewise.
            generator: source of randomness, on the CPU.
        """
        folds = len(self.share)
        dimensions, width = self.hidden.in_channels, self.hidden.out_channels // folds
        device = self.share.device
        for fold in range(folds):
            kept, marked = normal[normal_folds != fold], defective[defective_folds != fold]
            kept = (kept if len(kept) else normal).clamp(-_BOUND, _BOUND)
            marked = (marked if len(marked) else defective).clamp(-_BOUND, _BOUND)
            first = _uniform((width, dimensions), dimensions, generator).to(device).requires_grad_()
            bias = torch.zeros(width, device=device, requires_grad=True)
            second = _uniform((width,), width, generator).to(device).requires_grad_()
            level = torch.zeros((), device=device, requires_grad=True)
            optimizer = torch.optim.AdamW([first, bias, second, level], lr=_RATE, weight_decay=1e-3)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
            for _ in range(_STEPS):
                clean = kept[_some(kept, 2 * _BATCH, generator)]
                deviation = torch.empty(_BATCH, 1).uniform_(*_NOISE, generator=generator)
                noise = torch.randn(_BATCH, dimensions, generator=generator) * deviation
                strange = [clean[:_BATCH] + noise.to(device)]
                if len(marked):
                    strange.append(marked[_some(marked, _BATCH, generator)])
                patches = torch.cat((clean, *strange))
                logits = F.relu(patches @ first.T + bias) @ second + level
                targets = (torch.arange(len(patches), device=device) >= len(clean)).float()
                loss = F.binary_cross_entropy_with_logits(logits, targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            with torch.no_grad():
                rows = slice(fold * width, (fold + 1) * width)
                self.hidden.weight[rows] = first[:, :, None, None]
                self.hidden.bias[rows] = bias  # type: ignore[index]
                self.last.weight[fold] = second[:, None, None]
                self.last.bias[fold] = level  # type: ignore[index]


def _uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> Tensor:
    bound = inputs**-0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def _some(patches: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(len(patches), (count,), generator=generator).to(patches.device)
