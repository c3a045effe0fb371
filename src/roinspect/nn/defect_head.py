"""Tell synthetic defects from normal patches by frozen, whitened features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BOUND = 6.0
"""Whitened features of something never seen can be huge; the head answers for the range it was trained on."""
_STEPS, _BATCH, _RATE = 300, 768, 3e-3
FOLDS = 8
"""Shares of the training images, and heads: each head is trained on half of the shares."""
_NOISE = 0.5, 1.5
"""Range of the standard deviation of the feature noise; whitened features have a deviation of about 1."""


def sees(head: int | Tensor, fold: Tensor) -> Tensor:
    """Whether a head is trained on images of a fold: four of eight heads are, for every fold.

    Args:
        head: 0 to `FOLDS` - 1.
        fold: likewise, int64; both are broadcast.
    """
    return (fold - head) % FOLDS < FOLDS // 2


class DefectHead(nn.Module):
    """Whitened patches to the evidence of a defect, by one hidden layer, cell by cell.

    The answer is the mean of eight heads, each trained on half of the images: an image can then be scored by
    the four heads that have not seen it.

    Args:
        dimensions: D, of a patch vector.
        hidden: units of each head.

    Attributes:
        share: (FOLDS,), how much each head counts; the sum is 1.

    Reference:
        Liu et al., *SimpleNet*, 2023, and Rolih et al., *SuperSimpleNet*, 2024, for noise on frozen features;
        Kim, Xu and Barber, *Predictive inference is free with the jackknife+-after-bootstrap*, 2020, for the
        mean of those members of an ensemble that have not seen an image.

    Example:
        >>> DefectHead(16)(torch.rand(2, 16, 8, 12)).shape
        torch.Size([2, 1, 8, 12])
    """

    share: Tensor

    def __init__(self, dimensions: int, hidden: int = 16) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(dimensions, hidden * FOLDS, 1)
        self.last = nn.Conv2d(hidden * FOLDS, FOLDS, 1, groups=FOLDS)
        self.register_buffer("share", torch.full((FOLDS,), 1 / FOLDS))

    def forward(self, patches: Tensor) -> Tensor:
        """(N, D, h, w) to evidence (N, 1, h, w): the logit of a defect."""
        return (self._logits(patches) * self.share.view(1, -1, 1, 1)).sum(1, keepdim=True)

    def _logits(self, patches: Tensor) -> Tensor:
        logits: Tensor = self.last(F.relu(self.hidden(patches.clamp(-_BOUND, _BOUND))))
        return logits

    @torch.no_grad()
    def unseen_evidence(self, patches: Tensor, folds: Tensor) -> Tensor:
        """Evidence (P,) for patches (P, D), of each by the heads that were trained without its fold (P,)."""
        if not len(patches):
            return patches[:, 0]
        logits = self._logits(patches.T[None, :, :, None])[0, :, :, 0]
        heads = torch.arange(FOLDS, device=logits.device)[:, None]
        unseen = (~sees(heads, folds.to(logits.device))).to(logits)
        return (logits * unseen).sum(0) / unseen.sum(0)

    def answer_unseen(self, fold: int) -> None:
        """Let only those heads answer that have not seen images of this fold."""
        unseen = ~sees(torch.arange(FOLDS, device=self.share.device), torch.tensor(fold))
        self.share.copy_(unseen / unseen.sum())

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
        """Train every head on the patches of the folds that it sees, in place.

        Besides the defective patches, normal ones with Gaussian noise count as defective.

        Args:
            normal: (P, D) whitened patches of good parts.
            defective: (Q, D) whitened patches on defects, Q may be 0.
            normal_folds: (P,) int64, the fold of each patch's image.
            defective_folds: (Q,) likewise.
            generator: source of randomness, on the CPU.
        """
        dimensions, width = self.hidden.in_channels, self.hidden.out_channels // FOLDS
        device = self.share.device
        normal, defective = normal.clamp(-_BOUND, _BOUND), defective.clamp(-_BOUND, _BOUND)
        clean_of, marked_of = _rows(normal_folds), _rows(defective_folds)
        # All heads at once: a weight (FOLDS, ...) has a head in each row.
        first = _uniform((FOLDS, dimensions, width), dimensions, generator).to(device).requires_grad_()
        bias = torch.zeros(FOLDS, 1, width, device=device, requires_grad=True)
        second = _uniform((FOLDS, width, 1), width, generator).to(device).requires_grad_()
        level = torch.zeros(FOLDS, 1, 1, device=device, requires_grad=True)
        optimizer = torch.optim.AdamW([first, bias, second, level], lr=_RATE, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
        for _ in range(_STEPS):
            clean = _some(normal, clean_of, 2 * _BATCH, generator)
            deviation = torch.empty(FOLDS, _BATCH, 1).uniform_(*_NOISE, generator=generator)
            noise = torch.randn(FOLDS, _BATCH, dimensions, generator=generator) * deviation
            strange = [clean[:, :_BATCH] + noise.to(device)]
            if len(defective):
                strange.append(_some(defective, marked_of, _BATCH, generator))
            patches = torch.cat((clean, *strange), dim=1)
            logits = torch.baddbmm(level, F.relu(torch.baddbmm(bias, patches, first)), second)[:, :, 0]
            targets = torch.zeros_like(logits)
            targets[:, 2 * _BATCH :] = 1
            # The sum over heads, which do not share a weight.
            loss = F.binary_cross_entropy_with_logits(logits, targets) * FOLDS
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            assert self.hidden.bias is not None and self.last.bias is not None
            self.hidden.weight.copy_(first.transpose(1, 2).reshape(FOLDS * width, dimensions, 1, 1))
            self.hidden.bias.copy_(bias.flatten())
            self.last.weight.copy_(second[:, :, :, None])
            self.last.bias.copy_(level.flatten())


def _rows(folds: Tensor) -> list[Tensor]:
    """For each head, the patches that it is trained on; all where none is of its folds."""
    seen = [sees(head, folds).nonzero()[:, 0].cpu() for head in range(FOLDS)]
    return [rows if len(rows) else torch.arange(len(folds)) for rows in seen]


def _uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> Tensor:
    bound = inputs**-0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def _some(patches: Tensor, rows_of: list[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Patches drawn for each head from its rows: (FOLDS, count, D)."""
    drawn = [rows[torch.randint(len(rows), (count,), generator=generator)] for rows in rows_of]
    return patches[torch.stack(drawn).to(patches.device)]
