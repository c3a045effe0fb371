"""A metal zipper on woven cloth: the teeth are the region of interest.

Geometry is in units of 1/256 of the image's shorter side: `u` runs along the zipper, `v` across it, (0, 0) is
the centre.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

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
    weave,
)

BAND = 22.0
"""Half width of the band of teeth, including a margin."""


@dataclass(frozen=True, slots=True)
class Tooth:
    """One tooth: position, side (-1 left, +1 right), rotation in radians, lift and brightness."""

    u: float
    v: float
    side: int
    turn: float
    lift: float
    tone: float


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose of the zipper: rotation in radians, shift in pixels of the (2x) scene, pixels per unit, bend."""

    hw: tuple[int, int]
    angle: float
    shift_xy: tuple[float, float]
    unit: float
    bend: float

    def coordinates(self) -> tuple[Field, Field]:
        """`u` and `v` of every pixel, each (2H, 2W)."""
        y = np.arange(self.hw[0], dtype=np.float32)[:, None]
        x = np.arange(self.hw[1], dtype=np.float32)[None, :]
        x = (x - (self.hw[1] / 2 + self.shift_xy[0])) / self.unit
        y = (y - (self.hw[0] / 2 + self.shift_xy[1])) / self.unit
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u, v = cos * y - sin * x, cos * x + sin * y
        return u, v - self._sway(u)

    def pixels(self, u: Field, v: Field) -> Field:
        """Pixel (x, y) of each point, (N, 2)."""
        v = v + self._sway(u)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x = (cos * v - sin * u) * self.unit + self.hw[1] / 2 + self.shift_xy[0]
        y = (sin * v + cos * u) * self.unit + self.hw[0] / 2 + self.shift_xy[1]
        return np.stack([x, y], axis=-1).astype(np.float32)

    def _sway(self, u: Field) -> Field:
        return (self.bend * np.square(u / 128)).astype(np.float32)


class Zipper:
    """A random zipper without a defect.

    Args:
        rng: source of pose, colours, textures and light.
        size_hw: the image's height and width in pixels.

    Attributes:
        scene: the zipper; copy it before drawing a defect.
        light: the lamp.
        unit: pixels of the scene per unit of length.
        roi: (H, W) in {0, 1}, the band of teeth.
        field: (H, W) of 1: a defect can lie anywhere.
    """

    inside = ("missing_tooth", "bent_tooth", "scratch", "stain", "particle")
    outside = ("hole", "pulled_thread", "scratch", "stain", "particle")
    both = ("scratch", "stain", "particle")
    structural = ("missing_tooth", "bent_tooth")

    def __init__(self, rng: np.random.Generator, size_hw: tuple[int, int]) -> None:
        times = supersampling(size_hw)
        h, w = times * size_hw[0], times * size_hw[1]
        scale = rng.uniform(0.95, 1.05)
        self.coarse = coarseness(size_hw)
        self.pose = Pose(
            hw=(h, w),
            angle=float(np.deg2rad(rng.uniform(-8, 8))),
            shift_xy=(float(w * rng.uniform(-0.08, 0.08)), float(h * rng.uniform(-0.08, 0.08))),
            unit=float(min(h, w) / 256 * scale),
            bend=float(rng.uniform(-5, 5)),
        )
        self.unit = self.pose.unit
        self._pitch = rng.uniform(13.5, 16.0)
        self._teeth = list(self._draw_teeth(rng))
        self._cloth = self._draw_cloth(rng)
        self._patina = 1 + 0.08 * fractal_noise(rng, self.pose.hw, 7 * self.unit, 3)
        self._grain = 0.14 * self.unit * smooth_noise(rng, self.pose.hw, 5 * self.unit)
        if self.coarse > 1:
            # Stamped and tumbled: fine lines along the tooth, and a matt grain.
            self._grain += 0.10 * streaks(rng, self.pose.hw, 60, 2.2) + 0.06 * smooth_noise(
                rng, self.pose.hw, 2
            )
            self._patina *= 1 + 0.03 * streaks(rng, self.pose.hw, 90, 3)
        warmth = rng.uniform(0, 1)
        self._metal = f32([0.82, 0.80, 0.77]) * (1 - warmth) + f32([0.84, 0.64, 0.34]) * warmth
        self._metal *= np.float32(rng.uniform(0.75, 1.0))
        self.light: Light = draw_light(
            rng, self.pose.hw, azimuth=(-115, 35), ambient=0.42, diffuse=0.75, sharpness=40
        )
        self._lint = list(self._draw_lint(rng))
        self.scene = self._assemble(self._teeth)
        self.roi = self._band(size_hw)
        self.field = np.ones(size_hw, np.uint8)

    def _assemble(self, teeth: list[Tooth]) -> Surface:
        scene = self._cloth.copy()
        for tooth in teeth:
            self._stamp(scene, tooth)
        for fibre in self._lint:
            cover(scene, 0.4 * fibre, (0.6, 0.6, 0.58))
            scene.height += 0.5 * self.unit * fibre
        return scene

    def broken(self, kind: str, rng: np.random.Generator) -> Surface:
        """The zipper with one `missing_tooth` or `bent_tooth`, away from the image border."""
        places = self.pose.pixels(
            f32([tooth.u for tooth in self._teeth]), f32([t.side * 8 for t in self._teeth])
        )
        h, w = self.pose.hw
        x, y = places.T
        margin = 14 * self.unit
        visible = np.flatnonzero((x > margin) & (x < w - margin) & (y > margin) & (y < h - margin))
        index = int(rng.choice(visible))
        if kind == "missing_tooth":
            return self._assemble(self._teeth[:index] + self._teeth[index + 1 :])
        tooth = self._teeth[index]
        bent = replace(
            tooth,
            turn=tooth.turn + float(rng.choice((-1, 1)) * rng.uniform(0.28, 0.5)),
            v=tooth.v + float(rng.uniform(0, 2.5)),
            lift=tooth.lift + float(rng.uniform(0.5, 2)),
        )
        return self._assemble([*self._teeth[:index], bent, *self._teeth[index + 1 :]])

    def _draw_teeth(self, rng: np.random.Generator) -> Iterator[Tooth]:
        h, w = self.pose.hw
        reach = 0.6 * (h + 0.3 * w) / self.unit + self._pitch
        start = rng.uniform(0, self._pitch)
        for side in (-1, 1):
            first = start + (self._pitch / 2 if side > 0 else 0)
            count = int(reach / self._pitch) + 1
            for k in range(-count, count + 1):
                yield Tooth(
                    u=float(first + k * self._pitch + rng.normal(0, 0.18)),
                    v=float(rng.normal(0, 0.2)),
                    side=side,
                    turn=float(rng.normal(0, 0.018)),
                    lift=float(rng.normal(0, 0.12)),
                    tone=float(rng.normal(1, 0.06)),
                )

    def _draw_cloth(self, rng: np.random.Generator) -> Surface:
        hw, unit = self.pose.hw, self.unit
        u, v = self.pose.coordinates()
        across = np.abs(v)
        edges = rng.uniform(50, 58, 2)
        wave = 0.7 * smooth_noise(rng, hw, 28 * unit)
        past_edge = across + wave - np.where(v < 0, np.float32(edges[0]), np.float32(edges[1]))
        on_garment = smoothstep(-0.3, 0.3, past_edge)
        garment = past_edge > 0

        # One weave for both cloths: coarse plain twill for the garment, herringbone for the tape.
        lean = np.where(garment | (np.floor(across / 8) % 2 < 1), np.float32(1), np.float32(-1))
        thread = np.where(garment, np.float32(3.3), np.float32(2.5))
        cloth = weave(rng, u / thread, v / thread, lean, self.coarse)

        navy, slate = f32([0.040, 0.058, 0.12]), f32([0.088, 0.092, 0.10])
        mix = rng.uniform(0, 1)
        tape_rgb = (navy * mix + slate * (1 - mix)) * np.float32(rng.uniform(0.8, 1.15))
        garment_rgb = tape_rgb * np.float32(rng.uniform(1.3, 1.8)) + np.float32(0.025)
        wear = 1 + 0.08 * fractal_noise(rng, hw, 36 * unit, 3)
        shade = cloth.tone * (0.45 + 0.65 * np.clip(cloth.height, 0, 1)) * wear
        tape, added = tape_rgb[:, None, None], (garment_rgb - tape_rgb)[:, None, None]
        colour = (tape + on_garment * added) * shade

        height = np.float32(0.5 * unit) * cloth.height
        height += np.float32(4.2 * unit) * smoothstep(-0.2, 3.0, past_edge)
        height += np.float32(2.2 * unit) * smoothstep(26, 21, across)
        height += np.float32(0.5 * unit) * np.exp(-np.square((across - 33) / 1.2))
        # The teeth hold the tape flat; farther away the cloth drapes.
        drape = 2.4 * smooth_noise(rng, hw, 60 * unit) + 0.7 * smooth_noise(rng, hw, 22 * unit)
        height += np.float32(unit) * drape * smoothstep(24, 60, across)
        scene = Surface(colour, height, np.zeros(hw, np.float32), np.zeros(hw, np.float32), self.coarse)
        self._sew(rng, scene, u, past_edge - 8, (6.5, 2.2), 1.1, np.minimum(2.2 * garment_rgb + 0.05, 0.8))
        self._sew(rng, scene, u, across - 25.5, (3.4, 1.0), 0.8, 1.5 * tape_rgb + 0.01)
        return scene

    def _sew(
        self,
        rng: np.random.Generator,
        scene: Surface,
        u: Field,
        across: Field,
        stitch_gap: tuple[float, float],
        width: float,
        colour: Field,
    ) -> None:
        """Sew a row of stitches at `across` = 0, with dents in the cloth between them."""
        period = sum(stitch_gap)
        near = np.flatnonzero(np.abs(across) < 7)
        off = across.ravel()[near]
        where = (u.ravel()[near] + np.float32(rng.uniform(0, period))) / np.float32(period)
        number = np.floor(where)
        along = (where - number - 0.5) * np.float32(period)
        jitter = 0.3 * rng.standard_normal(1024, dtype=np.float32)[number.astype(np.int32) & 1023]
        side = (off + jitter) / np.float32(width)
        end = np.maximum(np.abs(along) - np.float32(stitch_gap[0] / 2 - width), 0) / np.float32(width)
        round_ = 1 - side * side - end * end
        twist = 0.8 + 0.3 * np.sin(np.float32(4.2) * along + 3 * side)
        ground = scene.colour.reshape(3, -1)
        ground[:, near] += smoothstep(0, 0.35, round_) * (colour[:, None] * twist - ground[:, near])
        dent = np.exp(-np.square(off / 3)) * (0.4 + 0.6 * smoothstep(0.2, 0.5, np.abs(along / period)))
        rise = np.float32(0.9) * np.sqrt(np.clip(round_, 0, 1)) - np.float32(1.1) * dent
        scene.height.reshape(-1)[near] += np.float32(self.unit) * rise

    def _draw_lint(self, rng: np.random.Generator) -> Iterator[Field]:
        h, w = self.pose.hw
        for _ in range(rng.poisson(1.2)):
            turn = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5) * np.linspace(-1, 1, 16)
            steps = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (rng.uniform(8, 22) * self.unit / 16)
            yield line(self.pose.hw, (np.cumsum(steps, 0) + rng.uniform(0, (w, h))).astype(np.float32), 0.6)

    def _stamp(self, scene: Surface, tooth: Tooth) -> None:
        """Draw one tooth."""
        reach = int(27 * self.unit)
        v = tooth.side * f32([8, tooth.v, tooth.v + 10])
        middle, root, ahead = self.pose.pixels(np.full_like(v, tooth.u), v)
        cx, cy = np.rint(middle).astype(int)
        h, w = self.pose.hw
        rows = slice(max(cy - reach // 2, 0), min(cy + reach // 2, h))
        cols = slice(max(cx - reach, 0), min(cx + reach, w))
        if rows.stop <= rows.start or cols.stop <= cols.start:
            return
        ox, oy = root
        axis = float(np.arctan2(ahead[1] - oy, ahead[0] - ox)) + tooth.turn
        y = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - oy) / np.float32(self.unit)
        x = (np.arange(cols.start, cols.stop, dtype=np.float32)[None, :] - ox) / np.float32(self.unit)
        out = np.float32(np.cos(axis)) * x + np.float32(np.sin(axis)) * y
        side = np.float32(np.cos(axis)) * y - np.float32(np.sin(axis)) * x
        depth, relief = self._profile(out, side)

        at = (rows, cols)
        alpha = np.clip(depth * np.float32(self.unit) + 0.5, 0, 1)
        crown = np.float32(self.unit) * (relief + np.float32(5.0 + tooth.lift)) + self._grain[at]
        alpha = alpha * (crown > scene.height[at])
        tone = np.float32(tooth.tone) * self._patina[at]
        plane = (slice(None), *at)
        scene.colour[plane] += alpha * (self._metal[:, None, None] * tone - scene.colour[plane])
        scene.height[at] += alpha * (crown - scene.height[at])
        scene.metal[at] += alpha * (1 - scene.metal[at])

    def _profile(self, out: Field, side: Field) -> tuple[Field, Field]:
        """Depth (positive inside the outline) and relief of a tooth, in units, in its own frame."""
        pitch = self._pitch
        half = np.interp(out, (-4, 3, 8, 19), (0.20 * pitch, 0.215 * pitch, 0.30 * pitch, 0.285 * pitch))
        corner = np.float32(1.7)
        a = np.maximum(corner - (half.astype(np.float32) - np.abs(side)), 0)
        b = np.maximum(corner - np.minimum(out + 4, 19.5 - out), 0)
        depth = corner - np.sqrt(a * a + b * b)
        bevel = np.clip(depth / np.float32(1.6), 0, 1)
        relief = 1.6 * np.sqrt(bevel * (2 - bevel)) - 0.035 * side * side - 0.006 * np.square(out - 8)
        relief -= 1.3 * np.exp(-(np.square(out - 0.5) + np.square(1.3 * side)) / 2.6)
        relief -= 1.4 * smoothstep(11, 18.5, out)
        return depth, relief

    def _band(self, size_hw: tuple[int, int]) -> Mask:
        h, w = self.pose.hw
        reach = (h + w) / self.unit
        u = np.linspace(-reach, reach, 81, dtype=np.float32)
        rim = np.concatenate([np.stack([u, 0 * u - BAND], 1), np.stack([u, 0 * u + BAND], 1)[::-1]])
        corners = self.pose.pixels(rim[:, 0], rim[:, 1]) / (h // size_hw[0])
        mask = np.zeros(size_hw, np.uint8)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
        return mask
