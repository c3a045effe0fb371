"""Disturbances of a photograph, of growing strength: what lamp, lens, camera, fixture and files may do."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def disturbed(image: Picture, kind: str, strength: float, name: str) -> Iterator[Picture]:
    """The photograph, disturbed.

    Args:
        image: (H, W, 3) uint8 RGB.
        kind: one of `KINDS`.
        strength: see `plan.HIGHEST`.
        name: of the photograph; the same name has the same noise.

    Yields:
        One picture, or two for disturbances with a direction; a kind is as bad as the worse of them.
    """
    for change in KINDS[kind]:
        yield change(image, strength, name)


def brighter(image: Picture, strength: float, _: str) -> Picture:
    """All values times 1 + strength, up to 255."""
    return cv2.convertScaleAbs(image, alpha=1 + strength).astype(np.uint8, copy=False)


def darker(image: Picture, strength: float, _: str) -> Picture:
    """All values times 1 - strength."""
    return cv2.convertScaleAbs(image, alpha=1 - strength).astype(np.uint8, copy=False)


def _contrast(image: Picture, factor: float) -> Picture:
    mean = float(image.mean())
    levels = np.clip(np.rint(mean + factor * (np.arange(256) - mean)), 0, 255).astype(np.uint8)
    return cv2.LUT(image, levels).astype(np.uint8, copy=False)


def more_contrast(image: Picture, strength: float, _: str) -> Picture:
    """Distances from the photograph's mean value times 1 + strength."""
    return _contrast(image, 1 + strength)


def less_contrast(image: Picture, strength: float, _: str) -> Picture:
    """Distances from the photograph's mean value times 1 - strength."""
    return _contrast(image, 1 - strength)


def blurred(image: Picture, strength: float, _: str) -> Picture:
    """A Gaussian blur with `strength` pixels of standard deviation."""
    return cv2.GaussianBlur(image, (0, 0), strength, borderType=cv2.BORDER_REPLICATE).astype(
        np.uint8, copy=False
    )


def _moved(image: Picture, matrix: NDArray[np.float64]) -> Picture:
    height, width = image.shape[:2]
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)


def _shift(image: Picture, strength: float) -> Picture:
    height, width = image.shape[:2]
    return _moved(
        image, np.array([[1, 0, round(strength * width)], [0, 1, round(strength * height)]], np.float64)
    )


def shifted(image: Picture, strength: float, _: str) -> Picture:
    """Moved right and down by shares of width and height; the border is continued."""
    return _shift(image, strength)


def shifted_back(image: Picture, strength: float, _: str) -> Picture:
    """Moved left and up by shares of width and height; the border is continued."""
    return _shift(image, -strength)


def _turn(image: Picture, degrees: float) -> Picture:
    height, width = image.shape[:2]
    return _moved(
        image, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1).astype(np.float64)
    )


def turned_left(image: Picture, strength: float, _: str) -> Picture:
    """Turned about its middle, in degrees; the border is continued."""
    return _turn(image, strength)


def turned_right(image: Picture, strength: float, _: str) -> Picture:
    """Turned about its middle, in degrees; the border is continued."""
    return _turn(image, -strength)


def compressed(image: Picture, strength: float, _: str) -> Picture:
    """Saved as a JPEG of quality 100 - strength, and read again."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(100 - strength)]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def noisy(image: Picture, strength: float, name: str) -> Picture:
    """Gaussian noise with a standard deviation of `strength` grey levels, independent in each value."""
    generator = np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogatepass")))
    noise = generator.standard_normal(image.shape, np.float32) * np.float32(strength)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


KINDS: dict[str, tuple[Callable[[Picture, float, str], Picture], ...]] = {
    "brightness": (darker, brighter),
    "contrast": (less_contrast, more_contrast),
    "blur": (blurred,),
    "shift": (shifted, shifted_back),
    "rotation": (turned_left, turned_right),
    "jpeg": (compressed,),
    "noise": (noisy,),
}


def foreign_pictures(size_hw: tuple[int, int]) -> Iterator[tuple[str, Picture]]:
    """Pictures that do not show the part, by name: what a camera sees without part, lamp or cable.

    Args:
        size_hw: height and width of the photographs of the part.
    """
    height, width = size_hw
    for name, level in (("black", 0), ("grey", 128), ("white", 255)):
        yield name, np.full((height, width, 3), level, np.uint8)
    generator = np.random.default_rng(0)
    yield "noise", generator.integers(0, 256, (height, width, 3), np.uint8)
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    yield "gradient", np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()
    cells = (np.indices((height, width)) // max(1, min(height, width) // 8)).sum(0) % 2
    yield "checkerboard", np.repeat((255 * cells).astype(np.uint8)[..., None], 3, 2)
