"""From a relief with colours to the light that reaches a camera, and from there to 8-bit pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.data.textures import Field, smooth_noise, smoothstep


@dataclass(slots=True)
class Scene:
    """What lies under the camera, at twice the image's resolution.

    Attributes:
        colour: (2H, 2W, 3) linear reflectance (or, for lit-through plastic, transmitted light).
        height: (2H, 2W) relief in pixels.
        metal: (2H, 2W) in [0, 1], how far a pixel mirrors its surroundings instead of scattering light.
        gloss: (2H, 2W) strength of the highlight on a clear skin over the colour.
    """

    colour: Field
    height: Field
    metal: Field
    gloss: Field

    def copy(self) -> Scene:
        return Scene(self.colour.copy(), self.height.copy(), self.metal.copy(), self.gloss.copy())


@dataclass(frozen=True, slots=True)
class Light:
    """One lamp and the room. `direction_xyz` points to the lamp (x right, y down, z to the camera), unit length.

    `field` (2H, 2W) is the uneven illumination; `ambient` and `diffuse` share out the light;
    `sharpness` is the highlight's exponent.
    """

    direction_xyz: tuple[float, float, float]
    field: Field
    ambient: float
    diffuse: float
    sharpness: float


def draw_light(
    rng: np.random.Generator,
    hw: tuple[int, int],
    *,
    azimuth: tuple[float, float],
    ambient: float,
    diffuse: float,
    sharpness: float,
) -> Light:
    """A lamp with a falloff across the (2H, 2W) scene; `azimuth` is the mean and deviation of its side in degrees."""
    azimuth_rad = np.deg2rad(rng.normal(*azimuth))
    elevation = np.deg2rad(rng.uniform(38, 60))
    direction = (
        float(np.cos(elevation) * np.cos(azimuth_rad)),
        float(np.cos(elevation) * np.sin(azimuth_rad)),
        float(np.sin(elevation)),
    )
    y = np.linspace(-1, 1, hw[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, hw[1], dtype=np.float32)[None, :]
    slope = rng.uniform(0.04, 0.2)
    ramp = slope * (x * direction[0] + y * direction[1])
    field = np.float32(rng.uniform(0.88, 1.12)) * (1 + ramp + 0.02 * smooth_noise(rng, hw, max(hw) / 3))
    return Light(direction, field.astype(np.float32), ambient, diffuse, sharpness)


def illuminate(scene: Scene, light: Light) -> Field:
    """Light that leaves the scene towards the camera: (2H, 2W, 3), linear, 1 is about white."""
    height = cv2.GaussianBlur(scene.height, (0, 0), 0.7)
    nx = -0.5 * cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=1)
    ny = -0.5 * cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=1)
    nz = 1 / np.sqrt(nx * nx + ny * ny + 1)
    nx *= nz
    ny *= nz
    lx, ly, lz = light.direction_xyz
    facing = np.maximum(nx * lx + ny * ly + nz * lz, 0)
    lit = facing * _sunlit(height, light) * np.float32(light.diffuse / lz)
    hollow = np.clip(1 - 0.06 * (cv2.blur(height, (21, 21)) - height), 0.35, 1.1)
    room = hollow * (np.float32(light.ambient) * (0.9 + 0.1 * nz - 0.12 * ny))
    out = scene.colour * (lit + room)[..., None]

    glint = _glint(nx, ny, nz, light) * scene.gloss
    out += glint[..., None]
    rows, cols = np.nonzero(scene.metal > 0)
    if rows.size:
        at = (rows, cols)
        mirrored = _surroundings(nx[at], ny[at], nz[at], light) * hollow[at] * (0.45 + 0.55 * lit[at])
        share = scene.metal[at][:, None]
        out[at] = out[at] * (1 - share) + scene.colour[at] * mirrored[:, None] * share
    out *= light.field[..., None]
    return out


def _sunlit(height: Field, light: Light) -> Field:
    """Share of the lamp seen from each pixel, in [0.1, 1]: a relief casts soft shadows. (2H, 2W)."""
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
    return 1 - 0.9 * shade


def _glint(nx: Field, ny: Field, nz: Field, light: Light) -> Field:
    """Blinn's highlight in a clear skin, (2H, 2W) in [0, 1]."""
    lx, ly, lz = light.direction_xyz
    norm = float(np.sqrt(lx * lx + ly * ly + (lz + 1) ** 2))
    half = (nx * (lx / norm) + ny * (ly / norm) + nz * ((lz + 1) / norm)).astype(np.float32)
    return np.exp((half - 1) * np.float32(light.sharpness))


def _surroundings(nx: Field, ny: Field, nz: Field, light: Light) -> Field:
    """What polished metal mirrors at the given normals: a dim room, a bright lamp and a window. (N,)."""
    lx, ly, _ = light.direction_xyz
    rx, ry = 2 * nz * nx, 2 * nz * ny
    room = 0.34 + 0.2 * smoothstep(0.7, -0.7, ry) + 0.3 * smoothstep(0.25, 0.9, nz)
    lamp = np.exp(-((rx - lx) ** 2 + (ry - ly) ** 2) / 0.09)
    window = np.exp(-((ry + 0.55) ** 2) / 0.02) * np.exp(-((rx - 0.15) ** 2) / 0.3)
    return room + 1.7 * lamp + 0.7 * window


@dataclass(frozen=True, slots=True)
class Camera:
    """Lens and sensor. `blur` is a deviation in pixels of the scene (2x); `noise` is (H, W, 3) in grey levels."""

    blur: float
    exposure: float
    balance_rgb: Field
    vignette: Field
    noise: Field

    def develop(self, light: Field) -> Field:
        """From light (2H, 2W, 3) to noise-free grey levels (H, W, 3), float in [0, 255]."""
        h, w = light.shape[0] // 2, light.shape[1] // 2
        small = cv2.resize(cv2.GaussianBlur(light, (0, 0), self.blur), (w, h), interpolation=cv2.INTER_AREA)
        exposed = np.maximum(small, 0) * (self.exposure * self.vignette[..., None] * self.balance_rgb)
        film = 1 - np.exp(-1.35 * exposed)
        return (255 * np.power(film, 1 / 2.1)).astype(np.float32)

    def digitise(self, levels: Field) -> NDArray[np.uint8]:
        """Add the sensor's noise, stronger in the light, and round: uint8 (H, W, 3)."""
        noisy = levels + self.noise * (0.6 + levels / 255)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def draw_camera(rng: np.random.Generator, size_hw: tuple[int, int]) -> Camera:
    """A slightly different focus, exposure, white balance, vignette and noise for every photograph."""
    h, w = size_hw
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None] - np.float32(rng.normal(0, 0.1))
    x = np.linspace(-1, 1, w, dtype=np.float32)[None, :] - np.float32(rng.normal(0, 0.1))
    vignette = 1 - np.float32(rng.uniform(0.05, 0.16)) * (x * x + y * y)
    grain = rng.standard_normal((h, w, 3), dtype=np.float32)
    luminance = grain.mean(axis=2, keepdims=True) * np.float32(1.2)
    noise = np.float32(rng.uniform(1.2, 2.6)) * (0.55 * grain + luminance)
    balance = 1 + rng.uniform(-0.03, 0.03, 3).astype(np.float32)
    return Camera(
        blur=float(rng.uniform(0.7, 1.5)),
        exposure=float(rng.uniform(0.9, 1.12)),
        balance_rgb=balance,
        vignette=vignette,
        noise=noise,
    )
