"""Names of the forms that losses and noise take, without torch: settings and `--help` need no more."""

from collections.abc import Mapping
from typing import Literal

Areas = Literal["soft", "hard"]
Clip = Literal["smooth", "hard"]
Denominator = Literal["min", "heatmap"]
Explanation = Literal["ceod", "energy", "evidence", "res", "rrr", "isnet"]
Gate = Literal["defects", "all"]
NoiseSource = Literal["pixel", "blob", "patch", "shade", "texture"]
Resolution = Literal["grid", "image"]
RoiForm = Literal["target", "intersection", "overlap", "intersection_overlap", "outside_overlap", "none"]
Soften = Literal["clip", "literal", "max", "falloff", "none"]
Variant = Literal["log", "linear"]

ENERGY: Mapping[str, str] = {"variant": "linear", "denominator": "heatmap", "soften": "none"}
"""Options with which `overlap_distance` is the Energy loss of Rao et al. 2023."""
