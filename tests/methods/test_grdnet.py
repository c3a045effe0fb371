"""GRD-Net: who teaches whom, where the ROI steers, the papers' sizes, and a graph that ships alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lightning  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from roinspect.data.loader import Batch  # noqa: E402
from roinspect.errors import UserError  # noqa: E402
from roinspect.images.pixels import write_image  # noqa: E402
from roinspect.inspection.bundle import Bundle, Threshold, save_bundle  # noqa: E402
from roinspect.methods.grdnet import GrdNet, GrdNetGraph  # noqa: E402
from roinspect.methods.grdnet_settings import GrdNetSettings  # noqa: E402
from roinspect.methods.loading import load_graph  # noqa: E402
from roinspect.methods.method import method_class, predict  # noqa: E402
from roinspect.nn.forms import RoiForm  # noqa: E402
from roinspect.nn.steering import segmentation_loss  # noqa: E402

SIZE = (64, 64)
FORMS = get_args(RoiForm)


def steered(logits: Tensor, noise_mask: Tensor, roi_mask: Tensor, settings: GrdNetSettings) -> Tensor:
    return segmentation_loss(
        logits,
        noise_mask,
        roi_mask,
        roi=settings.roi,
        overlap_weight=settings.overlap_weight,
        gamma=settings.focal_gamma,
        alpha=settings.focal_alpha,
    )


NOWHERE = torch.zeros(4, 1, *SIZE)
"""A mask without noise, for `batch`."""


def small(**changes: Any) -> GrdNetSettings:
    return GrdNetSettings(**{"width": 8, "segmenter_width": 8, "latent": 4} | changes)


def batch(count: int = 4, size_hw: tuple[int, int] = SIZE) -> Batch:
    random = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (count, 3, *size_hw), generator=random, dtype=torch.uint8)
    roi_mask = torch.zeros(count, 1, *size_hw, dtype=torch.uint8)
    roi_mask[..., : size_hw[1] // 2] = 1
    label = torch.zeros(count, dtype=torch.int64)
    return Batch(image, roi_mask, torch.zeros_like(roi_mask), label, torch.arange(count))


def trainer(epochs: int = 1, **options: Any) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


def loader(value: Batch) -> DataLoader[Any]:
    return DataLoader([value], batch_size=None)  # type: ignore[arg-type]


def model(settings: GrdNetSettings | None = None, size_hw: tuple[int, int] = SIZE, **options: Any) -> GrdNet:
    torch.manual_seed(0)
    return GrdNet(settings or small(), size_hw, **options)


def gradients(network: nn.Module) -> list[Tensor | None]:
    return [weight.grad for weight in network.parameters()]


def is_touched(network: nn.Module) -> bool:
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients(network))


# -- who teaches whom --------------------------------------------------------------------------------------


def generator_gradient(settings: GrdNetSettings) -> Tensor:
    net = model(settings)
    image = batch().to_float().image
    _, losses = net._generator_losses(image, image, NOWHERE)
    losses["generator"].backward()
    gradient = net.autoencoder.decoder.layers[-2].weight.grad
    assert gradient is not None
    return gradient


def test_the_discriminator_teaches_the_generator() -> None:
    alone = {"contextual_weight": 0.0, "encoder_weight": 0.0}
    assert generator_gradient(small(**alone)).abs().max() > 0
    assert not generator_gradient(small(**alone, adversarial_weight=0.0)).any()
    with_term, without = generator_gradient(small()), generator_gradient(small(adversarial=False))
    assert not torch.allclose(with_term, without, rtol=1e-6, atol=0)


def test_the_real_side_of_feature_matching_is_detached() -> None:
    net = model(small(contextual_weight=0.0, encoder_weight=0.0))
    image = batch().to_float().image.requires_grad_()
    noisy = image.detach().clone()
    _, losses = net._generator_losses(noisy, image, NOWHERE)
    losses["adversarial"].backward()
    assert image.grad is None
    assert is_touched(net.autoencoder)
    fake, _ = net.discriminator(net.autoencoder(noisy)[0])
    real, _ = net.discriminator(image)
    assert losses["adversarial"].item() == pytest.approx(F.mse_loss(fake, real).item(), rel=1e-4)


def test_each_step_moves_its_own_networks_alone() -> None:
    net = model()
    seen: dict[str, set[str]] = {}
    step = GrdNet._step
    networks = ("autoencoder", "second_encoder", "discriminator", "segmenter")

    def watched(self: GrdNet, optimizer: Any, loss: Tensor) -> None:
        before = {name: state(getattr(self, name)) for name in networks}
        for weight in self.parameters():
            weight.grad = None
        step(self, optimizer, loss)
        moved = {name for name in networks if not torch.equal(before[name], state(getattr(self, name)))}
        touched = {name for name in networks if is_touched(getattr(self, name))}
        assert moved == touched
        seen[("generator", "discriminator", "segmenter")[len(seen)]] = moved

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GrdNet, "_step", watched)
        trainer().fit(net, loader(batch()))
    assert seen == {
        "generator": {"autoencoder", "second_encoder"},
        "discriminator": {"discriminator"},
        "segmenter": {"segmenter"},
    }


def state(network: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_the_loss_is_the_weighted_sum_of_the_papers_terms() -> None:
    settings = small(adversarial_weight=2.0, contextual_weight=3.0, encoder_weight=5.0, l1_weight=7.0)
    net = model(settings)
    image = batch().to_float().image
    repaired, losses = net._generator_losses(image, image, NOWHERE)
    contextual = 7 * (repaired - image).abs().mean() + losses["ssim"]
    expected = 2 * losses["adversarial"] + 3 * contextual + 5 * losses["encoder"]
    assert losses["generator"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_of_2026_has_its_terms() -> None:
    settings = small(adversarial=False, context="huber", huber_delta=0.05, noise_loss=4.0, encoder_loss="l1")
    net, image = model(settings), batch().to_float().image
    mask = torch.zeros(len(image), 1, *SIZE)
    mask[..., :20] = 1
    noisy = torch.where(mask > 0, 1 - image, image)
    repaired, losses = net._generator_losses(noisy, image, mask)
    away = (repaired - image).abs()
    huber = torch.where(away < 0.05, away.square() / 0.1, away - 0.025).mean()
    torch.testing.assert_close(losses["contextual"], huber + losses["ssim"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(losses["noise"], away[..., :20].mean(), atol=1e-5, rtol=1e-4)
    expected = 50 * losses["contextual"] + losses["encoder"] + 4 * losses["noise"]
    assert losses["generator"].item() == pytest.approx(expected.item(), rel=1e-5)


# -- the ROI in the loss (Eq. 4 to 9, Table 7) --------------------------------------------------------------


def case(roi: str, noise: str) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 8, 8, generator=random, dtype=torch.float64).requires_grad_()
    left, right = torch.zeros(2, 1, 8, 8, dtype=torch.float64), torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    left[..., :4] = 1
    right[:, :, 2:5, 5:] = 1
    rois = {"all": torch.ones_like(left), "left": left}
    noises = {"outside": right, "both": (left.cumsum(2) < 3) * left + right, "none": torch.zeros_like(left)}
    return logits, noises[noise], rois[roi]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("roi", ["all", "left"])
@pytest.mark.parametrize("noise", ["outside", "both", "none"])
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_every_form_teaches_whatever_the_roi(form: RoiForm, roi: str, noise: str, scale: float) -> None:
    logits, noise_mask, roi_mask = case(roi, noise)
    loss = steered(logits * scale, noise_mask, roi_mask, small(roi=form))
    loss.backward()
    assert loss.isfinite() and loss >= 0 and loss.ndim == 0
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad.any()


def test_only_the_default_learns_from_outside_that_defects_there_are_none() -> None:
    for noise in ("outside", "both"):
        outside = {}
        for form in ("target", "intersection", "none"):
            logits, noise_mask, roi_mask = case("left", noise)
            steered(logits, noise_mask, roi_mask, small(roi=form)).backward()
            assert logits.grad is not None
            outside[form] = logits.grad[(roi_mask == 0) & (noise_mask == 1)]
        # Gradient descent lowers the map on a defect outside the ROI, does nothing, or raises it.
        assert (outside["target"] > 0).all()
        assert (outside["intersection"] == 0).all()
        assert (outside["none"] < 0).all()


def test_intersection_has_no_gradient_anywhere_outside() -> None:
    logits, noise_mask, roi_mask = case("left", "both")
    steered(logits, noise_mask, roi_mask, small(roi="intersection")).backward()
    assert logits.grad is not None
    assert not logits.grad[roi_mask == 0].any() and logits.grad[roi_mask == 1].all()


@pytest.mark.parametrize("roi", ["all", "left"])
@pytest.mark.parametrize("noise", ["outside", "both", "none"])
@pytest.mark.parametrize("gamma", [2.0, 1.5])
@pytest.mark.parametrize("alpha", [None, 0.75])
def test_forms_agree_with_their_formulae(roi: str, noise: str, gamma: float, alpha: float | None) -> None:
    logits, m, r = case(roi, noise)
    a, w, eps = logits.sigmoid(), 0.4, 1e-7

    def focal(probability: Tensor, target: Tensor) -> Tensor:
        p_t = torch.where(target == 1, probability, 1 - probability)
        p_t = p_t * (1 - 2 * eps) + eps
        balance = 1.0 if alpha is None else torch.where(target == 1, alpha, 1 - alpha)
        return -(balance * (1 - p_t) ** gamma * p_t.log()).mean()

    def overlap(region: Tensor) -> Tensor:
        inside, heat, area = (a * region).sum((1, 2, 3)), a.sum((1, 2, 3)), region.sum((1, 2, 3))
        return (inside / torch.minimum(heat, area).clamp_min(1e-7)).mean()

    expected = {
        "target": focal(a, m * r),
        "intersection": focal(a * r, m),
        "overlap": focal(a, m) + w * (1 - overlap(r)),
        "intersection_overlap": focal(a * r, m) + w * (1 - overlap(r)),
        "outside_overlap": focal(a, m) + w * overlap(1 - r),
        "none": focal(a, m),
    }
    for form in FORMS:
        settings = small(roi=form, overlap_weight=w, focal_gamma=gamma, focal_alpha=alpha)
        found = steered(logits, m, r, settings)
        assert found.item() == pytest.approx(expected[form].item(), rel=1e-5, abs=1e-9), form


def test_with_all_of_the_image_as_roi_target_and_intersection_are_none() -> None:
    logits, m, r = case("all", "both")
    losses = {form: steered(logits, m, r, small(roi=form)).item() for form in FORMS}
    assert losses["target"] == losses["none"]
    assert losses["intersection"] == pytest.approx(losses["none"], rel=1e-5)
    assert losses["outside_overlap"] == pytest.approx(losses["none"], rel=1e-5)


# -- the inspection graph ----------------------------------------------------------------------------------


def on_paper(preset: str, size_hw: tuple[int, int] = (256, 256)) -> GrdNetGraph:
    """With the preset's sizes but no memory or time spent on weights."""
    with torch.device("meta"):
        return GrdNet.build_graph(GrdNetSettings.preset(preset), size_hw).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", ["paper", "compact"])
def test_the_latent_is_the_papers(preset: str) -> None:
    image = torch.empty(1, 3, 256, 256, device="meta")
    graph = on_paper(preset)
    _, latent = graph.autoencoder(image)
    assert latent.shape == (1, 32, 8, 8)
    score, anomaly_map, roi_map, novelty = graph(image)
    assert roi_map.shape == (1, 1, 64, 64) and novelty.shape == (1,)
    assert score.shape == (1,) and anomaly_map.shape == (1, 1, 256, 256)


def test_compact_costs_at_most_12_gflop() -> None:
    graph, image = on_paper("compact"), torch.empty(1, 3, 256, 256, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        graph(image)
    assert counter.get_total_flops() <= 12e9


def test_the_mean_filter_scales_with_the_image() -> None:
    assert on_paper("paper").kernel == 21
    for size_hw in ((512, 640), (128, 256), (64, 64), (96, 1024)):
        kernel = on_paper("paper", size_hw).kernel
        assert kernel % 2 == 1 and abs(kernel - 21 * min(size_hw) / 256) <= 1


@pytest.mark.parametrize("size_hw", [(64, 160), (96, 64)])
@pytest.mark.parametrize("count", [1, 2])
def test_the_score_is_the_maximum_of_the_smoothed_map(size_hw: tuple[int, int], count: int) -> None:
    torch.manual_seed(0)
    graph = GrdNet.build_graph(small(smoothing=21), size_hw).eval()
    image = torch.rand(count, 3, *size_hw)
    with torch.no_grad():
        score, anomaly_map, roi_map, _ = graph(image)
        repaired = graph.reconstruct(image)
        raw = graph.segmenter(torch.cat((image, repaired), 1)).sigmoid()
    assert repaired.shape == image.shape and anomaly_map.shape == (count, 1, *size_hw)
    assert torch.equal(score, anomaly_map.amax((1, 2, 3)))
    assert roi_map.shape == (count, 1, size_hw[0] // 4, size_hw[1] // 4)
    assert anomaly_map.min() >= 0 and anomaly_map.max() <= 1
    k = graph.kernel
    padded, inside = F.pad(raw, (k // 2,) * 4), F.pad(torch.ones_like(raw), (k // 2,) * 4)
    ones = torch.ones(1, 1, k, k)
    assert torch.allclose(anomaly_map, F.conv2d(padded, ones) / F.conv2d(inside, ones), atol=1e-5)


def test_an_images_verdict_does_not_depend_on_its_batch() -> None:
    graph = GrdNet.build_graph(small(), SIZE).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), np.uint8)
    together = predict(graph, images)
    alone = predict(graph, images[1:2])
    assert together.pred_score[1] == pytest.approx(alone.pred_score[0], abs=1e-6)
    assert np.allclose(together.anomaly_map[1], alone.anomaly_map[0], atol=1e-6)
    assert together.pred_score.dtype == together.anomaly_map.dtype == np.float32


@pytest.mark.parametrize(
    "changes",
    [{}, {"dense": 16}, {"beta": (0.2, 0.9), "residual": False, "stem": 1}, {"segmenter": "none"}],
)
def test_the_graph_comes_back_from_its_bundle_bit_for_bit(changes: dict[str, Any], tmp_path: Path) -> None:
    net = model(small(**changes), (64, 96))
    # Trained a little, so that the norms' running statistics count.
    trainer().fit(net, loader(batch(size_hw=(64, 96))))
    graph = net.inspection_graph().eval()
    manifest = Bundle("grdnet", dataclasses.asdict(net.settings), (64, 96), Threshold(0.5, "by hand"))
    save_bundle(tmp_path / "bundle", manifest, graph.state_dict())
    bundle, loaded = load_graph(tmp_path / "bundle")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    before, after = predict(graph, images), predict(loaded, images)
    assert np.array_equal(before.pred_score, after.pred_score)
    assert np.array_equal(before.anomaly_map, after.anomaly_map)
    assert not loaded.training and bundle.threshold.value == 0.5


def test_what_only_training_needs_is_not_shipped() -> None:
    net = model()
    shipped = net.inspection_graph().state_dict()
    assert not any("discriminator" in name or "second" in name for name in shipped)
    for other in (net.discriminator, net.second_encoder):
        held = {weight.data_ptr() for weight in other.state_dict().values()}
        assert held.isdisjoint(weight.data_ptr() for weight in shipped.values())


def test_weights_that_do_not_fit_the_settings_are_refused(tmp_path: Path) -> None:
    graph = GrdNet.build_graph(small(), SIZE)
    wider = dataclasses.asdict(dataclasses.replace(small(), width=16))
    save_bundle(tmp_path / "a", Bundle("grdnet", wider, SIZE, Threshold(0, "")), graph.state_dict())
    with pytest.raises(UserError, match="do not fit"):
        load_graph(tmp_path / "a")
    unknown = dataclasses.asdict(small()) | {"depth": 3}
    save_bundle(tmp_path / "b", Bundle("grdnet", unknown, SIZE, Threshold(0, "")), graph.state_dict())
    with pytest.raises(UserError, match="depth"):
        load_graph(tmp_path / "b")


def test_an_unknown_method_is_named() -> None:
    assert method_class("grdnet") is GrdNet
    with pytest.raises(UserError, match=r"grdnet2.*choose one of.*grdnet"):
        method_class("grdnet2")


# -- training ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("textures")
    for name in ("bricks", "bark"):
        picture = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
        write_image(folder / f"{name}.png", picture)
    yield str(folder)


ABLATIONS: dict[str, dict[str, Any]] = {
    "compact": {},
    "dense": {"dense": 32},
    "vanilla": {"residual": False},
    "vanilla dense": {"residual": False, "dense": 32},
    "no discriminator": {"adversarial": False},
    "no discriminator, plateau": {"adversarial": False, "schedule": "plateau"},
    "full grid": {"stem": 1, "blocks": 2, "coordinates": False},
    "plateau": {"schedule": "plateau"},
    "textures": {"texture": 1.0, "pixel": 0.0, "blob": 0.0, "patch": 0.0, "shade": 0.0},
    "balanced focal loss": {"focal_alpha": 0.9, "focal_gamma": 1.0},
    "no U-Net": {"segmenter": "none"},
    "no U-Net, no region": {"segmenter": "none", "roi": "none"},
    "the form of 2026": {
        "segmenter": "none",
        "dense": 32,
        "context": "huber",
        "noise_loss": 1.0,
        "encoder_loss": "l1",
    },
    **{f"roi {form}": {"roi": form} for form in FORMS},
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_trains(name: str, textures: str) -> None:
    changes = ABLATIONS[name] | ({"texture_folder": textures} if name == "textures" else {})
    net = model(small(**changes))
    before = {part: state(getattr(net, part)) for part in ("autoencoder", "segmenter", "discriminator")}
    run = trainer()
    run.fit(net, loader(batch()), loader(batch(2)))
    moved = {part for part, old in before.items() if not torch.equal(old, state(getattr(net, part)))}
    assert moved == (
        {"autoencoder", "segmenter"} | ({"discriminator"} if net.settings.adversarial else set())
    )
    losses = {key: value.item() for key, value in run.callback_metrics.items()}
    assert {"train/segmenter", "held-out/segmenter", "held-out/contextual"} <= set(losses)
    assert all(math.isfinite(value) for value in losses.values())
    assert ("held-out/discriminator" in losses) == net.settings.adversarial


@pytest.mark.parametrize("form", ["compact", "the form of 2026"])
def test_compiled_networks_train_the_same_weights(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_, graphs = torch.compile, []

    def counted(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    def traced(call: Any, **options: Any) -> Any:
        # In one graph each, or the compiler would have little to join.
        return compile_(call, backend=counted, fullgraph=True)

    monkeypatch.setattr(torch, "compile", traced)
    states = {}
    for is_compiled in (False, True):
        torch.compiler.reset()
        net = model(small(**ABLATIONS[form], compile=is_compiled))
        trainer(2).fit(net, loader(batch()), loader(batch(2)))
        states[is_compiled] = {name: value.clone() for name, value in net.state_dict().items()}
        assert bool(graphs) == is_compiled and net._compiled is None
    assert states[True].keys() == states[False].keys()
    for name, value in states[True].items():
        torch.testing.assert_close(value, states[False][name], msg=name)


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_of_any_size_trains_on_a_wide_image(count: int) -> None:
    net = model(size_hw=(64, 96))
    trainer().fit(net, loader(batch(count, (64, 96))))
    assert all(weight.isfinite().all() for weight in net.state_dict().values())


def test_textures_travel_with_the_networks_but_not_into_the_bundle(textures: str) -> None:
    net = model(small(texture=1.0, texture_folder=textures))
    assert net.textures is not None and net.textures.shape == (2, 3, *SIZE)
    assert "textures" in dict(net.named_buffers()) and "textures" not in net.state_dict()


def rates_over(
    held_out: list[tuple[float, float, float]], every: int = 1, **changes: Any
) -> list[list[float]]:
    """Learning rates of generator, discriminator and segmenter after each of their held-out losses."""
    net = model(small(schedule="plateau", learning_rate=1.0, **changes))
    run = trainer(check_val_every_n_epoch=every)
    net.trainer = run
    optimizers, schedulers = net.configure_optimizers()
    names = ("held-out/generator", "held-out/discriminator", "held-out/segmenter")
    rates = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GrdNet, "lr_schedulers", lambda self: schedulers)
        for losses in held_out:
            metrics = {name: torch.tensor(loss) for name, loss in zip(names, losses, strict=True)}
            patch.setattr(lightning.Trainer, "callback_metrics", metrics)
            net.on_validation_epoch_end()
            rates.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
    return rates


def test_after_a_plateau_of_three_epochs_the_rate_falls_by_e_to_the_minus_a_tenth() -> None:
    down = math.exp(-0.1)
    # The generator stands still from the first epoch on, the discriminator from the third.
    losses = [(1.0, max(1.0, 3.0 - epoch), 9.0 - epoch) for epoch in range(8)]
    rates = rates_over(losses)
    columns = list(zip(*rates, strict=True))
    assert columns[0] == pytest.approx([1, 1, 1, down, down, down, down**2, down**2])
    assert columns[1] == pytest.approx([1, 1, 1, 1, 1, down, down, down])
    assert columns[2] == pytest.approx([1] * 8)


def test_a_plateau_is_counted_in_epochs_however_often_losses_are_taken() -> None:
    down, still = math.exp(-0.1), [(1.0, 1.0, 1.0)] * 4
    assert [rate[0] for rate in rates_over(still, every=2)] == pytest.approx([1, 1, down, down])
    assert [rate[0] for rate in rates_over(still, every=5)] == pytest.approx([1, down, down**2, down**3])
    assert [rate[0] for rate in rates_over(still, plateau_epochs=1, plateau_decay=1.0)][:2] == pytest.approx(
        [1, math.exp(-1)]
    )


def test_the_cosine_schedule_ends_near_one_percent() -> None:
    net = model(epochs=50)
    net.trainer = trainer()
    optimizers, schedulers = net.configure_optimizers()
    rates = []
    for _ in range(50):
        rates.append(optimizers[2].param_groups[0]["lr"] / net.settings.learning_rate)
        optimizers[2].step()
        schedulers[2].step()
    assert rates[0] == 1 and rates[25] == pytest.approx(0.505) and 0.01 < rates[-1] < 0.012
    assert rates == sorted(rates, reverse=True)


def test_the_same_step_has_the_same_noise_and_others_have_others() -> None:
    image = batch().to_float().image

    def noise(seed: int, epoch: int, index: int) -> Tensor:
        net = model(small(clean_share=0.0), seed=seed)
        net.trainer = trainer()
        return net._perturbed(image, net.random(epoch, index))[0]

    first = noise(0, 1, 2)
    assert torch.equal(first, noise(0, 1, 2))
    assert not any(torch.equal(first, noise(*key)) for key in ((1, 1, 2), (0, 2, 2), (0, 1, 3), (0, -1, 2)))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"stem": 3}, "method.stem"),
        ({"roi": "targe"}, "method.roi"),
        ({"schedule": "linear"}, "method.schedule"),
        ({"clean_share": 1.5}, "method.clean_share"),
        ({"overlap_weight": -0.1}, "method.overlap_weight"),
        ({"width": 0}, "method.width"),
        ({"dense": 0}, "method.dense"),
        ({"learning_rate": 0.0}, "method.learning_rate"),
        ({"focal_gamma": -1.0}, "method.focal_gamma"),
        ({"focal_alpha": 2.0}, "method.focal_alpha"),
        ({"beta": (0.9, 0.1)}, "method.beta"),
        ({"min_scale": 5, "max_scale": 4}, "method.min_scale"),
        ({"max_scale": 9}, "method.max_scale"),
        ({"patch": -1.0}, "method.patch"),
        ({"pixel": 0.0, "blob": 0.0, "patch": 0.0, "shade": 0.0}, "method.pixel"),
        ({"texture": 1.0}, "method.texture_folder"),
        ({"segmenter": "none", "roi": "overlap"}, "method.roi"),
        ({"segmenter": "u-net"}, "method.segmenter"),
        ({"context": "l2"}, "method.context"),
        ({"noise_loss": -1.0}, "method.noise_loss"),
    ],
)
def test_settings_that_cannot_be_are_named_at_once(change: dict[str, Any], where: str) -> None:
    with pytest.raises(UserError) as caught:
        small(**change)
    assert caught.value.where.startswith(where)


@pytest.mark.parametrize("size_hw", [(100, 64), (64, 32), (32, 32)])
def test_sizes_that_cannot_be_halved_are_refused(size_hw: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="multiples of 32"):
        GrdNet.build_graph(small(), size_hw)


def test_a_texture_folder_without_pictures_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="contains no images"):
            GrdNet(small(texture=1.0, texture_folder=str(folder)), SIZE)
