"""A defect head tells what it was trained on from normal patches, and no fold learns from its own images."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.nn import defect_head  # noqa: E402
from roinspect.nn.defect_head import FOLDS, DefectHead, sees  # noqa: E402

DIMENSIONS = 8


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, DIMENSIONS, generator=seeded(seed))


def defects(count: int, axis: int, seed: int = 1) -> Tensor:
    """Patches that are normal but for one direction."""
    patches = normal(count, seed)
    patches[:, axis] = 5 + 0.2 * patches[:, axis]
    return patches


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defect_head, "_STEPS", 100)
    monkeypatch.setattr(defect_head, "_BATCH", 128)


def fitted(
    patches: Tensor, marked: Tensor, *, seed: int = 0, folds: Tensor | None = None, of: Tensor | None = None
) -> DefectHead:
    head = DefectHead(DIMENSIONS)
    head.fit(
        patches,
        marked,
        torch.arange(len(patches)) % FOLDS if folds is None else folds,
        torch.arange(len(marked)) % FOLDS if of is None else of,
        generator=seeded(seed),
    )
    return head


@torch.no_grad()
def evidence(head: DefectHead, patches: Tensor) -> Tensor:
    """(P, D) to (P,)."""
    return head(patches.T[None, :, :, None])[0, 0, :, 0]


def alone(head: DefectHead, number: int) -> None:
    head.share.zero_()
    head.share[number] = 1


def test_it_separates_what_it_was_trained_on() -> None:
    head = fitted(normal(2000), defects(400, 3))
    of_normal, of_defects = evidence(head, normal(500, 5)), evidence(head, defects(500, 3, 6))
    assert (of_defects > of_normal.quantile(0.99)).float().mean() > 0.95
    assert of_normal.mean() < 0 < of_defects.mean()


def test_without_a_defective_patch_noise_alone_teaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # All steps.
    head = fitted(normal(2000), normal(0))
    far = 3 * normal(500, 5)
    assert evidence(head, far).median() > evidence(head, normal(500, 6)).quantile(0.9)


def test_half_of_the_heads_see_a_fold_and_no_two_the_same_ones() -> None:
    seen = sees(torch.arange(FOLDS)[:, None], torch.arange(FOLDS))
    assert (seen.sum(0) == FOLDS // 2).all() and (seen.sum(1) == FOLDS // 2).all()
    assert len(seen.unique(dim=0)) == FOLDS


def test_those_that_answer_for_a_fold_have_not_learned_from_it() -> None:
    """Each fold's images have a defect that no other image has."""
    folds = torch.arange(FOLDS).repeat_interleave(200)
    marked = torch.cat([defects(200, axis, seed=axis + 1) for axis in range(FOLDS)])
    head = fitted(normal(2000), marked, of=folds)
    for fold in range(FOLDS):
        head.answer_unseen(fold)
        assert head.share.sum() == 1 and (head.share > 0).sum() == FOLDS // 2
        means = torch.stack([evidence(head, defects(300, axis, seed=9)).mean() for axis in range(FOLDS)])
        assert means.argmin() == fold
        # What the other folds' images show does not depend on this fold's.
        changed = marked.clone()
        changed[folds == fold] = 0
        other = fitted(normal(2000), changed, of=folds)
        other.answer_unseen(fold)
        torch.testing.assert_close(evidence(other, marked), evidence(head, marked))
        torch.testing.assert_close(
            head.unseen_evidence(marked, torch.full_like(folds, fold)), evidence(head, marked)
        )


def test_normal_patches_of_a_fold_do_not_matter_to_heads_that_do_not_see_it() -> None:
    patches, folds = normal(800), torch.arange(800) % FOLDS
    changed = patches.clone()
    changed[folds == 2] = 4
    one, other = (fitted(kept, defects(100, 0), folds=folds) for kept in (patches, changed))
    for number in range(FOLDS):
        for head in (one, other):
            alone(head, number)
        is_same = torch.allclose(evidence(one, patches), evidence(other, patches), atol=1e-5)
        assert is_same == (not sees(number, torch.tensor(2)))


def test_the_answer_is_the_mean_of_the_heads_by_their_share() -> None:
    head, patches = fitted(normal(500), defects(100, 1)), normal(50, 3)
    torch.testing.assert_close(head.share, torch.full((FOLDS,), 1 / FOLDS))
    together, answers = evidence(head, patches), []
    for number in range(FOLDS):
        alone(head, number)
        answers.append(evidence(head, patches))
    torch.testing.assert_close(together, torch.stack(answers).mean(0))
    head.share.zero_()
    head.share[1:3] = 0.5
    torch.testing.assert_close(evidence(head, patches), (answers[1] + answers[2]) / 2)
    assert "share" in head.state_dict()


def test_the_seed_decides_and_nothing_else_is_random() -> None:
    patches, marked = normal(300), defects(50, 1)
    before = torch.get_rng_state()
    one, again, other = (fitted(patches, marked, seed=seed) for seed in (0, 0, 1))
    torch.set_rng_state(before)
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(one.hidden.weight, other.hidden.weight)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_patches_of_one_fold_are_enough(count: int) -> None:
    """A head that would be left with nothing learns from its own fold too."""
    head = fitted(normal(count), defects(1, 2), folds=torch.zeros(count).long(), of=torch.zeros(1).long())
    for number in range(FOLDS):
        alone(head, number)
        assert evidence(head, normal(20, 3)).isfinite().all()
        assert evidence(head, defects(1, 2)) > evidence(head, normal(count)).max()


def test_features_far_out_of_range_give_bounded_evidence() -> None:
    head = fitted(normal(500), defects(100, 1))
    bound = defect_head._BOUND
    far = 1e6 * normal(50, 3)
    assert torch.equal(evidence(head, far), evidence(head, far.clamp(-bound, bound)))


def test_maps_of_any_size_and_no_other_cell_matters() -> None:
    head, maps = fitted(normal(300), defects(50, 1)), torch.randn(2, DIMENSIONS, 5, 7, generator=seeded(4))
    with torch.no_grad():
        found = head(maps)
    assert found.shape == (2, 1, 5, 7)
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(found.flatten(), evidence(head, rows))


def test_training_leaves_no_gradients_behind_and_works_without_them() -> None:
    head = DefectHead(DIMENSIONS).requires_grad_(False)
    folds = torch.arange(200) % 4
    with torch.no_grad():
        head.fit(normal(200), defects(200, 1), folds, folds, generator=seeded())
    assert not any(parameter.requires_grad for parameter in head.parameters())
    assert evidence(head, defects(50, 1, 7)).mean() > evidence(head, normal(50, 8)).mean() + 1
