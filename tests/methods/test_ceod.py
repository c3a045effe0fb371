"""CEOD in training: what is trained and what stays, one code for cross-entropy too, one graph that ships."""

from __future__ import annotations

import dataclasses
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from roinspect.data.dataset import DecodedCache  # noqa: E402
from roinspect.data.loader import Batch, EpochSampler, InspectionDataset, train_loader  # noqa: E402
from roinspect.errors import UserError  # noqa: E402
from roinspect.inspection.bundle import Bundle, Threshold, save_bundle  # noqa: E402
from roinspect.methods.ceod import Ceod  # noqa: E402
from roinspect.methods.ceod_settings import CeodSettings  # noqa: E402
from roinspect.methods.loading import load_graph  # noqa: E402
from roinspect.methods.method import method_class, predict  # noqa: E402
from roinspect.nn.backbone import PACKAGED, Backbone  # noqa: E402

SIZE = (64, 64)
PAPER_HEAD = {"block": 0, "roi_head": False, "coordinates": False, "pooling": 1.0, "margin": False}
"""Pooling and one linear layer, as in the papers."""


def small(**changes: Any) -> CeodSettings:
    """A tiny net with random weights, on an 8 x 8 grid."""
    tiny = {"backbone": "test_efficientnet", "weights": "none", "stride": 8, "block": 8, "pooling": 0.1}
    return CeodSettings(**tiny | changes)


def model(settings: CeodSettings | None = None, **options: Any) -> Ceod:
    torch.manual_seed(0)
    return Ceod(settings or small(), SIZE, **options)


def fit(net: Ceod, cache: DecodedCache, epochs: int = 2, **options: Any) -> lightning.Trainer:
    """Train, without held-out losses unless `limit_val_batches` is given."""
    net.begin(cache.labels)
    options = {"limit_val_batches": 0} | options
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip
    data = InspectionDataset(cache)
    trainer.fit(net, train_loader(data, 4, 0), train_loader(data, 8, 0, shuffle=False))
    return trainer


def trained(settings: CeodSettings, cache: DecodedCache, epochs: int = 2, **options: Any) -> Ceod:
    net = model(settings, epochs=epochs)
    fit(net, cache, epochs, **options)
    return net


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(before[name], tensor)}


def assert_alike(one: nn.Module, other: nn.Module, tolerance: float = 1e-5, but: str = "-") -> None:
    for name, tensor in one.state_dict().items():
        if but in name:
            continue
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=tolerance, atol=tolerance)


def convolutions(net: Ceod) -> list[str]:
    """Names of the trunk's convolutions, in the order in which an image passes them."""
    passed: list[str] = []
    trunk = net.classifier.trunk

    def watch(name: str) -> Callable[..., None]:
        return lambda *_: passed.append(name)

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in trunk.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        trunk(torch.rand(1, 3, *SIZE))
    for hook in hooks:
        hook.remove()
    return passed


# -- cross-entropy alone is the same code -------------------------------------------------------------------


def cross_entropy_by_hand(settings: CeodSettings, cache: DecodedCache, epochs: int) -> Ceod:
    net = model(settings)
    net.begin(cache.labels)
    labels, weight = torch.from_numpy(cache.labels), torch.ones(2)
    if settings.balanced:
        weight = len(labels) / (2 * torch.bincount(labels).float())
    if settings.backbone != "customnet":
        everything = InspectionDataset(cache).__getitems__(list(range(len(cache)))).to_float().image
        with torch.no_grad():
            net.classifier.standardise(net.classifier.trunk(everything))
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adamax(learned, lr=settings.learning_rate)
    loader = train_loader(InspectionDataset(cache), 4, 0)
    for epoch in range(epochs):
        assert isinstance(loader.sampler, EpochSampler)
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            logits = net.classifier(batch.to_float().image).logits
            loss = (weight[batch.label] * F.cross_entropy(logits, batch.label, reduction="none")).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"balanced": True, "gate": "defects"},
        PAPER_HEAD,
        PAPER_HEAD | {"finetune": 3, "cam": "autograd"},
        {"backbone": "customnet"},
    ],
    ids=str,
)
def test_omega_zero_is_plain_cross_entropy(changes: dict[str, Any], cache: DecodedCache) -> None:
    plain = {"roi_head": False, "omega": 0.0, "schedule": "constant", "learning_rate": 0.002}
    settings = small(**plain | changes)
    net, by_hand = trained(settings, cache), cross_entropy_by_hand(settings, cache, 2)
    # Without a gate the ROI head learns beside the classifier, and does not move it.
    assert_alike(net, by_hand, 1e-4, but="roi_head")
    assert changed(state(model(settings)), net)
    steered = trained(dataclasses.replace(settings, omega=1.0, cam="closed"), cache)
    assert not torch.allclose(steered.classifier.linear.weight, net.classifier.linear.weight, atol=1e-3)


def test_rare_classes_weigh_more_and_all_weights_together_one_each(cache: DecodedCache) -> None:
    net = model(small(balanced=True))
    net.begin(cache.labels)
    good, defective = np.bincount(cache.labels)
    weight = net.class_weight.double().numpy()
    assert weight[1] / weight[0] == pytest.approx(good / defective)
    assert weight @ (good, defective) == pytest.approx(good + defective)


def test_without_weights_the_first_answers_are_the_classes_shares(cache: DecodedCache) -> None:
    net = model()
    net.begin(cache.labels)
    assert net.class_weight.tolist() == [1, 1]
    first = net.classifier.linear.bias.detach().softmax(0)
    assert first.tolist() == pytest.approx([17 / 22, 5 / 22])


# -- what is trained and what stays --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"feature_memory_gb": 0.0}, {"rotation": 5.0, "light": 0.1}], ids=str
)
def test_a_frozen_trunk_stays_to_the_last_byte(changes: dict[str, Any], cache: DecodedCache) -> None:
    net = model(small(**changes))
    before, head = state(net.classifier.trunk), state(net.classifier)
    fit(net, cache)
    assert not changed(before, net.classifier.trunk)
    moved = changed(head, net.classifier)
    assert {"block.0.weight", "linear.weight", "linear.bias", "roi_head.0.weight", "shift"} <= moved


@pytest.mark.parametrize("count", [1, 4, 10])
def test_finetuning_trains_just_the_last_convolutions(count: int, cache: DecodedCache) -> None:
    net = model(small(finetune=count))
    before = state(net.classifier.trunk)
    fit(net, cache, epochs=1)
    last = convolutions(net)[-count:]
    assert len(last) == min(count, 6)
    assert changed(before, net.classifier.trunk) == {f"{name}.weight" for name in last}


@pytest.mark.parametrize("finetune", [0, 3])
def test_batch_norms_of_a_pretrained_trunk_never_train(
    finetune: int, cache: DecodedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    step = Ceod.training_step

    def watched(self: Ceod, batch: Batch, batch_index: int) -> Tensor:
        seen.append((self.classifier.trunk.training, self.classifier.block.training))
        assert not any(module.training for module in self.classifier.trunk.modules())
        return step(self, batch, batch_index)

    monkeypatch.setattr(Ceod, "training_step", watched)
    trained(small(finetune=finetune), cache, limit_val_batches=1.0)
    # Also after the validation that lies between both epochs.
    assert seen == [(False, True)] * 10


def test_customnet_is_trained_whole(cache: DecodedCache) -> None:
    net = model(small(backbone="customnet"))
    before = state(net.classifier)
    fit(net, cache, epochs=1)
    # Biases before a batch norm have no effect; what stays are the features' scales.
    moved = changed(before, net.classifier)
    assert {name for name in before if "running_" in name or name.endswith("weight")} <= moved
    assert not {"shift", "scale"} & moved and "features" not in " ".join(
        dict(net.classifier.named_children())
    )


# -- features that are kept ----------------------------------------------------------------------------------


def images_through_the_trunk(settings: CeodSettings, cache: DecodedCache) -> tuple[Ceod, int]:
    """A training of three epochs, and how many images its trunk has seen."""
    net, count = model(settings, epochs=3), []
    net.classifier.trunk.register_forward_pre_hook(lambda _, inputs: count.append(len(inputs[0])))
    fit(net, cache, epochs=3)
    return net, sum(count)


@pytest.mark.parametrize("changes", [{}, PAPER_HEAD, PAPER_HEAD | {"cam": "autograd"}], ids=str)
def test_kept_features_train_as_those_computed_in_every_step(
    changes: dict[str, Any], cache: DecodedCache
) -> None:
    kept, passed = images_through_the_trunk(small(**changes), cache)
    anew, passed_anew = images_through_the_trunk(small(feature_memory_gb=0.0, **changes), cache)
    assert_alike(kept, anew, 1e-4)
    # One image is measured for its size, and all of these few tell how the channels are scaled.
    assert passed == 2 * len(cache) + 1
    assert passed_anew == len(cache) + 1 + 3 * 20


@pytest.mark.parametrize("changes", [{"rotation": 5.0}, {"light": 0.1}, {"finetune": 1}], ids=str)
def test_features_that_change_are_not_kept(changes: dict[str, Any], cache: DecodedCache) -> None:
    _, passed = images_through_the_trunk(small(**changes), cache)
    assert passed == len(cache) + 3 * 20


def test_features_may_be_given(cache: DecodedCache) -> None:
    net, alone = model(), model()
    net.keep(net.features(InspectionDataset(cache), range(len(cache))))
    net.classifier.trunk.register_forward_pre_hook(lambda *_: pytest.fail("computed again"))
    fit(net, cache)
    fit(alone, cache)
    assert all(torch.equal(tensor, alone.state_dict()[name]) for name, tensor in net.state_dict().items())


# -- the heatmap's two forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"margin": False, "detach_weights": True},
        PAPER_HEAD,
        PAPER_HEAD | {"feature_memory_gb": 0.0},
        PAPER_HEAD | {"finetune": 3, "gate": "defects"},
    ],
    ids=str,
)
def test_the_closed_form_trains_as_automatic_differentiation(
    changes: dict[str, Any], cache: DecodedCache
) -> None:
    settings = small(**{"omega": 1.0, "learning_rate": 0.002} | changes)
    closed = trained(settings, cache)
    by_autograd = trained(dataclasses.replace(settings, cam="autograd"), cache)
    assert_alike(closed, by_autograd, 1e-3)
    unsteered = trained(dataclasses.replace(settings, omega=0.0), cache)
    gap = (closed.classifier.linear.weight - unsteered.classifier.linear.weight).abs().max()
    assert gap > 0.001, "the distance has taught something"


def test_automatic_differentiation_through_a_training_batch_norm_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"method\.cam: .*use closed") as caught:
        model(small(backbone="customnet", cam="autograd"))
    assert "\n" not in str(caught.value)
    model(small(backbone="customnet", cam="autograd", omega=0.0))


# -- where the heat should lie -----------------------------------------------------------------------------


def distance(lit: tuple[int, int], drawn: tuple[int, int] | None, **changes: Any) -> float:
    """What one defective part costs whose heat lies in one cell and whose left half is inspected.

    Both places are (row, column) of the 8 x 8 cells; nothing is drawn for None.
    """
    net = model(small(**PAPER_HEAD | {"soften": "none"} | changes)).eval()
    with torch.no_grad():
        net.classifier.linear.weight.abs_()
    features = torch.zeros(1, net.classifier.linear.in_features, 8, 8)
    features[:, :, lit[0], lit[1]] = 1
    roi_mask, gt_mask = torch.zeros(1, 1, *SIZE), torch.zeros(1, 1, *SIZE)
    roi_mask[..., :32] = 1
    if drawn is not None:
        gt_mask[..., 8 * drawn[0], 8 * drawn[1]] = 1
    batch = Batch(torch.zeros(1, 3, *SIZE), roi_mask, gt_mask, torch.tensor([1]), torch.tensor([0]))
    _, noted = net.losses(net.classifier.head(features), batch)
    return noted["distance"].item()


def test_the_roi_takes_heat_anywhere_inside_and_a_drawn_defect_on_it_alone() -> None:
    inside, on_it, outside = (1, 1), (5, 2), (5, 6)
    assert distance(inside, on_it, area="roi") < 1e-3 < 1 < distance(outside, on_it, area="roi")
    # One pixel is drawn: it must not fade in its cell.
    assert distance(on_it, on_it, area="defect") < 1e-3
    assert distance(inside, on_it, area="defect") > 10
    assert distance(outside, on_it, area="defect") > 10


def test_what_is_drawn_outside_the_roi_or_not_at_all_changes_nothing() -> None:
    for lit in ((1, 1), (5, 6)):
        for drawn in (None, (5, 6)):
            assert distance(lit, drawn, area="defect") == distance(lit, drawn, area="roi")


def test_the_drawn_defect_is_turned_with_the_image() -> None:
    """Black but for a bright half, on which all of the drawing lies: so it does after any turn."""
    net = model(small(rotation=180.0))
    image, drawn = torch.zeros(8, 3, *SIZE, dtype=torch.uint8), torch.zeros(8, 1, *SIZE, dtype=torch.uint8)
    image[..., :20], drawn[..., :20] = 255, 1
    seen: list[Tensor] = []
    net.classifier.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    _, turned = net._seen(Batch(image, drawn, drawn, torch.ones(8), torch.arange(8)), 0)
    assert torch.equal(turned.gt_mask, turned.roi_mask) and not torch.equal(turned.gt_mask, drawn.float())
    sure = (seen[0][:, :1] < 0.05) | (seen[0][:, :1] > 0.95)
    assert sure.float().mean() > 0.8
    assert torch.equal((seen[0][:, :1] > 0.5)[sure], turned.gt_mask.bool()[sure])


# -- steps that must stay finite -----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("cam", ["closed", "autograd"])
@pytest.mark.parametrize("variant", ["log", "linear"])
def test_heat_wholly_outside_the_roi_stays_finite(
    precision: Any, cam: str, variant: str, cache: DecodedCache
) -> None:
    """The features light up on the right alone, and the left is inspected."""
    settings = small(**PAPER_HEAD | {"cam": cam, "variant": variant, "omega": 1.0, "gate": "all"})
    net = model(settings)
    features = torch.zeros(len(cache), net.classifier.linear.in_features, 8, 8)
    features[..., 6:] = torch.rand(features[..., 6:].shape)
    net.keep(features)
    with torch.no_grad():
        net.classifier.linear.weight.abs_()
    before = state(net)
    run = fit(net, cache, epochs=1, precision=precision, limit_train_batches=3)
    noted = {name: value.item() for name, value in run.callback_metrics.items()}
    assert noted["train/distance"] == pytest.approx(16.1 if variant == "log" else 1, abs=0.1)
    assert noted["train/empty_heatmaps"] == 0 and np.isfinite(list(noted.values())).all()
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())
    assert {"classifier.linear.weight", "classifier.linear.bias"} <= changed(before, net)


@pytest.mark.parametrize("changes", [{}, {"finetune": 3}, {"cam": "autograd"}], ids=str)
def test_half_precision_trains_nearly_alike(changes: dict[str, Any], cache: DecodedCache) -> None:
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        run = fit(model(small(**changes)), cache, epochs=1, precision=precision)
        losses.append({name: value.item() for name, value in run.callback_metrics.items()})
        assert np.isfinite(list(losses[-1].values())).all()
    for name in ("train/cross_entropy", "train/distance", "train/roi_head"):
        assert losses[1][name] == pytest.approx(losses[0][name], rel=0.1), name


def test_a_batch_norm_in_the_head_wants_two_images() -> None:
    net = model(small(backbone="customnet"))
    one = Batch(
        torch.zeros(1, 3, *SIZE, dtype=torch.uint8), *(torch.ones(1, 1, *SIZE, dtype=torch.uint8),) * 2,
        torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"training\.batch_size: .*at least 2"):
        net.training_step(one, 0)


# -- what it must be told -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 0, 0], "none of 3 training photographs is defective inside the region"),
        ([1, 1], "none of 2 training photographs is good"),
        ([0, 1, -1, -1], "2 of 4 training photographs have no label"),
        ([-1, -1], "2 of 2 training photographs have no label"),
    ],
)
def test_a_classifier_needs_labels_of_both_kinds(labels: list[int], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        model().begin(np.array(labels))
    assert caught.value.remedy and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": "vit_tiny_patch16_224", "stride": 16}, "no convolutional features"),
        ({"backbone": "efficientnet_b99"}, "timm has no model 'efficientnet_b99'"),
        ({"stride": 7}, r"method\.stride: test_efficientnet has no features at stride 7; use one of"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused_before_anything_is_read(
    changes: dict[str, Any], words: str
) -> None:
    for build in (lambda: model(small(**changes)), lambda: Ceod.build_graph(small(**changes), SIZE)):
        with pytest.raises(UserError, match=words) as caught:
            build()
        assert "\n" not in str(caught.value)


# -- where weights come from ---------------------------------------------------------------------------------


def test_auto_is_settled_before_building(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roinspect.methods.ceod.choose", lambda: "test_efficientnet")
    settings = Ceod.prepared(small(backbone="auto"))
    assert settings == small()
    monkeypatch.setattr("roinspect.methods.ceod.choose", lambda: pytest.fail("there is nothing to choose"))
    assert Ceod.prepared(settings) is settings


def test_building_reads_no_weights_and_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this must not happen in a constructor")

    for place, name in (
        (urllib.request, "urlopen"),
        (socket.socket, "connect"),
        (socket, "getaddrinfo"),
        (torch, "load"),
    ):
        monkeypatch.setattr(place, name, refuse)
    monkeypatch.setattr("roinspect.methods.ceod.load_pretrained", refuse)
    settings = small(backbone=PACKAGED, weights="auto", stride=16)
    assert isinstance(model(settings).classifier.trunk, Backbone)
    Ceod.build_graph(settings, SIZE)


def test_weights_are_loaded_in_begin_and_their_digest_is_told(cache: DecodedCache, tmp_path: Path) -> None:
    source = model(small())
    torch.save(source.classifier.trunk.network.state_dict(), tmp_path / "weights.pth")
    torch.manual_seed(1)
    net = Ceod(small(weights=str(tmp_path / "weights.pth")), SIZE)
    assert changed(state(source.classifier.trunk), net.classifier.trunk)
    loaded = net.begin(cache.labels)
    assert not changed(state(source.classifier.trunk), net.classifier.trunk)
    assert len(loaded["backbone"]) == 64
    assert model(small()).begin(cache.labels) == model(small(backbone="customnet")).begin(cache.labels) == {}
    with pytest.raises(UserError, match="nowhere"):
        model(small(weights=str(tmp_path / "nowhere.pth"))).begin(cache.labels)
    with pytest.raises(UserError, match="do not fit"):
        model(small(weights=str(tmp_path / "weights.pth"), backbone="resnet10t")).begin(cache.labels)


# -- the inspection graph ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_hw", [(64, 64), (64, 96), (72, 100)])
@pytest.mark.parametrize("changes", [{}, PAPER_HEAD, {"backbone": "customnet"}], ids=str)
def test_the_map_is_the_heatmap_times_the_probability(
    changes: dict[str, Any], size_hw: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    graph = Ceod.build_graph(small(**changes), size_hw).eval()
    image = torch.rand(3, 3, *size_hw)
    with torch.no_grad():
        score, anomaly_map, roi_map, _ = graph(image)
        evidence = graph.classifier(image)
        heat = graph.classifier.heatmap(evidence.features)
    assert torch.equal(score, evidence.logits.softmax(1)[:, 1]) and score.shape == (3,)
    assert torch.equal(roi_map, evidence.roi_logits.sigmoid()) and roi_map.shape[:2] == (3, 1)
    assert anomaly_map.shape == (3, 1, *size_hw)
    expected = F.interpolate(heat, size_hw, mode="bilinear", align_corners=False) * score.view(-1, 1, 1, 1)
    torch.testing.assert_close(anomaly_map, expected)
    assert anomaly_map.min() >= 0 and (anomaly_map.amax((1, 2, 3)) <= score * 1.0001).all()


def test_an_images_verdict_does_not_depend_on_its_batch(cache: DecodedCache) -> None:
    graph = trained(small(), cache, epochs=1).inspection_graph().eval()
    together, alone = predict(graph, cache.images[:3]), predict(graph, cache.images[1:2])
    assert together.pred_score[1] == pytest.approx(alone.pred_score[0], abs=1e-6)
    assert np.allclose(together.anomaly_map[1], alone.anomaly_map[0], atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{}, {"finetune": 2, "stride": None}, {"backbone": "customnet"}, PAPER_HEAD | {"omega": 0.0}],
    ids=str,
)
def test_the_graph_comes_back_from_its_bundle_bit_for_bit(
    changes: dict[str, Any], cache: DecodedCache, tmp_path: Path
) -> None:
    net = trained(small(**changes), cache, epochs=1)
    graph = net.inspection_graph().eval()
    settings = dataclasses.asdict(net.settings)
    save_bundle(tmp_path / "a", Bundle("ceod", settings, SIZE, Threshold(0.5, "")), graph.state_dict())
    _, loaded = load_graph(tmp_path / "a")
    before, after = predict(graph, cache.images), predict(loaded, cache.images)
    assert np.array_equal(before.pred_score, after.pred_score)
    assert np.array_equal(before.anomaly_map, after.anomaly_map)
    assert len(set(before.pred_score.tolist())) > 1 and not loaded.training


def test_cross_entropy_and_ceod_ship_the_same_graph() -> None:
    shapes = [
        {
            name: tensor.shape
            for name, tensor in model(small(omega=omega)).inspection_graph().state_dict().items()
        }
        for omega in (0.0, 1.0)
    ]
    assert shapes[0] == shapes[1]
    assert method_class("ceod") is Ceod
