"""Synthetic textures for methods that paste foreign textures onto good parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.images.pixels import write_image
from roinspect.synthetic.textures import Field, fractal_noise, smoothstep, weave

COUNT, SIDE = 48, 256


def write_textures(folder: Path) -> int:
    """Write a fixed set of 256 x 256 textures (cloth, marble, speckles); returns their number."""
    for number in range(COUNT):
        write_image(folder / f"{number:02d}.png", texture(np.random.default_rng((1, number)), number % 3))
    return COUNT


def texture(rng: np.random.Generator, kind: int) -> NDArray[np.uint8]:
    """An image (256, 256, 3), uint8 RGB, in two colours: cloth (kind 0), marble (1) or speckles (2)."""
    hw = (SIDE, SIDE)
    dark, light = np.sort(rng.uniform(0, 255, (2, 3)), axis=0)
    field = (_cloth, _marble, _speckles)[kind](rng, hw)
    grain = rng.normal(0, rng.uniform(1, 8), hw)[..., None]
    image = dark + np.clip(field, 0, 1)[..., None] * (light - dark) + grain
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def _cloth(rng: np.random.Generator, hw: tuple[int, int]) -> Field:
    y, x = (axis.astype(np.float32) for axis in np.mgrid[: hw[0], : hw[1]])
    angle, thread = rng.uniform(0, np.pi), rng.uniform(3, 14)
    across, along = np.cos(angle) / thread, np.sin(angle) / thread
    lean = np.float32(rng.choice((-1, 1))) * np.ones(hw, np.float32)
    cloth = weave(rng, across * x + along * y, across * y - along * x, lean)
    return cloth.height * cloth.tone


def _marble(rng: np.random.Generator, hw: tuple[int, int]) -> Field:
    return smoothstep(-1.5, 1.5, fractal_noise(rng, hw, rng.uniform(24, 96), octaves=4))


def _speckles(rng: np.random.Generator, hw: tuple[int, int]) -> Field:
    edge = rng.uniform(0, 1.2)
    return smoothstep(edge, edge + 0.3, fractal_noise(rng, hw, rng.uniform(4, 20), octaves=2))
