"""WebP as Pillow writes it: lossless and lossy, alpha, animations, orientation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from PIL import Image

from pixel_files.made import Made, encoded, exif, picture, pillows, shown


def files() -> Iterator[Made]:
    rgba = picture(np.uint8, 37, 51, 4)
    for channels, lossless, quality, method in product((3, 4), (False, True), (20, 80, 100), (0, 4, 6)):
        pixels = np.ascontiguousarray(rgba[..., :channels])
        data = encoded(
            Image.fromarray(pixels), "WEBP", lossless=lossless, quality=quality, method=method, exact=True
        )
        truth = shown(rgba[..., :3], rgba[..., 3] if channels == 4 else None) if lossless else pillows(data)
        kind = "lossless" if lossless else "lossy"
        yield Made("WebP", f"{kind}, {channels} channels, quality {quality}, method {method}", data, truth)
    for channels, lossless, orientation in product((3, 4), (False, True), range(1, 9)):
        pixels = np.ascontiguousarray(rgba[..., :channels])
        data = encoded(Image.fromarray(pixels), "WEBP", lossless=lossless, exact=True, exif=exif(orientation))
        kind = "lossless" if lossless else "lossy"
        yield Made(
            "WebP",
            f"{kind}, {channels} channels, orientation {orientation}",
            data,
            pillows(data, orientation),
        )
    for lossless, channels, flat in product((False, True), (3, 4), (0, 128, 255)):
        pixels = np.full((64, 80, channels), flat, np.uint8)
        data = encoded(Image.fromarray(pixels), "WEBP", lossless=lossless)
        yield Made(
            "WebP",
            f"{'lossless' if lossless else 'lossy'}, {channels} channels, flat {flat}",
            data,
            pillows(data),
        )
    for lossless, channels in product((False, True), (3, 4)):
        frames = [Image.fromarray(picture(np.uint8, 37, 51, channels, seed=seed)) for seed in range(3)]
        data = encoded(
            frames[0], "WEBP", lossless=lossless, exact=True, save_all=True, append_images=frames[1:]
        )
        kind = "lossless" if lossless else "lossy"
        yield Made("WebP", f"{kind}, {channels} channels, animated", data, pillows(data))
