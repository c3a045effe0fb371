"""Visual inspection that learns where to look; the trained model needs no mask.

The names below are the public interface (see CONTRIBUTING.md). Each is imported on first use: `import
roinspect` alone loads neither torch nor NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roinspect.version import __version__

if TYPE_CHECKING:
    from roinspect.errors import UserError
    from roinspect.evaluation.evaluate import evaluate
    from roinspect.evaluation.metrics import RoiMetrics
    from roinspect.exports.export import export
    from roinspect.inspection.inspector import Inspector, Verdict
    from roinspect.nn.ceod import CeodLoss, ceod_loss
    from roinspect.nn.focal import focal_loss
    from roinspect.nn.gradcam import grad_cam, linear_cam
    from roinspect.nn.overlap import overlap_distance
    from roinspect.nn.perlin import perlin_noise, perturb
    from roinspect.nn.ssim import ssim
    from roinspect.training.settings import TrainingSettings
    from roinspect.training.train import train

_HOMES = {
    "CeodLoss": "nn.ceod",
    "Inspector": "inspection.inspector",
    "RoiMetrics": "evaluation.metrics",
    "TrainingSettings": "training.settings",
    "UserError": "errors",
    "Verdict": "inspection.inspector",
    "ceod_loss": "nn.ceod",
    "evaluate": "evaluation.evaluate",
    "export": "exports.export",
    "focal_loss": "nn.focal",
    "grad_cam": "nn.gradcam",
    "linear_cam": "nn.gradcam",
    "overlap_distance": "nn.overlap",
    "perlin_noise": "nn.perlin",
    "perturb": "nn.perlin",
    "ssim": "nn.ssim",
    "train": "training.train",
}

__all__ = [
    "CeodLoss",
    "Inspector",
    "RoiMetrics",
    "TrainingSettings",
    "UserError",
    "Verdict",
    "__version__",
    "ceod_loss",
    "evaluate",
    "export",
    "focal_loss",
    "grad_cam",
    "linear_cam",
    "overlap_distance",
    "perlin_noise",
    "perturb",
    "ssim",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
