"""JPEG as Pillow writes it: colours, sampling, quality, scans, restarts, orientation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from PIL import Image

from pixel_files.made import Made, encoded, exif, picture, pillows


def files() -> Iterator[Made]:
    rgb = Image.fromarray(picture(np.uint8, 37, 51, 3))
    for mode, quality, sampling, progressive, restart in product(
        ("L", "RGB", "CMYK"), (30, 75, 95), ("4:4:4", "4:2:2", "4:2:0"), (False, True), (0, 1, 4)
    ):
        if mode == "L" and sampling != "4:4:4":
            continue
        how = {"quality": quality, "progressive": progressive, "restart_marker_blocks": restart}
        if mode != "L":
            how["subsampling"] = sampling
        data = encoded(rgb.convert(mode), "JPEG", **how)
        name = f"{mode}, quality {quality}, {sampling}{', progressive' * progressive}, restarts {restart}"
        # Pillow and OpenCV differ by one in rounding CMYK.
        yield Made("JPEG", name, data, pillows(data), tolerance=int(mode == "CMYK"))
    for mode, progressive, orientation in product(("L", "RGB"), (False, True), range(1, 9)):
        data = encoded(rgb.convert(mode), "JPEG", exif=exif(orientation), progressive=progressive)
        name = f"{mode}{', progressive' * progressive}, orientation {orientation}"
        yield Made("JPEG", name, data, pillows(data, orientation))
    for optimize, size in product((False, True), ((1, 1), (8, 8), (16, 16), (17, 9), (200, 3))):
        data = encoded(rgb.resize(size), "JPEG", optimize=optimize)
        yield Made("JPEG", f"{size[0]} x {size[1]}{', optimized' * optimize}", data, pillows(data))
    data = encoded(rgb, "JPEG", keep_rgb=True)
    yield Made("JPEG", "RGB that is stored as such", data, pillows(data))
