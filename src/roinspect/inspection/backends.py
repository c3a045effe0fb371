"""Runtimes for an inspection graph: each is a function from decoded images to scores and maps."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from roinspect.errors import UserError
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.exported import NAMES, close_graph_file, graph_file, has_export, read_export
from roinspect.inspection.prediction import Predict
from roinspect.inspection.targets import TARGETS
from roinspect.inspection.targets.target import NotInstalledError, Precision, Resources
from roinspect.inspection.threads import cores

log = logging.getLogger(__name__)

TARGET_OF: Mapping[str, str] = {target.runtime: name for name, target in TARGETS.items()}
"""The export that each runtime runs; torch runs the weights themselves."""

RUNTIMES = ("auto", *TARGET_OF, "torch")


class Opened(NamedTuple):
    """A bundle's graphs, ready to run."""

    runtime: str
    whole: Predict
    """For images of the bundle's size."""
    close: Predict | None
    """For tiles, where the bundle has them."""
    scores: Mapping[str, float] | None = None
    """Of an export in reduced precision, see `Export`; None for float32."""
    files: Mapping[str, str] = MappingProxyType({})
    """SHA-256 of an export's files, by name; empty for the weights themselves."""


def open_runtime(
    path: Path,
    bundle: Bundle,
    runtime: str = "auto",
    *,
    threads: int | None = None,
    streams: int = 1,
    providers: Sequence[str] = (),
) -> Opened:
    """Load a bundle's graphs.

    Args:
        path: the bundle.
        bundle: its manifest.
        runtime: one of `RUNTIMES`; "auto" uses the first of `TARGETS` that is exported and installed, else
            torch.
        threads: for one call; None leaves it to the runtime, which uses all cores, or an equal share of them
            with several streams.
        streams: see `Resources`.
        providers: see `Resources`.

    Returns:
        The selected runtime, and the functions that run its graphs.

    Raises:
        UserError: the runtime or provider is unknown or not installed, or there is no usable export.
    """
    if runtime not in RUNTIMES:
        choices = ", ".join(RUNTIMES)
        raise UserError(f"no such runtime: {runtime}", where="runtime", remedy=f"choose one of {choices}")
    for name, value in (("threads", threads), ("streams", streams)):
        if value is not None and value < 1:
            raise UserError(f"must be at least 1, not {value}", where=name)
    if threads is None and streams > 1:
        threads = max(1, cores() // streams)
    with_providers = next(target.runtime for target in TARGETS.values() if target.has_providers)
    if providers and runtime not in ("auto", with_providers):
        raise UserError(f"are ONNX Runtime's, not those of {runtime}", where="providers")
    resources = Resources(threads, streams, tuple(providers))
    if runtime == "auto" and not providers:
        return _automatic(path, bundle, resources)
    runtime = with_providers if providers else runtime
    return _open(path, bundle, runtime, resources)


def _automatic(path: Path, bundle: Bundle, resources: Resources) -> Opened:
    faults: list[UserError] = []
    for name, target in TARGETS.items():
        if not target.is_automatic or not has_export(path, name):
            continue
        try:
            opened = _open(path, bundle, target.runtime, resources)
        except UserError as error:
            faults.append(error)
            continue
        _warn(faults, target.runtime)
        return opened
    # Without torch, report the exports' errors; an error in the weights themselves is raised as it is.
    with contextlib.suppress(NotInstalledError):
        opened = _open(path, bundle, "torch", resources)
        _warn(faults, "torch")
        return opened
    if faults:
        raise faults[0]
    raise UserError(
        "has no exported graph, and torch, which could run its weights, is not installed",
        where=path,
        remedy=f"where it was trained, run: roinspect export {path} --to onnx",
    )


def _warn(faults: Sequence[UserError], runtime: str) -> None:
    for fault in faults:
        log.warning(f"{fault}; using {runtime} instead")


def _open(path: Path, bundle: Bundle, runtime: str, resources: Resources) -> Opened:
    if runtime == "torch":
        return _torch(path, resources.threads)
    target = TARGET_OF[runtime]
    export = read_export(path, target)
    if export.precision != "float32" and export.threshold != bundle.threshold.value:
        log.warning(
            f"{path / target}: {NAMES[export.precision]}'s verdicts were checked at the threshold "
            f"{export.threshold:.4g}, which is now {bundle.threshold.value:.4g}; "
            "export again to check them"
        )
    file = graph_file(path, target)
    scores = None if export.precision == "float32" else export.scores
    if bundle.tiles is None:
        return Opened(runtime, _load(target, file, resources, export.precision), None, scores, export.files)
    # The graph of the coarse look is small, and stays in float32.
    close = _load(target, close_graph_file(path, target), resources, export.precision)
    return Opened(runtime, _load(target, file, resources, "float32"), close, scores, export.files)


def _load(target: str, file: Path, resources: Resources, precision: Precision) -> Predict:
    try:
        return TARGETS[target].load(file, resources, precision)
    except UserError:
        raise
    except Exception as error:
        # Runtimes raise exceptions of any type.
        raise UserError(
            f"cannot be loaded ({str(error).strip()[:300]})", where=file, remedy="export it again"
        ) from None


def _torch(path: Path, threads: int | None) -> Opened:
    try:
        import torch

        from roinspect.methods.loading import load_graphs
        from roinspect.methods.method import predict
    except ImportError:
        raise NotInstalledError("torch", "train") from None
    if threads:
        torch.set_num_threads(threads)
    _, graph, close = load_graphs(path)
    return Opened("torch", partial(predict, graph), None if close is None else partial(predict, close))
