"""INT8 quantisation with ONNX Runtime, calibrated on good parts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from roinspect.data.reading import read_data
from roinspect.data.records import Record
from roinspect.data.splits import hold_out
from roinspect.inspection.bundle import Bundle

CALIBRATION_IMAGES = 48
"""Ranges converge after a few dozen images; more only cost time."""


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, images: Iterable[NDArray[np.uint8]]) -> None:
        self._images = iter(images)

    def get_next(self) -> Mapping[str, NDArray[np.uint8]] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


_QUANTIZED = ("Conv", "Relu", "Clip")
"""Includes the activations that clip a convolution's output: the range before clipping is far too wide."""
_SCOPES = "pkg.torch.onnx.name_scopes"
"""What torch's exporter calls the modules that a node comes from, outermost first."""


def quantize(source: Path, images: Iterable[NDArray[np.uint8]], file: Path, *, module: str = "") -> None:
    """Write an ONNX graph with the convolutions of one of its modules in INT8.

    The first one stays in float32: it costs little, and all others see its errors.

    Args:
        source: the graph in float32.
        images: (H, W, 3) uint8 RGB at the graph's size, of good parts.
        file: to write.
        module: name of the module in the inspection graph; "" for all of the graph.
    """
    nodes = [
        node
        for node in onnx.load(source).graph.node
        if node.op_type in _QUANTIZED
        and any(module in pair.value for pair in node.metadata_props if pair.key == _SCOPES)
    ]
    first = next(node.name for node in nodes if node.op_type == "Conv")
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        # Folds norms into convolutions; the exporter has already inferred the shapes.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            file,
            _Images(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_quantize=[node.name for node in nodes if node.name != first],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Processors without VNNI accumulate in 16 bits, where 8-bit weights overflow, and verdicts would
            # change.
            reduce_range=True,
        )


def calibration_split(
    bundle: Bundle, data: Path, columns: Mapping[str, str] | None = None
) -> tuple[list[Record], list[Record]]:
    """Good parts for the ranges, and held-out parts for comparing verdicts; never test parts.

    On the training data, the held-out good parts are those that training held out for the threshold; the same
    share of labelled defective parts in the train split is added.

    Raises:
        UserError: the data cannot be read, or has too few good parts.
    """
    training = bundle.training
    records = read_data(data, columns=columns, usual_good=training.get("good")).not_test()
    share, seed = training.get("held_out", 0.15), training.get("seed", 0)
    fitted, held_out = hold_out(records, "all", share, seed, data)
    return list(_spread([record for record in fitted if record.label == 0])), held_out


def _spread(records: list[Record]) -> Iterator[Record]:
    count = min(CALIBRATION_IMAGES, len(records))
    for row in np.linspace(0, len(records) - 1, count).round().astype(int):
        yield records[row]
