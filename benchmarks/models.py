"""Models of every method at 256 x 256, trained on the ball screw, for benchmarks of inference."""

from __future__ import annotations

import os
from pathlib import Path

from roinspect.cli import main as roinspect

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data")) / "ballscrew"
WORK = ROOT / "runs" / "models"

LITE0 = ("--method.backbone", "tf_efficientnet_lite0")
SHORT = ("--training.steps", "20")
"""Short, as the speed of a network does not depend on what it has learned."""

MODELS: dict[str, tuple[str, ...]] = {
    "roibank": ("roibank", *LITE0),
    "roibank, no heads": (
        *("roibank", *LITE0, *SHORT),
        *("--method.defect_head", "false", "--method.roi_head", "false"),
    ),
    "roibank, known defects": ("roibank", *LITE0, *SHORT, "--method.known_defects", "true"),
    "ceod, lite0": ("ceod", *LITE0, *SHORT),
    "ceod, customnet": ("ceod", "--method.backbone", "customnet", *SHORT),
    "grdnet": ("grdnet", *SHORT),
}
"""Training options by method."""


def photographs(split: str = "") -> list[Path]:
    """The ball screw's photographs, of one split or of both, in order."""
    return sorted((DATA / split).rglob("*.jpg"))


def trained(name: str) -> Path:
    """A model's bundle, trained if missing."""
    bundle = WORK / name.replace(",", "").replace(" ", "-")
    if not bundle.exists():
        method, *options = MODELS[name]
        words = ["train", method, str(DATA), "--roi", "column:roi_path", "--size", "256"]
        if roinspect([*words, "--out", str(bundle), *options]):
            raise SystemExit(f"{name} could not be trained")
    return bundle


def exported(name: str, to: str) -> Path:
    """The same with an export, written if missing."""
    bundle = trained(name)
    if not (bundle / to).exists() and roinspect(["export", str(bundle), "--to", to]):
        raise SystemExit(f"{name} could not be exported to {to}")
    return bundle
