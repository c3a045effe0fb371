"""Models of every method at 256 x 256, trained on the ball screw, for benchmarks of what comes after."""

from __future__ import annotations

import os
from pathlib import Path

from roinspect.cli import main as roinspect

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data")) / "ballscrew"
WORK = ROOT / "runs" / "models"

LITE0 = ("--method.backbone", "tf_efficientnet_lite0")
SHORT = ("--training.steps", "20")
"""What a network computes takes its time whether it has learned much or little."""

MODELS: dict[str, tuple[str, ...]] = {
    "roibank": ("roibank", *LITE0),
    "roibank, cropped, re-weighted": (
        *("roibank", *LITE0, *SHORT),
        *("--method.crop_margin", "16", "--method.reweight", "9"),
    ),
    "roibank, Gaussian, no head": (
        *("roibank", *LITE0, *SHORT),
        *("--method.bank", "gaussian", "--method.roi_head", "false"),
    ),
    "roibank, known defects": ("roibank", *LITE0, *SHORT, "--method.known_defects", "true"),
    "ceod, lite0": ("ceod", *LITE0, *SHORT),
    "ceod, customnet": ("ceod", "--method.backbone", "customnet", *SHORT),
    "grdnet": ("grdnet", *SHORT),
}
"""The options that each is trained with."""


def photographs(split: str = "") -> list[Path]:
    """The ball screw's photographs, of one split or of both, in order."""
    return sorted((DATA / split).rglob("*.jpg"))


def trained(name: str) -> Path:
    """A model's bundle, trained where it is not there yet."""
    bundle = WORK / name.replace(",", "").replace(" ", "-")
    if not bundle.exists():
        method, *options = MODELS[name]
        words = ["train", method, str(DATA), "--roi", "column:roi_path", "--size", "256"]
        if roinspect([*words, "--out", str(bundle), *options]):
            raise SystemExit(f"{name} could not be trained")
    return bundle


def exported(name: str, to: str) -> Path:
    """The same with an export, written where it is not there yet."""
    bundle = trained(name)
    if not (bundle / to).exists() and roinspect(["export", str(bundle), "--to", to]):
        raise SystemExit(f"{name} could not be exported to {to}")
    return bundle
