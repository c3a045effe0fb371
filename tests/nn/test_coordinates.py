"""Coordinates are the same for every image and every size of it, and leave the features alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from roinspect.nn.coordinates import with_coordinates  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_then_columns_from_edge_to_edge(dtype: torch.dtype) -> None:
    x = torch.rand(2, 3, 5, 9, dtype=dtype)
    placed = with_coordinates(x)
    assert placed.shape == (2, 5, 5, 9) and placed.dtype == dtype
    assert torch.equal(placed[:, :3], x)
    for y in range(5):
        assert (placed[:, 3, y] == -1 + 2 * y / 4).all()
    for column in range(9):
        assert (placed[:, 4, :, column] == -1 + 2 * column / 8).all()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 4), (7, 1)])
def test_a_single_row_or_column_is_finite(size_hw: tuple[int, int]) -> None:
    placed = with_coordinates(torch.zeros(1, 1, *size_hw))
    assert placed.isfinite().all() and placed.abs().max() <= 1


def test_the_gradient_passes_to_the_features_alone() -> None:
    x = torch.zeros(1, 2, 3, 4, requires_grad=True)
    with_coordinates(x).sum().backward()
    assert x.grad is not None and (x.grad == 1).all()
