"""Defects drawn into a scene: scratch, stain, particle, hole, pulled thread.

A defect hangs on a *spine*, a polyline of (x, y) points, and reaches `radius` to either side. `find_spine` looks for
a spine that fits a region; `draw_mark` draws the defect along it.

Spines and radii here are in pixels of the scene, at twice the image's resolution; `unit` is the scene's pixels per
1/256 of the image's shorter side, so that defects grow with the image.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.data.lighting import Scene
from roinspect.data.textures import Field, smooth_noise, smoothstep

Mask = NDArray[np.uint8]


class Spine(NamedTuple):
    """Polyline `points_xy` (N, 2) float32 and `radius`, the defect's reach from it."""

    points_xy: Field
    radius: float


def random_spine(kind: str, rng: np.random.Generator, unit: float) -> Spine:
    """A spine around (0, 0) of a size and bend usual for the kind of defect."""
    length, radius, bend = {
        "particle": (0.0, rng.uniform(2.4, 4.6), 0.0),
        "scratch": (rng.uniform(20, 52), 2.0, rng.normal(0, 0.35)),
        "stain": (rng.uniform(3, 14), rng.uniform(6, 11), rng.normal(0, 0.8)),
        "hole": (rng.uniform(0, 4), rng.uniform(4, 7.5), 0.0),
        "pulled_thread": (rng.uniform(22, 42), 3.0, rng.choice((-1, 1)) * rng.uniform(1.2, 2.4)),
    }[kind]
    t = np.linspace(-0.5, 0.5, 25)
    turn = rng.uniform(0, 2 * np.pi) + bend * t + 0.25 * bend * np.sin(7 * t + rng.uniform(0, 6))
    steps = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (length * unit / 24)
    points = np.cumsum(steps, axis=0)
    return Spine((points - points[12]).astype(np.float32), float(radius * unit))


def find_spine(
    kind: str, rng: np.random.Generator, inside: Mask, outside: Mask, unit: float, *, crossing: bool
) -> Spine | None:
    """A spine whose defect lies wholly in `inside`, or, if `crossing`, partly there and partly in `outside`.

    Both masks are (H, W) in {0, 1}, at the image's resolution. None where forty draws, ever smaller, found no room.
    """
    room = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    around = cv2.distanceTransform(outside, cv2.DIST_L2, 3) if crossing else np.zeros_like(room)
    anywhere = cv2.distanceTransform(inside | outside, cv2.DIST_L2, 3) if crossing else room
    for attempt in range(40):
        spine = random_spine(kind, rng, unit * 0.975**attempt)
        reach = spine.radius / 2
        centres = np.flatnonzero((room > 0) & (room <= 2) if crossing else room > reach)
        if centres.size == 0:
            continue
        row, col = divmod(int(rng.choice(centres)), inside.shape[1])
        points = spine.points_xy + np.array([2 * col + 1, 2 * row + 1], np.float32)
        x, y = (points / 2).astype(int).T
        if min(x.min(), y.min()) < 0 or x.max() >= inside.shape[1] or y.max() >= inside.shape[0]:
            continue
        if anywhere[y, x].min() <= reach:
            continue
        if not crossing or min((room[y, x] > 0.5 * reach).mean(), (around[y, x] > 0.5 * reach).mean()) > 0.2:
            return Spine(points, spine.radius)
        if kind == "stain" and room[y, x].max() > 0 and around[y, x].max() > 0:
            return Spine(points, spine.radius)
    return None


def draw_mark(kind: str, rng: np.random.Generator, scene: Scene, spine: Spine, unit: float) -> None:
    """Draw one defect into the scene, in place."""
    {
        "particle": _particle,
        "scratch": _scratch,
        "stain": _stain,
        "hole": _hole,
        "pulled_thread": _pulled_thread,
    }[kind](rng, scene, spine, unit)


def cover(scene: Scene, alpha: Field, colour: Field | tuple[float, float, float]) -> None:
    """Lay a matte colour (3,) or (2H, 2W, 3) over the scene with opacity `alpha` (2H, 2W)."""
    scene.colour += alpha[..., None] * (np.asarray(colour, np.float32) - scene.colour)
    scene.metal *= 1 - alpha
    scene.gloss *= 1 - 0.7 * alpha


def line(hw: tuple[int, int], points_xy: Field, width: float) -> Field:
    """Anti-aliased polyline of a width in pixels, (H, W) in [0, 1]."""
    canvas = np.zeros(hw, np.uint8)
    points = np.rint(points_xy * 16).astype(np.int32)[None]
    cv2.polylines(canvas, list(points), False, 255, max(1, round(width)), cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.6).astype(np.float32) / 255
    return soft * np.float32(min(1.0, width))


def _distance(hw: tuple[int, int], points_xy: Field) -> Field:
    canvas = np.ones(hw, np.uint8)
    cv2.polylines(canvas, [np.rint(points_xy).astype(np.int32)], False, 0)
    return cv2.distanceTransform(canvas, cv2.DIST_L2, 5).astype(np.float32, copy=False)


def _brightness_at(scene: Scene, spine: Spine) -> float:
    x, y = np.rint(spine.points_xy).astype(int).T
    h, w = scene.height.shape
    x, y = np.clip(x, 0, w - 1), np.clip(y, 0, h - 1)
    return float(np.mean(scene.colour[y, x].mean(axis=1) * (1 - 0.3 * scene.metal[y, x])))


def _blob(rng: np.random.Generator, hw: tuple[int, int], spine: Spine, rough: float, cell: float) -> Field:
    """Signed depth inside an uneven blob, in units of its radius: 1 on the spine, 0 at the rim. (H, W)."""
    return (
        1
        - _distance(hw, spine.points_xy) / np.float32(spine.radius)
        - rough * np.abs(smooth_noise(rng, hw, cell))
    )


def _particle(rng: np.random.Generator, scene: Scene, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    depth = _blob(rng, hw, spine, 0.22, spine.radius)
    grain = 0.6 + 0.25 * smooth_noise(rng, hw, 2.5)
    dark = np.float32([0.02, 0.017, 0.015]) * grain[..., None]
    cover(scene, smoothstep(-0.02, 0.18, depth) * 0.97, np.maximum(dark, 0.004))
    scene.height += np.float32(0.35 * spine.radius) * np.sqrt(np.clip(depth, 0, 1))


def _scratch(rng: np.random.Generator, scene: Scene, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    bright = _brightness_at(scene, spine) < 0.5
    depth = np.clip(0.9 + 0.25 * smooth_noise(rng, hw, 9 * unit), 0.45, 1)
    width = rng.uniform(1.0, 1.7) * unit
    core = line(hw, spine.points_xy, width) * depth
    aside = np.float32(rng.normal(0, 1.2 * unit, 2))
    second = line(hw, spine.points_xy[4 : rng.integers(12, 22)] + aside, 0.5 * width) * depth
    tone = (0.78, 0.77, 0.74) if bright else (0.16, 0.15, 0.14)
    cover(scene, np.maximum(0.8 * core, 0.4 * second), tone)
    scene.height -= np.float32(0.8 * unit) * (core + 0.5 * second)


def _stain(rng: np.random.Generator, scene: Scene, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    depth = _blob(rng, hw, spine, 0.3, 0.8 * spine.radius)
    body = smoothstep(0, 0.3, depth)
    rim = body * (1 - smoothstep(0.12, 0.5, depth))
    mottle = 1 + 0.12 * smooth_noise(rng, hw, 3 * unit)
    alpha = np.clip((0.5 * body + 0.25 * rim) * mottle * np.float32(rng.uniform(0.95, 1.25)), 0, 0.93)
    light_ground = _brightness_at(scene, spine) > 0.16
    dark_tones = ((0.05, 0.028, 0.012), (0.035, 0.03, 0.026), (0.10, 0.045, 0.02))
    pale_tones = ((0.42, 0.38, 0.30), (0.5, 0.49, 0.46), (0.36, 0.27, 0.15))
    cover(scene, alpha, (dark_tones if light_ground else pale_tones)[rng.integers(3)])


def _hole(rng: np.random.Generator, scene: Scene, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    ground = np.median(scene.colour[_distance(hw, spine.points_xy) < 2 * spine.radius], axis=0)
    depth = _blob(rng, hw, spine, 0.3, 0.6 * spine.radius)
    gap = smoothstep(0, 0.12, depth)
    cover(scene, gap, (0.006, 0.006, 0.007))
    scene.height -= np.float32(4 * unit) * gap
    rim = smoothstep(-0.35, -0.05, depth) * (1 - gap)
    scene.height += np.float32(1.2 * unit) * rim
    centre = spine.points_xy[12]
    for angle in rng.uniform(0, 2 * np.pi, 9):
        out = np.float32([np.cos(angle), np.sin(angle)])
        along = np.linspace(1.05, rng.uniform(0.15, 0.6), 8, dtype=np.float32)[:, None] * spine.radius
        sway = (
            np.float32(rng.normal(0, 0.25)) * np.linspace(0, 1, 8, dtype=np.float32)[:, None] * spine.radius
        )
        thread = line(hw, centre + along * out + sway * np.float32([-out[1], out[0]]), 0.55 * unit)
        cover(scene, 0.9 * thread, np.minimum(1.6 * ground + 0.03, 0.8))
        scene.height += np.float32(1.5 * unit) * thread


def _pulled_thread(rng: np.random.Generator, scene: Scene, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    x, y = np.rint(spine.points_xy[12]).astype(int)
    ground = np.median(scene.colour[y - 4 : y + 5, x - 4 : x + 5].reshape(-1, 3), axis=0)
    thread = line(hw, spine.points_xy, 1.1 * unit)
    strands = 1 + 0.25 * smooth_noise(rng, hw, 2)
    cover(scene, 0.95 * thread, np.clip((1.8 * ground + 0.10)[None, None] * strands[..., None], 0, 0.85))
    scene.height += np.float32(2.6 * unit) * cv2.GaussianBlur(thread, (0, 0), 0.35 * unit)
    ends = spine.points_xy[[0, -1]]
    for end in ends:
        pucker = np.exp(-((_distance(hw, end[None].repeat(2, 0)) / np.float32(1.6 * unit)) ** 2))
        scene.height -= np.float32(1.5 * unit) * pucker
        cover(scene, 0.7 * pucker, (0.01, 0.01, 0.01))
