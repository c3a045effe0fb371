"""Write an inspection graph with all pre- and post-processing to a file; its input is decoded images.

Input `image`: (N, H, W, 3) uint8 RGB, any N, at the bundle's size. Outputs, all float32: `pred_score` (N,)
and `anomaly_map` (N, 1, H, W), higher = more anomalous; `roi_map` (N, 1, h, w), the probability of the region
of interest, and `novelty` (N,), which determine whether the image is inspectable.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from roinspect.errors import UserError
from roinspect.inspection.prediction import OUTPUTS
from roinspect.methods.method import InspectionGraph
from roinspect.nn.memory import NearestNeighbours

OPSET = 18
"""Supported by all required versions of ONNX Runtime and OpenVINO, and the exporter's own."""


class FromPixels(nn.Module):
    """The inspection graph with decoded pixels as input, prepared as in `roinspect.methods.method.predict`.

    Args:
        inspection: the graph, in evaluation mode.
    """

    # Not named `graph`: a traced module has an attribute of that name.
    def __init__(self, inspection: InspectionGraph) -> None:
        super().__init__()
        self.inspection = inspection

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, H, W, 3) uint8 RGB to the four `OUTPUTS`."""
        pred_score, anomaly_map, roi_map, novelty = self.inspection(image.permute(0, 3, 1, 2).float() / 255)
        return pred_score, anomaly_map, roi_map, novelty


class TrainedGraph:
    """A trained graph in the forms that targets export from, see `inspection.targets.target.Source`.

    Args:
        graph: in evaluation mode.
        size_hw: height and width of its images.
        scratch: folder for ONNX files.
        for_int8: whether it will be quantised. Then no memory becomes a convolution, as INT8 is for the
            network's convolutions, not for distances.

    Attributes:
        quantized: if set, replaces the ONNX file.
    """

    def __init__(
        self, graph: InspectionGraph, size_hw: tuple[int, int], scratch: Path, *, for_int8: bool
    ) -> None:
        self.size_hw = size_hw
        self.quantized: Path | None = None
        self._graph, self._scratch, self._for_int8 = graph, scratch, for_int8

    @property
    def module(self) -> nn.Module:
        """See `Source.module`."""
        return FromPixels(self._graph).eval()

    def onnx_file(self, *, as_convolution: bool = False) -> Path:
        """See `Source.onnx_file`."""
        if self.quantized is not None:
            return self.quantized
        as_convolution = as_convolution and not self._for_int8
        file = self._scratch / ("convolutions.onnx" if as_convolution else "graph.onnx")
        if not file.exists():
            write_onnx(self._graph, self.size_hw, file, as_convolution=as_convolution)
        return file


def write_onnx(
    graph: InspectionGraph, size_hw: tuple[int, int], file: Path, *, as_convolution: bool = False
) -> None:
    """Write a graph as ONNX, checked and whole in one file.

    Args:
        graph: in evaluation mode.
        size_hw: height and width of its images.
        file: what to write.
        as_convolution: write memories as convolutions, see `NearestNeighbours.as_convolution`.

    Raises:
        UserError: onnx or onnxscript is not installed, or a layer has no ONNX form.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter needs it, and asks for it late
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed", where="export", remedy='pip install "roinspect[train]"'
        ) from None
    # Two images: torch would treat a batch of one as a constant.
    example = torch.zeros((2, *size_hw, 3), dtype=torch.uint8)
    try:
        with _memories(graph, as_convolution):
            program = torch.onnx.export(
                FromPixels(graph).eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
                input_names=["image"],
                output_names=list(OUTPUTS),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"torch cannot write this graph as ONNX ({str(error.__cause__ or error).splitlines()[0]})",
            where="export",
            remedy="choose another backbone, or export to torchscript",
        ) from error
    assert program is not None
    onnx.checker.check_model(program.model_proto, full_check=True)
    program.save(file)


@contextmanager
def _memories(graph: InspectionGraph, as_convolution: bool) -> Iterator[None]:
    """Set `as_convolution` while a graph is written; the trained graph itself stays the reference."""
    memories = [module for module in graph.modules() if isinstance(module, NearestNeighbours)]
    for memory in memories:
        memory.as_convolution = as_convolution
    try:
        yield
    finally:
        for memory in memories:
            memory.as_convolution = False


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' messages about their own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
