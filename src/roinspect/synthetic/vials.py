"""A strip of five plastic vials, lit from behind; the zone around each meniscus is the region of interest.

Geometry is in units of 1/256 of the image's shorter side: `x` across the strip, `y` downwards, (0, 0) is the
centre. Colours are transmitted light; a lamp in front adds highlights and shading.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from roinspect.synthetic.lighting import Light, Surface, draw_light
from roinspect.synthetic.marks import Mask
from roinspect.synthetic.textures import (
    Field,
    coarseness,
    f32,
    fractal_noise,
    smooth_noise,
    smoothstep,
    supersampling,
)

COUNT = 5
PITCH = 40.0
# Position along a vial, half width and bulge of the front: cap, neck, shoulder, body, foot.
PROFILE = np.array(
    [
        (-113, 0, 0.5), (-110, 10.5, 1.2), (-107, 12.3, 1.6), (-84, 12.3, 1.6), (-80, 9, 1.8), (-75, 5, 3.2),
        (-64, 4.8, 3.4), (-59, 6, 4), (-54, 9.5, 6), (-48, 14, 9), (-41, 17.2, 11), (-34, 17.6, 11.5),
        (82, 17.6, 12), (89, 17, 10), (94, 15.2, 6), (97.5, 11.5, 2), (98.5, 0, 0.5),
    ],
    np.float32,
)  # fmt: skip
ROI_ABOVE, ROI_BELOW = 15.0, 18.0
ENGRAVING_Y = 56.0


class Fill(NamedTuple):
    """Liquid surface of a vial: `level`, `tilt`, `climb` at the walls, and `opening` of the ellipse."""

    level: float
    tilt: float
    climb: float
    opening: float


class Frame(NamedTuple):
    """Geometry of each pixel, all (2H, 2W).

    Attributes:
        x: position across the strip.
        y: position down the strip.
        number: index of the vial, from the left.
        side: position across the vial, -1 to 1.
        round_: curve of the front, 1 in the middle, 0 at the walls.
        body: coverage by a vial.
        plastic: coverage by a vial or the web between vials.
        bulge: height of the front in the middle, in units.
    """

    x: Field
    y: Field
    number: Field
    side: Field
    round_: Field
    body: Field
    plastic: Field
    bulge: Field


class Vials:
    """A random strip of vials without a defect.

    Args:
        rng: source of pose, colours, liquid levels and light.
        size_hw: the image's height and width in pixels.

    Attributes:
        scene: the strip; copy it before drawing a defect.
        light: the lamp.
        unit: pixels of the scene per unit of length.
        roi: (H, W) in {0, 1}, the five bands around the menisci.
        field: (H, W) in {0, 1}, the plastic, where a defect can lie.
    """

    inside = ("particle", "scratch", "stain")
    outside = ("particle", "scratch", "stain")
    both = ("particle", "scratch", "stain")

    def __init__(self, rng: np.random.Generator, size_hw: tuple[int, int]) -> None:
        times = supersampling(size_hw)
        h, w = self._hw = (times * size_hw[0], times * size_hw[1])
        self._size_hw = size_hw
        self._coarse = coarseness(size_hw)
        self.unit = float(min(h, w) / 256 * rng.uniform(0.95, 1.05))
        self._turn = float(np.deg2rad(rng.uniform(-3, 3)))
        self._middle_xy = f32(f32([w, h]) / 2 + f32([w, h]) * rng.uniform(-0.04, 0.04, 2))
        common = rng.uniform(-14, 10)
        self._fills = [
            Fill(
                level=float(np.clip(common + rng.normal(0, 3.5), -18, 20)),
                tilt=float(rng.normal(0, 1.5)),
                climb=float(rng.uniform(1.5, 4.5)),
                opening=float(rng.uniform(1.6, 4.2)),
            )
            for _ in range(COUNT)
        ]
        lamp_side = float(rng.choice((0, 180)))
        self.light: Light = draw_light(
            rng, self._hw, azimuth=(lamp_side, 6), ambient=0.86, diffuse=0.16, sharpness=110
        )
        frame = self._frame()
        self.scene = self._draw(rng, frame)
        self.field = (self._to_image(frame.plastic) > 0.99).astype(np.uint8)
        self.roi = self._zone(frame)

    def _frame(self) -> Frame:
        row = np.arange(self._hw[0], dtype=np.float32)[:, None]
        col = np.arange(self._hw[1], dtype=np.float32)[None, :]
        col = (col - self._middle_xy[0]) / np.float32(self.unit)
        row = (row - self._middle_xy[1]) / np.float32(self.unit)
        cos, sin = np.float32(np.cos(self._turn)), np.float32(np.sin(self._turn))
        x, y = cos * col + sin * row, cos * row - sin * col

        number = np.clip(np.floor(x / PITCH + COUNT / 2), 0, COUNT - 1).astype(np.int32)
        local = x - (number - (COUNT - 1) / 2).astype(np.float32) * np.float32(PITCH)
        half, bulge = _along_profile(y)
        side = np.clip(local / np.maximum(half, 0.01), -1, 1)
        round_ = np.sqrt(1 - side * side)
        body = np.clip((half - np.abs(local)) * np.float32(self.unit) + 0.5, 0, 1) * (half > 0.3)
        web = np.clip((COUNT * PITCH / 2 - np.abs(x)) * np.float32(self.unit), 0, 1)
        web *= smoothstep(-42.5, -42, y) * smoothstep(92, 91.5, y)
        return Frame(x, y, number, side, round_, body, np.maximum(body, web), bulge)

    def _pixels(self, x: float, y: float) -> tuple[float, float]:
        cos, sin = np.cos(self._turn), np.sin(self._turn)
        return (
            float((cos * x - sin * y) * self.unit + self._middle_xy[0]),
            float((sin * x + cos * y) * self.unit + self._middle_xy[1]),
        )

    def _draw(self, rng: np.random.Generator, at: Frame) -> Surface:
        hw, unit = self._hw, self.unit
        milk = f32([0.90, 0.93, 0.95]) * np.float32(rng.uniform(0.84, 0.97))
        haze = (
            1
            + 0.025 * fractal_noise(rng, hw, 16 * unit, 4)
            + 0.015 * rng.standard_normal(hw, dtype=np.float32)
        )
        # Light passes through more plastic where the wall is oblique to the camera.
        wall = np.exp(np.float32(-rng.uniform(0.07, 0.12)) / np.maximum(at.round_, 0.08))
        seam = np.exp(-np.square((PITCH / 2 - np.abs(at.x - PITCH * np.rint(at.x / PITCH))) / 0.6))
        through = (wall * at.body + (1 - at.body) * (0.93 - 0.12 * seam)) * haze
        colour = self._panel(rng, at)
        colour *= 1 + at.plastic * (milk[:, None, None] * through - 1)

        lower = self._pour(rng, colour, at)
        height = np.float32(unit) * at.plastic * (1 + at.bulge * at.round_)
        height += np.float32(0.3 * unit) * smooth_noise(rng, hw, 12 * unit) * at.plastic
        relief = self._relief(at)
        height += np.float32(unit) * relief
        if self._coarse > 1:
            # The orange peel of moulded plastic.
            height += 0.03 * fractal_noise(rng, hw, 4 * unit, 3) * at.plastic
        colour *= 1 - 0.28 * np.abs(relief)
        self._scatter_drops(rng, colour, lower)
        gloss = np.float32(rng.uniform(0.3, 0.55)) * at.body + 0.05 * at.plastic
        return Surface(colour, height, np.zeros(hw, np.float32), gloss.astype(np.float32), self._coarse)

    def _panel(self, rng: np.random.Generator, at: Frame) -> Field:
        """The backlight, and the dark nest that holds the strip's foot: (3, 2H, 2W)."""
        tone = f32([0.70, 0.74, 0.78]) * np.float32(rng.uniform(0.75, 1.05))
        centre = rng.normal(0, 30, 2).astype(np.float32 if self._coarse > 1 else np.float64)
        glow = np.exp(-(np.square(at.x - centre[0]) + np.square(at.y - centre[1])) / (2 * 140**2))
        glow *= 1 + 0.012 * smooth_noise(rng, self._hw, 5 * self.unit)
        nest = smoothstep(103, 105, at.y) * (1 - 0.25 * np.exp(-np.square((at.y - 107) / 1.5)))
        return f32(tone[:, None, None] * (glow * (1 - 0.93 * nest)))

    def _pour(self, rng: np.random.Generator, colour: Field, at: Frame) -> Field:
        """Fill the vials, changing `colour` in place. Returns the depth below the front rim, in units."""
        level, tilt, climb, opening = (f32(column)[at.number] for column in zip(*self._fills, strict=True))
        square = at.side * at.side
        steep = square * square * square
        wobble = 0.25 * smooth_noise(rng, self._hw, 10 * self.unit)
        middle = level + tilt * at.side - climb * steep + wobble
        front, back = middle + opening * at.round_, middle - opening * at.round_
        below, above = f32(at.y - front), f32(at.y - back)
        wet = smoothstep(-0.4, 0.4, below) * at.body
        absorbed = f32([0.05, 0.02, 0.07]) * rng.uniform(0, 1, 3).astype(np.float32)
        lens = 1.07 - 0.74 * smoothstep(0.70, 1.0, np.abs(at.side)) + 0.10 * np.exp(-np.maximum(below, 0) / 5)
        dry = 0.90 - 0.40 * smoothstep(0.86, 1.0, np.abs(at.side))
        hollow = at.body * (at.y > -62)
        factor = 1 + hollow * (dry + wet * (lens - dry) - 1)

        open_surface = smoothstep(-0.3, 0.3, above) * smoothstep(0.3, -0.3, below) * at.body
        slope = np.clip(above / np.maximum(front - back, 0.5), 0, 1)
        factor *= 1 - open_surface * (0.10 + 0.38 * slope * slope)
        dark = 0.68 * np.exp(-np.square((below - 0.2) / 1.0)) + 0.28 * np.exp(-np.square(above / 0.6))
        bright = 0.22 * np.exp(-np.square((below - 2.6) / 1.0)) * at.round_
        factor *= 1 + at.body * (bright - np.minimum(dark, 0.8))
        colour *= factor * (1 - absorbed[:, None, None] * wet)
        return below

    def _relief(self, at: Frame) -> Field:
        """Relief of engraved lines, moulded lettering and grip ribs, in units: (2H, 2W)."""
        flat = smoothstep(0.92, 0.7, np.abs(at.side)) * at.body
        groove = -1.1 * np.exp(-np.square((at.y - ENGRAVING_Y) / 0.9))
        groove += 0.5 * np.exp(-np.square((at.y - ENGRAVING_Y + 2.2) / 0.8))
        ribs = (
            0.8
            * np.exp(-np.square((np.mod(at.y, 6.0) - 3) / 0.9))
            * smoothstep(-83, -86, at.y)
            * (at.y > -106)
        )
        sheet = np.zeros(self._hw, np.uint8)
        size, stroke = 0.20 * self.unit, max(1, round(0.6 * self.unit))
        for number in range(COUNT):
            for text, y in (("0.5 mL", 70.0), ("LOT 27", 80.0)):
                (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, stroke)
                cx, cy = self._pixels((number - (COUNT - 1) / 2) * PITCH, y)
                origin = (round(cx - wide / 2), round(cy + tall / 2))
                cv2.putText(sheet, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, 255, stroke, cv2.LINE_AA)
        soft = 0.35 if self._coarse == 1 else 0.2
        letters = cv2.GaussianBlur(sheet, (0, 0), soft * self.unit).astype(np.float32) / 255
        return f32((groove + ribs) * flat + 0.9 * letters * at.body)

    def _scatter_drops(self, rng: np.random.Generator, colour: Field, below: Field) -> None:
        """Draw bubbles under the surface and drops on the wall above it, which are not defects."""
        for number, fill in enumerate(self._fills):
            for kind, count in (
                ("bubble", rng.poisson(1.6)),
                ("foam", rng.poisson(1.2)),
                ("drop", rng.poisson(1.8)),
            ):
                for _ in range(count):
                    radius = float(np.clip(rng.lognormal(0.25, 0.4), 0.7, 3.0))
                    side = rng.uniform(-0.8, 0.8)
                    rim = fill.level + fill.tilt * side + fill.opening * np.sqrt(1 - side * side)
                    y = {
                        "bubble": rim + radius + rng.exponential(9),
                        "foam": rim + radius + 0.3,
                        "drop": max(rim - 2 * fill.opening - radius - 2 - rng.exponential(8), -36.0),
                    }[kind]
                    centre = self._pixels(
                        (number - (COUNT - 1) / 2) * PITCH + 16.5 * side, float(min(y, 84.0))
                    )
                    _lens(colour, centre, radius * self.unit, is_drop=kind == "drop")

    def _zone(self, at: Frame) -> Mask:
        level, tilt, _, _ = (f32(column)[at.number] for column in zip(*self._fills, strict=True))
        below = at.y - level - tilt * at.side
        near = (below > -ROI_ABOVE) & (below < ROI_BELOW) & (at.body > 0.5)
        return (self._to_image(near.astype(np.float32)) > 0.5).astype(np.uint8)

    def _to_image(self, field: Field) -> Field:
        """A field of the scene at the image's resolution, (H, W)."""
        return f32(cv2.resize(field, self._size_hw[::-1], interpolation=cv2.INTER_AREA))


def _along_profile(y: Field) -> tuple[Field, Field]:
    """Half width and bulge of a vial at positions `y`, with rounded corners."""
    fine = np.arange(-160, 160, 0.125, dtype=np.float32)
    corners = np.stack([np.interp(fine, PROFILE[:, 0], PROFILE[:, k]) for k in (1, 2)])
    columns = f32(cv2.GaussianBlur(corners, (0, 0), sigmaX=8, sigmaY=1e-3))
    index = np.clip((y + 160) * 8, 0, fine.size - 1).astype(np.int32)
    return columns[0][index], columns[1][index]


def _lens(colour: Field, centre_xy: tuple[float, float], radius: float, *, is_drop: bool) -> None:
    """Draw a bubble or a drop of a radius in pixels into `colour`, in place."""
    cx, cy = centre_xy
    h, w = colour.shape[1:]
    reach = 1.6 * radius + 2
    rows = slice(max(int(cy - reach), 0), max(min(int(cy + reach) + 1, h), 0))
    cols = slice(max(int(cx - reach), 0), max(min(int(cx + reach) + 1, w), 0))
    y = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(cy)) / np.float32(radius)
    x = (np.arange(cols.start, cols.stop, dtype=np.float32)[None, :] - np.float32(cx)) / np.float32(radius)
    if is_drop:
        y = y / 1.2
    r2 = x * x + y * y
    ring = np.exp(-np.square((np.sqrt(r2) - 0.85) / 0.2))
    # A drop on the wall inverts the image of the backlight; a bubble in the liquid does not.
    shade = (0.30 if is_drop else -0.12) * y * np.exp(-np.square(r2))
    glint = 0.35 * np.exp(-(np.square(x + 0.3) + np.square(y + 0.35)) / 0.06)
    factor = 1 - (0.34 if is_drop else 0.45) * ring + shade + glint + 0.08 * np.exp(-2 * r2)
    colour[:, rows, cols] *= factor
