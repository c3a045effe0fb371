"""Heat beyond the region and a slack: rough masks cost nothing, far heat does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.nn.gradcam import weighted_cam  # noqa: E402
from roinspect.nn.slack import slack_distance  # noqa: E402


def roi(count: int = 1, columns: int = 4) -> Tensor:
    mask = torch.zeros(count, 1, 8, 12)
    mask[..., :columns] = 1
    return mask


def column(number: int, value: float = 1.0) -> Tensor:
    heat = torch.zeros(1, 1, 8, 12)
    heat[..., number] = value
    return heat


@pytest.mark.parametrize(("slack", "sigma"), [(0.1, 1.0), (0.0, 0.0), (0.3, 2.5)])
def test_the_gradient_is_right(slack: float, sigma: float) -> None:
    torch.manual_seed(0)
    heat = torch.rand(2, 1, 8, 12, dtype=torch.float64, requires_grad=True)
    mask = roi(2).double()
    assert torch.autograd.gradcheck(lambda h: slack_distance(h, mask, slack=slack, sigma=sigma), heat)


def test_without_slack_and_spread_it_is_the_mean_heat_outside() -> None:
    torch.manual_seed(0)
    heat = torch.rand(3, 1, 8, 12)
    expected = heat[..., 4:].mean((1, 2, 3))
    torch.testing.assert_close(slack_distance(heat, roi(3), slack=0, sigma=0), expected)


def test_heat_inside_is_free_and_more_of_it_outside_costs_more() -> None:
    assert slack_distance(roi(), roi()).item() == 0
    assert slack_distance(torch.zeros(1, 1, 8, 12), roi()).item() == 0
    costs = [slack_distance(roi() + column(11, value), roi()).item() for value in (0.0, 0.05, 0.1, 0.4, 1.0)]
    # The first three lie within the slack.
    assert costs[:3] == [0, 0, 0] and 0 < costs[3] < costs[4]


def test_a_rim_drawn_a_cell_too_narrow_costs_less_and_nothing_with_a_wide_slack() -> None:
    costs = [slack_distance(column(number), roi()).item() for number in range(3, 12)]
    assert costs[0] == 0 and all(near < far for near, far in itertools.pairwise(costs[:4]))
    assert costs[4:] == pytest.approx([costs[4]] * 5)
    rim = roi(columns=5) * 0.4
    assert slack_distance(rim, roi(), slack=0.2).item() == 0 < slack_distance(rim, roi(), slack=0).item()


def test_an_empty_roi_counts_all_heat_and_a_whole_one_none() -> None:
    heat = torch.rand(2, 1, 8, 12).requires_grad_()
    nowhere = slack_distance(heat, torch.zeros(2, 1, 8, 12))
    torch.testing.assert_close(nowhere, (heat - 0.1).relu().mean((1, 2, 3)))
    everywhere = slack_distance(heat, torch.ones(2, 1, 8, 12))
    assert not everywhere.any()
    (nowhere + everywhere).sum().backward()
    assert heat.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_float32_of_the_same_values(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    heat = torch.rand(1, 1, 8, 12).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = slack_distance(heat, roi().to(dtype))
    torch.testing.assert_close(found, slack_distance(heat.float(), roi()))
    assert found.dtype == torch.float32
    found.sum().backward()
    assert heat.grad.isfinite().all()


def test_the_scale_of_the_evidence_changes_nothing() -> None:
    torch.manual_seed(0)
    features, weights = torch.rand(2, 4, 8, 12), torch.tensor([0.5, 1.0, -0.2, 0.1])
    one, other = (slack_distance(weighted_cam(scale * features, weights), roi(2)) for scale in (1.0, 9.0))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heatmap": torch.zeros(1, 2, 8, 12)}, "must both be"),
        ({"heatmap": torch.zeros(1, 8, 12)}, "must both be"),
        ({"roi_mask": torch.zeros(1, 1, 16, 24)}, "must both be"),
        ({"slack": -0.1}, "slack"),
        ({"slack": 1.1}, "slack"),
        ({"sigma": -1.0}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        slack_distance(**({"heatmap": torch.zeros(1, 1, 8, 12), "roi_mask": roi()} | changes))
