"""The bundle of a trained segmenter: the usual files, with its own manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roinspect.errors import UserError
from roinspect.files import sha256
from roinspect.inspection.bundle import SEGMENTER, manifest_of, read_manifest
from roinspect.inspection.exported import made_from


@dataclass(frozen=True, slots=True)
class SegmenterBundle:
    """Manifest of a segmenter.

    Attributes:
        method_settings: all settings of the segmenter.
        size_hw: height and width to which images are resized.
        least_confidence: masks below this confidence should be reviewed, in [0, 1].
        training: settings of the training run.
        history: training curves: name to (epoch, value) pairs.
        metrics: measured on held-out photographs.
        fingerprints: SHA-256 of the training data, its ROI masks and the backbone's weights.
        roinspect_version: version that wrote the bundle.
        bits: significant bits of 16-bit photographs, see `read_image`.
        method: always "segmenter".
    """

    method_settings: Mapping[str, Any]
    size_hw: tuple[int, int]
    least_confidence: float
    training: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    roinspect_version: str = ""
    bits: int = 16
    method: str = SEGMENTER


def read_segmenter(path: Path) -> SegmenterBundle:
    """Read and validate a segmenter's manifest.

    Raises:
        UserError: see `read_manifest`; or the bundle is not of a segmenter.
    """
    content = read_manifest(path)
    if content["method"] != SEGMENTER:
        raise UserError(
            f"is a bundle of {content['method']}, not of a segmenter",
            where=path,
            remedy=f"train one: roinspect train {SEGMENTER} DATA --out BUNDLE",
        )
    return manifest_of(SegmenterBundle, content, path)


def segmenter_digest(path: Path) -> str:
    """16 hexadecimal digits of a segmenter's weights and settings, which determine its masks.

    Raises:
        UserError: see `read_segmenter`.
    """
    read_segmenter(path)
    return sha256(json.dumps(made_from(path)))[:16]
