"""From a bundle to its graphs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from roinspect.errors import UserError
from roinspect.inspection.bundle import Bundle, read_bundle, read_weights
from roinspect.inspection.looks import Looks
from roinspect.inspection.plain import from_plain
from roinspect.methods.learner import Learner
from roinspect.methods.method import InspectionGraph, Method, method_class, predict
from roinspect.methods.region import region_graph

Graph = TypeVar("Graph", bound=nn.Module)


class Graphs(NamedTuple):
    """A bundle with its graphs, in evaluation mode."""

    bundle: Bundle
    graph: InspectionGraph
    """The method's, or, with tiles, that of the coarse look, which finds the region."""
    close: InspectionGraph | None
    """The method's, for tiles; None without them."""

    def looks(self) -> Looks:
        """The graphs as a function from photographs to scores and maps."""
        close = None if self.close is None else partial(predict, self.close)
        return Looks(self.bundle, partial(predict, self.graph), close)


def load_graphs(path: Path) -> Graphs:
    """A bundle's manifest and its graphs.

    Raises:
        UserError: the bundle is missing, damaged, or its tensors do not fit its settings.
    """
    bundle, tensors = read_bundle(path), read_weights(path)
    cls = method_class(bundle.method)
    settings = settings_of(cls, bundle.method_settings, path)
    if bundle.tiles is None:
        graph = cls.build_graph(settings, bundle.size_hw)
        return Graphs(bundle, with_weights(graph, tensors, path), None)
    side = bundle.tiles.side
    regions = region_graph(bundle.tiles.backbone, bundle.size_hw)
    both = nn.ModuleDict({"whole": regions, "close": cls.build_graph(settings, (side, side))})
    with_weights(both, tensors, path)
    return Graphs(bundle, regions, cast(InspectionGraph, both["close"]))


def load_graph(path: Path) -> tuple[Bundle, InspectionGraph]:
    """The manifest and the graph of a bundle that looks at whole photographs, in evaluation mode.

    Raises:
        UserError: as of `load_graphs`; or the bundle looks at tiles.
    """
    bundle, graph, close = load_graphs(path)
    if close is not None:
        raise UserError(
            "looks at tiles, and has two graphs", where=path, remedy="use `load_graphs`, or Inspector.load"
        )
    return bundle, graph


def start_from(model: Learner, path: Path) -> None:
    """Give a method the weights of a bundle, of which it will learn on.

    Raises:
        UserError: the bundle cannot be read, is of another method or other settings, or the method has no use
            for its weights.
    """
    bundle, graph, close = load_graphs(path)
    if not isinstance(model, Method) or not model.starts_from_bundle:
        raise UserError(
            f"{model.name} computes its weights from the photographs, whatever it starts from",
            where="--start-from",
            remedy="leave it out, and train with all photographs",
        )
    if bundle.method != model.name:
        raise UserError(
            f"is of {bundle.method}, not of {model.name}",
            where=path,
            remedy="start from a bundle of the method",
        )
    try:
        model.inspection_graph().load_state_dict((close or graph).state_dict())
    except RuntimeError as error:
        raise UserError(
            f"its networks are not those of these settings ({_misfit(error)})",
            where=path,
            remedy="train with the settings of the bundle",
        ) from None


def settings_of(cls: type[Learner], values: Mapping[str, Any], path: Path) -> Any:
    """A learner's settings from a bundle.

    Raises:
        UserError: they belong to another version, or are damaged.
    """
    odd = sorted({field.name for field in dataclasses.fields(cls.settings_class)} ^ set(values))
    if odd:
        raise UserError(
            f"its settings are not those of this roinspect ({', '.join(odd)})",
            where=path,
            remedy="train again",
        )
    try:
        return from_plain(cls.settings_class, dict(values))
    except (ValueError, UserError) as error:
        raise UserError(f"its settings are damaged ({error})", where=path, remedy="train again") from None


def with_weights(graph: Graph, tensors: Mapping[str, Tensor], path: Path) -> Graph:
    """A graph with these weights of a bundle, in evaluation mode.

    Raises:
        UserError: the weights are damaged, or do not fit.
    """
    try:
        graph.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"its weights do not fit its settings ({_misfit(error)})",
            where=path,
            remedy="train again",
        ) from None
    graph.eval()
    return graph.to(memory_format=torch.channels_last)


def _misfit(error: RuntimeError) -> str:
    """The first of what torch lists under its headline."""
    return str(error).splitlines()[:2][-1].strip().rstrip(".")
