"""Names of the forms that losses and noise take, without torch: settings and `--help` need no more."""

from typing import Literal

Areas = Literal["soft", "hard"]
Clip = Literal["smooth", "hard"]
Denominator = Literal["min", "heatmap"]
Gate = Literal["defects", "all"]
NoiseSource = Literal["pixel", "blob", "patch", "shade", "texture"]
Resolution = Literal["grid", "image"]
RoiForm = Literal["target", "intersection", "overlap", "intersection_overlap", "outside_overlap", "none"]
Soften = Literal["clip", "literal", "max", "falloff", "none"]
Variant = Literal["log", "linear"]
