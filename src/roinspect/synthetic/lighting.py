"""Render a coloured relief: light, camera, 8-bit pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.synthetic.textures import Field, f32, smooth_noise, smoothstep, supersampling

REACH = 24
"""Pixels of the scene, times `Surface.coarse`, that shadows and the lens's blur reach."""


@dataclass(slots=True)
class Surface:
    """The surface under the camera, at twice the image's resolution; at its own if the image is large.

    Shapes are those of a small image, here and below.

    Attributes:
        colour: (3, 2H, 2W) linear reflectance, or transmitted light for translucent plastic.
        height: (2H, 2W) relief in pixels.
        metal: (2H, 2W) in [0, 1], share of specular instead of diffuse reflection.
        gloss: (2H, 2W) strength of the highlight of a clear coat.
        coarse: factor of the lengths of shadows, see `coarseness`.
    """

    colour: Field
    height: Field
    metal: Field
    gloss: Field
    coarse: int = 1

    def copy(self) -> Surface:
        """An independent scene."""
        return Surface(
            self.colour.copy(), self.height.copy(), self.metal.copy(), self.gloss.copy(), self.coarse
        )

    def window(self, rows: slice, cols: slice) -> Surface:
        """A view of part of the scene; drawing into it changes the scene."""
        return Surface(
            self.colour[:, rows, cols],
            self.height[rows, cols],
            self.metal[rows, cols],
            self.gloss[rows, cols],
            self.coarse,
        )

    def change(self, other: Surface) -> tuple[slice, slice]:
        """Rows and columns that differ in two scenes, and twice `REACH` around them."""
        differs = (self.height != other.height) | (self.metal != other.metal) | (self.gloss != other.gloss)
        for mine, theirs in zip(self.colour, other.colour, strict=True):
            differs |= mine != theirs
        return _around(differs.any(axis=1), self.coarse), _around(differs.any(axis=0), self.coarse)


@dataclass(frozen=True, slots=True)
class Light:
    """One lamp and ambient light.

    Attributes:
        direction_xyz: unit vector to the lamp (x right, y down, z to the camera).
        field: (2H, 2W), uneven illumination, about 1.
        ambient: strength of the ambient light.
        diffuse: strength of the lamp on a flat surface.
        sharpness: exponent of the highlight.
    """

    direction_xyz: tuple[float, float, float]
    field: Field
    ambient: float
    diffuse: float
    sharpness: float

    def window(self, rows: slice, cols: slice) -> Light:
        """The light on a part of the scene."""
        return replace(self, field=self.field[rows, cols])


def draw_light(
    rng: np.random.Generator,
    hw: tuple[int, int],
    *,
    azimuth: tuple[float, float],
    ambient: float,
    diffuse: float,
    sharpness: float,
) -> Light:
    """A random lamp beside the (2H, 2W) scene; `azimuth` is a mean and standard deviation in degrees."""
    azimuth_rad = np.deg2rad(rng.normal(*azimuth))
    elevation = np.deg2rad(rng.uniform(32, 52))
    direction = (
        float(np.cos(elevation) * np.cos(azimuth_rad)),
        float(np.cos(elevation) * np.sin(azimuth_rad)),
        float(np.sin(elevation)),
    )
    y = np.linspace(-1, 1, hw[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, hw[1], dtype=np.float32)[None, :]
    slope = rng.uniform(0.08, 0.3)
    ramp = slope * (x * direction[0] + y * direction[1])
    field = np.float32(rng.uniform(0.88, 1.12)) * (1 + ramp + 0.02 * smooth_noise(rng, hw, max(hw) / 3))
    return Light(direction, field.astype(np.float32), ambient, diffuse, sharpness)


def illuminate(scene: Surface, light: Light) -> Field:
    """Light from the scene to the camera: (3, 2H, 2W), linear, 1 is about white."""
    height = f32(cv2.GaussianBlur(scene.height, (0, 0), 0.7))
    nx = f32(cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=1, scale=-0.5))
    ny = f32(cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=1, scale=-0.5))
    nz = f32(1 / np.sqrt(nx * nx + ny * ny + 1))
    nx *= nz
    ny *= nz
    lx, ly, lz = light.direction_xyz
    facing = np.maximum(nx * lx + ny * ly + nz * lz, 0)
    relief = _shrunk(height, scene.coarse)
    lit = facing * _enlarged(_sunlit(relief, light), height, scene.coarse) * np.float32(light.diffuse / lz)
    around = _enlarged(f32(cv2.blur(relief, (21, 21))), height, scene.coarse)
    hollow = np.clip(1 - 0.06 * (around - height / scene.coarse), 0.35, 1.1)
    room = hollow * (np.float32(light.ambient) * (0.9 + 0.1 * nz - 0.12 * ny))
    out = scene.colour * (lit + room)
    if scene.gloss.any():
        out += _glint(nx, ny, nz, light) * scene.gloss
    at = np.flatnonzero(scene.metal)
    if at.size:
        share = scene.metal.ravel()[at]
        mirrored = _surroundings(nx.ravel()[at], ny.ravel()[at], nz.ravel()[at], light)
        mirrored = mirrored * hollow.ravel()[at] * (0.4 + 0.6 * lit.ravel()[at])
        for plane, colour in zip(out.reshape(3, -1), scene.colour.reshape(3, -1), strict=True):
            plane[at] += share * (colour[at] * mirrored - plane[at])
    return f32(out * light.field)


def _around(differs: NDArray[np.bool_], coarse: int) -> slice:
    """The range of True values and twice `REACH` around it, in whole cells of `coarse` pixels."""
    at = np.flatnonzero(differs)
    low, high = (int(at[0]), int(at[-1])) if at.size else (0, 0)
    cells = 2 * REACH
    return slice(
        max(low // coarse - cells, 0) * coarse, min((high // coarse + cells + 1) * coarse, differs.size)
    )


def _shrunk(height: Field, coarse: int) -> Field:
    """A relief at 1/coarse of its scale."""
    if coarse == 1:
        return height
    down, right = (-side % coarse for side in height.shape)
    whole = cv2.copyMakeBorder(height, 0, down, 0, right, cv2.BORDER_REPLICATE)
    cells = whole.shape[1] // coarse, whole.shape[0] // coarse
    return f32(cv2.resize(whole, cells, interpolation=cv2.INTER_AREA)) / np.float32(coarse)


def _enlarged(field: Field, like: Field, coarse: int) -> Field:
    """The reverse of `_shrunk`, for a field without height."""
    if coarse == 1:
        return field
    whole = cv2.resize(
        field, (field.shape[1] * coarse, field.shape[0] * coarse), interpolation=cv2.INTER_LINEAR
    )
    return f32(whole[: like.shape[0], : like.shape[1]])


def _sunlit(height: Field, light: Light) -> Field:
    """Soft shadows of the relief: the visible share of the lamp at each pixel, (2H, 2W) in [0.1, 1]."""
    lx, ly, lz = light.direction_xyz
    flat = float(np.hypot(lx, ly))
    slope = lz / flat
    hidden = np.zeros_like(height)
    for step in (1.5, 3.0, 5.0, 7.5, 10.5):
        shift = np.array([[1, 0, step * lx / flat], [0, 1, step * ly / flat]], np.float32)
        towards_lamp = cv2.warpAffine(
            height,
            shift,
            height.shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        np.maximum(hidden, towards_lamp - height - np.float32(step * slope), out=hidden)
    shade = cv2.GaussianBlur(np.minimum(hidden / 2.5, 1), (0, 0), 1.6)
    return f32(1 - 0.9 * shade)


def _glint(nx: Field, ny: Field, nz: Field, light: Light) -> Field:
    """Blinn's highlight of a clear coat, (2H, 2W) in [0, 1]."""
    lx, ly, lz = light.direction_xyz
    norm = float(np.sqrt(lx * lx + ly * ly + (lz + 1) ** 2))
    half = (nx * (lx / norm) + ny * (ly / norm) + nz * ((lz + 1) / norm)).astype(np.float32)
    return f32(np.exp((half - 1) * np.float32(light.sharpness)))


def _surroundings(nx: Field, ny: Field, nz: Field, light: Light) -> Field:
    """Reflection in polished metal at these normals: a dim room, a bright lamp and a window. (N,)."""
    lx, ly, _ = light.direction_xyz
    rx, ry = 2 * nz * nx, 2 * nz * ny
    room = 0.10 + 0.38 * smoothstep(0.25, -0.35, ry + 0.3 * rx) + 0.16 * smoothstep(0.55, 0.95, nz)
    lamp = np.exp(-((rx - 0.9 * lx) ** 2 + (ry - 0.9 * ly) ** 2) / 0.07)
    window = np.exp(-((ry + 0.25) ** 2) / 0.012 - (rx - 0.1) ** 2 / 0.5)
    return f32(room + 2.8 * lamp + 0.8 * window)


@dataclass(frozen=True, slots=True)
class Camera:
    """Lens and sensor.

    Attributes:
        blur: standard deviation of the lens blur, in pixels of the scene.
        exposure: factor of the light.
        balance_rgb: (3,), white balance.
        vignette: (H, W), 1 in the middle.
        noise: (H, W, 3), in grey levels.
    """

    blur: float
    exposure: float
    balance_rgb: Field
    vignette: Field
    noise: Field

    def window(self, rows: slice, cols: slice) -> Camera:
        """The camera of a part of the image."""
        return replace(self, vignette=self.vignette[rows, cols], noise=self.noise[rows, cols])

    def develop(self, light: Field) -> Field:
        """Light (3, 2H, 2W) to noise-free grey levels (H, W, 3), float in [0, 255]."""
        h, w = self.vignette.shape
        blurred = cv2.GaussianBlur(cv2.merge(list(light)), (0, 0), self.blur)
        small = cv2.resize(blurred, (w, h), interpolation=cv2.INTER_AREA)
        x = np.maximum(small, 0) * (self.exposure * self.vignette[..., None] * self.balance_rgb)
        # Narkowicz's fit of a film response: deep shadows, soft highlights.
        film = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
        return f32(255 * np.sqrt(np.minimum(film, 1)))

    def digitise(self, levels: Field) -> NDArray[np.uint8]:
        """Add sensor noise, stronger in bright areas, and round: uint8 (H, W, 3)."""
        noisy = levels + self.noise * (0.6 + levels / 255)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def draw_camera(rng: np.random.Generator, size_hw: tuple[int, int]) -> Camera:
    """A camera with slightly random focus, exposure, white balance, vignette and noise."""
    h, w = size_hw
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None] - np.float32(rng.normal(0, 0.1))
    x = np.linspace(-1, 1, w, dtype=np.float32)[None, :] - np.float32(rng.normal(0, 0.1))
    vignette = 1 - np.float32(rng.uniform(0.05, 0.16)) * (x * x + y * y)
    grain = rng.standard_normal((h, w, 3), dtype=np.float32)
    luminance = grain.mean(axis=2, keepdims=True) * np.float32(1.2)
    noise = np.float32(rng.uniform(1.2, 2.6)) * (0.55 * grain + luminance)
    balance = 1 + rng.uniform(-0.03, 0.03, 3).astype(np.float32)
    # A standard deviation of half a pixel of the image at least: at 2 x 2, `resize` adds to the blur.
    sharpest = {1: 0.7, 2: 1.0}[supersampling(size_hw)]
    return Camera(
        blur=sharpest * float(rng.uniform(0.7, 1.5)),
        exposure=float(rng.uniform(0.9, 1.12)),
        balance_rgb=balance,
        vignette=vignette,
        noise=noise,
    )
