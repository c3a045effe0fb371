"""Layer-wise relevance propagation (LRP) through any network of PyTorch, that can be trained through."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from roinspect.nn.gradcam import at_least_float32

Output = TypeVar("Output")

_ACTIVATIONS = (
    F.relu, F.relu_, F.relu6, F.gelu, F.silu, F.mish, F.elu, F.leaky_relu, F.hardtanh, F.hardswish,
    torch.relu, torch.relu_, Tensor.relu, Tensor.relu_,
)  # fmt: skip
_GATES = (torch.sigmoid, Tensor.sigmoid, F.sigmoid, F.hardsigmoid)
_NORMS = (F.group_norm, F.layer_norm, F.batch_norm)


class _Step(NamedTuple):
    """One non-linear call: its value, and its slope in the linear network; None for a gate."""

    function: Callable[..., Any]
    value: Tensor
    slope: Tensor | None


def relevance(
    network: Callable[[Tensor], Output],
    inputs: Tensor,
    score: Callable[[Output], Tensor],
    *,
    epsilon: float = 0.01,
) -> tuple[Output, Tensor]:
    """What each input contributed to a score, by the epsilon rule of LRP, and the network's output.

    Bach et al.: *On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
    Propagation*, PLoS ONE 2015. With a the inputs of a layer and z = W a + b the input of an activation,
    relevance is passed on as ``R_j = a_j sum_k w_kj R_k / (z_k + epsilon sign(z_k))``; an activation passes
    it on unchanged. This equals the inputs times the gradient of a network in which each activation f is
    replaced by a multiplication with the constant f(z) / (z + epsilon sign(z)), which is computed here with
    two passes: the first records these factors, the second is differentiated. Layers need not be known: sums,
    convolutions, residual connections and pooling are linear, or differentiate to their rule.

    Other rules: biases keep their share. A normalisation multiplies with its constant scale (group, layer,
    and batch norm in training mode; in evaluation mode a batch norm is linear). Sigmoid gates are constants:
    all relevance of a product goes to what is gated. Products of other kinds, and functions that are not
    listed in this module, are differentiated as they are. There is no epsilon at the score itself.

    The result is exact in its own gradient: it can be trained through.

    Args:
        network: the inputs to an output; called twice, and must do the same both times. Running statistics of
            batch norms are updated once.
        inputs: (N, ...), relative to what counts as nothing: 0 has no relevance.
        score: the output to (N,), in logits.
        epsilon: > 0; absorbs relevance of weak activations.

    Returns:
        The output of the first pass, as without LRP, and the relevance: shape of the inputs, at least
        float32, in logits. It sums to the score, minus the shares of biases, norms and epsilon.

    Raises:
        ValueError: epsilon is not above 0, gradients are disabled, or the score does not depend on the
            inputs.

    Example:
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 8, bias=False), torch.nn.ReLU(), torch.nn.Linear(8, 1, bias=False)
        ... )
        >>> output, found = relevance(net, torch.rand(2, 4), lambda output: output[:, 0], epsilon=1e-6)
        >>> torch.allclose(found.sum(1), output[:, 0], atol=1e-4)
        True
    """
    if epsilon <= 0:
        raise ValueError(f"epsilon must be above 0, not {epsilon}")
    if not torch.is_grad_enabled():
        raise ValueError("relevance is a gradient, which is disabled here")
    steps: list[_Step] = []
    with _Recording(steps, epsilon):
        output = network(inputs)
    fresh = inputs.detach().requires_grad_()
    with _Replaying(steps):
        again = score(network(fresh))
    if not again.requires_grad:
        raise ValueError("the score does not depend on these inputs")
    (gradient,) = torch.autograd.grad(again.sum(), fresh, create_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError("the score does not depend on these inputs")
    return output, at_least_float32(inputs) * at_least_float32(gradient)


class _Recording(TorchFunctionMode):
    """Runs a network as it is and notes the slope of each non-linear call."""

    def __init__(self, steps: list[_Step], epsilon: float) -> None:
        super().__init__()
        self.steps, self.epsilon = steps, epsilon

    def __torch_function__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _is_curved(func, args, kwargs):
            return func(*args, **kwargs)
        # A copy, as the call may work in place.
        before, *rest = args
        value = func(before.clone(), *rest, **kwargs)
        self.steps.append(_Step(func, value, _slope(func, before, value, rest, kwargs, self.epsilon)))
        return value


class _Replaying(TorchFunctionMode):
    """Runs it again with each non-linear call replaced by its recorded slope; the values stay the same."""

    def __init__(self, steps: list[_Step]) -> None:
        super().__init__()
        self.steps = iter(steps)

    def __torch_function__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _is_curved(func, args, kwargs):
            return func(*args, **kwargs)
        step = next(self.steps, None)
        if step is None or step.function is not func or step.value.shape != args[0].shape:
            raise ValueError("the network did not repeat its steps")
        if step.slope is None:
            return step.value
        change = at_least_float32(args[0]) - at_least_float32(args[0]).detach()
        return (step.value.detach() + change * step.slope).to(step.value.dtype)


def _is_curved(function: Any, arguments: Any, options: Any) -> bool:
    if function is F.batch_norm:
        return _training(arguments, options)
    return any(function is each for each in (*_ACTIVATIONS, *_GATES, *_NORMS))


def _training(arguments: Any, options: Any) -> bool:
    """Whether this call of `F.batch_norm` uses the statistics of the batch."""
    return bool(arguments[5] if len(arguments) > 5 else options.get("training", False))


def _slope(
    function: Any, before: Tensor, value: Tensor, rest: Any, options: Any, epsilon: float
) -> Tensor | None:
    if any(function is gate for gate in _GATES):
        return None
    before, value = at_least_float32(before), at_least_float32(value)
    if any(function is norm for norm in _NORMS):
        return _scale(function, before, rest, options)
    # The sign of 0 counts as positive.
    sign = torch.where(before.detach() < 0, -1.0, 1.0)
    return value / (before + epsilon * sign)


def _scale(function: Any, before: Tensor, rest: Any, options: Any) -> Tensor:
    """What a normalisation multiplies its input with, in a shape that broadcasts."""
    names = {
        F.group_norm: ("num_groups", "weight", "bias", "eps"),
        F.layer_norm: ("normalized_shape", "weight", "bias", "eps"),
        F.batch_norm: ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    }[function]
    given = {"eps": 1e-5, "weight": None} | dict(zip(names, rest, strict=False)) | options
    weight, eps = given["weight"], given["eps"]
    if function is F.layer_norm:
        dims = tuple(range(-len(given["normalized_shape"]), 0))
        scale = torch.rsqrt(before.var(dims, unbiased=False, keepdim=True) + eps)
        return scale if weight is None else scale * weight
    channels = (1, -1) + (1,) * (before.ndim - 2)
    if function is F.batch_norm:
        dims = (0, *range(2, before.ndim))
        scale = torch.rsqrt(before.var(dims, unbiased=False) + eps).view(channels)
    else:
        groups = before.reshape(len(before), given["num_groups"], -1)
        scale = torch.rsqrt(groups.var(2, unbiased=False) + eps)
        scale = scale.repeat_interleave(before.shape[1] // given["num_groups"], 1)
        scale = scale.view(len(before), *channels[1:])
    return scale if weight is None else scale * weight.view(channels)
