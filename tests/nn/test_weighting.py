"""Directions that tell known defects apart count more, and no direction is given up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.nn.weighting import defect_weights  # noqa: E402


def squared(count: int, dimensions: int, seed: int) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)).square()


@settings(deadline=None, max_examples=8)
@given(
    normal=st.integers(1, 50),
    defective=st.integers(1, 50),
    dimensions=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_weights_are_positive_and_keep_the_normal_distance(
    normal: int, defective: int, dimensions: int, seed: int
) -> None:
    usual, unusual = squared(normal, dimensions, seed), 3 * squared(defective, dimensions, seed + 1)
    with torch.no_grad():
        weights = defect_weights(usual, unusual)
    assert weights.shape == (dimensions,) and weights.min() > 0 and not weights.requires_grad
    assert (usual @ weights).mean().item() == pytest.approx(usual.sum(1).mean().item(), rel=1e-4)


def test_what_tells_them_apart_counts_more() -> None:
    usual, unusual = squared(500, 4, 0), squared(50, 4, 1)
    unusual[:, 2] *= 9
    weights = defect_weights(usual, unusual)
    assert torch.equal(weights, defect_weights(usual, unusual))
    assert weights.argmax() == 2 and weights[2] > 1.5 * weights[[0, 1, 3]].max()
    # The others are not given up: another defect may show there.
    assert weights.min() > 0.05


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_the_unit_of_distances_does_not_matter(unit: float) -> None:
    usual, unusual = squared(100, 3, 0), squared(20, 3, 1) * torch.tensor([1.0, 4, 9])
    torch.testing.assert_close(
        defect_weights(unit * usual, unit * unusual), defect_weights(usual, unusual), rtol=1e-3, atol=1e-3
    )


def test_normal_patches_that_are_all_memorised_leave_numbers() -> None:
    assert defect_weights(torch.zeros(20, 3), squared(5, 3, 0)).isfinite().all()


@pytest.mark.parametrize("counts", [(0, 3), (3, 0)])
def test_one_kind_alone_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="normal and defective"):
        defect_weights(*(torch.ones(count, 2) for count in counts))
