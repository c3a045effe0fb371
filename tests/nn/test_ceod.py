"""CEOD: cross-entropy plus the price of looking elsewhere, gated, weighted, and safe to train with."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from roinspect.nn.ceod import CeodLoss, ceod_loss, ceod_terms, steered_terms  # noqa: E402
from roinspect.nn.gradcam import grad_cam, linear_cam  # noqa: E402
from roinspect.nn.overlap import overlap_distance  # noqa: E402

LABEL = torch.tensor([0, 1, 1, 0])
FARTHEST = -math.log(1e-7)


def batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, nn.Linear, Tensor]:
    """Features (4, 6, 8, 8), a head for them, and ROIs of 32 x 32 that differ from sample to sample."""
    torch.manual_seed(0)
    features = torch.rand(4, 6, 8, 8, dtype=dtype).requires_grad_()
    head = nn.Linear(6, 2, dtype=dtype)
    roi_mask = torch.zeros(4, 1, 32, 32)
    for number in range(4):
        roi_mask[number, :, 2 : 17 + number, : 10 + 3 * number] = 1
    return features, head, roi_mask


def logits_of(features: Tensor, head: nn.Linear) -> Tensor:
    return head(features.mean((2, 3)))


def constant_logits(count: int = 1) -> Tensor:
    """For these the cross-entropy is log 2 whatever the heat, so every gradient is the distance's own."""
    return torch.zeros(count, 2)


def right_half() -> Tensor:
    """A heatmap whose heat lies wholly on the right."""
    heat = torch.zeros(1, 1, 8, 8)
    heat[..., 2:6, 6:] = 1
    return heat


def left_roi(columns: int = 3, count: int = 1) -> Tensor:
    mask = torch.zeros(count, 1, 8, 8)
    mask[..., :columns] = 1
    return mask


@pytest.mark.parametrize("gate", ["defects", "all"])
def test_omega_zero_is_cross_entropy_exactly(gate: Any) -> None:
    features, head, roi_mask = batch()
    sources = [features, head.weight, head.bias]
    loss = ceod_loss(logits_of(features, head), LABEL, features, roi_mask, omega=0, gate=gate)
    plain = F.cross_entropy(logits_of(features, head), LABEL)
    assert torch.equal(loss, plain)
    ours, theirs = torch.autograd.grad(loss, sources), torch.autograd.grad(plain, sources)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_omega_zero_is_not_harmed_by_a_broken_heatmap() -> None:
    logits = torch.rand(2, 2, requires_grad=True)
    heat, label = torch.full((2, 1, 8, 8), math.nan, requires_grad=True), torch.tensor([0, 1])
    loss = ceod_loss(logits, label, heat, left_roi(count=2), omega=0)
    assert torch.equal(loss, F.cross_entropy(logits, label))
    loss.backward()
    assert logits.grad.isfinite().all() and heat.grad is None


def test_omega_zero_still_tells_where_the_network_looks() -> None:
    features, head, roi_mask = batch()
    logits = logits_of(features, head)
    unsteered = ceod_terms(logits, LABEL, features, roi_mask, omega=0, gate="all")
    steered = ceod_terms(logits, LABEL, features, roi_mask, omega=2, gate="all")
    assert unsteered.distance == steered.distance > 0
    torch.testing.assert_close(steered.loss, steered.cross_entropy + 2 * steered.distance)
    assert not steered.distance.requires_grad and not steered.cross_entropy.requires_grad


@pytest.mark.parametrize("gate", ["defects", "all"])
@pytest.mark.parametrize("variant", ["log", "linear"])
@pytest.mark.parametrize("denominator", ["min", "heatmap"])
def test_the_loss_is_the_formula(gate: Any, variant: str, denominator: str) -> None:
    """1/N sum(ce_i + omega g_i OD_i); with the linear variant and gate "all" it is the 2022 form."""
    features, head, roi_mask = batch(torch.float64)
    logits = logits_of(features, head)
    total = 0.0
    for number, label in enumerate(LABEL.tolist()):
        scores = logits[number].tolist()
        total += math.log(sum(map(math.exp, scores))) - scores[label]
        evidence = sum(w * a for w, a in zip(head.weight[1].tolist(), features[number].detach(), strict=True))
        heat = [max(value, 0) for value in evidence.flatten().tolist()]
        heat = [value / max(heat) for value in heat]
        cells = [
            [
                roi_mask[number, 0, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4].mean().item()
                for col in range(8)
            ]
            for row in range(8)
        ]
        region = [value for row in cells for value in row]
        area = min(sum(heat), sum(region)) if denominator == "min" else sum(heat)
        overlap = sum(h * r for h, r in zip(heat, region, strict=True)) / area
        if label == 1 or gate == "all":
            total += 0.7 * (-math.log(overlap) if variant == "log" else 1 - overlap)
    loss = ceod_loss(
        logits,
        LABEL,
        features,
        roi_mask,
        0.7,
        gate=gate,
        variant=variant,
        denominator=denominator,
        soften="none",
    )
    assert loss.item() == pytest.approx(total / 4, rel=1e-6)


def test_a_good_part_that_looks_elsewhere_learns_only_under_all() -> None:
    heat = (right_half() + 0.01).repeat(2, 1, 1, 1).requires_grad_()
    for gate, good_learns in (("defects", False), ("all", True)):
        loss = ceod_loss(constant_logits(2), torch.tensor([0, 1]), heat, left_roi(count=2), 1.0, gate=gate)
        (gradient,) = torch.autograd.grad(loss, heat)
        assert gradient[0].any() == good_learns
        assert gradient[1].any()


@pytest.mark.parametrize("gate", ["defects", "all"])
def test_features_or_their_heatmap_are_the_same_loss(gate: Any) -> None:
    features, head, roi_mask = batch()
    sources = [features, head.weight, head.bias]
    logits = logits_of(features, head)
    losses = [
        ceod_loss(logits, LABEL, heat, roi_mask, 3.0, gate=gate)
        for heat in (features, linear_cam(features, head, 1), grad_cam(features, logits, 1))
    ]
    gradients = [torch.autograd.grad(loss, sources, retain_graph=True) for loss in losses]
    for other in (1, 2):
        torch.testing.assert_close(losses[other], losses[0], rtol=1e-5, atol=1e-6)
        for ours, theirs in zip(gradients[other], gradients[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_any_class_can_be_the_steered_one() -> None:
    features, head, roi_mask = batch()
    swapped = nn.Linear(6, 2)
    with torch.no_grad():
        swapped.weight.copy_(head.weight.flip(0))
        swapped.bias.copy_(head.bias.flip(0))
    one = ceod_loss(logits_of(features, head), LABEL, features, roi_mask, 1.0)
    other = ceod_loss(logits_of(features, swapped), 1 - LABEL, features, roi_mask, 1.0, defect_class=0)
    torch.testing.assert_close(one, other)


def test_the_roi_is_averaged_over_each_cell() -> None:
    features, head, _ = batch()
    logits = logits_of(features, head)
    roi_mask = (torch.rand(4, 1, 32, 48) < 0.3).float()
    averaged = F.avg_pool2d(roi_mask, (4, 6))
    whole, small = (
        ceod_loss(logits, LABEL, features, mask, 1.0, soften="none") for mask in (roi_mask, averaged)
    )
    torch.testing.assert_close(whole, small)
    as_boolean = ceod_loss(logits, LABEL, features, roi_mask.bool(), 1.0, soften="none")
    torch.testing.assert_close(as_boolean, whole)


def test_image_resolution_measures_the_enlarged_heatmap() -> None:
    features, head, roi_mask = batch()
    logits, heatmap = logits_of(features, head), linear_cam(features, head, 1)
    enlarged = F.interpolate(heatmap, (32, 32), mode="bilinear", align_corners=False)
    expected = ceod_loss(logits, LABEL, enlarged, roi_mask, 1.0)
    loss = ceod_loss(logits, LABEL, heatmap, roi_mask, 1.0, resolution="image")
    torch.testing.assert_close(loss, expected)
    assert loss != ceod_loss(logits, LABEL, heatmap, roi_mask, 1.0)


def test_class_weights_are_means_over_the_batch() -> None:
    features, head, roi_mask = batch()
    logits, weight = logits_of(features, head), torch.tensor([0.5, 3.0])
    each = F.cross_entropy(logits, LABEL, reduction="none")
    terms = ceod_terms(logits, LABEL, features, roi_mask, 1.0, weight=weight)
    torch.testing.assert_close(terms.cross_entropy, (weight[LABEL] * each).sum() / 4)
    # The weights are for imbalance of the labels; where to look is none of their business.
    assert terms.distance == ceod_terms(logits, LABEL, features, roi_mask, 1.0).distance


@pytest.mark.parametrize("gate", ["defects", "all"])
def test_equal_parts_of_a_batch_mean_the_batch(gate: Any) -> None:
    features, head, roi_mask = batch()
    label, weight = torch.tensor([0, 0, 0, 1]), torch.tensor([0.5, 3.0])

    def loss(part: slice) -> Tensor:
        own = features[part]
        logits = logits_of(own, head)
        return ceod_loss(logits, label[part], own, roi_mask[part], 2.0, gate=gate, weight=weight)

    halves = (loss(slice(0, 2)) + loss(slice(2, 4))) / 2
    whole = loss(slice(0, 4))
    torch.testing.assert_close(halves, whole)
    for ours, theirs in zip(
        torch.autograd.grad(halves, [features, head.weight]),
        torch.autograd.grad(whole, [features, head.weight]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_an_empty_heatmap_costs_nothing_and_is_counted() -> None:
    heat = torch.cat((torch.zeros(1, 1, 8, 8), right_half())).requires_grad_()
    terms = ceod_terms(constant_logits(2), torch.ones(2, dtype=torch.long), heat, left_roi(count=2), 1.0)
    assert terms.empty == 0.5
    assert terms.distance.item() == pytest.approx(FARTHEST / 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(terms.loss, heat)
    assert gradient.isfinite().all() and not gradient[0].any()


@pytest.mark.parametrize("variant", ["log", "linear"])
def test_where_everything_is_inspected_there_is_nothing_to_steer(variant: str) -> None:
    features, head, _ = batch()
    roi_mask = torch.ones(4, 1, 32, 32)
    terms = ceod_terms(logits_of(features, head), LABEL, features, roi_mask, 1.0, gate="all", variant=variant)
    assert 0 <= terms.distance < 1e-6


# -- heat wholly outside the ROI ----------------------------------------------------------------------------


def trained_heat(evidence: float, soften: str, learns: str) -> tuple[list[float], list[float]]:
    """Share of heat inside the ROI and loss while the distance alone is taught.

    Channel 0 lights up far outside, channel 1 inside, where its evidence for a defect is given.
    """
    features = torch.zeros(1, 4, 8, 8)
    features[:, 0, 2:6, 6:] = 1
    features[:, 1, 2:6, :2] = 1
    head = nn.Linear(4, 2)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[1, 0] = 1
        head.weight[1, 1] = evidence
    weights = features.requires_grad_() if learns == "features" else head.weight
    optimizer = torch.optim.Adam([weights], lr=0.05)
    shares, losses = [], []
    for _ in range(60):
        heat = linear_cam(features, head, 1)
        loss = ceod_loss(constant_logits(), torch.tensor([1]), heat, left_roi(), 1.0, soften=soften, reach=8)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shares.append((heat[..., :3].sum() / heat.sum()).item())
        losses.append(loss.item())
        assert loss.isfinite() and weights.grad.isfinite().all()
    return shares, losses


@pytest.mark.parametrize("learns", ["features", "head"])
@pytest.mark.parametrize("soften", ["clip", "falloff"])
def test_a_trace_of_heat_inside_is_enough_to_move_it(soften: str, learns: str) -> None:
    shares, _ = trained_heat(1e-4, soften, learns)
    assert shares[0] < 0.001 and shares[-1] > 0.5


def test_without_a_trace_only_a_far_falloff_teaches() -> None:
    """Grad-CAM's ReLU passes no gradient to where the evidence is not positive."""
    shares, losses = trained_heat(-0.5, "clip", "features")
    assert set(shares) == {0.0} and len(set(losses)) == 1
    _, losses = trained_heat(-0.5, "falloff", "features")
    assert losses[-1] < losses[0] - 0.05, "nearer, if not inside"


def test_a_heatmap_of_its_own_moves_inside() -> None:
    heat = right_half().requires_grad_()
    optimizer = torch.optim.Adam([heat], lr=0.1)
    for _ in range(20):
        loss = ceod_loss(constant_logits(), torch.tensor([1]), heat, left_roi(), 1.0)
        optimizer.zero_grad()
        loss.backward()
        assert heat.grad.isfinite().all()
        optimizer.step()
        with torch.no_grad():
            heat.clamp_(0, 1)
    assert heat[..., :3].sum() > heat[..., 3:].sum()


@pytest.mark.parametrize("form", ["autograd", "closed"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16 autocast"])
@pytest.mark.parametrize("trace", [0.0, 1e-6])
@pytest.mark.parametrize("variant", ["log", "linear"])
def test_three_training_steps_with_all_heat_outside_stay_finite(
    form: str, precision: str, trace: float, variant: str
) -> None:
    torch.manual_seed(0)
    # Without biases, what is black stays black: no heat on the left.
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.ReLU(),
    )
    head = nn.Linear(8, 2)
    with torch.no_grad():
        head.weight[1].abs_()
    optimizer = torch.optim.Adamax([*body.parameters(), *head.parameters()], lr=0.002)
    image, roi_mask = torch.full((2, 3, 32, 32), trace), torch.zeros(2, 1, 32, 32)
    image[..., 20:] = torch.rand(2, 3, 32, 12)
    roi_mask[..., :12] = 1
    before = [weight.clone() for weight in body.parameters()]
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            features = body(image)
            logits = logits_of(features, head)
            heat = features if form == "autograd" else linear_cam(features, head, 1)
            terms = ceod_terms(logits, torch.tensor([0, 1]), heat, roi_mask, 1.0, gate="all", variant=variant)
        assert terms.loss.dtype == torch.float32 and terms.empty == 0
        farthest = FARTHEST if variant == "log" else 1
        assert terms.distance > (0.999 if trace == 0 else 0.5) * farthest
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
        assert all(value.isfinite().all() for value in terms)
        for weight in (*body.parameters(), *head.parameters()):
            assert weight.grad.isfinite().all() and weight.isfinite().all()
    assert all(not weight.equal(old) for weight, old in zip(body.parameters(), before, strict=True))


# -- the gradient, the module, and what is refused ----------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gate": "all", "variant": "linear"},
        {"denominator": "heatmap", "soften": "falloff", "gate": "all"},
        {"resolution": "image", "weight": torch.tensor([0.5, 3.0], dtype=torch.float64)},
    ],
)
def test_the_gradient_is_right(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    features = torch.rand(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    # Positive weights, and a heatmap off 0: away from the ReLU's kink; more evidence than makes it fade.
    weight = (10 * torch.rand(2, 3, dtype=torch.float64) + 1).requires_grad_()
    heatmap = (torch.rand(2, 1, 3, 4, dtype=torch.float64) + 1).requires_grad_()
    # A good part's distance is damped under "all", see below.
    roi_mask, label = torch.zeros(2, 1, 6, 8), torch.tensor([int("gate" in options), 1])
    roi_mask[..., :3, :3] = 1

    def from_features(features: Tensor, weight: Tensor) -> Tensor:
        logits = torch.tanh(features.mean((2, 3))) @ weight.T
        return ceod_loss(logits, label, features, roi_mask, 0.8, **options)

    def from_heatmap(logits: Tensor, heatmap: Tensor) -> Tensor:
        return ceod_loss(logits, label, heatmap, roi_mask, 0.8, **options)

    assert torch.autograd.gradcheck(from_features, (features, weight))
    assert torch.autograd.gradcheck(from_heatmap, (weight[:, :2], heatmap))


def test_a_good_part_is_steered_as_far_as_it_is_called_defective() -> None:
    features, head, roi_mask = batch()
    with torch.no_grad():
        head.weight.mul_(10)
    logits = logits_of(features, head)
    distance = overlap_distance(
        grad_cam(features, logits, 1), F.adaptive_avg_pool2d(roi_mask, 8), reduction="none"
    )
    pull = torch.where(LABEL == 1, 1.0, logits.softmax(1)[:, 1].detach())
    assert 0.05 < pull.min() < 0.95
    expected = F.cross_entropy(logits, LABEL) + 2 * (pull * distance).mean()
    loss = ceod_loss(logits, LABEL, features, roi_mask, 2.0, gate="all")
    for one, other in zip(
        torch.autograd.grad(loss, [features, head.weight], retain_graph=True),
        torch.autograd.grad(expected, [features, head.weight]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(loss, F.cross_entropy(logits, LABEL) + 2 * distance.mean())


def test_the_module_is_the_function() -> None:
    features, head, roi_mask = batch()
    logits, weight = logits_of(features, head), torch.tensor([0.5, 3.0])
    criterion = CeodLoss(0.5, weight=weight, gate="all", variant="linear")
    expected = ceod_loss(logits, LABEL, features, roi_mask, 0.5, weight=weight, gate="all", variant="linear")
    assert torch.equal(criterion(logits, LABEL, features, roi_mask), expected)
    assert "omega=0.5, gate=all" in repr(criterion)


def test_the_modules_weight_is_kept_and_moved() -> None:
    criterion = CeodLoss(weight=torch.tensor([0.5, 3.0]))
    assert list(criterion.state_dict()) == ["weight"]
    other = CeodLoss(weight=torch.ones(2))
    other.load_state_dict(criterion.state_dict())
    assert other.weight.equal(criterion.weight)
    assert criterion.to(torch.float64).weight.dtype == torch.float64
    assert criterion.to("meta").weight.is_meta
    assert not CeodLoss().state_dict() and not list(criterion.parameters())


def test_it_drops_into_a_plain_training_loop() -> None:
    torch.manual_seed(0)
    features, head, roi_mask = batch()
    criterion, optimizer = CeodLoss(omega=1.0, gate="all"), torch.optim.Adamax(head.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = criterion(logits_of(features, head), LABEL, features, roi_mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"omega": -1.0}, "omega"),
        ({"gate": "good"}, "gate is one of"),
        ({"resolution": "cell"}, "gate is one of"),
        ({"variant": "cubic"}, "is not one of"),
        ({"areas": "round"}, "is not one of"),
        ({"soften": "falloff", "reach": 0}, "at least 1"),
        ({"logits": torch.zeros(4)}, "must be"),
        ({"logits": torch.zeros(3, 2)}, "must be"),
        ({"label": torch.zeros(4, 1, dtype=torch.long)}, "must be"),
        ({"label": torch.zeros(3, dtype=torch.long)}, "must be"),
        ({"heat": torch.zeros(4, 8, 8)}, "must be"),
        ({"heat": torch.zeros(1, 1, 8, 8), "roi_mask": torch.zeros(1, 1, 8, 8)}, "must be"),
        ({"roi_mask": torch.zeros(3, 1, 32, 32)}, "must be"),
        ({"roi_mask": torch.zeros(4, 32, 32)}, "must be"),
        ({"roi_mask": torch.zeros(4, 3, 32, 32)}, "1 channel"),
        ({"defect_class": 2}, "defect_class"),
        ({"weight": torch.ones(3)}, "weight"),
        ({"heat": torch.zeros(4, 6, 8, 8)}, "require a gradient"),
        ({"heat": torch.zeros(4, 6, 8, 8, requires_grad=True)}, "do not depend"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    features, head, roi_mask = batch()
    given = {"logits": logits_of(features, head), "label": LABEL, "heat": features, "roi_mask": roi_mask}
    with pytest.raises(ValueError, match=words):
        ceod_loss(**(given | {"omega": 1.0} | changes))


@pytest.mark.parametrize("gate", ["defects", "all"])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0])])
def test_an_ignored_part_counts_for_nothing(gate: Any, weight: Tensor | None) -> None:
    torch.manual_seed(0)
    logits, heat = torch.randn(3, 2), torch.rand(3, 1, 4, 4)
    roi_mask, label = torch.zeros(3, 1, 4, 4), torch.tensor([0, -100, 1])
    roi_mask[..., :1] = 1
    known = [0, 2]
    found = ceod_loss(logits, label, heat, roi_mask, 1.0, gate=gate, weight=weight)
    expected = ceod_loss(
        logits[known], label[known], heat[known], roi_mask[known], 1.0, gate=gate, weight=weight
    )
    assert found.item() == pytest.approx(expected.item())
    if weight is None:
        cross_entropy = ceod_loss(logits, label, heat, roi_mask, 0.0, gate=gate)
        assert cross_entropy.item() == pytest.approx(F.cross_entropy(logits, label).item())


@pytest.mark.parametrize("gate", ["defects", "all"])
@pytest.mark.parametrize("has_direction", [True, False])
def test_any_loss_on_the_explanation_is_gated_alike(gate: Any, has_direction: bool) -> None:
    """Only a loss that pulls evidence for a defect inside spares the parts that are called good."""
    torch.manual_seed(0)
    logits, label = torch.randn(4, 2), torch.tensor([0, 1, -100, 0])
    distance = (1 + torch.rand(4)).requires_grad_()
    terms = steered_terms(logits, label, distance, 3.0, gate=gate, has_direction=has_direction)
    counted = label == 1 if gate == "defects" else label != -100
    assert terms.cross_entropy.item() == pytest.approx(F.cross_entropy(logits, label).item())
    assert terms.distance.item() == pytest.approx((distance * counted).sum().item() / 3)
    torch.testing.assert_close(terms.loss, terms.cross_entropy + 3 * terms.distance)
    assert terms.empty == 0
    (pull,) = torch.autograd.grad(terms.loss, distance)
    is_damped = has_direction and gate == "all"
    shares = torch.where(label == 1, 1.0, logits.softmax(1)[:, 1]) if is_damped else torch.ones(4)
    torch.testing.assert_close(pull, shares * counted)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"gate": "defect"}, ValueError),
        ({"resolution": "fine"}, ValueError),
        ({"variant": "lin"}, ValueError),
        ({"soften": "blur"}, ValueError),
        ({"denominator": "roi"}, ValueError),
        ({"softening": "clip"}, TypeError),
        ({"omega": -1.0}, ValueError),
        ({"defect_class": -1}, ValueError),
    ],
)
def test_a_wrong_option_is_refused_before_the_first_batch(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        CeodLoss(**options)


def test_any_steered_class_is_accepted_before_the_first_batch() -> None:
    CeodLoss(defect_class=4, weight=torch.ones(5))


@pytest.mark.parametrize("gate", ["defects", "all"])
@pytest.mark.parametrize("form", ["features", "closed", "own heatmap"])
@pytest.mark.parametrize(
    "overlap", [{}, {"denominator": "heatmap"}, {"variant": "linear"}, {"areas": "hard"}]
)
def test_the_distance_pulls_less_as_the_evidence_vanishes(
    gate: Any, form: str, overlap: dict[str, Any]
) -> None:
    """Heat divided by its own maximum looks the same however faint it is; its pull must not grow as 1 / s."""
    torch.manual_seed(0)
    features, head, roi_mask = batch()
    label = torch.ones_like(LABEL) if gate == "defects" else torch.zeros_like(LABEL)
    with torch.no_grad():
        head.weight[1] = head.weight[1].abs()
    pulls, values = [], []
    for scale in (1.0, 1e-3, 1e-6):
        faint = (features.detach() * scale).requires_grad_()
        logits = logits_of(faint, head)
        heat = {
            "features": faint,
            "closed": linear_cam(faint, head, 1),
            "own heatmap": torch.einsum("nchw,c->nhw", faint, head.weight[1]).unsqueeze(1),
        }[form]
        terms = ceod_terms(logits, label, heat, roi_mask, 1.0, gate=gate, soften="none", **overlap)
        (both,) = torch.autograd.grad(terms.loss, faint, retain_graph=True)
        (plain,) = torch.autograd.grad(F.cross_entropy(logits, label), faint)
        pulls.append((both - plain).norm().item())
        values.append(terms.distance.item())
    assert 0 < pulls[0] < 1 and pulls[2] <= pulls[1] <= pulls[0], pulls
    assert min(values) > 0.01, "the distance itself is as far as before"
