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
from roinspect.nn.memory import Gaussian, NearestNeighbours, Reservoir, greedy_coreset  # noqa: E402

seeds = st.integers(0, 2**32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def filled(patches: Tensor, *, size: int | None = None, reweight: int = 0) -> NearestNeighbours:
    bank = NearestNeighbours(size or len(patches), patches.shape[1], reweight)
    bank.fill(patches)
    return bank


def rows_of(maps: Tensor) -> Tensor:
    """(N, D, h, w) to (N h w, D)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def radius(patches: Tensor, chosen: Tensor) -> float:
    """The farthest that any patch lies from those chosen."""
    return torch.cdist(patches.double(), patches[chosen].double()).amin(1).max().item()


# -- distances ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(*(st.integers(1, limit) for limit in (3, 5, 6))),
    dimensions=st.integers(1, 24),
    count=st.integers(1, 80),
    spare=st.integers(0, 20),
    away=st.floats(-20, 20),
    seed=seeds,
)
def test_distances_are_those_of_cdist(
    shape: tuple[int, int, int], dimensions: int, count: int, spare: int, away: float, seed: int
) -> None:
    n, h, w = shape
    kept = normal(count, dimensions, seed=seed)
    patches = normal(n, dimensions, h, w, seed=seed + 1) + away
    found = filled(kept, size=count + spare)(patches)
    assert found.shape == (n, 1, h, w) and found.dtype == torch.float32
    expected = torch.cdist(rows_of(patches).double(), kept.double()).amin(1)
    # Relative to the lengths that are subtracted: a patch that lies in the memory is at sqrt(rounding).
    rounding = 1e-6 * (rows_of(patches).square().sum(1).max() + kept.square().sum(1).max()).item()
    torch.testing.assert_close(
        rows_of(found)[:, 0].double().square(), expected.square(), atol=rounding, rtol=0
    )
    far = expected > 0.1
    torch.testing.assert_close(
        rows_of(found)[:, 0].double()[far], expected[far], atol=1e-4, rtol=1e-4 * (1 + abs(away))
    )


def test_distances_are_those_of_scikit_learn() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    kept, patches = normal(300, 16), normal(2, 16, 7, 9, seed=1)
    reference = neighbors.NearestNeighbors(n_neighbors=1).fit(kept.numpy())
    expected, _ = reference.kneighbors(rows_of(patches).numpy())
    found = filled(kept)(patches)
    np.testing.assert_allclose(rows_of(found).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    "size", [memory._ROWS_AT_ONCE, memory._ROWS_AT_ONCE + 1, 3 * memory._ROWS_AT_ONCE - 5]
)
def test_a_memory_of_several_blocks_is_one_memory(size: int) -> None:
    kept, patches = normal(size, 6), normal(1, 6, 8, 8, seed=1)
    expected = torch.cdist(rows_of(patches).double(), kept.double()).amin(1)
    torch.testing.assert_close(rows_of(filled(kept)(patches))[:, 0].double(), expected, atol=1e-4, rtol=0)
    # The nearest row may lie in any block.
    for row in (0, memory._ROWS_AT_ONCE - 1, size - 1):
        assert filled(kept)(kept[row].view(1, 6, 1, 1)).item() < 5e-3


@pytest.mark.parametrize("spare", [1, 700, 2 * memory._ROWS_AT_ONCE])
def test_rows_without_a_patch_are_never_the_nearest(spare: int) -> None:
    """Such a row is all zeros: a patch of zeros, and any near it, would find it first."""
    kept = normal(40, 5) + 30
    bank = filled(kept, size=40 + spare, reweight=3)
    patches = torch.cat((torch.zeros(1, 5, 2, 2), 0.1 * normal(1, 5, 2, 2), normal(1, 5, 2, 2) * 1000))
    expected = torch.cdist(rows_of(patches).double(), kept.double()).amin(1)
    torch.testing.assert_close(rows_of(bank(patches))[:, 0].double(), expected, rtol=1e-4, atol=0)
    assert bank.neighbours[:40].max() < 40


def test_what_is_memorised_is_no_distance_away() -> None:
    kept = normal(50, 8)
    found = filled(kept, size=64)(kept.T.reshape(1, 8, 5, 10))
    assert found.isfinite().all() and found.min() >= 0 and found.max() < 5e-3


def test_filling_again_forgets_what_was_there() -> None:
    bank = filled(normal(30, 4), size=32, reweight=2)
    few = normal(3, 4, seed=1) + 5
    bank.fill(few)
    fresh = filled(few, size=32, reweight=2)
    patches = normal(1, 4, 4, 4)
    assert torch.equal(bank(patches), fresh(patches))
    assert torch.equal(bank.certainty(normal(6, 4)), fresh.certainty(normal(6, 4)))


def test_rescaling_is_filling_with_scaled_patches() -> None:
    kept, factors = normal(40, 6), torch.rand(6, generator=seeded()) + 0.2
    bank, fresh = filled(kept, size=50), filled(kept * factors, size=50)
    bank.rescale(factors)
    patches = normal(2, 6, 4, 5, seed=1)
    torch.testing.assert_close(bank(patches), fresh(patches), atol=1e-4, rtol=1e-4)


def test_rescaling_finds_neighbours_anew() -> None:
    kept, factors = normal(40, 6), torch.tensor([10, 1, 1, 0.1, 0.1, 0.1])
    bank, fresh = filled(kept, reweight=4), filled(kept * factors, reweight=4)
    bank.rescale(factors)
    torch.testing.assert_close(bank.certainty(normal(9, 6)), fresh.certainty(normal(9, 6)))


@pytest.mark.parametrize("count", [3, 2500])
def test_differences_are_those_to_the_nearest_row_by_dimension(count: int) -> None:
    kept, patches = normal(30, 6), normal(count, 6, seed=1)
    bank = filled(kept, size=40)
    found = bank.differences(patches)
    nearest = kept[torch.cdist(patches.double(), kept.double()).argmin(1)]
    torch.testing.assert_close(found, (patches - nearest).square(), atol=1e-5, rtol=1e-4)
    assert torch.equal(Gaussian().differences(patches), patches.square())


@pytest.mark.parametrize("count", [0, 5])
def test_what_does_not_fit_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} patches for a memory of 4 rows"):
        NearestNeighbours(4, 3).fill(torch.zeros(count, 3))


def test_the_gaussian_gives_lengths() -> None:
    patches = normal(2, 5, 3, 4)
    torch.testing.assert_close(Gaussian()(patches), patches.norm(dim=1, keepdim=True))
    assert not Gaussian().state_dict()


# -- PatchCore's re-weighting --------------------------------------------------------------------------------


def certainty_by_definition(patch: Tensor, kept: Tensor, count: int) -> float:
    """Eq. 7: 1 - exp|q - m*| / sum of exp|q - m|, over the `count` rows m nearest to m*, q's nearest row."""
    to_rows = [(patch - row).norm().item() for row in kept]
    nearest = int(np.argmin(to_rows))
    among = sorted(range(len(kept)), key=lambda row: (kept[row] - kept[nearest]).norm().item())[:count]
    return float(1 - np.exp(to_rows[nearest]) / sum(np.exp(to_rows[row]) for row in among))


@settings(deadline=None, max_examples=20)
@given(count=st.integers(2, 40), reweight=st.integers(2, 12), spare=st.integers(0, 5), seed=seeds)
def test_certainty_is_patchcores_equation_7(count: int, reweight: int, spare: int, seed: int) -> None:
    kept, patches = normal(count, 6, seed=seed).double(), normal(4, 6, seed=seed + 1).double()
    bank = filled(kept.float(), size=count + spare, reweight=min(reweight, count))
    found = bank.certainty(patches.float())
    assert found.shape == (4,)
    expected = [certainty_by_definition(patch, kept, min(reweight, count)) for patch in patches]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_neighbours_of_a_row_begin_with_itself() -> None:
    kept = normal(60, 6)
    neighbours = filled(kept, size=64, reweight=5).neighbours[:60]
    assert torch.equal(neighbours[:, 0], torch.arange(60))
    expected = torch.cdist(kept.double(), kept.double()).topk(5, largest=False).indices
    assert torch.equal(neighbours, expected)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_certainty_of_a_memory_smaller_than_the_neighbourhood_is_a_number(count: int) -> None:
    kept = normal(count, 4)
    bank = filled(kept, size=8, reweight=5)
    assert bank.neighbours[:count].max() < count
    found = bank.certainty(normal(9, 4, seed=1))
    assert found.isfinite().all() and found.min() > 0 and found.max() < 1


def test_a_patch_off_a_crowd_is_stranger_than_one_off_a_lonely_row() -> None:
    crowd, lonely = torch.randn(20, 2, generator=seeded()) * 0.01, torch.tensor([[50.0, 0.0]])
    bank = filled(torch.cat((crowd, lonely)), reweight=5)
    of_crowd, of_lonely = bank.certainty(torch.tensor([[0.0, 3.0], [50.0, 3.0]]))
    # All of a crowd is equally far away; but to what lies by a lonely row, all others are farther.
    assert of_crowd.item() == pytest.approx(0.8, abs=0.01) and of_lonely > of_crowd


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


def test_distances_by_convolution_are_the_same() -> None:
    bank, patches = filled(normal(290, 5), size=300), normal(2, 5, 3, 4, seed=1)
    expected = bank(patches)
    bank.as_convolution = True
    torch.testing.assert_close(bank(patches), expected, rtol=1e-4, atol=1e-4)
