"""A trained segmenter's folder: the files of a bundle, with a manifest of its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roinspect.errors import UserError
from roinspect.files import sha256
from roinspect.inspection.bundle import SEGMENTER, read_manifest
from roinspect.inspection.exported import made_from


@dataclass(frozen=True, slots=True)
class SegmenterBundle:
    """What a segmenter's manifest says.

    Attributes:
        method_settings: all of its settings.
        size_hw: height and width that images are resized to.
        least_confidence: confidence below which a region is worth a look, in [0, 1].
        training: settings of the training run.
        history: training curves: name to (epoch, value) pairs.
        metrics: what was measured on held-out photographs.
        fingerprints: SHA-256 of the data and of the ROI masks that were trained on, and of the backbone.
        roinspect_version: of the writer.
        bits: that the values of 16-bit photographs fill, as `read_image` takes them.
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
    """Read and check a segmenter's manifest.

    Raises:
        UserError: as `read_manifest`, or the bundle is no segmenter's.
    """
    content = read_manifest(path)
    if content["method"] != SEGMENTER:
        raise UserError(
            f"is a bundle of {content['method']}, not of a segmenter",
            where=path,
            remedy=f"train one: roinspect train {SEGMENTER} DATA --out BUNDLE",
        )
    values = {each.name: content[each.name] for each in dataclasses.fields(SegmenterBundle)}
    height, width = values["size_hw"]
    return SegmenterBundle(**values | {"size_hw": (height, width)})


def segmenter_digest(path: Path) -> str:
    """16 hexadecimal digits of a segmenter's weights and settings: the same digest, the same masks.

    Raises:
        UserError: as `read_segmenter`.
    """
    read_segmenter(path)
    return sha256(json.dumps(made_from(path)))[:16]
