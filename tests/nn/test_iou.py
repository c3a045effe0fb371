"""IoU of two regions: as counted by hand, one for each image, and agreement where both are empty."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from roinspect.nn.iou import region_iou  # noqa: E402


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 4), h=st.integers(1, 9), w=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_it_is_what_one_counts(n: int, h: int, w: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    found, drawn = (torch.rand(n, 1, h, w, generator=random) > 0.6 for _ in range(2))
    for value, one, other in zip(region_iou(found, drawn), found, drawn, strict=True):
        both, either = int((one & other).sum()), int((one | other).sum())
        assert value.item() == pytest.approx(both / either if either else 1.0)


def test_any_value_but_zero_is_inside() -> None:
    found, drawn = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    found[..., 0], drawn[..., 0] = 0.2, 255
    assert region_iou(found, drawn).tolist() == [1.0]
