"""Random fields and woven cloth for the synthetic products.

Lengths are in pixels of the array; fields are float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Field: TypeAlias = NDArray[np.floating[Any]]

LARGE = 512
"""A shorter side above this, in pixels, makes a large photograph: it is drawn with finer texture, in one
scene pixel per pixel instead of 2 x 2, as its lens blurs over more than a pixel anyway."""


def supersampling(size_hw: tuple[int, int]) -> int:
    """Pixels of the scene per pixel of a photograph of this size, along each axis: 1 or 2."""
    return 1 if min(size_hw) > LARGE else 2


def coarseness(size_hw: tuple[int, int]) -> int:
    """Scale of the lengths given in pixels of the scene, such as those of shadows: 1 unless large."""
    return max(round(min(size_hw) / LARGE), 1)


def f32(values: ArrayLike) -> Field:
    """The values as a float32 array, without a copy if they already are one."""
    return np.asarray(values, np.float32)


def smooth_noise(rng: np.random.Generator, hw: tuple[int, int], cell: float) -> Field:
    """Smooth noise with mean about 0, standard deviation about 1 and a period of about `cell` pixels.

    Returns:
        (H, W) field.
    """
    grid_hw = (int(np.ceil(hw[0] / cell)) + 2, int(np.ceil(hw[1] / cell)) + 2)
    grid = rng.standard_normal(grid_hw, dtype=np.float32)
    if cell >= 16:
        # Cubic interpolation is expensive: use it up to a quarter of the size, and linear for the rest.
        grid = f32(cv2.resize(grid, (hw[1] // 4 + 1, hw[0] // 4 + 1), interpolation=cv2.INTER_CUBIC))
        return f32(cv2.resize(grid, hw[::-1], interpolation=cv2.INTER_LINEAR))
    return f32(cv2.resize(grid, hw[::-1], interpolation=cv2.INTER_CUBIC))


def fractal_noise(rng: np.random.Generator, hw: tuple[int, int], cell: float, octaves: int = 3) -> Field:
    """Sum of `octaves` smooth noises, each with half the period and 0.6 times the amplitude: (H, W)."""
    total = np.zeros(hw, np.float32)
    for octave in range(octaves):
        total += np.float32(0.6**octave) * smooth_noise(rng, hw, cell / 2**octave)
    return total


def streaks(rng: np.random.Generator, hw: tuple[int, int], length: float, thickness: float) -> Field:
    """Smooth noise drawn out along x, periods in pixels: (H, W), standard deviation about 1."""
    narrow = smooth_noise(rng, (hw[0], max(round(hw[1] * thickness / length), 8)), thickness)
    return f32(cv2.resize(narrow, hw[::-1], interpolation=cv2.INTER_LINEAR))


def smoothstep(low: float, high: float, value: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between; falling if `low` > `high`."""
    t = (value - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(t, 0, 1, out=t)
    return f32(t * t * (3 - 2 * t))


class Cloth(NamedTuple):
    """A weave: `height` in thread thicknesses, in about [0, 1], and `tone`, a factor near 1 of the colour."""

    height: Field
    tone: Field


def weave(rng: np.random.Generator, a: Field, b: Field, lean: Field, coarse: int = 1) -> Cloth:
    """Twill cloth with irregular threads.

    Args:
        rng: source of the irregularities.
        a: (H, W) coordinate across the weft, one thread per unit.
        b: (H, W) coordinate across the warp, one thread per unit.
        lean: (H, W) of +1 or -1, the direction of the twill's diagonal; alternating signs give a herringbone.
        coarse: see `coarseness`; above 1 the fibres of the yarn are resolved.

    Returns:
        Height and tone, each (H, W).
    """
    hw = (a.shape[0], a.shape[1])
    a = a + 0.16 * smooth_noise(rng, hw, 9 * coarse)
    b = b + 0.16 * smooth_noise(rng, hw, 11 * coarse)
    i, j = np.floor(a), np.floor(b)
    fa, fb = a - i - 0.5, b - j - 0.5
    i, j = i.astype(np.int32), j.astype(np.int32)
    lifted = np.where(lean > 0, i + j, i - j) & 3
    warp_on_top = lifted < 2
    top = warp_on_top.astype(np.float32)

    across = fa + top * (fb - fa)
    along = fb - top * (fb - fa)
    height = (1 - 3.6 * across * across) * (1 - 0.9 * along * along)
    tones = 1 + 0.075 * rng.standard_normal(2048, dtype=np.float32)
    tones[1024:] *= 0.9
    thread = ((i & 1023) + 1024) * ~warp_on_top + (j & 1023) * warp_on_top
    tone = tones[thread]
    if coarse > 1:
        # Thread by thread, along whichever lies on top.
        return _with_yarn(rng, Cloth(height, tone), across, f32(b + top * (a - b) + 5.3 * thread))
    fibres = rng.standard_normal(hw, dtype=np.float32)
    return Cloth(height + 0.06 * fibres, tone * (1 + 0.07 * fibres))


def _with_yarn(rng: np.random.Generator, cloth: Cloth, across: Field, along: Field) -> Cloth:
    """Add the twisted fibres of the yarn; coordinates are in threads."""
    sheet = fractal_noise(rng, (256, 256), 4, 2)
    position = np.float32(16) * along
    slanted = f32(70 * across + 2 * position)
    fibres = cv2.remap(sheet, position, slanted, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return Cloth(f32(cloth.height + 0.08 * fibres), f32(cloth.tone * (1 + 0.10 * fibres)))
