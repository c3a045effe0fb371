"""Export targets: one file each, listed in `TARGETS`."""

from __future__ import annotations

from roinspect.inspection.targets.onnx import Onnx
from roinspect.inspection.targets.openvino import OpenVino
from roinspect.inspection.targets.target import Target
from roinspect.inspection.targets.torchscript import TorchScript

TARGETS: dict[str, Target] = {"openvino": OpenVino(), "onnx": Onnx(), "torchscript": TorchScript()}
"""By name, as in `roinspect export --to NAME`, in the order in which the runtime "auto" prefers them."""
