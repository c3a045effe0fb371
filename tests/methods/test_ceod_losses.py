"""Losses on explanations in CEOD's training: chosen by one setting, through the same path, with an effect."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import lightning
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from roinspect.data.dataset import DecodedCache  # noqa: E402
from roinspect.data.loader import Batch, EpochSampler, InspectionDataset, train_loader  # noqa: E402
from roinspect.errors import UserError  # noqa: E402
from roinspect.exports.export import export  # noqa: E402
from roinspect.inspection.bundle import read_bundle  # noqa: E402
from roinspect.inspection.inspector import Inspector  # noqa: E402
from roinspect.methods.ceod import Ceod  # noqa: E402
from roinspect.methods.ceod_settings import CeodSettings  # noqa: E402
from roinspect.nn.ceod import ceod_loss  # noqa: E402
from roinspect.nn.forms import ENERGY, Explanation  # noqa: E402
from roinspect.nn.gradcam import linear_cam  # noqa: E402
from roinspect.nn.roi_head import roi_head_loss  # noqa: E402
from roinspect.training.settings import TrainingSettings  # noqa: E402
from roinspect.training.train import train  # noqa: E402

SIZE = (64, 64)
LOSSES = get_args(Explanation)
OMEGA = {"res": 30.0, "rrr": 30.0}
"""Their values are smaller, see the docs."""


def small(**changes: Any) -> CeodSettings:
    """A tiny net with random weights, on an 8 x 8 grid."""
    tiny = {"backbone": "test_efficientnet", "weights": "none", "stride": 8, "block": 8, "pooling": 0.1}
    return CeodSettings(**tiny | changes)


def steered(loss: str, **changes: Any) -> CeodSettings:
    return small(**{"loss": loss, "omega": OMEGA.get(loss, 1.0), "area": "roi", "gate": "all"} | changes)


def trained(
    settings: CeodSettings, cache: DecodedCache, epochs: int = 2, **options: Any
) -> tuple[Ceod, dict[str, float]]:
    """A training, and the last values that it noted."""
    torch.manual_seed(0)
    net = Ceod(settings, SIZE, epochs=epochs)
    net.begin(cache.labels)
    options = {"limit_val_batches": 0} | options
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip
    data = InspectionDataset(cache)
    trainer.fit(net, train_loader(data, 4, 0), train_loader(data, 8, 0, shuffle=False))
    return net, {name: value.item() for name, value in trainer.callback_metrics.items()}


def same(one: Ceod, other: Ceod) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def distance(net: Ceod, settings: CeodSettings, cache: DecodedCache) -> float:
    """What a trained net's explanations cost by the loss of these settings, over all photographs."""
    judge = Ceod(settings, SIZE)
    judge.load_state_dict(net.state_dict())
    judge.eval()
    batch = InspectionDataset(cache).__getitems__(list(range(len(cache)))).to_float()
    seen = batch.image if judge.explains_image else judge.classifier.trunk(batch.image)
    return judge.losses(*judge.explained(seen, batch))[1]["distance"].item()


# -- what stays as it was ----------------------------------------------------------------------------------


def by_hand(settings: CeodSettings, cache: DecodedCache, epochs: int) -> Ceod:
    """CEOD's training, written with the public functions."""
    torch.manual_seed(0)
    net = Ceod(settings, SIZE, epochs=epochs)
    net.begin(cache.labels)
    data = InspectionDataset(cache)
    features = net.features(data, range(len(cache)))
    net.classifier.standardise(features)
    net.train()
    optimizer = torch.optim.Adamax(
        [weight for weight in net.parameters() if weight.requires_grad], lr=settings.learning_rate
    )
    loader = train_loader(data, 4, 0)
    for epoch in range(epochs):
        assert isinstance(loader.sampler, EpochSampler)
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            evidence = net.classifier.head(features[batch.index])
            cells = F.adaptive_avg_pool2d(batch.roi_mask.float(), 8)
            drawn = F.adaptive_max_pool2d(batch.gt_mask.float() * batch.roi_mask.float(), 8)
            is_drawn = (batch.label.view(-1, 1, 1, 1) == 1) & (drawn.amax((1, 2, 3), keepdim=True) > 0)
            heat = linear_cam(evidence.features, net.classifier.linear, 1, against=0)
            loss = ceod_loss(
                evidence.logits, batch.label, heat, torch.where(is_drawn, drawn, cells), settings.omega,
                weight=torch.ones(2),
            ) + roi_head_loss(evidence.roi_logits, cells)  # fmt: skip
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


def test_the_default_is_ceod_to_the_last_bit(cache: DecodedCache) -> None:
    """Of 2024, with its weight, area and gate: no other loss must change it."""
    settings = small(schedule="constant")
    assert (settings.loss, settings.omega, settings.area, settings.gate) == ("ceod", 0.3, "defect", "defects")
    net, _ = trained(settings, cache)
    assert same(net, by_hand(settings, cache, 2))
    assert not same(net, by_hand(dataclasses.replace(settings, omega=0.31), cache, 2))


@pytest.mark.parametrize("loss", LOSSES)
def test_without_weight_every_loss_is_cross_entropy(loss: Any, cache: DecodedCache) -> None:
    plain, _ = trained(steered("ceod", omega=0.0), cache, epochs=1)
    net, _ = trained(steered(loss, omega=0.0), cache, epochs=1)
    assert same(plain, net)


def test_energy_is_the_name_of_three_settings(cache: DecodedCache) -> None:
    named, noted = trained(steered("energy"), cache, epochs=1)
    spelt, expected = trained(steered("ceod", **ENERGY), cache, epochs=1)
    assert same(named, spelt) and noted == expected
    assert not same(named, trained(steered("ceod"), cache, epochs=1)[0])


# -- what each does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "changes", [{"roi_head": False}, {"roi_head": False, "finetune": 6, "learning_rate": 0.005}], ids=str
)
def test_each_loss_lowers_what_it_measures(loss: Any, changes: dict[str, Any], cache: DecodedCache) -> None:
    settings = steered(loss, **changes)
    net, noted = trained(settings, cache, epochs=4)
    plain, _ = trained(dataclasses.replace(settings, omega=0.0), cache, epochs=4)
    assert np.isfinite(list(noted.values())).all()
    assert distance(net, settings, cache) < 0.85 * distance(plain, settings, cache)


@pytest.mark.parametrize("loss", ["evidence", "res", "rrr", "isnet"])
def test_each_loss_has_its_own_effect(loss: Any, cache: DecodedCache) -> None:
    nets = [trained(steered(name, roi_head=False), cache, epochs=1)[0] for name in (loss, "ceod")]
    assert not same(*nets)


@pytest.mark.parametrize("loss", ["rrr", "isnet"])
def test_kept_features_train_as_those_computed_in_every_step(loss: Any, cache: DecodedCache) -> None:
    kept, _ = trained(steered(loss), cache)
    anew, _ = trained(steered(loss, feature_memory_gb=0.0), cache)
    for name, value in kept.state_dict().items():
        torch.testing.assert_close(value, anew.state_dict()[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", ["rrr", "isnet"])
@pytest.mark.parametrize("finetune", [0, 2])
def test_they_explain_the_input_of_what_is_trained(
    loss: Any, finetune: int, cache: DecodedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    losses = Ceod.losses

    def watched(self: Ceod, evidence: Any, batch: Batch, explained: Tensor | None = None) -> Any:
        assert explained is not None
        seen.append(explained)
        return losses(self, evidence, batch, explained)

    monkeypatch.setattr(Ceod, "losses", watched)
    net, _ = trained(steered(loss, finetune=finetune), cache, epochs=1)
    expected = (3, *SIZE) if finetune else (net.classifier.trunk.channels, 8, 8)
    assert {tuple(each.shape[1:]) for each in seen} == {expected}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("finetune", [0, 2])
def test_held_out_parts_are_measured_the_same_way(loss: Any, finetune: int, cache: DecodedCache) -> None:
    """With steps of no size, so that both see the same network; in inference mode, as Lightning does it."""
    settings = steered(loss, finetune=finetune, learning_rate=1e-12, schedule="constant")
    net, noted = trained(settings, cache, epochs=1, limit_val_batches=1.0)
    assert noted["held-out/distance"] == pytest.approx(distance(net, settings, cache), rel=1e-3)
    assert noted["held-out/distance"] > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_stays_finite(loss: Any, cache: DecodedCache) -> None:
    for finetune in (0, 2):
        net, noted = trained(steered(loss, finetune=finetune), cache, epochs=1, precision="bf16-mixed")
        assert np.isfinite(list(noted.values())).all()
        assert all(value.isfinite().all() for value in net.state_dict().values())


def test_isnet_trains_a_network_with_batch_norms_in_training(cache: DecodedCache) -> None:
    settings = steered("isnet", backbone="customnet", learning_rate=0.002)
    net, noted = trained(settings, cache, epochs=1)
    assert noted["train/distance"] > 0 and np.isfinite(list(noted.values())).all()
    assert all(value.isfinite().all() for value in net.state_dict().values())


def test_evidence_pulls_where_ceod_has_no_gradient(cache: DecodedCache) -> None:
    """The first feature lights up on the right, where nobody inspects; the second on the left, unused."""
    features = torch.zeros(len(cache), 2, 8, 8)
    features[:, 0, :, 6:] = 1
    features[:, 1, :, :2] = 1
    shares = {}
    for loss in ("ceod", "energy", "evidence"):
        settings = steered(loss, block=0, roi_head=False, coordinates=False, margin=False, pooling=1.0)
        net = Ceod(settings, SIZE)
        net.classifier.linear = torch.nn.Linear(2, 2)
        with torch.no_grad():
            net.classifier.linear.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, -0.3]]))
        net.classifier.roi_head = torch.nn.Conv2d(2, 1, 1)
        weight = net.classifier.linear.weight
        optimizer = torch.optim.Adam([weight], lr=0.05)
        roi_mask = torch.zeros(len(cache), 1, *SIZE)
        roi_mask[..., :24] = 1
        label = torch.ones(len(cache), dtype=torch.int64)
        batch = Batch(torch.zeros(len(cache), 3, *SIZE), roi_mask, 0 * roi_mask, label, label)
        net.classifier.shift, net.classifier.scale = torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1)
        for _ in range(80):
            evidence = net.classifier.head(features)
            terms, _ = net.losses(evidence._replace(logits=evidence.logits.detach()), batch)
            optimizer.zero_grad()
            if terms.requires_grad:
                terms.backward()
            optimizer.step()
        heat = net.classifier.heatmap(features)
        shares[loss] = (heat[..., :3].sum() / heat.sum()).item()
    assert shares["ceod"] == shares["energy"] == 0, "no gradient, so all heat stays outside"
    assert shares["evidence"] > 0.8


# -- from photographs to an exported graph -----------------------------------------------------------------


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "ceod"])
def test_it_is_trained_and_exported_like_any_other(loss: Any, parts: Path, tmp_path: Path) -> None:
    """The graph that ships does not depend on the loss, so one export, of the farthest, stands for all."""
    training = TrainingSettings(size="64", epochs=2, batch_size=8, accelerator="cpu", threads=1)
    train("ceod", parts, tmp_path / "bundle", method_settings=steered(loss), training=training)
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.method_settings["loss"] == loss
    assert {"train/distance", "held-out/distance"} <= set(bundle.history)
    runtime = "torch"
    if loss == "isnet":
        export(tmp_path / "bundle", "onnx")
        runtime = "onnxruntime"
    verdict = Inspector.load(tmp_path / "bundle", runtime).inspect(next(parts.parent.glob("test_*.png")))
    assert 0 < verdict.pred_score < 1


# -- what cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "name", "value"),
    [
        ("energy", "variant", "linear"),
        ("energy", "soften", "none"),
        ("evidence", "denominator", "heatmap"),
        ("evidence", "cam", "autograd"),
        ("res", "soften", "falloff"),
        ("rrr", "resolution", "image"),
        ("isnet", "clip", "hard"),
        ("isnet", "detach_weights", True),
    ],
)
def test_a_setting_without_effect_is_refused_in_one_line(loss: Any, name: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        small(loss=loss, **{name: value})
    assert caught.value.where == f"method.{name}" and f"no effect with loss {loss}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert getattr(small(**{name: value}), name) == value


def test_what_each_loss_uses_may_be_set() -> None:
    assert small(loss="evidence", soften="falloff", reach=8).reach == 8
    assert small(loss="energy", cam="autograd", resolution="image").overlap["variant"] == "linear"
    for loss in LOSSES:
        assert CeodSettings(loss=loss, gate="all", area="roi", omega=3.0).loss == loss


def test_rrr_is_refused_where_the_gradients_of_a_batch_mix() -> None:
    with pytest.raises(UserError, match=r"method\.loss: .*use isnet") as caught:
        Ceod(small(backbone="customnet", loss="rrr"), SIZE)
    assert "\n" not in str(caught.value)
    Ceod(small(backbone="customnet", loss="rrr", omega=0.0), SIZE)


def test_a_loss_on_the_input_is_not_computed_without_it(cache: DecodedCache) -> None:
    net = Ceod(steered("isnet"), SIZE)
    batch = InspectionDataset(cache).__getitems__([0, 1]).to_float()
    with pytest.raises(ValueError, match="explained_input"):
        net.losses(net.classifier(batch.image), batch)
