"""The head: its heatmap is Grad-CAM, its verdict rests on few cells, its gate shuts out the rest."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from roinspect.nn.classifier import DEFECT, GOOD, Classifier  # noqa: E402
from roinspect.nn.customnet import WIDTHS, CustomNet  # noqa: E402
from roinspect.nn.gradcam import grad_cam  # noqa: E402

CHANNELS, GRID = 6, (8, 10)
CELLS = GRID[0] * GRID[1]


def features(count: int = 3) -> Tensor:
    """Of both signs and with channels of different scale, as after a linear bottleneck."""
    random = torch.Generator().manual_seed(1)
    scale = torch.tensor([0.1, 1.0, 3.0, 0.5, 2.0, 1.0]).view(1, CHANNELS, 1, 1)
    return torch.randn(count, CHANNELS, *GRID, generator=random) * scale + 0.3


def classifier(*, norm: bool = False, block: int = 0, **options: Any) -> Classifier:
    """On a trunk that is never asked; a norm has statistics as after a training."""
    torch.manual_seed(0)
    layer = nn.BatchNorm1d(block or CHANNELS) if norm else None
    if layer is not None and layer.running_mean is not None and layer.running_var is not None:
        nn.init.uniform_(layer.running_mean, -1, 1)
        nn.init.uniform_(layer.running_var, 0.1, 3)
        nn.init.uniform_(layer.weight, -1, 2)
    return Classifier(nn.Identity(), CHANNELS, norm=layer, block=block, **options).eval()


class Gate(nn.Module):
    """An ROI head that is sure of one region, whatever it sees."""

    def __init__(self, region: Tensor) -> None:
        super().__init__()
        self.logits = 400 * region - 200

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), 1, *GRID)


def left() -> Tensor:
    region = torch.zeros(1, 1, *GRID)
    region[..., :4] = 1
    return region


# -- the heatmap -------------------------------------------------------------------------------------------

HEADS = [
    dict(zip(("block", "pooling", "roi_head", "norm", "margin"), values, strict=True))
    for values in itertools.product((0, 8), (1.0, 0.1), (False, True), (False, True), (True, False))
]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: ",".join(map(str, head.values())))
def test_the_closed_form_is_grad_cam_for_every_head(head: dict[str, Any]) -> None:
    net = classifier(**head)
    evidence = net.head(features().requires_grad_())
    closed = net.heatmap(evidence.features)
    by_autograd = grad_cam(evidence.features, evidence.logits, DEFECT, against=net.against)
    torch.testing.assert_close(closed, by_autograd, rtol=0, atol=1e-5)
    assert closed.shape == (3, 1, *GRID) and closed.min() >= 0
    assert closed.amax((1, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


def test_a_margin_explains_the_verdict_also_where_only_the_good_logit_moves() -> None:
    plain, margin = classifier(margin=False), classifier(margin=True)
    for net in (plain, margin):
        with torch.no_grad():
            net.linear.weight[DEFECT] = 0
            net.linear.weight[GOOD] = -1
    x = features().abs()
    assert not plain.heatmap(x).any() and margin.heatmap(x).any()


def test_an_image_is_judged_by_itself() -> None:
    net = classifier(block=8, pooling=0.1, roi_head=True)
    whole, alone = net.head(features()), net.head(features()[1:2])
    torch.testing.assert_close(whole.logits[1:2], alone.logits)
    torch.testing.assert_close(net.heatmap(whole.features)[1:2], net.heatmap(alone.features))


# -- pooling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("margin", [False, True])
@pytest.mark.parametrize("share", [1e-12, 1 / CELLS, 0.1, 0.5])
def test_the_cells_with_the_most_evidence_are_pooled(share: float, margin: bool, norm: bool) -> None:
    net = classifier(pooling=share, margin=margin, norm=norm)
    weights = net.linear.weight.detach()[DEFECT]
    weights = weights - net.linear.weight.detach()[GOOD] if margin else weights
    if net.norm is not None:
        weights = weights * net.norm.weight.detach() / (net.norm.running_var + net.norm.eps).sqrt()
    count = max(1, round(share * CELLS))
    for sample, logits in zip(features(), net.head(features()).logits, strict=True):
        cells = sample.flatten(1).T
        hottest = sorted(cells, key=lambda cell: -(cell @ weights).item())[:count]
        vector = torch.stack(hottest).mean(0, keepdim=True)
        expected = net.linear(vector if net.norm is None else net.norm(vector))[0]
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_at_one_it_is_global_average_pooling() -> None:
    net = classifier(pooling=1.0)
    torch.testing.assert_close(net.head(features()).logits, net.linear(features().mean((2, 3))))


def test_a_pit_in_a_large_part_is_not_averaged_away() -> None:
    """Two cells of evidence count alike in a small image and in a large one, and less in an average."""
    for share, is_kept in ((1.0, False), (2 / 640, True)):
        gaps = []
        for side in (2, 640 // 2):
            x = torch.zeros(1, CHANNELS, 2, side)
            net = classifier(pooling=2 / (2 * side) if share < 1 else 1.0)
            x[..., 0, :2] = (net.linear.weight[DEFECT] - net.linear.weight[GOOD]).detach().view(-1, 1)
            good, defect = net.head(x).logits[0].tolist()
            gaps.append(defect - good)
        assert (gaps[1] == pytest.approx(gaps[0], rel=1e-5)) == is_kept


def test_cells_that_are_not_pooled_do_not_count() -> None:
    net = classifier(pooling=0.1)
    x = features().requires_grad_()
    logits = net.head(x).logits
    (gradient,) = torch.autograd.grad(logits[:, DEFECT].sum(), x)
    used = gradient.abs().sum(1) > 0
    assert used.sum((1, 2)).tolist() == [round(0.1 * CELLS)] * 3
    # What speaks even less for a defect changes nothing.
    towards_good = (net.linear.weight[GOOD] - net.linear.weight[DEFECT]).detach().view(1, -1, 1, 1)
    assert torch.equal(net.head(x + towards_good * ~used.unsqueeze(1)).logits, logits)


# -- block and ROI head -----------------------------------------------------------------------------------


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    net, x = classifier(block=8), features(16)
    net.standardise(x)
    scaled = (x - net.shift) / net.scale
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(CHANNELS), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled.std((0, 2, 3)), torch.ones(CHANNELS), rtol=1e-4, atol=0)
    assert {"shift", "scale"} <= set(net.state_dict()), "a loaded classifier sees what the trained one saw"


def test_the_block_is_blind_to_the_features_scale_once_they_are_standardised() -> None:
    scale = torch.logspace(-1, 1, CHANNELS).view(1, -1, 1, 1)
    seen = []
    for x in (features(), features() * scale + 5):
        net = classifier(block=8, roi_head=True)
        net.standardise(x)
        seen.append(net.head(x))
    torch.testing.assert_close(seen[0].logits, seen[1].logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen[0].roi_logits, seen[1].roi_logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dead", [1, CHANNELS])
def test_channels_that_are_always_the_same_stay_finite(dead: int) -> None:
    net, x = classifier(block=8, roi_head=True), features()
    x[:, :dead] = 7.0
    net.standardise(x)
    evidence = net.head(x)
    assert evidence.logits.isfinite().all() and net.heatmap(evidence.features).isfinite().all()
    # A channel that never moved must not drown the others when it moves a little.
    assert ((x + 1e-3 - net.shift) / net.scale).abs().max() < 2000


def test_without_a_block_the_head_takes_the_features_as_they_are() -> None:
    net = classifier()
    before = net.head(features()).logits
    net.standardise(features() * 3)
    assert torch.equal(net.head(features()).logits, before)


@pytest.mark.parametrize("pooling", [1.0, 0.1])
def test_evidence_outside_the_predicted_roi_does_not_reach_the_verdict(pooling: float) -> None:
    net = classifier(roi_head=True, pooling=pooling)
    net.roi_head = Gate(left())
    x = features().requires_grad_()
    changed = x + 1000 * torch.randn_like(x) * (1 - left())
    inside, outside = net.head(x), net.head(changed)
    assert torch.equal(inside.logits, outside.logits)
    assert not net.heatmap(outside.features)[..., 4:].any()
    (gradient,) = torch.autograd.grad(outside.logits.square().sum(), x)
    assert not gradient[..., 4:].any() and gradient[..., :4].any()
    assert not torch.equal(net.head(x + (1 - left())).logits, classifier(pooling=pooling).head(x).logits)


def test_cells_that_the_gate_shuts_out_are_pooled_last() -> None:
    """All cells speak for a good part, so the shut ones, which say nothing, would else be the hottest."""
    net = classifier(roi_head=True, pooling=0.1)
    net.roi_head = Gate(left())
    towards_good = (net.linear.weight[GOOD] - net.linear.weight[DEFECT]).detach().view(1, -1, 1, 1)
    x = (towards_good * (1 + torch.rand(1, 1, *GRID))).requires_grad_()
    logits = net.head(x).logits
    assert logits[0, GOOD] > logits[0, DEFECT]
    (gradient,) = torch.autograd.grad(logits[0, DEFECT], x)
    assert gradient[..., :4].any() and not gradient[..., 4:].any()


def test_the_roi_head_learns_a_region_from_its_place_alone() -> None:
    net = classifier(roi_head=True)
    optimizer = torch.optim.Adamax(net.parameters(), lr=0.02)
    alike = torch.ones(1, CHANNELS, *GRID)
    for _ in range(60):
        roi_logits = net.head(alike).roi_logits
        assert roi_logits.shape == (1, 1, *GRID)
        loss = F.binary_cross_entropy_with_logits(roi_logits, left())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal((roi_logits > 0).float(), left())


@pytest.mark.parametrize("head", HEADS, ids=lambda head: ",".join(map(str, head.values())))
def test_the_verdict_teaches_every_part(head: dict[str, Any]) -> None:
    net = classifier(**head).train()
    label = torch.tensor([0, 1, 1])
    evidence = net.head(features())
    F.cross_entropy(evidence.logits, label).backward(retain_graph=True)
    # Without a gate the ROI head takes no part in the verdict, and learns beside it.
    deaf = {name for name, weight in net.named_parameters() if weight.grad is None}
    assert deaf == {name for name in dict(net.named_parameters()) if "roi_head" in name and not net.is_gated}
    before = {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}
    evidence.roi_logits.square().sum().backward()
    if not net.is_gated:
        for name, grad in before.items():
            assert torch.equal(dict(net.named_parameters())[name].grad, grad), name
    silent = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not silent
    assert all(weight.grad.isfinite().all() for weight in net.parameters() if weight.grad is not None)


# -- the papers' small network ------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_around_customnet_it_is_customnet(training: bool) -> None:
    torch.manual_seed(0)
    net = CustomNet().train(training)
    wrapped = Classifier(
        net.features, WIDTHS[-1], norm=net.norm, linear=net.classifier, coordinates=False
    ).train(training)
    known = sum(weight.numel() for weight in wrapped.parameters())
    assert known - sum(weight.numel() for weight in wrapped.roi_head.parameters()) == 294_994
    image = torch.rand(2, 3, 32, 48)
    torch.testing.assert_close(wrapped(image).logits, net(image))
