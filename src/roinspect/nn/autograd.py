"""The autograd graph between a head's logits and the features they were computed from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def nodes_between(logits: Tensor, features: Tensor) -> Iterator[Any]:
    """The autograd nodes from the logits to the features, both included."""
    end = torch.autograd.graph.get_gradient_edge(features).node
    waiting: list[Any] = [logits.grad_fn]
    seen: set[Any] = {None}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        if node is not end:
            waiting += [link for link, _ in node.next_functions]


def compiled_between(logits: Tensor, features: Tensor) -> str | None:
    """Why Grad-CAM cannot be trained through a network compiled by `torch.compile`; None if it can."""
    compiled = [node for node in nodes_between(logits, features) if "CompiledFunction" in node.name()]
    if features.grad_fn is not None and features.grad_fn is logits.grad_fn and compiled:
        return (
            "the logits and the features are outputs of one compiled graph, so there is no gradient between "
            "them: compile the body only, or pass `linear_cam`'s heatmap instead of the features"
        )
    if any(node is not features.grad_fn for node in compiled):
        return (
            "the head is compiled, and compiled code cannot be differentiated twice: compile the body only, "
            "or pass the heatmap of `linear_cam` instead of the features"
        )
    return None
