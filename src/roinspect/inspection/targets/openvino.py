"""OpenVINO's XML with its weights beside it, for Intel's processors."""

from __future__ import annotations

import queue
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.inspection.prediction import OUTPUTS, Predict, Prediction, exported_prediction
from roinspect.inspection.targets.target import NotInstalledError, Precision, Resources, Source, Target

_ONE_CORE = threading.Lock()


class OpenVino(Target):
    """See `Target`."""

    runtime = "openvino"
    files = ("graph.xml", "graph.bin")
    extra = "openvino"
    precisions = frozenset({"float32", "bfloat16", "int8"})

    def write(self, source: Source, file: Path) -> None:
        """As `Target.write`."""
        onnx_file = source.onnx_file(as_convolution=True)
        try:
            import openvino
        except ImportError:
            raise UserError(
                "openvino is not installed", where="export", remedy='pip install "roinspect[openvino]"'
            ) from None
        model = openvino.Core().read_model(onnx_file)
        _keep_axes(model)
        try:
            openvino.save_model(model, file, compress_to_fp16=False)
        except RuntimeError as error:
            raise OSError(f"OpenVINO: {error}") from error

    def load(self, file: Path, resources: Resources, precision: Precision = "float32") -> Predict:
        """As `Target.load`."""
        is_rounded = precision == "bfloat16" and self.has_bfloat16()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # Left alone, OpenVINO would round wherever the processor can.
            "INFERENCE_PRECISION_HINT": "bf16" if is_rounded else "f32",
            "NUM_STREAMS": resources.streams,
        }
        if resources.threads:
            settings["INFERENCE_NUM_THREADS"] = resources.threads * resources.streams
        model = _core().compile_model(file, "CPU", settings)
        # One request holds one call's answers at a time.
        free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(resources.streams):
            free.put(model.create_infer_request())

        def predict(images: NDArray[np.uint8]) -> Prediction:
            request = free.get()
            try:
                answers = request.infer({"image": images}, share_inputs=True)
                return exported_prediction([np.array(answers[name]) for name in OUTPUTS])
            finally:
                free.put(request)

        return predict

    def has_bfloat16(self) -> bool:
        """As `Target.has_bfloat16`."""
        return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _core() -> Any:
    """OpenVINO's one core of this process.

    Its plugin gives the thread that compiles first a stack for signals. Were each model to have a core of its
    own, the stack would go with the first model, and the next signal to that thread would kill the process.
    """
    try:
        import openvino
    except ImportError:
        raise NotInstalledError("openvino", "openvino") from None
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


def _keep_axes(model: Any) -> None:
    """Let reductions keep their axes and drop these afterwards.

    OpenVINO's CPU plugin (2026.4) fuses a norm into the reduction before it, and where that drops an axis
    takes the wrong channels for every batch of more than one.
    """
    from openvino import opset13 as ops

    reductions = {
        "ReduceMax": ops.reduce_max,
        "ReduceMean": ops.reduce_mean,
        "ReduceMin": ops.reduce_min,
        "ReduceSum": ops.reduce_sum,
    }
    for node in model.get_ordered_ops():
        reduce = reductions.get(node.get_type_name())
        if reduce is not None and not node.get_attributes()["keep_dims"]:
            image, axes = node.input_values()
            dropped = ops.squeeze(reduce(image, axes, True), axes)
            node.output(0).replace(dropped.output(0))
