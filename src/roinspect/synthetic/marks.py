"""Draw defects into a scene: scratch, stain, particle, hole, pulled thread.

A defect follows a *spine*, a polyline of (x, y) points, and extends `radius` to either side. `find_spine`
searches for a spine that fits a region; `draw_mark` draws the defect along it.

Spines and radii are in pixels of the scene; `unit` is the scene's pixels per 1/256 of the image's shorter
side, so that defects scale with the image.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.synthetic.lighting import Surface
from roinspect.synthetic.textures import Field, f32, fractal_noise, smooth_noise, smoothstep

Mask = NDArray[np.uint8]


class Spine(NamedTuple):
    """Polyline `points_xy` (N, 2) float32 and `radius`, the half width of the defect."""

    points_xy: Field
    radius: float


def random_spine(kind: str, rng: np.random.Generator, unit: float) -> Spine:
    """A spine around (0, 0) with a typical size and bend for the kind of defect."""
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
    kind: str,
    rng: np.random.Generator,
    inside: Mask,
    outside: Mask,
    unit: float,
    *,
    crossing: bool,
    scale: int = 2,
) -> Spine | None:
    """A spine whose defect lies entirely in `inside`, or, if `crossing`, partly in `inside` and `outside`.

    Both masks are (H, W) in {0, 1}, at the image's resolution, 1/scale of the scene's. None if 40 attempts
    with decreasing size find no room.
    """
    room = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    around = cv2.distanceTransform(outside, cv2.DIST_L2, 3) if crossing else np.zeros_like(room)
    anywhere = cv2.distanceTransform(inside | outside, cv2.DIST_L2, 3) if crossing else room
    for attempt in range(40):
        spine = random_spine(kind, rng, unit * 0.975**attempt)
        reach = spine.radius / scale
        centres = np.flatnonzero((room > 0) & (room <= 2) if crossing else room > reach)
        if centres.size == 0:
            continue
        row, col = divmod(int(rng.choice(centres)), inside.shape[1])
        points = spine.points_xy + np.array([scale * (col + 0.5), scale * (row + 0.5)], np.float32)
        x, y = (points / scale).astype(int).T
        if min(x.min(), y.min()) < 0 or x.max() >= inside.shape[1] or y.max() >= inside.shape[0]:
            continue
        if anywhere[y, x].min() <= reach:
            continue
        if not crossing or min((room[y, x] > 0.5 * reach).mean(), (around[y, x] > 0.5 * reach).mean()) > 0.2:
            return Spine(points, spine.radius)
        if kind == "stain" and room[y, x].max() > 0 and around[y, x].max() > 0:
            return Spine(points, spine.radius)
    return None


def draw_mark(kind: str, rng: np.random.Generator, scene: Surface, spine: Spine, unit: float) -> None:
    """Draw one defect into the scene, in place."""
    draw = {
        "particle": _particle,
        "scratch": _scratch,
        "stain": _stain,
        "hole": _hole,
        "pulled_thread": _pulled_thread,
    }[kind]
    reach = 2 * spine.radius + 6 * unit
    low = np.maximum(np.floor(spine.points_xy.min(axis=0) - reach), 0).astype(int)
    high = np.ceil(spine.points_xy.max(axis=0) + reach).astype(int)
    window = scene.window(slice(low[1], high[1]), slice(low[0], high[0]))
    draw(rng, window, Spine(spine.points_xy - low.astype(np.float32), spine.radius), unit)


def cover(scene: Surface, alpha: Field, colour: Field | tuple[float, float, float]) -> None:
    """Blend a matte colour, (3,) or (3, 2H, 2W), into the scene with opacity `alpha` (2H, 2W)."""
    rows, cols = np.flatnonzero(alpha.max(axis=1) > 0), np.flatnonzero(alpha.max(axis=0) > 0)
    if rows.size == 0:
        return
    at = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
    plane = (slice(None), *at)
    paint = np.asarray(colour, np.float32)
    paint = paint[:, None, None] if paint.ndim == 1 else paint[plane]
    scene.colour[plane] += alpha[at] * (paint - scene.colour[plane])
    scene.metal[at] *= 1 - alpha[at]
    scene.gloss[at] *= 1 - 0.7 * alpha[at]


def line(hw: tuple[int, int], points_xy: Field, width: float) -> Field:
    """Anti-aliased polyline with a width in pixels, (H, W) in [0, 1]."""
    canvas = np.zeros(hw, np.uint8)
    points = np.rint(points_xy * 16).astype(np.int32)[None]
    cv2.polylines(canvas, list(points), False, 255, max(1, round(width)), cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.6).astype(np.float32) / 255
    return soft * np.float32(min(1.0, width))


def _distance(hw: tuple[int, int], points_xy: Field) -> Field:
    canvas = np.ones(hw, np.uint8)
    points = np.clip(np.rint(points_xy), 0, (hw[1] - 1, hw[0] - 1)).astype(np.int32)
    cv2.polylines(canvas, [points], False, 0)
    return cv2.distanceTransform(canvas, cv2.DIST_L2, 5).astype(np.float32, copy=False)


def _ground(scene: Surface, spine: Spine) -> Field:
    """Median colour (3,) under the spine."""
    h, w = scene.height.shape
    x, y = np.rint(spine.points_xy).astype(int).T
    return np.median(scene.colour[:, np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)], axis=1).astype(np.float32)


def _blob(rng: np.random.Generator, hw: tuple[int, int], spine: Spine, rough: float, cell: float) -> Field:
    """Depth (H, W) in an irregular blob in units of its radius: at most 1, 0 at the rim, negative outside."""
    bumps = np.clip(fractal_noise(rng, hw, cell, 3) / 2.2, -1, 1)
    return f32(1 - _distance(hw, spine.points_xy) / np.float32(spine.radius) - rough * (1 + bumps))


def _particle(rng: np.random.Generator, scene: Surface, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    depth = _blob(rng, hw, spine, 0.16, spine.radius)
    grain = np.maximum(0.6 + 0.25 * smooth_noise(rng, hw, 2.5), 0.2)
    dark = f32([0.022, 0.018, 0.015])[:, None, None] * grain
    cover(scene, smoothstep(-0.02, 0.2, depth) * np.float32(rng.uniform(0.9, 0.98)), dark)
    scene.height += np.float32(0.35 * spine.radius) * np.sqrt(np.clip(depth, 0, 1))


def _scratch(rng: np.random.Generator, scene: Surface, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    on_dark = float((_ground(scene, spine)).mean()) < 0.3
    # A blade touches only raised parts: the crowns of threads, not the gaps between them.
    raised = smoothstep(-0.8, 0.6, (scene.height - cv2.blur(scene.height, (9, 9))) / np.float32(0.3 * unit))
    grit = 0.8 + 0.25 * smooth_noise(rng, hw, 7 * unit) + 0.18 * smooth_noise(rng, hw, 1.2 * unit)
    depth = np.clip(grit, 0.45, 1) * (0.6 + 0.4 * raised)
    width = max(rng.uniform(0.9, 1.5) * unit, 1.0)
    core = line(hw, spine.points_xy, width) * depth
    aside = np.float32(rng.normal(0, 1.1 * unit, 2))
    second = line(hw, spine.points_xy[4 : rng.integers(12, 22)] + aside, 0.4 * width) * depth
    # A scratch is paler than dark cloth, and paler or darker than translucent plastic. In metal it is a wide
    # gouge filled with dirt, as a bright line would be invisible among bright crowns.
    factor, paler = (2.2, 0.14) if on_dark else (float(rng.choice((0.15, 0.25, 1.8))), 0.0)
    scratched = np.minimum(np.float32(factor) * scene.colour + np.float32(paler), 1.1)
    gouge = 0.92 * line(hw, spine.points_xy, 2.2 * width) * scene.metal
    tone = scratched + scene.metal * (np.float32(0.03) - scratched)
    cover(scene, np.maximum(np.maximum(0.92 * core, 0.6 * second), gouge), tone)
    scene.height -= np.float32(0.7 * unit) * (core + 0.5 * second)


def _stain(rng: np.random.Generator, scene: Surface, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    depth = _blob(rng, hw, spine, 0.22, 0.9 * spine.radius)
    body = smoothstep(0, 0.35, depth)
    rim = smoothstep(0, 0.12, depth) * smoothstep(0.4, 0.12, depth)
    mottle = 1 + 0.15 * fractal_noise(rng, hw, 4 * unit, 2)
    strength = 0.85 if scene.metal.any() else 0.6
    alpha = np.clip((strength * body + 0.3 * rim) * mottle * np.float32(rng.uniform(0.85, 1.2)), 0, 0.93)
    dark_tones = ((0.040, 0.022, 0.010), (0.018, 0.016, 0.014), (0.075, 0.036, 0.016))
    pale_tones = ((0.30, 0.27, 0.21), (0.36, 0.35, 0.33), (0.28, 0.20, 0.11))
    # On metal it is thick grease: dark, although the gaps between the teeth are darker.
    pale = not scene.metal.any() and float(_ground(scene, spine).mean()) < rng.uniform(0.07, 0.16)
    cover(scene, 0.7 * alpha if pale else alpha, (pale_tones if pale else dark_tones)[rng.integers(3)])


def _hole(rng: np.random.Generator, scene: Surface, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    ground = _ground(scene, spine)
    depth = _blob(rng, hw, spine, 0.25, 0.6 * spine.radius)
    gap = smoothstep(0, 0.12, depth)
    rim = smoothstep(-0.35, -0.05, depth) * (1 - gap)
    cover(scene, gap, (0.006, 0.006, 0.007))
    scene.height += np.float32(1.2 * unit) * rim - np.float32(4 * unit) * gap
    centre = spine.points_xy[12]
    for angle in rng.uniform(0, 2 * np.pi, 11):
        out = f32([np.cos(angle), np.sin(angle)])
        t = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
        along = 0.95 + t * np.float32(rng.uniform(0.1, 0.7) - 0.95)
        sway = np.float32(rng.normal(0, 0.3)) * t
        path = centre + spine.radius * (along * out + sway * f32([-out[1], out[0]]))
        thread = line(hw, path, 0.5 * unit)
        cover(scene, 0.85 * thread, np.minimum(np.float32(rng.uniform(1.1, 1.9)) * ground + 0.02, 0.8))
        scene.height += np.float32(1.5 * unit) * thread


def _pulled_thread(rng: np.random.Generator, scene: Surface, spine: Spine, unit: float) -> None:
    hw = scene.height.shape
    ground = _ground(scene, spine)
    thread = line(hw, spine.points_xy, 1.0 * unit)
    strands = np.clip(1 + 0.25 * smooth_noise(rng, hw, 2), 0.4, 1.8)
    cover(scene, 0.95 * thread, np.clip((1.7 * ground + 0.08)[:, None, None] * strands, 0, 0.85))
    scene.height += np.float32(2.8 * unit) * cv2.GaussianBlur(thread, (0, 0), 0.35 * unit)
    for end in spine.points_xy[[0, -1]]:
        pucker = np.exp(-np.square(_distance(hw, end[None].repeat(2, 0)) / np.float32(1.6 * unit)))
        pucker = np.where(pucker > 0.02, pucker, np.float32(0))
        scene.height -= np.float32(1.5 * unit) * pucker
        cover(scene, 0.7 * pucker, (0.01, 0.01, 0.01))
