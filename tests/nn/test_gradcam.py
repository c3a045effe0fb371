"""Grad-CAM: the two forms agree, gradients flow as asked, and nothing of the caller's model is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from roinspect.nn.customnet import CustomNet  # noqa: E402
from roinspect.nn.gradcam import grad_cam, linear_cam, weighted_cam  # noqa: E402


class Head(nn.Module):
    """Average pooling, a batch norm that has seen data or none, and a linear layer."""

    def __init__(self, channels: int, classes: int = 2, *, with_norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels) if with_norm else None
        self.linear = nn.Linear(channels, classes)
        if self.norm is not None:
            for values in (self.norm.weight, self.norm.bias, self.norm.running_mean):
                nn.init.normal_(values)
            nn.init.uniform_(self.norm.running_var, 0.2, 3)

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean((2, 3))
        return self.linear(pooled if self.norm is None else self.norm(pooled))


def example(count: int = 3, channels: int = 6, *, with_norm: bool = True) -> tuple[Tensor, Head]:
    torch.manual_seed(0)
    return torch.rand(count, channels, 4, 5).requires_grad_(), Head(channels, with_norm=with_norm).eval()


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 4),
    channels=st.integers(1, 12),
    size_hw=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    classes=st.integers(1, 4),
    with_norm=st.booleans(),
    one_for_all=st.booleans(),
    has_rival=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_closed_form_equals_autograd(
    count: int,
    channels: int,
    size_hw: tuple[int, int],
    classes: int,
    with_norm: bool,
    one_for_all: bool,
    has_rival: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    head = Head(channels, classes, with_norm=with_norm).eval()
    features = torch.randn(count, channels, *size_hw, requires_grad=True)
    target = int(torch.randint(classes, ())) if one_for_all else torch.randint(classes, (count,))
    against = int(torch.randint(classes, ())) if has_rival else None
    by_autograd = grad_cam(features, head(features), target, against=against)
    closed = linear_cam(features, head.linear, target, against=against, norm=head.norm)
    assert by_autograd.shape == (count, 1, *size_hw)
    assert by_autograd.dtype == closed.dtype == torch.float32
    torch.testing.assert_close(closed, by_autograd, rtol=0, atol=1e-5)


@pytest.mark.parametrize("detach_weights", [False, True])
def test_both_forms_teach_the_same(detach_weights: bool) -> None:
    features, head = example()
    ramp = torch.linspace(0, 1, 20).view(4, 5)

    def gradients(heat: Tensor) -> list[Tensor | None]:
        sources = [features, head.linear.weight, head.norm.weight]
        return list(torch.autograd.grad((heat * ramp).sum(), sources, allow_unused=True))

    by_autograd = grad_cam(features, head(features), 1, detach_weights=detach_weights)
    closed = linear_cam(features, head.linear, 1, norm=head.norm, detach_weights=detach_weights)
    for ours, theirs in zip(gradients(closed), gradients(by_autograd), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_gradients_reach_features_and_head_unless_the_weights_are_detached() -> None:
    for detach_weights in (False, True):
        features, head = example()
        heat = grad_cam(features, head(features), 1, detach_weights=detach_weights)
        (heat * torch.rand_like(heat)).sum().backward()
        assert features.grad is not None and features.grad.any()
        if detach_weights:
            assert all(weight.grad is None or not weight.grad.any() for weight in head.parameters())
        else:
            assert head.linear.weight.grad.any() and head.norm.weight.grad.any()


def test_the_callers_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    net = CustomNet().train()
    net.norm.eval()
    modes = [module.training for module in net.modules()]
    features = net.forward_features(torch.rand(2, 3, 32, 32))
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    logits = net.forward_head(features)
    for create_graph in (True, False):
        grad_cam(features, logits, 1, create_graph=create_graph)
    linear_cam(features, net.classifier, 1, norm=net.norm)
    assert [module.training for module in net.modules()] == modes
    assert all(value.equal(kept[name]) for name, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(module, kind) for module in net.modules() for kind in hooks)
    assert not features._backward_hooks
    logits.sum().backward()  # the caller's own graph is still there
    assert net.classifier.weight.grad is not None


def test_without_a_graph_the_weights_are_constants() -> None:
    features, head = example()
    heat = grad_cam(features, head(features), 0, create_graph=False)
    torch.testing.assert_close(heat, grad_cam(features, head(features), 0))
    (gradient,) = torch.autograd.grad(heat.square().sum(), head.linear.weight, allow_unused=True)
    assert gradient is None


def test_the_trap_of_a_batch_norm_in_training_mode() -> None:
    """It takes the batch's mean away, so what all samples' logits sum to does not depend on the features."""
    torch.manual_seed(0)
    features = torch.rand(8, 16, 7, 7, dtype=torch.float64, requires_grad=True)
    head = Head(16).double()

    def alpha() -> Tensor:
        return torch.autograd.grad(head(features)[:, 1].sum(), features)[0].mean((2, 3)).abs().max()

    running = {name: value.clone() for name, value in head.norm.state_dict().items()}
    in_training = alpha()
    head.norm.load_state_dict(running)
    head.eval()
    right = grad_cam(features, head(features), 1)
    assert in_training < 1e-9 * alpha()
    for mode in (True, False):
        head.train(mode)
        closed = linear_cam(features, head.linear, 1, norm=head.norm)
        torch.testing.assert_close(closed, right, rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), size=st.integers(1, 6), scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_heat_is_scaled_to_its_own_maximum(seed: int, size: int, scale: float) -> None:
    torch.manual_seed(seed)
    features, weights = torch.randn(5, 3, size, size) * scale, torch.randn(5, 3)
    heat = weighted_cam(features, weights)
    evidence = (features * weights[..., None, None]).sum(1).amax((1, 2))
    assert (heat >= 0).all() and (heat <= 1).all()
    peak = heat.amax((1, 2, 3))
    torch.testing.assert_close(peak, (evidence > 0).float(), rtol=0, atol=1e-2)
    clear = evidence > 1e-2
    torch.testing.assert_close(peak[clear], torch.ones_like(peak[clear]), rtol=0, atol=1e-5)


def test_nothing_in_favour_is_an_empty_map_with_finite_gradients() -> None:
    features, head = example(with_norm=False)
    with torch.no_grad():
        head.linear.weight[1] = -head.linear.weight[1].abs()
        features[2] = 0
    for heat in (grad_cam(features, head(features), 1), linear_cam(features, head.linear, 1)):
        assert (heat == 0).all()
        gradients = torch.autograd.grad(heat.sum(), [features, head.linear.weight])
        assert all(gradient.isfinite().all() for gradient in gradients)
    black = linear_cam(features, head.linear, 0)[2]
    assert (black == 0).all()


def test_against_a_class_is_the_difference_of_logits() -> None:
    features, head = example(with_norm=False)
    difference = nn.Linear(6, 1)
    with torch.no_grad():
        difference.weight.copy_(head.linear.weight[1] - head.linear.weight[0])
    expected = linear_cam(features, difference, 0)
    torch.testing.assert_close(linear_cam(features, head.linear, 1, against=0), expected)
    torch.testing.assert_close(grad_cam(features, head(features), 1, against=0), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cells", [1, 7, 20])
def test_the_closed_form_holds_where_only_some_positions_are_pooled(cells: int) -> None:
    features, head = example()
    pooled = features.flatten(2)[..., :cells].mean(2)
    by_autograd = grad_cam(features, head.linear(head.norm(pooled)), 1)
    closed = linear_cam(features, head.linear, 1, norm=head.norm)
    torch.testing.assert_close(closed, by_autograd, rtol=0, atol=1e-5)


def test_a_batch_is_its_samples_one_at_a_time() -> None:
    features, head = example()
    target = torch.tensor([0, 1, 1])
    together = grad_cam(features, head(features), target)
    closed = linear_cam(features, head.linear, target, norm=head.norm)
    for number in range(3):
        one = features[number : number + 1].detach().requires_grad_()
        alone = grad_cam(one, head(one), int(target[number]))
        torch.testing.assert_close(together[number], alone[0])
        torch.testing.assert_close(closed[number], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_the_scale_of_weights_or_features_does_not_matter(factor: float) -> None:
    features, weights = torch.rand(2, 4, 5, 5), torch.randn(2, 4)
    heat = weighted_cam(features, weights)
    torch.testing.assert_close(weighted_cam(features, weights * factor), heat, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weighted_cam(features * factor, weights), heat, rtol=1e-4, atol=1e-5)


def test_one_set_of_weights_serves_all_samples() -> None:
    features, weights = torch.rand(3, 4, 5, 5), torch.randn(4)
    torch.testing.assert_close(weighted_cam(features, weights), weighted_cam(features, weights.expand(3, 4)))


@pytest.mark.parametrize("with_norm", [False, True])
def test_the_gradient_is_right(with_norm: bool) -> None:
    features, head = example(2, 3, with_norm=with_norm)
    features = features.detach().double().requires_grad_()
    head = head.double()
    # Evidence of more than a logit, where the gradient is whole.
    weight = (30 * head.linear.weight.detach()).requires_grad_()
    target = torch.tensor([1, 0])

    def by_autograd(features: Tensor, weight: Tensor) -> Tensor:
        pooled = features.mean((2, 3))
        pooled = pooled if head.norm is None else head.norm(pooled)
        # Bent, so that alpha depends on the features as in a deeper head.
        return grad_cam(features, torch.tanh(pooled) @ weight.T, target)

    def closed(features: Tensor, weight: Tensor) -> Tensor:
        linear = nn.Linear(3, 2).double()
        del linear.weight
        linear.weight = weight
        return linear_cam(features, linear, target, norm=head.norm)

    for form in (by_autograd, closed):
        assert torch.autograd.gradcheck(form, (features, weight))
    assert torch.autograd.gradcheck(weighted_cam, (features, weight[:, :3]))


@pytest.mark.parametrize("form", ["autograd", "closed"])
def test_the_gradient_of_faint_heat_fades_and_its_value_does_not(form: str) -> None:
    """Undamped it grows as 1 / s; here it is that times min(1, evidence)^2, so it vanishes with s."""
    features, head = example(4, 6, with_norm=False)
    features = features.detach().double()
    head = head.double()
    towards = torch.rand(4, 1, *features.shape[2:], dtype=torch.float64)
    slopes: list[Tensor] = []
    for scale in (1e3, 1e-1, 1e-3, 1e-6):
        scaled = (features * scale).requires_grad_()
        logits = head(scaled)
        heat = grad_cam(scaled, logits, 1) if form == "autograd" else linear_cam(scaled, head.linear, 1)
        weights = head.linear.weight[1].detach()
        evidence = torch.einsum("nchw,c->nhw", scaled.detach(), weights).amax((1, 2)).relu()
        (gradient,) = torch.autograd.grad((heat * towards).sum(), scaled)
        size = gradient.flatten(1).norm(dim=1)
        slopes.append(size)
        whole = slopes[0] * 1e3 / scale
        torch.testing.assert_close(size, whole * evidence.clamp(max=1) ** 2, rtol=1e-3, atol=1e-9)
        assert (heat.amax((1, 2, 3))[evidence > 1e-5] > 0.999).all()
    assert slopes[0].min() > 0 and (slopes[2] <= slopes[1]).all() and (slopes[3] <= slopes[2]).all()


def test_half_precision_gives_a_float32_map() -> None:
    features, head = example(with_norm=False)
    expected = linear_cam(features, head.linear, 1)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = grad_cam(features, head(features), 1)
        closed = linear_cam(features, head.linear, 1)
        half = linear_cam(features.bfloat16(), head.linear, 1)
    assert under_autocast.dtype == closed.dtype == half.dtype == torch.float32
    torch.testing.assert_close(closed, expected)
    torch.testing.assert_close(under_autocast, expected, rtol=0, atol=0.03)
    torch.testing.assert_close(half, expected, rtol=0, atol=0.03)


def test_the_closed_form_exports_for_any_batch_size() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = Head(6)

        def forward(self, features: Tensor) -> Tensor:
            return linear_cam(features, self.head.linear, 1, norm=self.head.norm)

    graph = Graph().eval()
    exported = torch.export.export(
        graph, (torch.rand(2, 6, 4, 4),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    features = torch.rand(5, 6, 4, 4)
    torch.testing.assert_close(exported.module()(features), graph(features))


def test_what_does_not_fit_is_refused() -> None:
    features, head = example()
    logits = head(features)
    with pytest.raises(ValueError, match="features must be"):
        grad_cam(features[0], logits, 1)
    with pytest.raises(ValueError, match="features must be"):
        grad_cam(features[:2], logits, 1)
    with pytest.raises(ValueError, match="require a gradient"):
        grad_cam(features.detach(), logits, 1)
    with pytest.raises(ValueError, match="require a gradient"), torch.no_grad():
        grad_cam(features, head(features), 1)
    with pytest.raises(ValueError, match="do not depend"):
        grad_cam(torch.rand(3, 6, 4, 5, requires_grad=True), logits, 1)
    with pytest.raises(ValueError, match="features must be"):
        linear_cam(features[:, :5], head.linear, 1)
    with pytest.raises(ValueError, match="running statistics"):
        linear_cam(features, head.linear, 1, norm=nn.BatchNorm1d(6, track_running_stats=False))
    for target in (2, -1, torch.tensor([0, 1]), torch.tensor([True, False, True])):
        with pytest.raises(ValueError, match="target must be"):
            grad_cam(features, logits, target)
        with pytest.raises(ValueError, match="target must be"):
            linear_cam(features, head.linear, target)
    with pytest.raises(ValueError, match="target must be"):
        grad_cam(features, logits, 1, against=2)
    with pytest.raises(ValueError, match="target must be"):
        linear_cam(features, head.linear, 1, against=-1)


def test_an_empty_map_stays_empty_when_exported(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    class Cam(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return weighted_cam(features, torch.ones(3))

    file = tmp_path / "cam.onnx"
    torch.onnx.export(Cam().eval(), (torch.ones(1, 3, 2, 2),), file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file)
    (heat,) = session.run(None, {"features": -torch.ones(1, 3, 2, 2).numpy()})
    assert (heat == 0).all()
