"""Ways to run an inspection graph: each is a function from decoded images to scores and maps."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.exported import NAMES, Format, Precision, graph_file, has_export, read_export
from roinspect.inspection.prediction import OUTPUTS, Predict, Prediction

log = logging.getLogger(__name__)

Runtime: TypeAlias = Literal["auto", "openvino", "onnxruntime", "torchscript", "torch"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

FORMATS: dict[Runtime, Format] = {"openvino": "openvino", "onnxruntime": "onnx", "torchscript": "torchscript"}
"""What each runtime runs; torch runs the weights themselves."""

_ONE_CORE = threading.Lock()


def open_runtime(
    path: Path,
    bundle: Bundle,
    runtime: Runtime = "auto",
    *,
    threads: int | None = None,
    streams: int = 1,
    providers: Sequence[str] = (),
) -> tuple[Runtime, Predict]:
    """Make a bundle's graph ready to run.

    Args:
        path: the bundle.
        bundle: its manifest.
        runtime: "auto" takes an exported graph, in OpenVINO or else in ONNX Runtime, and else torch.
        threads: for one call; None leaves it to the runtime, which takes all cores, or an equal share of them
            with several streams.
        streams: calls that run side by side when they come from several threads.
        providers: ONNX Runtime's execution providers by name, the preferred one first, such as
            "TensorrtExecutionProvider", "CUDAExecutionProvider"; what they cannot run runs on the CPU.

    Returns:
        The runtime that was taken, and the function that runs it.

    Raises:
        UserError: no such runtime or provider, it is not installed, or there is no usable export.
    """
    if runtime not in RUNTIMES:
        choices = ", ".join(RUNTIMES)
        raise UserError(f"no such runtime: {runtime}", where="runtime", remedy=f"choose one of {choices}")
    for name, value in (("threads", threads), ("streams", streams)):
        if value is not None and value < 1:
            raise UserError(f"must be at least 1, not {value}", where=name)
    if threads is None and streams > 1:
        threads = max(1, (os.cpu_count() or 1) // streams)
    if providers and runtime not in ("auto", "onnxruntime"):
        raise UserError(f"are ONNX Runtime's, not those of {runtime}", where="providers")
    if runtime == "auto":
        return _automatic(path, bundle, threads, streams, providers)
    return runtime, _open(path, bundle, runtime, threads, streams, providers)


def open_file(
    file: Path,
    form: Format,
    *,
    threads: int | None = None,
    streams: int = 1,
    providers: Sequence[str] = (),
    precision: Precision = "float32",
) -> Predict:
    """Make an exported file ready to run, wherever it lies; arguments as of `open_runtime` and `Export`.

    Raises:
        UserError: what runs it is not installed, or knows no such provider.
    """
    if form == "onnx":
        return _onnxruntime(file, threads, providers)
    if form == "openvino":
        return _openvino(file, threads, streams, is_rounded=precision == "bfloat16" and has_bfloat16())
    return _torchscript(file, threads)


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor.

    Raises:
        UserError: OpenVINO is not installed.
    """
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _automatic(
    path: Path, bundle: Bundle, threads: int | None, streams: int, providers: Sequence[str]
) -> tuple[Runtime, Predict]:
    if providers:
        return "onnxruntime", _open(path, bundle, "onnxruntime", threads, streams, providers)
    faults: list[UserError] = []
    runtimes: tuple[Runtime, ...] = ("openvino", "onnxruntime")
    for runtime in (runtime for runtime in runtimes if has_export(path, FORMATS[runtime])):
        try:
            found = _open(path, bundle, runtime, threads, streams, ())
        except UserError as error:
            faults.append(error)
            continue
        _tell(faults, runtime)
        return runtime, found
    # Without torch it is told what is wrong with the exports; a fault of the weights themselves as it is.
    with contextlib.suppress(_NotInstalledError):
        found = _open(path, bundle, "torch", threads, streams, ())
        _tell(faults, "torch")
        return "torch", found
    if faults:
        raise faults[0]
    raise UserError(
        "holds no exported graph, and torch, which could run its weights, is not installed",
        where=path,
        remedy=f"where it was trained, run: roinspect export {path} --to onnx",
    )


def _tell(faults: Sequence[UserError], runtime: Runtime) -> None:
    for fault in faults:
        log.warning(f"{fault}; {runtime} runs in its place")


def _open(
    path: Path,
    bundle: Bundle,
    runtime: Runtime,
    threads: int | None,
    streams: int,
    providers: Sequence[str],
) -> Predict:
    if runtime == "torch":
        return _torch(path, threads)
    form = FORMATS[runtime]
    export = read_export(path, form)
    if export.precision != "float32" and export.threshold != bundle.threshold.value:
        log.warning(
            f"{path / form}: {NAMES[export.precision]}'s verdicts were compared at the threshold "
            f"{export.threshold:.4g}, which now is {bundle.threshold.value:.4g}; "
            "export it again to be sure of them"
        )
    file = graph_file(path, form)
    return open_file(
        file, form, threads=threads, streams=streams, providers=providers, precision=export.precision
    )


def _onnxruntime(file: Path, threads: int | None, providers: Sequence[str]) -> Predict:
    import onnxruntime

    known = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in known]
    if missing:
        raise UserError(
            f"this ONNX Runtime has no {', '.join(missing)}, only {', '.join(known)}",
            where="providers",
            remedy="install the build that has it, such as onnxruntime-gpu, in place of onnxruntime",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Threads that wait by counting would keep the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Errors are raised; below them it would write to stderr about what a user cannot change.
    options.log_severity_level = 4
    wanted = list(dict.fromkeys((*providers, "CPUExecutionProvider")))
    session = onnxruntime.InferenceSession(file, options, providers=wanted)
    # A provider whose libraries are not there is left out without an error.
    silent = [name for name in providers if name not in session.get_providers()]
    if silent:
        raise UserError(
            f"{', '.join(silent)} could not be started",
            where="providers",
            remedy="install its driver and libraries in the versions that ONNX Runtime asks for",
        )

    def predict(images: NDArray[np.uint8]) -> Prediction:
        return _prediction(session.run(OUTPUTS, {"image": images}))

    return predict


def _core() -> Any:
    """OpenVINO's one core of this process.

    Its plugin gives the thread that compiles first a stack for signals. Were each model to have a core of its
    own, the stack would go with the first model, and the next signal to that thread would kill the process.
    """
    try:
        import openvino
    except ImportError:
        raise _not_installed("openvino", "openvino") from None
    with _ONE_CORE:
        return _made_once(openvino)


@cache
def _made_once(openvino: Any) -> Any:
    core, ops = openvino.Core(), openvino.opset13
    # Two first inferences of a process at the same time may wait for each other for ever (2026.4: one holds
    # Python's lock and waits for the other's to set up). So the first is this, of next to nothing.
    image = ops.parameter([-1], openvino.Type.u8, name="image")
    nothing = ops.convert(image, "f32")
    nothing.output(0).tensor.names = {"nothing"}
    image.output(0).tensor.names = {"image"}
    request = core.compile_model(openvino.Model([nothing], [image]), "CPU").create_infer_request()
    np.array(request.infer({"image": np.zeros(1, np.uint8)}, share_inputs=True)["nothing"])
    return core


def _openvino(file: Path, threads: int | None, streams: int, *, is_rounded: bool) -> Predict:
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        # Left alone, OpenVINO would round wherever the processor can.
        "INFERENCE_PRECISION_HINT": "bf16" if is_rounded else "f32",
        "NUM_STREAMS": streams,
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads * streams
    model = _core().compile_model(file, "CPU", settings)
    # One request holds one call's answers at a time.
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(streams):
        free.put(model.create_infer_request())

    def predict(images: NDArray[np.uint8]) -> Prediction:
        request = free.get()
        try:
            found = request.infer({"image": images}, share_inputs=True)
            return _prediction([np.array(found[name]) for name in OUTPUTS])
        finally:
            free.put(request)

    return predict


def _torchscript(file: Path, threads: int | None) -> Predict:
    try:
        import torch
    except ImportError:
        raise _not_installed("torch", "train") from None
    _set_threads(threads)
    with warnings.catch_warnings():
        # TorchScript is deprecated, and says so of every call.
        warnings.simplefilter("ignore")
        graph = torch.jit.load(file, map_location="cpu")

    def predict(images: NDArray[np.uint8]) -> Prediction:
        with torch.inference_mode():
            return _prediction([values.numpy() for values in graph(torch.from_numpy(images))])

    return predict


def _torch(path: Path, threads: int | None) -> Predict:
    try:
        from roinspect.methods.method import load_graph, predict
    except ImportError:
        raise _not_installed("torch", "train") from None
    _set_threads(threads)
    graph = load_graph(path)[1]
    return lambda images: predict(graph, images)


def _prediction(outputs: Sequence[NDArray[np.float32]]) -> Prediction:
    """The answers of an exported graph, whose maps have a channel each."""
    pred_score, anomaly_map, roi_map, novelty = outputs
    return Prediction(pred_score, anomaly_map[:, 0], roi_map[:, 0], novelty)


def _set_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


class _NotInstalledError(UserError):
    """The packages of a runtime are missing."""


def _not_installed(name: str, extra: str) -> _NotInstalledError:
    remedy = f'pip install "roinspect[{extra}]"'
    return _NotInstalledError(f"{name} is not installed", where="runtime", remedy=remedy)
