"""Images for the pages: photographs as JPEGs, and overlays of heat and outlines."""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.images.overlay import overlay
from roinspect.images.pixels import read_image, resize_image
from roinspect.inspection.inspector import Inspector, Verdict
from roinspect.studio.state.regions import stamp_of

STATIC = Path(__file__).parent / "static"
THUMB, SHOWN = 176, 1600
"""Pixels of the longer side, in a list and for drawing."""

LEAST = 480
"""Smallest longer side, in pixels, of a picture with outlines."""

UNREADABLE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 176 132"><rect width="176" height="132" '
    b'fill="#e8e8ec"/><text x="88" y="62" text-anchor="middle" font-family="sans-serif" font-size="13" '
    b'fill="#8a1f11">This photograph</text><text x="88" y="82" text-anchor="middle" '
    b'font-family="sans-serif" font-size="13" fill="#8a1f11">cannot be read</text></svg>'
)
"""The SVG in place of a photograph that cannot be read."""

UNREADABLE_URI = "data:image/svg+xml;base64," + base64.b64encode(UNREADABLE).decode()


def jpeg(image: NDArray[np.uint8], longest: int = SHOWN) -> bytes:
    """A photograph (H, W, 3), RGB, as a JPEG of at most `longest` pixels a side."""
    height, width = image.shape[:2]
    factor = min(1.0, longest / max(height, width))
    small = resize_image(image, (max(1, round(height * factor)), max(1, round(width * factor))))
    return _encoded(np.ascontiguousarray(small[..., ::-1]))


def crop(path: Path, box: tuple[int, int, int, int]) -> bytes:
    """A part of a photograph as a JPEG, as sharp as it is.

    Args:
        path: of the photograph.
        box: left, top, right and bottom in pixels; cut to the photograph.

    Raises:
        UserError: it cannot be read, or the box lies outside it.
    """
    image = photograph(path)
    left, top, right, bottom = (max(0, side) for side in box)
    part = image[top:bottom, left:right]
    if not part.size:
        raise UserError("lies outside the photograph", where="the part", remedy="reload the page")
    return jpeg(part, 2 * SHOWN)


@lru_cache(maxsize=2)
def _whole(path: Path, _stamp: str) -> NDArray[np.uint8]:
    return read_image(path)


def photograph(path: Path) -> NDArray[np.uint8]:
    """A photograph (H, W, 3), RGB; the last two are cached.

    Raises:
        UserError: it cannot be read.
    """
    return _whole(path, stamp_of(path))


def data_uri(image: NDArray[np.uint8], longest: int) -> str:
    """An image as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, longest)).decode()


def thumbnail(path: Path) -> bytes:
    """A photograph as a small JPEG.

    Raises:
        UserError: it cannot be read.
    """
    return _thumbnail(path, stamp_of(path))


@lru_cache(maxsize=600)
def _thumbnail(path: Path, _stamp: str) -> bytes:
    return jpeg(read_image(path), THUMB)


def veiled(small: bytes, mask: NDArray[np.uint8]) -> bytes:
    """A small JPEG, dark where a mask (H, W) in {0, 1} of any size is 0."""
    image = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    size = image.shape[1], image.shape[0]
    bright = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return _encoded((image * (0.3 + 0.7 * bright[..., None])).astype(np.uint8))


def _encoded(bgr: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def inspector(model: Path) -> Inspector:
    """The model, cached until its files change.

    Raises:
        UserError: see `Inspector.load`.
    """
    try:
        changed = (model / "bundle.json").stat().st_mtime_ns
    except OSError:
        raise UserError("there is no model", where=model.name, remedy="train one on page 3, Train") from None
    exports = tuple(sorted(path.parent.name for path in model.glob("*/export.json")))
    return _load(model, changed, exports)


@lru_cache(maxsize=2)
def _load(model: Path, changed: int, exports: tuple[str, ...]) -> Inspector:
    return Inspector.load(model)


def picture(verdict: Verdict, roi_mask: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The photograph with heat and outlines, same as in the report: (H, W, 3), RGB."""
    assert verdict.image is not None and verdict.anomaly_map is not None
    return draw(verdict.image, verdict.anomaly_map, verdict.map_level, roi_mask)


def draw(
    image: NDArray[np.uint8],
    anomaly_map: NDArray[np.float32],
    level: float | None,
    roi_mask: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Heat and outlines over a photograph, enlarged so that the outlines are fine: (H, W, 3), RGB."""
    height, width = image.shape[:2]
    factor = -(-LEAST // max(height, width))
    return overlay(resize_image(image, (factor * height, factor * width)), anomaly_map, roi_mask, level=level)
