"""Layer-wise relevance: as the rule written layer by layer, complete, and with an exact gradient."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from roinspect.nn.customnet import CustomNet  # noqa: E402
from roinspect.nn.relevance import relevance  # noqa: E402


def last(output: Tensor) -> Tensor:
    return output[:, -1]


def small(activation: type[nn.Module] = nn.ReLU, *, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=bias),
        activation(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1, bias=bias),
        activation(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 2, bias=bias),
    )


def layer_by_layer(net: nn.Sequential, inputs: Tensor, epsilon: float) -> Tensor:
    """The epsilon rule, one layer after the other from the last to the first."""
    seen = [inputs]
    for layer in net:
        seen.append(layer(seen[-1]).detach())
    found = torch.zeros_like(seen[-1])
    found[:, -1] = seen[-1][:, -1]
    is_first = True
    for layer, before in zip(reversed(net), reversed(seen[:-1]), strict=True):
        if isinstance(layer, nn.ReLU):
            continue
        source = before.clone().requires_grad_()
        output = layer(source)
        is_weighted = isinstance(layer, nn.Conv2d | nn.Linear) and not is_first
        sign = torch.where(output < 0, -1.0, 1.0)
        divisor = output + (epsilon * sign if is_weighted else 0)
        # Where the next ReLU is 0 there is no relevance, and 0/0 without an epsilon.
        messages = torch.where(found == 0, torch.zeros_like(found), found / divisor)
        (gradient,) = torch.autograd.grad(output, source, messages.detach())
        found = before * gradient
        is_first = is_first and not isinstance(layer, nn.Linear)
    return found


@pytest.mark.parametrize("epsilon", [1e-4, 0.01, 0.3])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_rule_layer_by_layer(epsilon: float, bias: bool) -> None:
    net, inputs = small(bias=bias), torch.randn(3, 3, 8, 8)
    output, found = relevance(net, inputs, last, epsilon=epsilon)
    assert torch.equal(output, net(inputs))
    torch.testing.assert_close(found, layer_by_layer(net, inputs, epsilon), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.ELU])
def test_it_sums_to_the_score_without_biases(activation: Any) -> None:
    net, inputs = small(activation, bias=False), torch.randn(3, 3, 8, 8)
    output, found = relevance(net, inputs, last, epsilon=1e-7)
    torch.testing.assert_close(found.sum((1, 2, 3)), last(output), rtol=1e-3, atol=1e-5)
    _, absorbed = relevance(net, inputs, last, epsilon=10.0)
    assert absorbed.abs().sum() < 0.5 * found.abs().sum()


def test_a_relu_network_without_biases_gives_input_times_gradient() -> None:
    net, inputs = small(bias=False), torch.randn(3, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(last(net(inputs)).sum(), inputs)
    _, found = relevance(net, inputs, last, epsilon=1e-9)
    torch.testing.assert_close(found, inputs * gradient, rtol=1e-4, atol=1e-6)


def test_what_cannot_matter_has_no_relevance() -> None:
    net, inputs = small(bias=False), torch.randn(2, 3, 8, 8)
    inputs[..., :3] = 0
    _, found = relevance(lambda image: net(image[..., :6]), inputs, last)
    assert not found[..., :3].any() and not found[..., 6:].any() and found[..., 3:6].any()


class Gated(nn.Module):
    """Two branches with a skip, norms, and a sigmoid gate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.group, self.batch, self.gate = nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.Conv2d(3, 1, 1)
        self.linear = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> Tensor:
        hidden = F.gelu(self.group(self.first(image)))
        hidden = hidden + self.batch(self.second(hidden))
        hidden = hidden * self.gate(image).sigmoid()
        return self.linear(F.layer_norm(hidden.mean((2, 3)), (4,)))


@pytest.mark.parametrize("network", [Gated, lambda: small(nn.GELU), lambda: small(nn.ReLU)])
def test_its_own_gradient_is_right(network: Any) -> None:
    net = network().double()
    inputs = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    weight = next(net.parameters())

    def squared(weight: Tensor) -> Tensor:
        parameters = dict(net.named_parameters())
        name = next(iter(parameters))

        def called(image: Tensor) -> Tensor:
            return torch.func.functional_call(net, parameters | {name: weight}, (image,))

        _, found = relevance(called, inputs, last, epsilon=0.05)
        return found.square().sum((1, 2, 3))

    assert torch.autograd.gradcheck(squared, weight.detach().clone().requires_grad_())


def test_gates_and_norms_multiply_with_constants() -> None:
    torch.manual_seed(0)
    net, inputs = Gated().eval(), torch.randn(2, 3, 4, 4)
    gate = net.gate(inputs).sigmoid()
    _, found = relevance(
        lambda image: image * net.gate(image).sigmoid(), inputs, lambda out: out.sum((1, 2, 3))
    )
    torch.testing.assert_close(found, inputs * gate)
    norm = nn.GroupNorm(1, 3)
    _, found = relevance(norm, inputs, lambda out: out.sum((1, 2, 3)))
    deviation = inputs.flatten(1).std(1, unbiased=False).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, inputs / deviation, rtol=1e-4, atol=1e-5)


def test_a_training_batch_norm_counts_the_batch_once() -> None:
    torch.manual_seed(0)
    one, other, inputs = CustomNet(), CustomNet(), torch.rand(4, 3, 32, 32)
    other.load_state_dict(one.state_dict())
    output, found = relevance(one, inputs, last)
    torch.testing.assert_close(output, other(inputs))
    for name, value in one.state_dict().items():
        # The counter has no effect at a fixed momentum.
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, other.state_dict()[name])
    assert found.isfinite().all() and found.any()


def test_half_precision_under_autocast_stays_near() -> None:
    net, inputs = small(), torch.randn(3, 3, 8, 8)
    _, expected = relevance(net, inputs, last)
    with torch.autocast("cpu", torch.bfloat16):
        _, found = relevance(net, inputs, last)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.1 * expected.norm()
    found.square().sum().backward()
    assert (
        all(w.grad is None or w.grad.isfinite().all() for w in net.parameters()) and net[0].weight.grad.any()
    )


def test_the_network_is_left_as_it_was() -> None:
    net, inputs = small(), torch.randn(1, 3, 8, 8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    relevance(net, inputs, last)
    assert not inputs.requires_grad and all(torch.equal(v, before[n]) for n, v in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())


def test_what_has_no_relevance_is_refused() -> None:
    net, inputs = small(), torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="epsilon"):
        relevance(net, inputs, last, epsilon=0)
    with pytest.raises(ValueError, match="does not depend"):
        relevance(lambda image: torch.zeros(1, 2), inputs, last)
    with pytest.raises(ValueError, match="does not depend"):
        relevance(lambda image: net(torch.ones_like(image)), inputs, last)
    with torch.no_grad(), pytest.raises(ValueError, match="disabled"):
        relevance(net, inputs, last)
    calls = []

    def twice(image: Tensor) -> Tensor:
        calls.append(1)
        return net(image) if len(calls) == 1 else net(F.relu(image))

    with pytest.raises(ValueError, match="did not repeat"):
        relevance(twice, inputs, last)
