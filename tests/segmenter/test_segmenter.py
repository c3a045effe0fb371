"""The segmenter: few masks teach it a region, moved together with its images, and it gives no verdicts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from torch import Tensor  # noqa: E402

from roinspect.cli import main  # noqa: E402
from roinspect.comparison.compare import ALL, CompareSettings  # noqa: E402
from roinspect.data.loader import Batch  # noqa: E402
from roinspect.errors import UserError  # noqa: E402
from roinspect.images.pixels import write_image  # noqa: E402
from roinspect.inspection.bundle import read_bundle, read_weights  # noqa: E402
from roinspect.inspection.inspector import Inspector  # noqa: E402
from roinspect.methods.loading import load_graph  # noqa: E402
from roinspect.methods.registry import METHODS  # noqa: E402
from roinspect.segmenter.finder import confidence  # noqa: E402
from roinspect.segmenter.segmenter import (  # noqa: E402
    Segmenter,
    load_segmenter,
    mutual_iou,
    probabilities,
)
from roinspect.segmenter.segmenter_bundle import read_segmenter  # noqa: E402
from roinspect.segmenter.settings import SegmenterSettings  # noqa: E402
from roinspect.training.segmenter import train_segmenter  # noqa: E402
from roinspect.training.settings import TrainingSettings  # noqa: E402

TINY = SegmenterSettings(
    backbone="test_convnext", weights="none", strides=(4, 8), width=8, learning_rate=0.01
)
# Seven images, a batch of one: a checkpoint every sixth epoch.
RUN = TrainingSettings(size="64", epochs=4, batch_size=1, accelerator="cpu", threads=1, memory_gb=0.1)


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def disc(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A bright disc somewhere on a dark table (64, 64, 3), and its mask (64, 64)."""
    image = rng.integers(20, 60, (64, 64, 3)).astype(np.uint8)
    rows, columns = np.ogrid[:64, :64]
    y, x = rng.integers(20, 44, 2)
    mask = ((rows - y) ** 2 + (columns - x) ** 2 <= 14**2).astype(np.uint8)
    image[mask > 0] += 150
    return image, mask


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs, good and defective; eight have a mask in an incomplete `roi/` tree."""
    root, rng = tmp_path_factory.mktemp("discs"), np.random.default_rng(0)
    for number in range(12):
        image, mask = disc(rng)
        category = "good" if number % 2 else "scratch"
        write_image(root / "train" / category / f"{number}.png", image)
        if number < 8:
            write_image(root / "roi" / "train" / category / f"{number}.png", mask * 255)
    return root


def trained(
    data: Path, out: Path, *, epochs: int = 4, resume: bool = False, roi: str = "auto", **method: Any
) -> Path:
    settings, training = dataclasses.replace(TINY, **method), dataclasses.replace(RUN, epochs=epochs)
    train_segmenter(data, out, settings=settings, training=training, resume=resume, roi=roi)
    return out


@pytest.fixture(scope="module")
def answers() -> list[Tensor]:
    """What the graph of `bundle` said before it was written."""
    return []


@pytest.fixture(scope="module")
def bundle(few: Path, answers: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    class Watched(Segmenter):
        def judge(self, *given: Any) -> Any:
            with torch.inference_mode():
                answers.append(self.graph(photos(2)))
            return super().judge(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("roinspect.training.segmenter.Segmenter", Watched)
        return trained(few, tmp_path_factory.mktemp("models") / "discs", epochs=16)


@pytest.fixture(scope="module")
def tuned(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its backbone trained too."""
    return trained(few, tmp_path_factory.mktemp("models") / "tuned", epochs=8, backbone_learning_rate=1e-3)


def photos(count: int, h: int = 64, w: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, h, w, generator=torch.Generator().manual_seed(seed))


def fresh(**changes: Any) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(dataclasses.replace(TINY, **changes), (64, 64))


# -- the graph -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_hw", [(64, 64), (61, 100)], ids=str)
@pytest.mark.parametrize("coordinates", [True, False])
def test_an_image_is_answered_by_itself_alone(size_hw: tuple[int, int], coordinates: bool) -> None:
    graph, images = fresh(coordinates=coordinates).graph.eval().requires_grad_(False), photos(3, *size_hw)
    probability = graph(images)
    assert probability.shape == (3, 1, *size_hw)
    assert probability.min() >= 0 and probability.max() <= 1
    alone = torch.cat([graph(image[None]) for image in images])
    torch.testing.assert_close(alone, probability, rtol=1e-4, atol=1e-5)


def test_certain_maps_leave_no_doubt() -> None:
    mask = (photos(1)[0, 0] > 0.7).float().numpy()
    region = mask.astype(np.uint8)
    assert confidence(mask, region) == 1
    assert 0 < confidence(0.5 + 0.4 * (mask - 0.5), region) < 1
    assert confidence(0 * mask, 0 * region) == 0
    assert confidence(0 * mask + 0.75, 0 * region + 1) == 0.5


def test_the_graph_comes_back_from_its_bundle_bit_for_bit(bundle: Path, answers: list[Tensor]) -> None:
    _, graph = load_segmenter(bundle)
    with torch.inference_mode():
        assert torch.equal(graph(photos(2)), answers[0])


def test_answers_that_are_no_numbers_are_refused() -> None:
    graph = fresh().graph.eval()
    graph.decoder.last.bias.data.fill_(math.nan)
    with pytest.raises(UserError, match="NaN or infinity"):
        probabilities(graph, np.zeros((1, 64, 64, 3), np.uint8))


# -- what it is shown ----------------------------------------------------------------------------------------


def batch_of(image: Tensor, mask: Tensor) -> Batch:
    count = torch.zeros(len(image), dtype=torch.int64)
    return Batch(image, mask, torch.zeros_like(mask), count, count)


def discs(count: int) -> tuple[Tensor, Tensor]:
    drawn = [disc(np.random.default_rng(seed)) for seed in range(count)]
    images, masks = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
    return images.permute(0, 3, 1, 2).float() / 255, masks[:, None].float()


def test_image_and_mask_move_together() -> None:
    model, (image, mask) = fresh(pasted=0.0, gaps=0.0, light=0.0, tint=0.0), discs(8)
    model.moves = True
    moved, moved_mask = model.changed(batch_of(image, mask), model.random(0, 0))
    assert not torch.equal(moved_mask, mask) and set(moved_mask.unique().tolist()) == {0, 1}
    # The disc is told by its brightness; at its border pixels are blended.
    differs = (moved.mean(1, keepdim=True) > 0.4).float() != moved_mask
    assert differs.float().mean() < 0.02


def test_pasted_defects_change_the_image_and_never_the_mask() -> None:
    model, (image, mask) = fresh(pasted=1.0, gaps=0.0, light=0.0, tint=0.0), discs(8)
    damaged, same_mask = model.changed(batch_of(image, mask), model.random(0, 0))
    assert torch.equal(same_mask, mask)
    inside = ((damaged != image).any(1, keepdim=True) & (mask > 0)).flatten(1).any(1)
    assert inside.float().mean() >= 0.5


def test_what_lies_around_covers_parts_of_the_region_alone_and_never_changes_the_mask() -> None:
    model, mask = fresh(pasted=0.0, gaps=1.0, light=0.0, tint=0.0), torch.zeros(8, 1, 64, 64)
    mask[..., 16:48] = 1
    image = torch.where(mask > 0, 0.9, 0.2).expand(-1, 3, -1, -1).contiguous()
    covered, same_mask = model.changed(batch_of(image, mask), model.random(0, 0))
    assert torch.equal(same_mask, mask)
    changed = (covered != image).any(1, keepdim=True)
    assert changed.flatten(1).any(1).float().mean() >= 0.5 and not changed[mask == 0].any()
    assert (covered[changed.expand_as(covered)] == 0.2).all()


def test_a_step_is_the_same_each_time_it_is_taken() -> None:
    model, (image, mask) = fresh(), discs(2)
    model.moves = True
    one, other = (model.changed(batch_of(image, mask), model.random(3, 1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_how_far_masks_overlap_says_whether_the_region_moves() -> None:
    still = np.zeros((5, 8, 8), np.uint8)
    still[:, :4] = 1
    moving = np.stack([np.roll(still[0], shift, axis=0) for shift in range(4)])
    assert mutual_iou(still) == mutual_iou(still[:1]) == 1 and mutual_iou(moving) < 0.6


# -- training ------------------------------------------------------------------------------------------------


def test_few_masks_are_enough_and_labels_do_not_matter(bundle: Path) -> None:
    found = read_segmenter(bundle)
    assert found.training["images"] + found.training["held_out_images"] == 8
    assert found.metrics["held_out_images"] == 1 and found.metrics["held_out_iou"] > 0.8
    # One image was held out, so its confidence is the lowest.
    assert found.least_confidence == pytest.approx(0.9 * found.metrics["held_out_confidence"], abs=1e-3)


def test_a_region_of_a_fixed_place_is_learned_from_the_place(tmp_path: Path) -> None:
    rng, mask = np.random.default_rng(0), np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    for number in range(8):
        write_image(
            tmp_path / "data" / "good" / f"{number}.png", rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
        )
    write_image(tmp_path / "left.png", mask)
    found = trained(tmp_path / "data", tmp_path / "bundle", roi=str(tmp_path / "left.png"))
    assert read_segmenter(found).metrics["held_out_iou"] > 0.9


def test_too_few_masks_are_an_error_that_counts_them(few: Path, tmp_path: Path) -> None:
    (tmp_path / "roi" / "train" / "good").mkdir(parents=True)
    for number in (1, 3):
        name = f"train/good/{number}.png"
        (tmp_path / "roi" / name).write_bytes((few / "roi" / name).read_bytes())
    with pytest.raises(UserError, match=r"2 of 12 photographs have an ROI mask in .*roi, .* at least 3"):
        trained(few, tmp_path / "bundle", roi=str(tmp_path / "roi"))
    with pytest.raises(UserError, match="0 of 12"):
        trained(few, tmp_path / "bundle", roi="none")


def test_a_killed_training_resumes_to_the_same_bundle(few: Path, tmp_path: Path, tuned: Path) -> None:
    step, out = Segmenter.training_step, tmp_path / "bundle"

    def training_step(self: Segmenter, batch: Batch, batch_index: int) -> Tensor:
        if self.current_epoch == 7:
            raise RuntimeError("killed")
        return step(self, batch, batch_index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segmenter, "training_step", training_step)
        with pytest.raises(RuntimeError, match="killed"):
            trained(few, out, epochs=8, backbone_learning_rate=1e-3)
    assert not out.exists()
    taken = list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Segmenter, "training_step", lambda self, *given: (taken.append(1), step(self, *given))[1]
        )
        trained(few, out, epochs=8, resume=True, backbone_learning_rate=1e-3)
    assert len(taken) == 2 * 7, "it went on from the sixth epoch"
    one, other = read_weights(out), read_weights(tuned)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_frozen_backbone_stays_as_it_was_and_a_tuned_one_does_not(bundle: Path, tuned: Path) -> None:
    for out in (bundle, tuned):
        torch.manual_seed(RUN.seed)
        before = Segmenter(TINY, (64, 64)).graph.backbone.state_dict()
        after = read_weights(out)
        same = all(torch.equal(after[f"backbone.{name}"], value) for name, value in before.items())
        assert same == (out == bundle)


# -- who must not ask it -------------------------------------------------------------------------------------


def test_verbs_that_give_verdicts_refuse_it(
    few: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(few / "train" / "good" / "1.png")
    for words in (
        ["evaluate", str(bundle), str(few), "--split", "train", "--out", str(tmp_path / "report")],
        ["predict", str(bundle), photo],
        ["predict", str(bundle), photo, "--on", "ray", "--out", str(tmp_path / "table.csv")],
        ["export", str(bundle), "--to", "torchscript"],
        ["calibrate", str(bundle), str(few), "--threshold", "0.5"],
        ["serve", str(bundle), "--port", "0"],
        ["watch", str(bundle), str(few), "--out", str(tmp_path / "seen.jsonl")],
    ):
        assert main(words) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "is a segmenter" in line]
        assert "roi predict" in line
    for load in (Inspector.load, load_graph, read_bundle):
        with pytest.raises(UserError, match="is a segmenter"):
            load(bundle)
    with pytest.raises(UserError, match=r"such (a )?method"):
        CompareSettings(methods=("segmenter",))
    assert "segmenter" not in ALL and "segmenter" not in METHODS


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("moves", ("sometimes", "")),
        ("strides", ((), (16, 8), (8, 8), (0, 8))),
        ("width", (0, -8, 12)),
        *((name, (-0.1, 1.1, math.nan)) for name in ("shift", "light", "tint", "pasted", "gaps")),
        *((name, (-0.1, 1.1, math.nan)) for name in ("smallest_part", "largest_hole")),
        *((name, (-0.1, 11.0, math.nan)) for name in ("learning_rate", "backbone_learning_rate")),
        ("rotation", (-1.0, 181.0, math.nan)),
        ("zoom", (-0.1, 1.0, math.nan)),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(UserError, match=f"method.{name}"):
            dataclasses.replace(TINY, **{name: value})


def test_presets() -> None:
    assert SegmenterSettings.preset("compact") == SegmenterSettings()
    assert SegmenterSettings.preset("paper").backbone_learning_rate > 0
