"""Focal loss: cross-entropy that forgets what is already right, the same from logits and probabilities."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from roinspect.nn.focal import Reduction, focal_loss

GAMMAS = (0.0, 0.5, 1.0, 2.0, 3.5)


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(3, 1, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


@pytest.fixture
def target() -> Tensor:
    return (torch.rand(3, 1, 5, 7, generator=torch.Generator().manual_seed(1)) < 0.3).double()


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", [None, 0.25, 0.9])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_torchvision_gives_the_same(
    logits: Tensor, target: Tensor, gamma: float, alpha: float | None, reduction: Reduction
) -> None:
    ours = focal_loss(logits, target, gamma=gamma, alpha=alpha, reduction=reduction)
    # torchvision's way of saying "no alpha" is -1.
    theirs = sigmoid_focal_loss(logits, target, -1 if alpha is None else alpha, gamma, reduction)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_the_gradient_is_right(logits: Tensor, target: Tensor, gamma: float, alpha: float | None) -> None:
    part, truth = logits[:, :, :2, :3].clone().requires_grad_(), target[:, :, :2, :3]
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, truth, gamma=gamma, alpha=alpha), part)
    probability = part.detach().sigmoid().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: focal_loss(x, truth, gamma=gamma, alpha=alpha, from_logits=False), probability
    )


def test_gamma_zero_is_cross_entropy(logits: Tensor, target: Tensor) -> None:
    torch.testing.assert_close(
        focal_loss(logits, target, gamma=0), F.binary_cross_entropy_with_logits(logits, target)
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_logits_and_probabilities_agree(logits: Tensor, target: Tensor, gamma: float) -> None:
    from_logits = focal_loss(logits, target, gamma=gamma, reduction="none")
    from_probabilities = focal_loss(
        logits.sigmoid(), target, gamma=gamma, from_logits=False, reduction="none"
    )
    torch.testing.assert_close(from_logits, from_probabilities, rtol=1e-3, atol=1e-5)


def test_a_higher_gamma_counts_the_easy_pixels_less(logits: Tensor, target: Tensor) -> None:
    losses = [focal_loss(logits, target, gamma=gamma, reduction="none") for gamma in GAMMAS]
    for lower, higher in itertools.pairwise(losses):
        assert (higher <= lower).all()


def test_alpha_weighs_positives_against_negatives() -> None:
    logits, target = torch.zeros(2), torch.tensor([1.0, 0.0])
    positive, negative = focal_loss(logits, target, alpha=0.8, reduction="none").tolist()
    assert positive / negative == pytest.approx(4)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("value", [30.0, 200.0, 1e4])
def test_extreme_logits_stay_finite(gamma: float, value: float) -> None:
    logits = torch.tensor([value, value, -value, -value], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1.0, 0.0, 1.0, 0.0]), gamma=gamma, reduction="none")
    loss.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert loss.isfinite().all() and (loss >= 0).all()
    assert loss[[0, 3]].max() < 1e-6 and loss[[1, 2]].min().item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_certain_probabilities_keep_a_finite_gradient(gamma: float) -> None:
    probability = torch.tensor([1.0, 0.0, 1.0, 0.0], requires_grad=True)
    truth = torch.tensor([1.0, 1.0, 0.0, 0.0])
    loss = focal_loss(probability, truth, gamma=gamma, from_logits=False, reduction="none")
    loss.sum().backward()
    assert probability.grad is not None and probability.grad.isfinite().all()
    assert loss.isfinite().all()
    # Where it is certain and wrong, there is a way back.
    assert probability.grad[1] < 0 < probability.grad[2]
    assert loss[1].item() == pytest.approx(-math.log(1e-7), rel=1e-3)


def test_a_boolean_target_will_do(logits: Tensor, target: Tensor) -> None:
    torch.testing.assert_close(focal_loss(logits, target.bool()), focal_loss(logits, target))


@pytest.mark.parametrize(
    "options", [{"gamma": -1.0}, {"alpha": 1.5}, {"alpha": -0.1}, {"reduction": "median"}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        focal_loss(torch.zeros(2), torch.zeros(2), **options)  # type: ignore[arg-type]


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        focal_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))
