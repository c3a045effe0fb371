"""Bundles with a graph written by hand and matching checksums, as a mistake or an attacker makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto, TensorProto, helper

from roinspect.inspection.bundle import Bundle, Threshold, save_bundle
from roinspect.inspection.exported import describe
from roinspect.inspection.prediction import OUTPUTS

SIZE = (8, 12)
SHAPES: Mapping[str, Sequence[int]] = {
    "pred_score": (1,),
    "anomaly_map": (1, 1, *SIZE),
    "roi_map": (1, 1, 2, 3),
    "novelty": (1,),
}


def constant_graph(
    shapes: Mapping[str, Sequence[int]] = SHAPES,
    values: Mapping[str, float] | None = None,
    dtype: int = TensorProto.FLOAT,
    names: Sequence[str] = OUTPUTS,
) -> ModelProto:
    """A graph that answers 0.25 everywhere, or `values`, in outputs of these shapes."""
    nodes, sizes, outputs = [], [], []
    for name, shape in zip(names, (SHAPES | dict(shapes)).values(), strict=True):
        value = helper.make_tensor("value", dtype, [1], [(values or {}).get(name, 0.25)])
        sizes.append(helper.make_tensor(f"shape of {name}", TensorProto.INT64, [len(shape)], shape))
        nodes.append(helper.make_node("ConstantOfShape", [f"shape of {name}"], [name], value=value))
        outputs.append(helper.make_tensor_value_info(name, dtype, [None] * len(shape)))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])
    graph = helper.make_graph(nodes, "constant", [image], outputs, sizes)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def endless_graph() -> ModelProto:
    """A graph that never answers."""
    model = constant_graph()
    graph, value = model.graph, helper.make_tensor_value_info
    go, x = TensorProto.BOOL, TensorProto.FLOAT
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go on"]), helper.make_node("Identity", ["x"], ["same"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", go, []), value("x", x, None)],
        [value("go on", go, []), value("same", x, None)],
    )
    graph.initializer.append(helper.make_tensor("many", TensorProto.INT64, [], [2**62]))
    graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    graph.node[0].output[0] = "start"
    graph.node.insert(1, helper.make_node("Loop", ["many", "yes", "start"], ["pred_score"], body=body))
    return model


def graph_with_weights_in(location: str) -> ModelProto:
    """A graph that takes its score from another file."""
    model = constant_graph()
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", "4")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    model.graph.initializer.append(weight)
    model.graph.node[0].CopyFrom(helper.make_node("Identity", ["w"], ["pred_score"]))
    return model


def forge(
    path: Path, graph: ModelProto | bytes, photographs: Mapping[str, bytes] | None = None, **manifest: Any
) -> Path:
    """A bundle with this graph as its ONNX export, and the files of its references, if any."""
    bundle = Bundle(**{"method": "forged", "method_settings": {}, "size_hw": SIZE,
                       "threshold": Threshold(0.5, "chosen")} | manifest)  # fmt: skip
    save_bundle(path, bundle, {"nothing": torch.zeros(1)}, photographs=photographs, overwrite=True)
    (path / "onnx").mkdir()
    content = graph if isinstance(graph, bytes) else graph.SerializeToString()
    (path / "onnx/graph.onnx").write_bytes(content)
    describe(path, path / "onnx", "onnx", "float32", 0.5)
    return path
