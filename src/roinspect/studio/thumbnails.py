"""Small and middle-sized JPEGs of photographs, the small ones kept for a while."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.images.pixels import read_image, resize_image

STATIC = Path(__file__).parent / "static"
THUMB, SHOWN = 176, 1600
"""Pixels of the longer side: in a list, and to draw on."""

_KEPT = 600
_thumbs: OrderedDict[tuple[str, int], bytes] = OrderedDict()
_lock = threading.Lock()


def jpeg(image: NDArray[np.uint8], longest: int = SHOWN) -> bytes:
    """A photograph (H, W, 3), RGB, as a JPEG of at most `longest` pixels a side."""
    height, width = image.shape[:2]
    factor = min(1.0, longest / max(height, width))
    small = resize_image(image, (max(1, round(height * factor)), max(1, round(width * factor))))
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return encoded.tobytes()


def thumbnail(path: Path) -> bytes:
    """A photograph as a small JPEG.

    Raises:
        UserError: it cannot be read.
    """
    try:
        name = str(path), path.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path, remedy="bring it back") from None
    with _lock:
        if name in _thumbs:
            _thumbs.move_to_end(name)
            return _thumbs[name]
    made = jpeg(read_image(path), THUMB)
    with _lock:
        _thumbs[name] = made
        while len(_thumbs) > _KEPT:
            _thumbs.popitem(last=False)
    return made


def veiled(small: bytes, mask: NDArray[np.uint8]) -> bytes:
    """A small JPEG, dark where a mask (H, W) in {0, 1} of any size is 0."""
    image = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    bright = cv2.resize(
        mask.astype(np.float32), (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA
    )
    shown = (image * (0.3 + 0.7 * bright[..., None])).astype(np.uint8)
    return cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def data_uri(image: NDArray[np.uint8], longest: int) -> str:
    """A picture to stand in a page itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, longest)).decode()


def unreadable_svg() -> bytes:
    """What stands in place of a photograph that cannot be read."""
    return (
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 176 132"><rect width="176" height="132" '
        b'fill="#e8e8ec"/><text x="88" y="62" text-anchor="middle" font-family="sans-serif" font-size="13" '
        b'fill="#8a1f11">This photograph</text><text x="88" y="82" text-anchor="middle" '
        b'font-family="sans-serif" font-size="13" fill="#8a1f11">cannot be read</text></svg>'
    )


def unreadable_uri() -> str:
    """The same, to stand in a page itself."""
    return "data:image/svg+xml;base64," + base64.b64encode(unreadable_svg()).decode()
