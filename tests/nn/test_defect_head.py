"""A defect head tells what it was trained on from normal patches, and no fold learns from its own images."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.nn import defect_head  # noqa: E402
from roinspect.nn.defect_head import DefectHead  # noqa: E402

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
        torch.arange(len(patches)) % 4 if folds is None else folds,
        torch.arange(len(marked)) % 4 if of is None else of,
        generator=seeded(seed),
    )
    return head


@torch.no_grad()
def evidence(head: DefectHead, patches: Tensor) -> Tensor:
    """(P, D) to (P,)."""
    return head(patches.T[None, :, :, None])[0, 0, :, 0]


def fold_alone(head: DefectHead, fold: int) -> None:
    head.share.zero_()
    head.share[fold] = 1


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


def test_no_fold_learns_from_its_own_images() -> None:
    """Each fold's images have a defect that no other image has."""
    folds = torch.arange(4).repeat_interleave(200)
    marked = torch.cat([defects(200, axis, seed=axis + 1) for axis in range(4)])
    head = fitted(normal(2000), marked, of=folds)
    for fold in range(4):
        fold_alone(head, fold)
        means = torch.stack([evidence(head, defects(300, axis, seed=9)).mean() for axis in range(4)])
        assert means.argmin() == fold
        # What the other folds' images show does not depend on this fold's.
        changed = marked.clone()
        changed[folds == fold] = 0
        other = fitted(normal(2000), changed, of=folds)
        fold_alone(other, fold)
        assert torch.equal(evidence(other, marked), evidence(head, marked))


def test_normal_patches_of_a_fold_do_not_matter_to_its_head() -> None:
    patches, folds = normal(800), torch.arange(800) % 4
    changed = patches.clone()
    changed[folds == 2] = 4
    one, other = (fitted(kept, defects(100, 0), folds=folds) for kept in (patches, changed))
    for fold in range(4):
        for head in (one, other):
            fold_alone(head, fold)
        assert torch.equal(evidence(one, patches), evidence(other, patches)) == (fold == 2)


def test_the_answer_is_the_mean_of_the_folds_by_their_share() -> None:
    head, patches = fitted(normal(500), defects(100, 1)), normal(50, 3)
    torch.testing.assert_close(head.share, torch.full((4,), 0.25))
    together, alone = evidence(head, patches), []
    for fold in range(4):
        fold_alone(head, fold)
        alone.append(evidence(head, patches))
    torch.testing.assert_close(together, torch.stack(alone).mean(0))
    head.share.copy_(torch.tensor([0.0, 0.5, 0.5, 0.0]))
    torch.testing.assert_close(evidence(head, patches), (alone[1] + alone[2]) / 2)
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
    for fold in range(4):
        fold_alone(head, fold)
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
