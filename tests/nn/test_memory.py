"""A memory gives true distances to what it holds, and what it holds is a fair and well spread choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.nn import memory  # noqa: E402
from roinspect.nn.memory import NearestNeighbours, Reservoir, greedy_coreset, without_rows  # noqa: E402

seeds = st.integers(0, 2**32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def filled(patches: Tensor, *, size: int | None = None) -> NearestNeighbours:
    bank = NearestNeighbours(size or len(patches), patches.shape[1])
    bank.fill(patches)
    return bank


def rows_of(maps: Tensor) -> Tensor:
    """(N, D, h, w) to (N h w, D)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def scales_by_definition(kept: Tensor) -> list[float]:
    """Mean distance of each row to the five rows nearest to it, over the median of all, in [0.5, 2]."""
    means = []
    for number, row in enumerate(kept):
        others = torch.cat((kept[:number], kept[number + 1 :]))
        means.append((others - row).norm(dim=1).sort().values[:5].mean().item())
    # The lower median of an even number.
    median = sorted(means)[(len(means) - 1) // 2]
    return [min(max(mean / median, 0.5), 2.0) for mean in means]


def distances_by_definition(patches: Tensor, kept: Tensor) -> Tensor:
    """(P, D) and (M, D) to (P,): the least distance to a row, each divided by its row's scale."""
    kept = kept.double()
    scales = torch.tensor(scales_by_definition(kept) if len(kept) > 1 else [1.0], dtype=torch.float64)
    return (torch.cdist(patches.double(), kept) / scales).amin(1)


def radius(patches: Tensor, chosen: Tensor) -> float:
    """The largest distance of a patch to the nearest chosen one."""
    return torch.cdist(patches.double(), patches[chosen].double()).amin(1).max().item()


# -- distances ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(*(st.integers(1, limit) for limit in (3, 5, 6))),
    dimensions=st.integers(1, 24),
    count=st.integers(1, 60),
    spare=st.integers(0, 20),
    away=st.floats(-20, 20),
    seed=seeds,
)
def test_distances_are_those_of_brute_force_with_row_scales(
    shape: tuple[int, int, int], dimensions: int, count: int, spare: int, away: float, seed: int
) -> None:
    n, h, w = shape
    kept = normal(count, dimensions, seed=seed)
    patches = normal(n, dimensions, h, w, seed=seed + 1) + away
    distances = filled(kept, size=count + spare)(patches)
    assert distances.shape == (n, 1, h, w) and distances.dtype == torch.float32
    expected = distances_by_definition(rows_of(patches), kept)
    # Squared distances are differences of squared lengths, which are divided by at least 0.5^2.
    rounding = 5e-6 * (rows_of(patches).square().sum(1).max() + kept.square().sum(1).max()).item()
    torch.testing.assert_close(
        rows_of(distances)[:, 0].double().square(), expected.square(), atol=rounding, rtol=1e-4
    )


def test_a_patch_near_scattered_rows_is_less_strange_than_one_as_near_a_crowd() -> None:
    places = torch.tensor([[0.0, 0, 0, 0], [50, 0, 0, 0], [0, 900, 0, 0]])
    crowd, ordinary, scattered = (
        spread * normal(count, 4, seed=count) + place
        for spread, count, place in zip((0.01, 1.0, 40.0), (20, 61, 21), places, strict=True)
    )
    bank = filled(torch.cat((crowd, ordinary, scattered)))
    off_crowd = bank((places[0] + torch.tensor([0, 0, 0, 3.0])).view(1, 4, 1, 1)).item()
    off_scattered = bank((scattered[0] + torch.tensor([0, 3.0, 0, 0])).view(1, 4, 1, 1)).item()
    # The smallest scale is a half, the largest 2.
    assert off_crowd == pytest.approx(2 * 3, rel=0.05)
    assert off_scattered == pytest.approx(3 / 2, abs=0.2)


@pytest.mark.parametrize("rows", [torch.ones(20, 3), torch.zeros(7, 3), torch.ones(1, 3)], ids=len)
def test_rows_that_are_all_alike_have_no_scale(rows: Tensor) -> None:
    patches = normal(1, 3, 4, 5)
    expected = torch.cdist(rows_of(patches), rows[:1])[:, 0]
    torch.testing.assert_close(rows_of(filled(rows, size=24)(patches))[:, 0], expected, atol=1e-3, rtol=1e-4)


def test_scales_are_taken_by_blocks_and_do_not_depend_on_the_unit() -> None:
    kept, patches = normal(memory._ROWS_AT_ONCE + 100, 5), normal(1, 5, 4, 4, seed=1)
    distances = filled(kept)(patches)
    expected = distances_by_definition(rows_of(patches), kept)
    torch.testing.assert_close(rows_of(distances)[:, 0].double(), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(filled(1000 * kept)(1000 * patches), 1000 * distances, atol=1, rtol=1e-3)


@pytest.mark.parametrize(
    "size", [memory._ROWS_AT_ONCE, memory._ROWS_AT_ONCE + 1, 3 * memory._ROWS_AT_ONCE - 5]
)
def test_the_nearest_row_may_lie_in_any_block(size: int) -> None:
    bank, kept = NearestNeighbours(size, 6), normal(size, 6)
    bank.fill(kept)
    for row in (0, memory._ROWS_AT_ONCE - 1, size - 1):
        assert bank(kept[row].view(1, 6, 1, 1)).item() < 5e-3


@pytest.mark.parametrize("spare", [1, 700, 2 * memory._ROWS_AT_ONCE])
def test_rows_without_a_patch_are_never_the_nearest(spare: int) -> None:
    """Such a row is all zeros: a patch of zeros, and any near it, would find it first."""
    kept = normal(40, 5) + 30
    bank = filled(kept, size=40 + spare)
    patches = torch.cat((torch.zeros(1, 5, 2, 2), 0.1 * normal(1, 5, 2, 2), normal(1, 5, 2, 2) * 1000))
    expected = distances_by_definition(rows_of(patches), kept)
    torch.testing.assert_close(rows_of(bank(patches))[:, 0].double(), expected, rtol=1e-4, atol=0)


def test_what_is_memorised_is_no_distance_away() -> None:
    kept = normal(50, 8)
    distances = filled(kept, size=64)(kept.T.reshape(1, 8, 5, 10))
    assert distances.isfinite().all() and distances.min() >= 0 and distances.max() < 1e-2


def test_filling_again_forgets_what_was_there() -> None:
    bank = filled(normal(30, 4), size=32)
    few = normal(3, 4, seed=1) + 5
    bank.fill(few)
    assert torch.equal(bank(normal(1, 4, 4, 4)), filled(few, size=32)(normal(1, 4, 4, 4)))


@pytest.mark.parametrize("count", [0, 5])
def test_what_does_not_fit_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} patches for a memory of 4 rows"):
        NearestNeighbours(4, 3).fill(torch.zeros(count, 3))


@pytest.mark.parametrize("size", [290, 2 * memory._CONVOLVED_AT_ONCE])
def test_distances_by_convolution_are_the_same(size: int) -> None:
    bank, patches = filled(normal(size - 10, 5), size=size), normal(2, 5, 3, 4, seed=1)
    expected = bank(patches)
    bank.as_convolution = True
    torch.testing.assert_close(bank(patches), expected, rtol=1e-4, atol=1e-4)


def test_missing_rows_are_missing_for_as_long_as_the_context_lasts() -> None:
    kept, patches = normal(30, 4), normal(1, 4, 3, 3, seed=1)
    banks = [filled(kept, size=40), filled(kept + 1, size=40)]
    whole = [bank(patches) for bank in banks]
    first, none = torch.zeros(40, dtype=torch.bool), torch.zeros(40, dtype=torch.bool)
    first[:15] = True
    own = kept[3].view(1, 4, 1, 1)
    assert banks[0](own).item() < 1e-2
    with pytest.raises(KeyError), without_rows(banks, [first, none]):
        assert banks[0](own).item() > 0.1
        # Fewer rows never make a distance shorter: the scales stay.
        assert (banks[0](patches) >= whole[0]).all()
        assert torch.equal(banks[1](patches), whole[1])
        raise KeyError
    assert all(torch.equal(bank(patches), before) for bank, before in zip(banks, whole, strict=True))


# -- the coreset ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(total=st.integers(1, 60), count=st.integers(1, 70), dimensions=st.integers(1, 8), seed=seeds)
def test_chosen_are_different_and_the_seed_decides(
    total: int, count: int, dimensions: int, seed: int
) -> None:
    patches = normal(total, dimensions, seed=seed)
    chosen, again = (greedy_coreset(patches, count, generator=seeded(seed)) for _ in range(2))
    assert torch.equal(chosen, again) and chosen.dtype == torch.int64
    assert len(chosen) == len(set(chosen.tolist())) == min(total, count)
    assert chosen.min() >= 0 and chosen.max() < total
    if count >= total:
        assert sorted(chosen.tolist()) == list(range(total))


def test_twins_are_different_patches() -> None:
    twins = torch.ones(12, 3)
    assert len(set(greedy_coreset(twins, 7, generator=seeded()).tolist())) == 7


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 19), seed=seeds)
def test_a_larger_choice_begins_with_the_smaller(count: int, seed: int) -> None:
    """So the first stays, and each next is the farthest from those before it."""
    patches = normal(20, 3, seed=seed)
    all_but_one = greedy_coreset(patches, 19, generator=seeded(seed))
    chosen = greedy_coreset(patches, count, generator=seeded(seed))
    assert torch.equal(chosen, all_but_one[:count])
    if count > 1:
        last = torch.cdist(patches[chosen[-1:]].double(), patches[chosen[:-1]].double()).min().item()
        assert last == pytest.approx(radius(patches, chosen[:-1]), abs=1e-4)


def test_the_first_is_drawn_from_all() -> None:
    patches = normal(6, 2)
    assert {int(greedy_coreset(patches, 1, generator=seeded(seed))) for seed in range(60)} == set(range(6))


@settings(deadline=None, max_examples=25)
@given(total=st.integers(4, 9), count=st.integers(1, 4), dimensions=st.integers(1, 3), seed=seeds)
def test_the_farthest_patch_is_at_most_twice_as_far_as_in_the_best_choice(
    total: int, count: int, dimensions: int, seed: int
) -> None:
    patches = normal(total, dimensions, seed=seed)
    choices = itertools.combinations(range(total), min(count, total))
    best = min(radius(patches, torch.tensor(choice)) for choice in choices)
    chosen = greedy_coreset(patches, count, generator=seeded(seed))
    assert radius(patches, chosen) <= 2 * best + 1e-3


@pytest.mark.parametrize("dimensions", [2, 16])
def test_it_covers_better_than_chance(dimensions: int) -> None:
    patches = torch.cat((normal(300, dimensions), 4 + 0.1 * normal(20, dimensions)))
    greedy = [radius(patches, greedy_coreset(patches, 24, generator=seeded(seed))) for seed in range(12)]
    chance = [radius(patches, torch.randperm(320, generator=seeded(seed))[:24]) for seed in range(12)]
    assert np.mean(greedy) < np.mean(chance) and max(greedy) < max(chance)


def test_fewer_than_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        greedy_coreset(normal(4, 2), 0)


# -- the reservoir -------------------------------------------------------------------------------------------


def numbered(first: int, count: int) -> Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None]


def sample_of(batches: list[int], size: int, seed: int) -> Reservoir:
    reservoir, first = Reservoir(size, 1, generator=seeded(seed)), 0
    for count in batches:
        reservoir.add(numbered(first, count))
        first += count
    return reservoir


@settings(deadline=None, max_examples=50)
@given(batches=st.lists(st.integers(0, 40), max_size=8), size=st.integers(1, 60), seed=seeds)
def test_a_sample_is_bounded_and_of_the_stream(batches: list[int], size: int, seed: int) -> None:
    reservoir = sample_of(batches, size, seed)
    held = reservoir.patches[:, 0].tolist()
    assert reservoir.seen == sum(batches) and len(held) == min(size, reservoir.seen)
    assert len(set(held)) == len(held) and set(held) <= set(range(reservoir.seen))
    if reservoir.seen <= size:
        assert held == list(range(reservoir.seen)), "a small stream is kept whole"
    assert torch.equal(sample_of(batches, size, seed).patches, reservoir.patches)


@settings(deadline=None, max_examples=20)
@given(batches=st.permutations([1, 2, 5, 13, 29]), seed=seeds)
def test_in_whatever_batches_as_many_are_seen(batches: list[int], seed: int) -> None:
    reservoir = sample_of(batches, 7, seed)
    assert reservoir.seen == 50 and len(reservoir.patches) == 7


@pytest.mark.parametrize(
    ("batches", "size"), [([20], 5), ([2, 9, 1, 8], 5), ([7, 13], 3), ([1] * 6, 1), ([3, 1, 2], 2)], ids=str
)
def test_every_patch_of_the_stream_is_as_likely_to_stay(batches: list[int], size: int) -> None:
    runs, stream = 600, sum(batches)
    kept = np.zeros(stream)
    for seed in range(runs):
        kept[sample_of(batches, size, seed).patches[:, 0].long().numpy()] += 1
    share = size / stream
    freedom = stream - 1
    chi_square = ((kept - runs * share) ** 2 / (runs * share * (1 - share))).sum() * freedom / stream
    # Six deviations: passed once in some thousand fair samples.
    assert kept.sum() == runs * size and chi_square < freedom + 6 * np.sqrt(2 * freedom)


def test_half_precision_is_taken_too() -> None:
    reservoir = Reservoir(4, 2, generator=seeded())
    for _ in range(3):
        reservoir.add(normal(3, 2).half())
    assert reservoir.patches.dtype == torch.float32 and reservoir.seen == 9
