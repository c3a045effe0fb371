"""Metal washers on a textured table; the region of interest is small and can lie anywhere.

Geometry is in units of 1/256 of the image's shorter side: `x` to the right, `y` down, (0, 0) is the centre.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from roinspect.errors import UserError
from roinspect.synthetic.lighting import Light, Surface, draw_light
from roinspect.synthetic.marks import Mask, cover, line
from roinspect.synthetic.textures import (
    Field,
    coarseness,
    f32,
    fractal_noise,
    smooth_noise,
    smoothstep,
    streaks,
    supersampling,
)

RADIUS = 16.5
"""Default radius in units: one washer covers 1.3 % of a square image."""

HOLE = 0.36
"""Radius of the hole, relative to that of the washer."""

_PLACES = {1: ((0.0, 0.0),), 3: ((0.0, -64.0), (-64.0, 58.0), (64.0, 58.0))}
"""Centres of washers with a fixed position, by their number."""
_MARGIN = 2.0
_GAP = 3.0


def radius_for(share: float, count: int = 1) -> float:
    """Radius in units at which `count` washers cover a share, in (0, 1), of a square image."""
    return 256 * math.sqrt(share / (count * math.pi))


class Washers:
    """A random scene with washers without a defect.

    Args:
        rng: source of positions, colours, textures and light.
        size_hw: the image's height and width in pixels.
        count: number of washers, 1 or 3.
        radius: mean radius in units; each differs by up to 5 %. See `radius_for`.
        is_moving: random positions; otherwise fixed to within two units.
        missing: number of washers, the last ones, that are not drawn; the rest of the scene is unchanged.

    Raises:
        UserError: invalid count, or no room for washers of this radius.

    Attributes:
        scene: the washers; copy it before drawing a defect.
        light: the lamp.
        unit: pixels of the scene per unit of a defect's length; smaller for small washers.
        roi: (H, W) in {0, 1}, the washers' discs, holes included.
        field: (H, W) of 1: a defect can lie anywhere.
    """

    inside = ("scratch", "stain", "particle")
    outside = ("scratch", "stain", "particle")
    both = ("scratch", "stain", "particle")

    def __init__(
        self,
        rng: np.random.Generator,
        size_hw: tuple[int, int],
        *,
        count: int = 1,
        radius: float = RADIUS,
        is_moving: bool = True,
        missing: int = 0,
    ) -> None:
        if count not in _PLACES or not 0 <= missing <= count:
            raise UserError(
                f"{count} of which {missing} are missing cannot be drawn",
                where="washers",
                remedy=f"draw {' or '.join(map(str, _PLACES))}, of which at most all are missing",
            )
        times = supersampling(size_hw)
        self._hw = (times * size_hw[0], times * size_hw[1])
        self._coarse = coarseness(size_hw)
        self._scale = min(self._hw) / 256
        self.unit = self._scale * float(np.clip(radius / 24, 0.45, 1))
        radii = radius * rng.uniform(0.95, 1.05, count)
        centres = self._places(rng, radii) if is_moving else f32(_PLACES[count]) + rng.uniform(-2, 2, 2)
        self._circles = [(float(x), float(y), float(r)) for (x, y), r in zip(centres, radii, strict=True)]
        self.scene = self._table(rng)
        warmth = rng.uniform(0, 1)
        self._metal = f32([0.80, 0.79, 0.77]) * (1 - warmth) + f32([0.80, 0.66, 0.40]) * warmth
        self._metal *= np.float32(rng.uniform(0.75, 1.0))
        patina = 1 + 0.07 * fractal_noise(rng, self._hw, 9 * self._scale, 3)
        self.light: Light = draw_light(
            rng, self._hw, azimuth=(-110, 30), ambient=0.42, diffuse=0.75, sharpness=40
        )
        self.roi: Mask = np.zeros(size_hw, np.uint8)
        for circle in self._circles[: count - missing]:
            self._lay(circle, patina)
        self.field: Mask = np.ones(size_hw, np.uint8)

    def _places(self, rng: np.random.Generator, radii: Field) -> Field:
        """Centres (N, 2) of washers that lie inside the image and do not overlap."""
        half = f32(self._hw[::-1]) / (2 * self._scale)
        room = half - radii.max() - _MARGIN
        if room.min() < 0:
            raise UserError("too large for the picture", where=f"radius {radii.max():.0f}")
        apart = np.add.outer(radii, radii) + _GAP
        for _ in range(1000):
            centres = rng.uniform(-room, room, (len(radii), 2))
            distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
            if (distances + np.diag(apart.diagonal()) >= apart).all():
                return centres
        raise UserError(f"no room for {len(radii)} of them", where=f"radius {radii.max():.0f}")

    def _table(self, rng: np.random.Generator) -> Surface:
        """A worn wooden table with grain along x, stains and a few fibres, which are not defects."""
        hw, unit = self._hw, self._scale
        tone = f32([0.30, 0.20, 0.12]) * rng.uniform(0.85, 1.15) * (1 + rng.uniform(-0.05, 0.05, 3))
        narrow = (hw[0], max(hw[1] // 12, 8))
        grain = cv2.resize(fractal_noise(rng, narrow, 3.0 * unit, 3), hw[::-1], interpolation=cv2.INTER_CUBIC)
        wear = fractal_noise(rng, hw, 40 * unit, 3)
        fine = smooth_noise(rng, hw, 2)
        rough = 0.12 * unit
        if self._coarse > 1:
            # Fibres of the wood, and pores along them.
            fine = 1.5 * streaks(rng, hw, 70, 2.5) + 1.2 * streaks(rng, hw, 200, 6)
            fine -= 2.5 * smoothstep(1.7, 2.4, streaks(rng, hw, 25 * unit, 0.5 * unit))
            rough = 0.3
        shade = np.clip(1 + 0.16 * grain + 0.10 * wear + 0.05 * fine, 0.3, 2)
        colour = f32(tone)[:, None, None] * shade
        height = f32(0.5 * unit * grain + rough * fine)
        scene = Surface(f32(colour), height, np.zeros(hw, np.float32), np.zeros(hw, np.float32), self._coarse)
        for _ in range(rng.poisson(1.5)):
            turn = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5) * np.linspace(-1, 1, 16)
            steps = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (rng.uniform(8, 22) * unit / 16)
            fibre = line(hw, f32(np.cumsum(steps, 0) + rng.uniform(0, hw[::-1])), 0.6)
            cover(scene, 0.35 * fibre, (0.6, 0.6, 0.58))
        return scene

    def _lay(self, circle: tuple[float, float, float], patina: Field) -> None:
        """Draw one washer; its height makes `illuminate` cast a shadow."""
        cx, cy, radius = circle
        unit = self._scale
        x = (np.arange(self._hw[1], dtype=np.float32)[None, :] + 0.5 - self._hw[1] / 2) / unit - np.float32(
            cx
        )
        y = (np.arange(self._hw[0], dtype=np.float32)[:, None] + 0.5 - self._hw[0] / 2) / unit - np.float32(
            cy
        )
        far = f32(np.sqrt(x * x + y * y))
        depth = np.minimum(radius - far, far - HOLE * radius)
        alpha = f32(np.clip(depth * unit + 0.5, 0, 1))
        bevel = np.clip(depth / np.float32(max(0.12 * radius, 1)), 0, 1)
        # Turned on a lathe: fine rings, and a step between rim and face.
        relief = 2.4 * np.sqrt(bevel * (2 - bevel))
        if self._coarse > 1:
            ring = np.float32(2.1) * far
            relief += 0.02 * np.sin(ring) + 0.010 * np.sin(4.3 * ring + 3 * np.sin(1.1 * ring))
        else:
            relief += 0.10 * np.sin(np.float32(2.1) * far)
        relief += 0.5 * smoothstep(0.80 * radius, 0.74 * radius, far)
        scene = self.scene
        scene.colour += alpha * (self._metal[:, None, None] * patina - scene.colour)
        scene.height += alpha * (np.float32(unit) * f32(relief + 1) - scene.height)
        scene.metal += alpha * (1 - scene.metal)
        disc = np.clip((radius - far) * unit + 0.5, 0, 1)
        inside = cv2.resize(disc, self.roi.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
        self.roi |= inside.astype(np.uint8)
