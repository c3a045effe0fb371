"""OpenVINO, with its graph as XML and its weights in a second file, for Intel processors."""

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
        """See `Target.write`."""
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
        """See `Target.load`."""
        is_rounded = precision == "bfloat16" and self.has_bfloat16()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # By default OpenVINO uses bfloat16 wherever the processor has it.
            "INFERENCE_PRECISION_HINT": "bf16" if is_rounded else "f32",
            "NUM_STREAMS": resources.streams,
        }
        if resources.threads:
            settings["INFERENCE_NUM_THREADS"] = resources.threads * resources.streams
        model = _core().compile_model(file, "CPU", settings)
        model.input("image")
        for name in OUTPUTS:
            model.output(name)  # raises an error if there is none
        # A request holds the outputs of one call at a time.
        free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(resources.streams):
            free.put(model.create_infer_request())

        def predict(images: NDArray[np.uint8]) -> Prediction:
            request = free.get()
            try:
                outputs = request.infer({"image": images}, share_inputs=True)
                return exported_prediction([np.array(outputs[name]) for name in OUTPUTS])
            finally:
                free.put(request)

        return predict

    def has_bfloat16(self) -> bool:
        """See `Target.has_bfloat16`."""
        return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _core() -> Any:
    """The process's only OpenVINO core.

    The plugin gives the thread that compiles first a stack for signal handlers. With one core per model, this
    stack would be freed with the first model, and the next signal to that thread would kill the process.
    """
    try:
        import openvino
    except ImportError:
        raise NotInstalledError("openvino", "openvino") from None
    with _ONE_CORE:
        return _create_core(openvino)


@cache
def _create_core(openvino: Any) -> Any:
    core, ops = openvino.Core(), openvino.opset13
    # Two concurrent first inferences of a process can deadlock (2026.4: one holds Python's lock while it
    # waits for the other's setup). So run a trivial one first.
    image = ops.parameter([-1], openvino.Type.u8, name="image")
    nothing = ops.convert(image, "f32")
    nothing.output(0).tensor.names = {"nothing"}
    image.output(0).tensor.names = {"image"}
    request = core.compile_model(openvino.Model([nothing], [image]), "CPU").create_infer_request()
    np.array(request.infer({"image": np.zeros(1, np.uint8)}, share_inputs=True)["nothing"])
    return core


def _keep_axes(model: Any) -> None:
    """Make reductions keep their axes, and squeeze these afterwards.

    OpenVINO's CPU plugin (2026.4) fuses a norm into the reduction before it; if this drops an axis, the fused
    norm uses the wrong channels for batches of more than one.
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
