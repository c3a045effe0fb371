"""Export targets: a file each, and a line in `TARGETS`."""

from __future__ import annotations

from roinspect.inspection.targets.onnx import Onnx
from roinspect.inspection.targets.openvino import OpenVino
from roinspect.inspection.targets.target import Target
from roinspect.inspection.targets.torchscript import TorchScript

TARGETS: dict[str, Target] = {"openvino": OpenVino(), "onnx": Onnx(), "torchscript": TorchScript()}
"""By name, as `roinspect export --to NAME` writes them; the runtime "auto" prefers an earlier one."""
