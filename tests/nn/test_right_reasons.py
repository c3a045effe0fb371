"""Right for the right reasons: no input gradient outside the region."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from roinspect.nn.right_reasons import right_reasons  # noqa: E402


def roi(count: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    """The left half of 4 columns."""
    mask = torch.zeros(count, 1, 4, 4, dtype=dtype)
    mask[..., :2] = 1
    return mask


def looks(inputs: Tensor, left: float, right: float) -> Tensor:
    """Logits that rise with the sums of both halves."""
    evidence = left * inputs[..., :2].sum((1, 2, 3)) + right * inputs[..., 2:].sum((1, 2, 3))
    return torch.stack((torch.ones_like(evidence), evidence), 1)


def ones(count: int = 2) -> Tensor:
    return torch.ones(count, 3, 4, 4, requires_grad=True)


def test_the_gradient_by_the_weights_is_right() -> None:
    torch.manual_seed(0)
    inputs = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    filters = torch.randn(5, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def penalty(filters: Tensor, weights: Tensor, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(nn.functional.conv2d(inputs, filters, padding=1))
        return right_reasons(hidden.mean((2, 3)) @ weights.T, inputs, roi(dtype=torch.float64))

    assert torch.autograd.gradcheck(penalty, (filters, weights, inputs))


def test_it_is_the_formula() -> None:
    """With two classes the gradient is (1 - 2 p) d(z1 - z0)/dx: here 0.1 at each of 24 elements outside."""
    inputs = ones(1)
    logits = looks(inputs, 0.0, 0.1)
    chance = logits.softmax(1)[0, 1].item()
    expected = 24 * (0.1 * (1 - 2 * chance)) ** 2
    assert right_reasons(logits, inputs, roi(1)).item() == pytest.approx(expected, rel=1e-5)


def test_it_is_nothing_inside_and_rises_with_what_the_outside_decides() -> None:
    inputs = ones()
    assert right_reasons(looks(inputs, 5.0, 0.0), inputs, roi()).tolist() == [0, 0]
    # The verdict stays the same: what moves is where it comes from.
    penalties = [
        right_reasons(looks(inputs, 0.1 - right, right), inputs, roi()) for right in (0.0, 0.03, 0.06, 0.1)
    ]
    values = [penalty[0].item() for penalty in penalties]
    assert values[0] == 0 and values == sorted(set(values))


def test_a_part_without_a_verdict_has_no_penalty() -> None:
    inputs = ones()
    undecided = looks(inputs, 0.0, 1 / 24)
    assert right_reasons(undecided, inputs, roi()).abs().max() < 1e-12


def test_a_constant_on_all_logits_changes_nothing_and_other_parts_have_no_part() -> None:
    torch.manual_seed(0)
    inputs = torch.rand(3, 3, 4, 4, requires_grad=True)
    logits = looks(inputs, 0.3, 0.2)
    each = [one.detach().clone().requires_grad_() for one in inputs.split(1)]
    alone = torch.cat([right_reasons(looks(one, 0.3, 0.2), one, roi(1)) for one in each])
    together = right_reasons(logits, inputs, roi(3))
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(right_reasons(logits + 7, inputs, roi(3)), together)


def test_an_empty_roi_counts_everything_and_a_whole_one_nothing() -> None:
    inputs = ones()
    logits = looks(inputs, 0.2, 0.1)
    nothing = right_reasons(logits, inputs, torch.zeros(2, 1, 4, 4))
    parts = right_reasons(logits, inputs, roi()) + right_reasons(logits, inputs, 1 - roi())
    torch.testing.assert_close(nothing, parts)
    assert (nothing > 0).all()
    assert not right_reasons(logits, inputs, torch.ones(2, 1, 4, 4)).any()


def test_the_roi_is_averaged_to_the_inputs() -> None:
    inputs = ones()
    logits = looks(inputs, 0.2, 0.1)
    large = roi().repeat_interleave(8, 2).repeat_interleave(8, 3)
    torch.testing.assert_close(right_reasons(logits, inputs, large), right_reasons(logits, inputs, roi()))


def test_half_precision_under_autocast_stays_finite_and_near() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    inputs = torch.rand(2, 3, 4, 4, requires_grad=True)
    expected = right_reasons(net(inputs), inputs, roi())
    with torch.autocast("cpu", torch.bfloat16):
        found = right_reasons(net(inputs), inputs, roi())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=1e-4)
    found.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in net.parameters())
    assert net[0].weight.grad.any()


def test_training_by_it_moves_what_decides_inside() -> None:
    torch.manual_seed(0)
    inputs, weights = torch.rand(8, 1, 4, 4, requires_grad=True), torch.full((1, 4, 4), 0.2).requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=0.05)
    for _ in range(200):
        evidence = (inputs * weights).sum((1, 2, 3))
        logits = torch.stack((torch.zeros_like(evidence), evidence), 1)
        optimizer.zero_grad()
        (
            nn.functional.cross_entropy(logits, torch.ones(8, dtype=torch.int64))
            + right_reasons(logits, inputs, roi(8)).mean()
        ).backward()
        optimizer.step()
    assert weights[..., 2:].abs().max() < 0.5 * weights[..., :2].min()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logits": torch.zeros(2)}, "must be"),
        ({"logits": torch.zeros(3, 2)}, "must be"),
        ({"inputs": torch.zeros(2, 3, 4)}, "must be"),
        ({"roi_mask": torch.zeros(2, 3, 4, 4)}, "must be"),
        ({"inputs": torch.zeros(2, 3, 4, 4)}, "require a gradient"),
        ({"logits": torch.zeros(2, 2)}, "require a gradient"),
        ({"inputs": torch.zeros(2, 3, 4, 4, requires_grad=True)}, "do not depend"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    inputs = ones()
    given = {"logits": looks(inputs, 0.1, 0.1), "inputs": inputs, "roi_mask": roi()}
    with pytest.raises(ValueError, match=words):
        right_reasons(**(given | changes))
