"""Distance of the evidence: as the overlap distance, but with a gradient wherever the evidence lies."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from roinspect.nn.ceod import ceod_loss  # noqa: E402
from roinspect.nn.evidence import evidence_distance  # noqa: E402
from roinspect.nn.forms import Soften  # noqa: E402
from roinspect.nn.gradcam import linear_cam, linear_evidence  # noqa: E402


def roi(count: int = 1) -> Tensor:
    """The left 3 of 8 columns."""
    mask = torch.zeros(count, 1, 8, 8)
    mask[..., :3] = 1
    return mask


def lit(first: int, last: int, logits: float = 8.0) -> Tensor:
    """Evidence in these columns, and as much against a defect elsewhere."""
    evidence = torch.full((1, 1, 8, 8), -logits)
    evidence[..., first:last] = logits
    return evidence


@pytest.mark.parametrize("soften", get_args(Soften))
def test_the_gradient_is_right(soften: Any) -> None:
    torch.manual_seed(0)
    evidence = torch.randn(2, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    mask = torch.zeros(2, 1, 5, 6, dtype=torch.float64)
    mask[..., :1, :1] = 0.4
    assert torch.autograd.gradcheck(lambda e: evidence_distance(e, mask, soften=soften), evidence)


def test_it_is_the_formula() -> None:
    torch.manual_seed(0)
    evidence, mask = torch.randn(3, 1, 8, 8, dtype=torch.float64), torch.rand(3, 1, 8, 8, dtype=torch.float64)
    chances = evidence.flatten(1).softmax(1)
    expected = -(chances * mask.flatten(1)).sum(1).log()
    torch.testing.assert_close(evidence_distance(evidence, mask, soften="none"), expected)


def test_it_is_nothing_inside_and_rises_with_evidence_outside() -> None:
    assert 0 <= evidence_distance(lit(0, 2), roi(), soften="none").item() < 1e-5
    distances = []
    for outside in (-8.0, 0.0, 4.0, 8.0, 30.0):
        evidence = lit(0, 2)
        evidence[..., 6] = outside
        distances.append(evidence_distance(evidence, roi(), soften="none").item())
    assert distances == sorted(distances) and distances[0] < 1e-5 and distances[-1] > 20
    even = evidence_distance(torch.zeros(1, 1, 8, 8), roi(), soften="none")
    assert even.item() == pytest.approx(-math.log(3 / 8))


def test_all_evidence_may_be_larger_by_a_constant() -> None:
    torch.manual_seed(0)
    evidence = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(
        evidence_distance(evidence + 5, roi(4)), evidence_distance(evidence, roi(4)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_roi_that_is_empty_or_whole_costs_nothing(share: float) -> None:
    evidence = (50 * torch.randn(2, 1, 8, 8)).requires_grad_()
    distance = evidence_distance(evidence, torch.full((2, 1, 8, 8), share), soften="none")
    assert distance.abs().max() < 1e-4
    distance.sum().backward()
    assert evidence.grad.isfinite().all() and evidence.grad.abs().max() < 1e-4


@pytest.mark.parametrize("soften", ["clip", "max", "falloff", "none"])
def test_the_pull_is_bounded_however_far_the_evidence_lies(soften: Any) -> None:
    for logits in (0.1, 10.0, 1000.0):
        evidence = lit(6, 8, logits).requires_grad_()
        (gradient,) = torch.autograd.grad(evidence_distance(evidence, roi(), soften=soften).sum(), evidence)
        assert gradient.isfinite().all() and gradient.abs().sum() <= 2 + 1e-4
        assert gradient.sum().abs() < 1e-4
        assert (gradient[..., :3].sum() < 0) and (gradient[..., 6:].sum() > 0)
    assert gradient[..., 6:].sum() > 0.99, "all of the evidence is outside, so all of it is pushed"


def test_it_pulls_where_the_overlap_distance_has_no_gradient() -> None:
    """All heat is far from the ROI: Grad-CAM's ReLU is flat inside it, and the mask is 0 at the heat."""
    features = torch.zeros(1, 2, 8, 8)
    features[:, 0, 2:6, 6:] = 1  # speaks for a defect, outside
    features[:, 1, 2:6, :2] = 1  # speaks against one, inside
    head = nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, -0.5]]))
        head.bias.zero_()
    features.requires_grad_()
    label = torch.tensor([1])
    for options in ({}, {"variant": "linear"}, {"denominator": "heatmap"}):
        # Logits that do not depend on the features, so the gradient is the distance's alone.
        loss = ceod_loss(torch.zeros(1, 2), label, linear_cam(features, head, 1), roi(), 1.0, **options)
        today = torch.autograd.grad(loss, [features, head.weight])
        assert all(not gradient.any() for gradient in today)
    distance = evidence_distance(linear_evidence(features, head, 1), roi()).sum()
    by_features, by_weights = torch.autograd.grad(distance, [features, head.weight])
    assert by_features[:, 0, 2:6, 6:].min() > 0, "less of what speaks for a defect outside"
    assert by_weights[1, 0] > 0 > by_weights[1, 1], "more weight of what lies inside"


def test_half_precision_under_autocast_is_as_float32() -> None:
    torch.manual_seed(0)
    features, head = torch.rand(2, 6, 8, 8).bfloat16().requires_grad_(), nn.Linear(6, 2)
    with torch.autocast("cpu", torch.bfloat16):
        distance = evidence_distance(linear_evidence(features, head, 1), roi(2))
    expected = evidence_distance(linear_evidence(features.float(), head, 1), roi(2))
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, expected)
    distance.sum().backward()
    assert features.grad.isfinite().all() and features.grad.any()


@pytest.mark.parametrize(
    "shapes", [((2, 8, 8), (2, 8, 8)), ((2, 2, 8, 8), (2, 2, 8, 8)), ((2, 1, 8, 8), (2, 1, 16, 16))]
)
def test_what_does_not_fit_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"must both be \(N, 1, h, w\)"):
        evidence_distance(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
