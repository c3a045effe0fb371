"""The autograd graph between a head's logits and the features they were computed from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def nodes_between(logits: Tensor, features: Tensor) -> Iterator[Any]:
    """The autograd nodes from the logits down to the features, and the features' own."""
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
    """Why no Grad-CAM can be trained through what `torch.compile` made of a network; None where it can."""
    compiled = [node for node in nodes_between(logits, features) if "CompiledFunction" in node.name()]
    if features.grad_fn is not None and features.grad_fn is logits.grad_fn and compiled:
        return (
            "the logits and the features come out of one compiled graph, in which no gradient leads from "
            "one to the other: compile the body only, or give `linear_cam`'s heatmap in place of the features"
        )
    if any(node is not features.grad_fn for node in compiled):
        return (
            "the head is compiled, and compiled code cannot be differentiated twice: compile the body only, "
            "or give the heatmap of `linear_cam` in place of the features"
        )
    return None
